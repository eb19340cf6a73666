"""Servers for the end-to-end tests: real processes, each on a data folder that is gone afterwards."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_server import RunningServer, ended_well


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place for data folders. A journal takes 32 MB before its first frame: too much to be kept as tmp_path is."""
    with tempfile.TemporaryDirectory(prefix="spanledger-e2e-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """One running server for the tests of a module; it must end with 0 and a clean log."""
    yield from ended_well(RunningServer(folder / "shared"))


@pytest.fixture
def make_server() -> Iterator[Callable[..., RunningServer]]:
    """Servers of a test's own, started by it, killed where it did not end them. Arguments are serve's options."""
    with tempfile.TemporaryDirectory(prefix="spanledger-e2e-") as name:
        made: list[RunningServer] = []

        def make(*options: str) -> RunningServer:
            made.append(RunningServer(Path(name) / f"data{len(made)}", *options))
            return made[-1]

        yield make
        for server in made:
            server.kill()
