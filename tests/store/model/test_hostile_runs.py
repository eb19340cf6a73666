"""A run may hold twenty thousand steps that look alike: to work it out costs what it is long, not the square of that.

Work is counted in instructions of the interpreter, which are the same on every machine and however busy it is.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from model_bench import asks, make_span, trace_of

from store.model.first_of import LastingTree, RankTree
from store.model.joining import facts_of, join
from store.model.runs import whole_run
from store.model.span import Span, ToolAnswer, ToolRequest, Verdict
from store.model.trace import Trace

LATER = 1_000_000  # Milliseconds: behind everything.


def _tools(count: int, **given: Any) -> list[Span]:
    return [make_span(f"t{n:05d}", at=2 * n, kind="tool", **({"tool_name": "t"} | given)) for n in range(count)]


def _mcp(kind: str, count: int, **given: Any) -> list[Span]:
    said = {"kind": kind, "mcp_method": "tools/call", "tool_name": "t"} | given
    return [make_span(f"m{n:05d}", at=2 * n + 1, **said) for n in range(count)]


def _asking(calls: list[ToolRequest], parent: str | None = None) -> Span:
    return make_span("asks", parent, kind="llm", tool_requests=calls)


def _waits(count: int, verdict: Callable[[int], Verdict], parent: Callable[[int], str | None]) -> list[Span]:
    return [
        make_span(f"w{n:05d}", parent(n), at=n + 1, kind="approval_wait", verdicts=[verdict(n)]) for n in range(count)
    ]


def _handoffs(count: int, to: Callable[[int], str | None], above: str | None = None) -> list[Span]:
    asked = [ToolRequest(f"c{n}", f"transfer_to_x{n}", None) for n in range(count)]
    spans = [make_span(f"h{n:05d}", above, at=n + 1, kind="handoff", tool_name=to(n)) for n in range(count)]
    tops = [make_span("a", kind="agent", until=LATER), make_span("b", kind="agent", until=LATER)]
    return [*tops, _asking(asked, "b"), *spans]


HOSTILE: dict[str, Callable[[int], list[Span]]] = {
    "clients without a server": lambda n: _mcp("mcp_client", n),
    "servers without a client": lambda n: _mcp("mcp_server", n),
    "servers that outlast every call": lambda n: _tools(n) + _mcp("mcp_server", n, until=LATER),
    "servers of another host's tool": lambda n: (
        [make_span(f"t{k:05d}", kind="tool", until=LATER, tool_name=f"a{k}__t") for k in range(n)]
        + _mcp("mcp_server", n, tool_name="b__t")
    ),
    "servers within one call": lambda n: _tools(1, until=LATER) + _mcp("mcp_server", n),
    "a verdict for each call": lambda n: (
        [
            _asking([ToolRequest(f"c{k}", "t", None) for k in range(n)]),
            *_waits(n, lambda k: Verdict(f"c{k}", "allow"), lambda _: None),
        ]
    ),
    "every verdict for one call": lambda n: (
        [_asking([ToolRequest("c", "t", None)]), *_waits(n, lambda k: Verdict("c", f"v{k}"), lambda _: None)]
    ),
    "verdicts below verdicts": lambda n: _waits(
        n, lambda _: Verdict(None, "allow"), lambda k: f"w{k - 1:05d}" if k else None
    ),
    "agents below steps below steps": lambda n: (
        [make_span(f"s{k:05d}", f"s{k - 1:05d}" if k else None) for k in range(n)]
        + [make_span(f"x{k:05d}", f"s{n - 1:05d}", kind="agent", agent_name="x") for k in range(n)]
    ),
    "handoffs to nobody": lambda n: _handoffs(n, lambda _: "nobody"),
    "handoffs to each": lambda n: _handoffs(n, lambda k: f"x{k}"),
    "handoffs to each from the last": lambda n: _handoffs(n, lambda k: f"x{n - 1 - k}"),
    "handoffs that nobody above asked for": lambda n: _handoffs(n, lambda _: None, "a"),
    "handoffs that the agent above asked for": lambda n: _handoffs(n, lambda _: None, "b"),
    "tools that stopped to ask": lambda n: _tools(n, outcome="interrupted"),
    "one call id for every tool": lambda n: [_asking([ToolRequest("c", f"n{k}", None) for k in range(n)])],
    "a call that is denied and executed": lambda n: (
        [make_span("asks", **asks(("c", "t"))), *_tools(n, tool_call_id="c", verdicts=[Verdict("c", "deny")])]
    ),
    "answers under other ids": lambda n: [
        _asking([ToolRequest(f"c{k}", "t", f"a{k}") for k in range(n)]),
        make_span("next", at=5, kind="llm", tool_answers=[ToolAnswer(f"d{k}", "r", "t", f"b{k}") for k in range(n)]),
    ],
    "answers that nobody asked for": lambda n: [
        make_span("next", at=5, kind="llm", tool_answers=[ToolAnswer(f"d{k}", "r", f"t{k}", None) for k in range(n)]),
        *_tools(n),
    ],
    "silent steps of one call": lambda n: (
        [
            *_tools(n, tool_call_id="c", arguments="x", scope_name="strands.telemetry.tracer"),
            make_span("next", at=LATER, kind="llm", tool_answers=[ToolAnswer("c", "r", "t", None)]),
        ]
    ),
}


def _attempts(count: int) -> list[Trace]:
    """Two attempts of a workflow that execute one tool again and again, with other arguments each."""
    return [
        trace_of(
            make_span("root", at=at, until=at + LATER, workflow_id="w"),
            *(
                make_span(f"t{n:05d}", "root", at=at + n, kind="tool", tool_name="t", arguments=f"{at}-{n}", outcome="error")
                for n in range(count)
            ),
            trace_id=trace_id,
        )
        for at, trace_id in ((0, "1" * 32), (2 * LATER, "2" * 32))
    ]  # fmt: skip


def _resumes(count: int) -> list[Trace]:
    """A run of many traces, each with a call of its own that was asked about and allowed."""
    return [
        trace_of(
            make_span("asks", at=10 * n, agent_run_id="run", **asks((f"c{n}", "t"))),
            make_span("wait", "asks", at=10 * n + 1, kind="approval_wait", verdicts=[Verdict(f"c{n}", "allow")]),
            make_span("tool", "asks", at=10 * n + 2, kind="tool", tool_name="t", tool_call_id=f"c{n}"),
            trace_id=f"{n:032x}",
        )
        for n in range(1, count + 1)
    ]


def _instructions(traces: list[Trace]) -> int:
    """How many instructions the interpreter runs to work out a run."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    [segments] = join([facts_of(one) for one in traces])
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        whole_run(segments, {one.trace_id: one for one in traces})
    finally:
        sys.settrace(before)
    return count


def _growth(traces: Callable[[int], list[Trace]]) -> float:
    """What four times the steps cost, in terms of what the steps cost: four if linear, sixteen if quadratic."""
    _instructions(traces(10))  # What is made once and remembered is made.
    return _instructions(traces(240)) / _instructions(traces(60))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_of_steps_that_are_alike_costs_what_it_is_long(name: str) -> None:
    assert 2 < _growth(lambda count: [trace_of(*HOSTILE[name](count))]) < 6


@pytest.mark.parametrize("traces", [_attempts, _resumes])
def test_a_run_of_many_traces_or_attempts_costs_what_it_is_long(traces: Callable[[int], list[Trace]]) -> None:
    assert 2 < _growth(traces) < 6


def test_the_count_of_instructions_tells_a_square_from_a_line() -> None:
    def squared(count: int) -> list[Trace]:
        return [trace_of(*(make_span(f"s{n:05d}") for n in range(count * count // 10)))]

    assert _growth(squared) > 10


@pytest.mark.parametrize("ends", [[], [5], [5, 3, 9, 9, 1, 0, 7]])
def test_the_first_that_lasted_is_found_whatever_is_dropped(ends: list[int]) -> None:
    for gone in range(len(ends) + 1):
        tree = LastingTree(ends)
        left = dict(enumerate(ends))
        for index in range(gone):
            tree.drop(index)
            del left[index]
        for count in range(len(ends) + 1):
            for end in range(11):
                expected = next((index for index, one in left.items() if index < count and one >= end), None)
                assert tree.first(count, end) == expected


@pytest.mark.parametrize("ranks", [[], [0], [4, 2, 0, 6, 1, 5, 3]])
def test_the_least_rank_of_a_part_is_found_whatever_is_dropped(ranks: list[int]) -> None:
    for gone in range(len(ranks) + 1):
        tree = RankTree(ranks)
        left = dict(enumerate(ranks))
        for index in range(gone):
            tree.drop(index)
            del left[index]
        for begin in range(len(ranks) + 1):
            for end in range(begin, len(ranks) + 1):
                expected = min((rank for index, rank in left.items() if begin <= index < end), default=None)
                assert tree.first(begin, end) == expected
