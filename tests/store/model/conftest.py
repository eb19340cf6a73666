"""Captures in ledgers of their own, opened when a test asks for one and shared by the tests behind it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests.captured import Recorded, recorded

# Nothing here is about speed in wall-clock time, and a busy machine is no finding.
settings.register_profile("model", deadline=None, database=None)
settings.load_profile("model")


@pytest.fixture(scope="module")
def happened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Recorded]]:
    """What the store says of a capture, by the capture's name."""
    known: dict[str, Recorded] = {}
    with ExitStack() as open_ledgers:

        def take(name: str) -> Recorded:
            if name not in known:
                data = tmp_path_factory.mktemp("happened") / "data"
                known[name] = open_ledgers.enter_context(recorded(name, data))
            return known[name]

        yield take
