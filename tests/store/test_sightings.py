"""What was noted is always found again; of what was not, next to nothing is taken for noted."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.duckdb.engine import Engine
from store.duckdb.writer import DuckDbWriter
from store.model.trace import Trace
from store.projection import Projection
from store.record import Frame
from store.sightings import Sightings
from store.unwritten import Unwritten
from store.view import StoredSegment
from tests.store.ledger_bench import captures, draft_of, frames_of

keys = st.one_of(st.integers(), st.tuples(st.text(), st.text()))


@settings(deadline=None)
@given(noted=st.lists(keys), others=st.lists(keys))
def test_every_key_that_was_noted_is_among_those_noted(noted: list[object], others: list[object]) -> None:
    sightings = Sightings()
    sightings.note(noted)
    assert sightings.among(noted) == noted
    assert not set(sightings.among(others)) - set(others)


def test_new_keys_are_known_to_be_new() -> None:
    sightings = Sightings()
    sightings.note(("tenant", f"{number:032x}") for number in range(100_000))
    assert sightings.among(("tenant", f"{number:032x}") for number in range(100_000, 200_000)) == []


def test_numbers_that_follow_each_other_are_told_apart() -> None:
    sightings = Sightings()
    sightings.note(range(0, 100_000, 8))
    assert len(sightings.among(range(4, 100_000, 8))) == 0


class CountingWriter(DuckDbWriter):
    """Counts what it is asked for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked: list[str] = []

    def traces(self, keys: Iterable[tuple[str, str]]) -> list[Trace]:
        self.asked.append("traces")
        return super().traces(keys)

    def segments(self, keys: Iterable[tuple[str, str]]) -> list[StoredSegment]:
        self.asked.append("segments")
        return super().segments(keys)

    def tied(self, ties: Iterable[int]) -> list[StoredSegment]:
        self.asked.append("tied")
        return super().tied(ties)


@pytest.fixture
def writer() -> Iterator[CountingWriter]:
    engine = Engine(Path(":memory:"))
    made = CountingWriter(engine)
    made.begin("0" * 32)
    yield made
    engine.close()


def project(writer: CountingWriter, projection: Projection, frames: list[Frame]) -> list[str]:
    """What the view was asked for to place the frames."""
    writer.asked.clear()
    batch = projection.project(frames)
    writer.write(batch)
    projection.placed(batch)
    projection.written()
    return list(writer.asked)


DEMO = frames_of(draft_of(body) for body in captures()["spanledger-demo"])
OTHER = frames_of(draft_of(body) for body in captures()["strands-1.62-default"])


def test_the_view_is_not_asked_for_traces_that_are_new(writer: CountingWriter) -> None:
    projection = Projection(writer)
    assert project(writer, projection, DEMO) == []
    assert project(writer, projection, [replace(frame, sequence=frame.sequence + 100) for frame in OTHER]) == []


@pytest.mark.parametrize("restarted", [False, True], ids=["forgotten by the same process", "after a restart"])
def test_the_view_is_asked_for_traces_that_it_holds(writer: CountingWriter, restarted: bool) -> None:
    projection = Projection(writer)
    project(writer, projection, DEMO)
    if restarted:
        projection = Projection(writer)
    else:
        projection.forget()
    asked = project(writer, projection, [replace(frame, sequence=frame.sequence + 100) for frame in DEMO])
    assert {"traces", "segments"} <= set(asked)


def test_ties_of_an_earlier_process_are_found_again(writer: CountingWriter) -> None:
    project(writer, Projection(writer), DEMO)
    assert Unwritten(writer).tied(writer.ties())
