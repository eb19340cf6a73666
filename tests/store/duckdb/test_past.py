"""A run as of a moment: what a store would answer that was fed only what had come by then."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import pytest

from store.contract import LIMIT_MAX, Moment, RunFilter
from store.duckdb import past
from store.duckdb.reader import DuckDbReader
from store.errors import BadQuery, NotFound, PastNotReached
from store.record import DEFAULT_TENANT, Frame, Position
from tests.arrivals import difference, records_of, requests_of, shuffled
from tests.store.ledger_bench import JOURNAL_ID, NOON_NS, SECOND_NS, Body, View, captures, draft_of, frames_of

DEMO = "spanledger-demo"


@dataclass
class Frames:
    """What a journal would hold."""

    held: Sequence[Frame]

    @property
    def durable_sequence(self) -> int:
        return len(self.held)

    def frames(self, sequences: Sequence[int]) -> Iterator[Frame]:
        yield from (self.held[one - 1] for one in sorted(set(sequences)))


def view_of(frames: Sequence[Frame]) -> View:
    view = View()
    for start in range(0, len(frames), 40):
        view.project(frames[start : start + 40])
    view.settle()
    return view


def reader_of(view: View, frames: Sequence[Frame], **arguments: Any) -> DuckDbReader:
    now_ns = frames[-1].received_ns
    return DuckDbReader(view.engine, **({"clock_ns": lambda: now_ns, "record": Frames(frames)} | arguments))


def answers(reader: Any, run_id: str) -> dict[str, Any]:
    run = reader.run(DEFAULT_TENANT, run_id)
    return msgspec.to_builtins({
        "run": run,
        "steps": reader.steps(DEFAULT_TENANT, run_id, limit=LIMIT_MAX, cursor=None, inline=True).rows,
        "tool_calls": reader.tool_calls(DEFAULT_TENANT, run_id),
        "decisions": reader.decisions(DEFAULT_TENANT, run_id),
        "messages": list(reader.messages(DEFAULT_TENANT, run_id)),
        "replay": list(reader.replay(DEFAULT_TENANT, run_id)),
        "state": reader.state(DEFAULT_TENANT, run_id, run.steps - 1),
    })  # fmt: skip


def arriving(name: str, seed: int) -> list[Frame]:
    """A capture in shuffled, split and repeated requests."""
    records = records_of(name)
    arrival = shuffled(len(records), Random(seed))
    return frames_of(
        draft_of(Body(signal, body))
        for group in arrival.groups
        for signal, body in requests_of([records[index] for index in group])
    )


def by_position(frame: Frame) -> Moment:
    return Moment(position=Position(JOURNAL_ID, frame.sequence))


def by_time(frame: Frame) -> Moment:
    return Moment(time_ns=frame.received_ns)


def held_to_a_store_that_ends_there(frames: Sequence[Frame], at: int, moment: Callable[[Frame], Moment]) -> int:
    """Compare every run that the record knew at a moment; how many that were."""
    whole, then = view_of(frames), view_of(frames[:at])
    reader, past_reader = reader_of(whole, frames), reader_of(then, frames[:at])
    runs = past_reader.runs(DEFAULT_TENANT, RunFilter(), limit=LIMIT_MAX, cursor=None).rows
    for run in runs:
        found, known_as = reader.as_of(DEFAULT_TENANT, run.run_id, moment(frames[at - 1]))
        assert known_as == run.run_id
        assert difference(answers(found, known_as), answers(past_reader, run.run_id)) is None
    whole.engine.close()
    then.engine.close()
    return len(runs)


@pytest.mark.parametrize("name", [DEMO, "pydantic-ai-2.68-v5", "langgraph-genai-1.3b0", "claude-agent-sdk-0.2.184"])
def test_an_answer_as_of_a_moment_is_that_of_a_store_that_was_fed_no_more(name):
    frames = arriving(name, seed=len(name))
    random = Random(1)
    for moment in (by_position, by_time):
        at = random.randint(len(frames) // 2, len(frames) - 1)
        assert held_to_a_store_that_ends_there(frames, at, moment) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(captures()))
@pytest.mark.parametrize("seed", range(2))
def test_so_it_is_of_every_capture_at_many_moments(name, seed):
    frames = arriving(name, seed)
    for at in sorted({1 + n * (len(frames) - 1) // 4 for n in range(5)}):
        held_to_a_store_that_ends_there(frames, at, by_position if at % 2 else by_time)


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[View, list[Frame], str]]:
    frames = frames_of(draft_of(body) for body in captures()[DEMO])
    view = view_of(frames)
    [run] = DuckDbReader(view.engine).runs(DEFAULT_TENANT, RunFilter(agent="support-agent"), limit=2, cursor=None).rows
    yield view, frames, run.run_id
    view.engine.close()


def test_as_of_the_end_is_as_it_is_now(demo):
    view, frames, run_id = demo
    reader = reader_of(view, frames)
    found, known_as = reader.as_of(DEFAULT_TENANT, run_id, by_position(frames[-1]))
    assert difference(answers(found, known_as), answers(reader, run_id)) is None


def test_before_anything_had_come_there_is_no_run(demo):
    view, frames, run_id = demo
    with pytest.raises(NotFound, match="recorded then"):
        reader_of(view, frames).as_of(DEFAULT_TENANT, run_id, Moment(time_ns=NOON_NS))


def test_another_tenant_s_run_is_not_found_in_the_past_either(demo):
    view, frames, run_id = demo
    with pytest.raises(NotFound):
        reader_of(view, frames).as_of("another", run_id, by_position(frames[-1]))


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        (Moment(position=Position("another", 1)), "another record"),
        (Moment(position=Position(JOURNAL_ID, 999_999)), "end of the record"),
        (Moment(time_ns=NOON_NS + 10**9 * SECOND_NS), "still to come"),
    ],
)
def test_a_moment_that_the_record_does_not_have_is_refused(demo, moment, why):
    view, frames, run_id = demo
    with pytest.raises(BadQuery, match=why) as refused:
        reader_of(view, frames).as_of(DEFAULT_TENANT, run_id, moment)
    assert refused.value.parameter == "as_of"


def test_a_past_that_is_too_much_is_refused_with_what_to_do(demo, monkeypatch):
    view, frames, run_id = demo
    for bound, value in (("FRAMES_MAX", 1), ("BYTES_MAX", 10)):
        with monkeypatch.context() as patched:
            patched.setattr(past, bound, value)
            with pytest.raises(BadQuery, match="ask without it"):
                reader_of(view, frames).as_of(DEFAULT_TENANT, run_id, by_position(frames[-1]))


def test_where_the_view_is_behind_the_moment_one_is_told_to_ask_again(demo):
    _, frames, run_id = demo
    behind = view_of(frames[:-1])
    reader = reader_of(behind, frames)
    for moment in (by_position(frames[-1]), by_time(frames[-1])):
        with pytest.raises(PastNotReached):
            reader.as_of(DEFAULT_TENANT, run_id, moment)
    found, _ = reader.as_of(DEFAULT_TENANT, run_id, by_time(frames[-2]))
    assert found
    behind.engine.close()


def test_the_same_moment_is_worked_out_once(demo):
    view, frames, run_id = demo
    record = Frames(frames)
    asked: list[int] = []
    reading = record.frames

    def counted(sequences: Sequence[int]) -> Iterator[Frame]:
        asked.append(len(sequences))
        return reading(sequences)

    record.frames = counted  # type: ignore[method-assign]
    reader = reader_of(view, frames, record=record)
    reader.as_of(DEFAULT_TENANT, run_id, by_position(frames[-1]))
    read = len(asked)
    reader.as_of(DEFAULT_TENANT, run_id, by_position(frames[-1]))
    assert len(asked) == read > 0


def test_without_a_journal_the_past_is_not_known(demo):
    view, _, run_id = demo
    with pytest.raises(BadQuery, match="no journal"):
        DuckDbReader(view.engine).as_of(DEFAULT_TENANT, run_id, Moment(time_ns=NOON_NS))
