"""Every case runs on every engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.engines import ENGINES, JOURNAL_ID, EngineBench
from tests.store.ledger_bench import captures

DEMO = "spanledger-demo"


@pytest.fixture(params=sorted(ENGINES))
def unbegun(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineBench]:
    bench = ENGINES[request.param](tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def bench(unbegun: EngineBench) -> EngineBench:
    """An engine with an empty view of a journal."""
    unbegun.writer.begin(JOURNAL_ID)
    return unbegun


@pytest.fixture
def demo(bench: EngineBench) -> EngineBench:
    """An engine that holds the run of the demo agent: two traces, logs and metrics."""
    bench.record(*captures()[DEMO])
    return bench


@pytest.fixture(params=sorted(ENGINES), scope="module")
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineBench]:
    """An engine that holds every capture for `a` and half of them for `b`. Read only."""
    bench = ENGINES[request.param](tmp_path_factory.mktemp("full"))
    bench.writer.begin(JOURNAL_ID)
    for index, bodies in enumerate(captures().values()):
        bench.record(*bodies, tenant="a")
        if index % 2:
            bench.record(*bodies, tenant="b")
    yield bench
    bench.close()
