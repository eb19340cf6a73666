"""A run is read some steps at a time: whatever its tree and its clocks look like, the pieces are the whole."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.long_run import long_run
from store.contract import RunFilter
from store.duckdb import run_steps, telling, trace_keys
from store.errors import BadQuery
from store.model.order import in_order
from store.model.rows import RunRow
from store.record import DEFAULT_TENANT, Signal
from tests.captured import recorded
from tests.conformance.engines import ENGINES, NOON_NS, Body, EngineBench, flat, pages
from tests.store.model.whole import content_ids, conversation
from tests.store.spans import ASKED, logs_body, spans_body

KINDS: list[dict[str, Any]] = [
    {"name": "chat", "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "3"},
    {"name": "agent", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "worker"},
    {"name": "boss", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "boss"},
    {"name": "execute_tool deploy", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "deploy",
     "gen_ai.tool.call.id": "c1"},
    {"name": "tools/call deploy", "mcp.method.name": "tools/call", "gen_ai.tool.name": "deploy", "kind": 3},
    {"name": "tools/call deploy", "mcp.method.name": "tools/call", "gen_ai.tool.name": "deploy", "kind": 2},
    {"name": "step"},
]  # fmt: skip
SAID = [None, "[]", ASKED, json.dumps([{"role": "user", "parts": [{"type": "text", "content": "go on"}]}])]

SPANS = st.lists(
    st.builds(
        lambda span, parent, start, end, kind, given, said: {
            "trace": 1, "span": span, "parent": parent, "start": start, "end": end, **kind,
            **({"gen_ai.input.messages": given} if given else {}), **({"gen_ai.output.messages": said} if said else {}),
        },
        span=st.integers(1, 9), parent=st.integers(0, 11), start=st.sampled_from([0, 0, 1, 2, 5]), end=st.integers(0, 6),
        kind=st.sampled_from(KINDS), given=st.sampled_from(SAID), said=st.sampled_from(SAID),
    ),
    min_size=1, max_size=14,
)  # fmt: skip
"""Spans of one trace: equal starts, ends before starts or unset, cycles, missing parents, several versions of a span."""


@pytest.fixture(autouse=True, params=["held", "asked for"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case twice: as a small run and as a large one."""
    if request.param == "asked for":
        monkeypatch.setattr(run_steps, "HELD_STEPS_MAX", 0)


@contextmanager
def engine(name: str, *bodies: Body) -> Iterator[EngineBench]:
    """An engine that holds these bodies, each recorded in a batch of its own."""
    with tempfile.TemporaryDirectory() as folder:
        bench = ENGINES[name](Path(folder))
        bench.writer.begin("feed" * 8)
        try:
            for body in bodies:
                bench.record(body)
            yield bench
        finally:
            bench.close()


def listed(bench: EngineBench, run_id: str, limit: int) -> list[Any]:
    return flat(
        pages(lambda cursor: bench.reader.steps(DEFAULT_TENANT, run_id, limit=limit, cursor=cursor, inline=False))
    )


@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=SPANS, cut=st.integers(0, 14), limit=st.integers(1, 5))
@example(  # A chain of one start, ids against its order, below a root that starts later.
    spans=[{"trace": 1, "span": 9 - n, "parent": 10 - n, "start": 1, "end": 2, "name": "step"} for n in range(6)]
    + [{"trace": 1, "span": 10, "start": 2, "end": 3, "name": "root"}],
    cut=3,
    limit=2,
)
@example(  # Two servers answer one client, the first to start from further below it.
    spans=[
        {
            "trace": 1,
            "span": 1,
            "parent": 0,
            "start": 0,
            "end": 9,
            "name": "outer",
            "mcp.method.name": "ping",
            "kind": 3,
        },
        {
            "trace": 1,
            "span": 2,
            "parent": 1,
            "start": 1,
            "end": 9,
            "name": "inner",
            "mcp.method.name": "ping",
            "kind": 3,
        },
        {
            "trace": 1,
            "span": 3,
            "parent": 2,
            "start": 4,
            "end": 5,
            "name": "first",
            "mcp.method.name": "ping",
            "kind": 2,
        },
        {
            "trace": 1,
            "span": 4,
            "parent": 1,
            "start": 8,
            "end": 9,
            "name": "last",
            "mcp.method.name": "ping",
            "kind": 2,
        },
    ],
    cut=3,
    limit=3,
)
def test_pages_of_any_size_are_the_whole_run_in_its_order(
    name: str, spans: list[dict[str, Any]], cut: int, limit: int
) -> None:
    parts = {"shop": spans[:cut], "warehouse": spans[cut:]}
    bodies = [spans_body(*some, service=service) for service, some in parts.items() if some]
    with engine(name, *bodies) as bench:
        whole = listed(bench, "01" * 16, 1000)
        assert [step.seq for step in whole] == list(range(len({span["span"] for span in spans})))
        [trace] = bench.writer.traces([(DEFAULT_TENANT, "01" * 16)])
        assert [step.span_id for step in whole] == [span.span_id for span in in_order(trace.spans.values())]
        starts = [trace.spans[step.span_id].start_ns for step in whole]
        assert starts == sorted(starts)
        servers = trace.mcp_servers()
        assert all(step.mcp_server == servers.get(step.span_id) for step in whole if step.kind == "mcp_client")
        assert listed(bench, "01" * 16, limit) == whole
        for step in whole:
            assert bench.reader.step(DEFAULT_TENANT, step.step_id).step == step


@dataclass(frozen=True)
class Stub:
    """What order looks at."""

    span_id: str
    parent_span_id: str | None
    start_ns: int


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.tuples(st.sampled_from("abcdefghx") | st.none(), st.sampled_from([0, 0, 1]))
    )
)
def test_steps_come_by_start_and_of_one_start_parents_first_but_for_circles(
    tree: dict[str, tuple[str | None, int]],
) -> None:
    steps = {name: Stub(name, parent, start) for name, (parent, start) in tree.items()}
    ordered = in_order(steps.values())
    assert sorted(ordered, key=lambda step: step.start_ns) == ordered
    place = {step.span_id: number for number, step in enumerate(ordered)}
    for step in ordered:
        parent = steps.get(step.parent_span_id or "")
        above, climbed = parent, 0
        while above is not None and above.start_ns == step.start_ns and above is not step and climbed < len(steps):
            above, climbed = steps.get(above.parent_span_id or ""), climbed + 1
        if parent is not None and parent.start_ns == step.start_ns and above is not step:
            assert place[parent.span_id] < place[step.span_id]
    siblings = [step for step in ordered if step.parent_span_id not in steps]
    assert siblings == sorted(siblings, key=lambda step: (step.start_ns, step.span_id))


def of_the_whole(bench: EngineBench, run: RunRow) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """The conversation as the model tells it of traces that are held whole."""
    held = {trace.trace_id: trace for trace in bench.writer.traces((DEFAULT_TENANT, one) for one in run.trace_ids)}
    traces = [held[one] for one in run.trace_ids]
    texts = {one: bench.reader.content(DEFAULT_TENANT, one).text for one in content_ids(traces)}
    return [(one.step_id, one.direction, one.parts) for one in conversation(traces, texts)]


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.parametrize("sizes", [(1, 1), (3, 2)])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=SPANS, second=SPANS)
@example(  # An agent that is its own parent, and says something.
    first=[{"trace": 1, "span": 1, "start": 0, "end": 0, **KINDS[0]}],
    second=[{"trace": 1, "span": 1, "parent": 1, "start": 0, "end": 0, **KINDS[1], "gen_ai.output.messages": SAID[3]}],
)
def test_a_run_is_told_the_same_however_little_is_read_at_a_time(
    name: str, sizes: tuple[int, int], first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    """Two traces of one run that overlap: what the first one left pending, the second one does."""
    said = {"gen_ai.conversation.id": "C"}
    asking = {"trace": 1, "span": 20, "start": 0, "end": 1, **KINDS[0], "gen_ai.output.messages": ASKED}
    doing = {"trace": 2, "span": 20, "start": 1, "end": 4, **KINDS[3]}
    bodies = [
        spans_body(*(span | said for span in [asking, *first])),
        spans_body(*(span | said | {"trace": 2} for span in [doing, *second])),
    ]
    with engine(name, *bodies) as bench:
        for run in bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows:
            events = list(bench.reader.replay(DEFAULT_TENANT, run.run_id))
            messages = list(bench.reader.messages(DEFAULT_TENANT, run.run_id))
            assert [(one.step_id, one.direction, one.parts) for one in messages] == of_the_whole(bench, run)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run_steps, "BATCH_STEPS_MIN", sizes[0])
                patch.setattr(run_steps, "BATCH_STEPS_MAX", sizes[0])
                patch.setattr(telling, "CALLS_AT_ONCE", (sizes[1], sizes[1]))
                assert list(bench.reader.replay(DEFAULT_TENANT, run.run_id)) == events
                assert list(bench.reader.messages(DEFAULT_TENANT, run.run_id)) == messages
            times = [event.at for event in events if event.at and event.type != "run_ended"]
            assert times == sorted(times)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def long(request: pytest.FixtureRequest) -> Iterator[tuple[EngineBench, str]]:
    """A run of 700 steps, and its trace id."""
    trace_id, requests = long_run(700, seed=1, start_ns=NOON_NS)
    with engine(request.param, *(Body(Signal.TRACES, request) for request in requests)) as bench:
        yield bench, trace_id


def test_a_page_of_a_long_run_is_looked_for_near_by_and_is_the_same(long: tuple[EngineBench, str]) -> None:
    bench, trace_id = long
    whole = listed(bench, trace_id, 1000)
    assert [step.seq for step in whole] == list(range(700))
    assert listed(bench, trace_id, 7) == whole
    assert sum(1 for step in whole if step.kind == "mcp_client" and step.mcp_server) > 20


def test_a_run_that_grows_moves_nothing_that_was_paged(long: tuple[EngineBench, str]) -> None:
    """A step that arrives behind the page, or before it, is no reason to show another one twice or not at all."""
    spans = [{"trace": 1, "span": n, "start": n, "end": n + 1, "name": "step"} for n in (2, 4, 6, 8)]
    with engine(sorted(ENGINES)[0], spans_body(*spans)) as bench:
        first = bench.reader.steps(DEFAULT_TENANT, "01" * 16, limit=2, cursor=None, inline=False)
        bench.record(spans_body(*({"trace": 1, "span": n, "start": n, "end": n + 1, "name": "late"} for n in (1, 7))))
        then = bench.reader.steps(DEFAULT_TENANT, "01" * 16, limit=9, cursor=first.next_cursor, inline=False)
        assert [step.span_id[:2] for step in first.rows + then.rows] == ["02", "04", "06", "07", "08"]
        assert [step.seq for step in then.rows] == [3, 4, 5]


def test_a_cursor_of_another_runs_steps_is_refused(long: tuple[EngineBench, str]) -> None:
    bench, trace_id = long
    bench.record(spans_body({"trace": 9, "span": 1, "start": 0, "end": 1, "name": "other"}))
    cursor = bench.reader.steps(DEFAULT_TENANT, trace_id, limit=1, cursor=None, inline=False).next_cursor
    with pytest.raises(BadQuery, match="start again without one"):
        bench.reader.steps(DEFAULT_TENANT, "09" * 16, limit=1, cursor=cursor, inline=False)


def test_tool_calls_are_asked_for_from_one_on(long: tuple[EngineBench, str]) -> None:
    bench, trace_id = long
    whole = bench.reader.tool_calls(DEFAULT_TENANT, trace_id)
    after = whole[9].tool_call_key
    assert bench.reader.tool_calls(DEFAULT_TENANT, trace_id, limit=5, after=after) == whole[10:15]
    assert bench.reader.tool_calls(DEFAULT_TENANT, trace_id, after=whole[-1].tool_call_key) == []
    with pytest.raises(BadQuery, match="names no tool call"):
        bench.reader.tool_calls(DEFAULT_TENANT, trace_id, after="nobody")


def test_segments_that_overlap_are_told_in_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCH_STEPS_MIN", "BATCH_STEPS_MAX"):
        monkeypatch.setattr(run_steps, name, 1)
    said = {"gen_ai.conversation.id": "C", "gen_ai.output.messages": SAID[3]}
    bodies = [
        spans_body(
            {"trace": 1, "span": 1, "start": 0, "end": 1, **KINDS[0], **said, "gen_ai.output.messages": ASKED},
            {"trace": 1, "span": 2, "start": 10, "end": 11, **KINDS[0], **said},
            {"trace": 1, "span": 3, "start": 20, "end": 21, **KINDS[0], **said},
        ),
        spans_body(
            {"trace": 2, "span": 1, "start": 5, "end": 6, **KINDS[3], **said},
            {"trace": 2, "span": 2, "start": 7, "end": 8, **KINDS[0], **said},
        ),
    ]
    with engine(sorted(ENGINES)[0], *bodies) as bench:
        [run] = bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows
        assert len(run.segments) == 2
        events = list(bench.reader.replay(DEFAULT_TENANT, run.run_id))
        told = [(event.type, int((event.state["elapsed_ns"] or 0) / 1e9)) for event in events]
        assert told == [
            ("run_started", 0), ("tool_requested", 1), ("tool_executed", 5), ("tool_result", 6), ("message", 8),
            ("message", 11), ("message", 21), ("run_ended", 21),
        ]  # fmt: skip
        assert [event.state["input_tokens"] for event in events] == [0, 3, 3, 3, 6, 9, 12, 12]


def test_a_page_behind_a_long_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_keys, "_NEAR", (4, 8))
    day = 24 * 3600
    spans = [
        {"trace": 1, "span": n + 1, "start": n if n < 50 else day + n, "end": day * 2, "name": "step"}
        for n in range(100)
    ]
    with engine(sorted(ENGINES)[0], spans_body(*spans)) as bench:
        first = bench.reader.steps(DEFAULT_TENANT, "01" * 16, limit=49, cursor=None, inline=False)
        then = bench.reader.steps(DEFAULT_TENANT, "01" * 16, limit=2, cursor=first.next_cursor, inline=False)
        assert [step.seq for step in first.rows + then.rows] == list(range(51))
        assert [step.span_id[:2] for step in then.rows] == [f"{50:02x}", f"{51:02x}"]


def test_a_replay_tells_what_was_recorded_when_it_was_asked_for() -> None:
    trace_id, requests = long_run(700, seed=1, start_ns=NOON_NS)
    with engine(sorted(ENGINES)[0], *(Body(Signal.TRACES, request) for request in requests)) as bench:
        owing = bench.prepare(spans_body({"trace": 8, "span": 1, "start": 0, "end": 1, "name": "other"}))
        owing.owed = frozenset({(DEFAULT_TENANT, trace_id)})  # Its steps may be further than its segment says.
        bench.writer.write(owing)
        whole = list(bench.reader.replay(DEFAULT_TENANT, trace_id))
        begun = bench.reader.replay(DEFAULT_TENANT, trace_id)
        first = next(begun)
        _, later = long_run(700, seed=1, start_ns=NOON_NS + 1)  # The same ids at other times: new versions of all.
        bench.record(*(Body(Signal.TRACES, request) for request in later))
        assert [first, *begun] == whole
        assert list(bench.reader.replay(DEFAULT_TENANT, trace_id)) != whole


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_what_records_say_that_calls_cost_is_on_the_run_the_steps_and_the_replay(name: str) -> None:
    said = {"span.type": "llm_request", "input_tokens": "10", "output_tokens": "1"}
    calls = [
        {"trace": 1, "span": number, "parent": 9, "start": number, "end": number + 1, "name": "call", **said,
         "request_id": f"r{number}"}
        for number in (1, 2, 3)
    ]  # fmt: skip
    turn = {"trace": 1, "span": 9, "start": 0, "end": 8, "name": "turn", "span.type": "interaction"}
    bills = [
        {"trace": 1, "span": 9, "at": 3, "event_name": "api_request", "claude_code.of": "a request",
         "request_id": f"r{number}", "cost_usd": usd}
        for number, usd in ((1, 0.5), (2, 0.25), (2, 0.25))
    ]  # fmt: skip
    bodies = [spans_body(turn), logs_body(*bills[:2]), spans_body(*calls), logs_body(bills[2] | {"at": 7})]
    for come in (bodies, bodies[::-1]):
        with engine(name, *come, *come) as bench:
            [run] = bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows
            assert (run.cost_usd, run.cost_source, run.unpriced_calls) == (0.75, "reported", 1)
            costs = {step.span_id[:2]: (step.cost_usd, step.cost_source) for step in listed(bench, run.run_id, 9)}
            assert costs == {
                "09": (None, None), "01": (0.5, "reported"), "02": (0.25, "reported"), "03": (None, None),
            }  # fmt: skip
            assert list(bench.reader.replay(DEFAULT_TENANT, run.run_id))[-1].state["cost_usd"] == 0.75


@pytest.mark.parametrize("capture", ["claude-agent-sdk-0.2.184", "openai-v2-2.4b0-latest", "strands-1.62-default"])
def test_a_capture_is_told_the_same_however_little_is_read_at_a_time(capture: str, tmp_path: Path) -> None:
    """Log records that speak for spans and for responses, agents that repeat what was said below them."""
    with recorded(capture, tmp_path) as taken:
        for run in taken.runs():
            reader, steps = taken.reader, taken.steps(run, inline=True)
            told = list(reader.messages(DEFAULT_TENANT, run.run_id)), list(reader.replay(DEFAULT_TENANT, run.run_id))
            assert told[0]
            with pytest.MonkeyPatch.context() as patch:
                for name, value in (("HELD_STEPS_MAX", 0), ("BATCH_STEPS_MIN", 2), ("BATCH_STEPS_MAX", 2)):
                    patch.setattr(run_steps, name, value)
                patch.setattr(telling, "CALLS_AT_ONCE", (1, 1))
                assert taken.steps(run, inline=True) == steps
                assert list(reader.messages(DEFAULT_TENANT, run.run_id)) == told[0]
                assert list(reader.replay(DEFAULT_TENANT, run.run_id)) == told[1]
