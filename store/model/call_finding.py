"""Which call a step or an answer belongs to that does not name its id: by tool, by agent, by time, by attempt.

They are made once for a trace or a run and find without looking through all the calls: a run may have twenty thousand that
are alike.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Final

from store.model.above import Above
from store.model.first_of import LastingTree, RankTree
from store.model.span import Span, ToolAnswer
from store.model.tool_calls import ToolCall
from store.model.trace import Talk, Trace

HANDOFF_PREFIX: Final = "transfer_to_"
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
_BEHIND_ALL: Final = "{"  # What comes behind every letter that a plain name has.
_PREFIXES_MAX: Final = 8
"""Hosts put one or two names before a tool's (`mcp__payments__refund`)."""
_OPEN_END: Final = 2**63


def same_tool(one: str, other: str) -> bool:
    """Whether two names are one tool's: hosts put the server's name before it (`mcp__payments__refund`)."""
    return one == other or one.endswith(f"__{other}") or other.endswith(f"__{one}")


def _behind_prefixes(name: str) -> Iterator[str]:
    """What a tool may be called without the names that hosts put before its own."""
    at = name.find("__")
    for _ in range(_PREFIXES_MAX):
        if at < 0:
            return
        yield name[at + 2 :]
        at = name.find("__", at + 1)


class Running:
    """The calls that ran in a trace, to be found by a server's step that hangs off none of them.

    It answered in the time of a call of its tool: of those that no other server or client has, the one that began first.
    """

    def __init__(self, spans: Iterable[Span], by_step: Mapping[tuple[str, str], ToolCall]) -> None:
        """`spans` are the trace's, by start; those that executed calls are executed already."""
        self._by_name: dict[str, list[tuple[Span, ToolCall]]] = {}
        self._by_end: dict[str, list[tuple[Span, ToolCall]]] = {}
        self._trees: dict[tuple[str, bool], tuple[list[int], LastingTree]] = {}
        for span in spans:
            call = by_step.get((span.trace_id, span.span_id))
            if call is None or not call.executions or call.executions[-1] is not span:
                continue
            name = call.name or ""
            self._by_name.setdefault(name, []).append((span, call))
            for end in _behind_prefixes(name):
                self._by_end.setdefault(end, []).append((span, call))

    def answered_by(self, server: Span) -> ToolCall | None:
        """The call that a server's step answered."""
        name = server.tool_name or ""
        rows = [(self._by_name, name, False), (self._by_end, name, True)]
        rows += [(self._by_name, end, False) for end in _behind_prefixes(name)]
        found = [
            first for row, key, is_end in rows if key in row and (first := self._first(row[key], key, is_end, server))
        ]
        return min(found, key=lambda one: (one[0].start_ns, one[0].span_id))[1] if found else None

    def _first(
        self, row: list[tuple[Span, ToolCall]], key: str, is_end: bool, server: Span
    ) -> tuple[Span, ToolCall] | None:
        known = self._trees.get((key, is_end))
        if known is None:
            tree = LastingTree([ran.end_ns or _OPEN_END for ran, _ in row])
            known = self._trees[key, is_end] = [ran.start_ns for ran, _ in row], tree
        starts, tree = known
        begun = bisect_right(starts, server.start_ns)
        while (at := tree.first(begun, server.end_ns)) is not None:
            if not row[at][1].servers and not row[at][1].clients:
                return row[at]
            tree.drop(at)
        return None


class Handovers:
    """The calls that were asked for and not executed, to be found by the step of a handoff.

    A handoff's tool is named after the agent: `transfer_to_weather_agent` for `weather-agent`. Where the step does not say to
    whom, it is the first that the agent above it asked for.
    """

    def __init__(self, trace: Trace, calls: Iterable[ToolCall]) -> None:
        self._trace = trace
        self._calls = [call for call in calls if call.name and not call.executed and call.requesting is not None]
        ranked = sorted((_plain(call.name or "")[::-1], rank) for rank, call in enumerate(self._calls))
        self._names = [name for name, _ in ranked]
        self._ranks = [rank for _, rank in ranked]
        self._tree = RankTree(self._ranks)
        self._places = {rank: place for place, rank in enumerate(self._ranks)}
        self._below: _Below | None = None
        self._agents = Above(trace, lambda span: span if span.kind == "agent" else None)

    def of(self, handoff: Span) -> ToolCall | None:
        """The call that a handoff's step executes."""
        if _plain(handoff.tool_name or ""):
            return self._to(handoff.tool_name or "")
        return self._first_below(self._agents.of(handoff))

    def _to(self, agent_name: str) -> ToolCall | None:
        end = _plain(agent_name)[::-1]
        begin, behind = bisect_left(self._names, end), bisect_left(self._names, end + _BEHIND_ALL)
        while (rank := self._tree.first(begin, behind)) is not None:
            if not self._calls[rank].executed:
                return self._calls[rank]
            self._tree.drop(self._places[rank])
        return None

    def _first_below(self, above: Span | None) -> ToolCall | None:
        if self._below is None:
            handoffs = [call for call in self._calls if (call.name or "").startswith(HANDOFF_PREFIX)]
            self._below = _Below(self._trace, handoffs)
        return self._below.first(above)


class _Below:
    """Calls by where in the tree of steps they were asked for: all below one step stand side by side."""

    def __init__(self, trace: Trace, calls: list[ToolCall]) -> None:
        self._calls = calls
        self._entered, self._left = _entered_and_left(trace)
        placed = sorted((self._place(trace, call), rank) for rank, call in enumerate(calls))
        self._entries = [entered for entered, _ in placed]
        self._places = {rank: place for place, (_, rank) in enumerate(placed)}
        self._tree = RankTree([rank for _, rank in placed])

    def _place(self, trace: Trace, call: ToolCall) -> int:
        asking = call.requesting
        is_here = asking is not None and asking.trace_id == trace.trace_id
        return self._entered.get(asking.span_id, -1) if is_here and asking is not None else -1

    def first(self, above: Span | None) -> ToolCall | None:
        begin, behind = 0, len(self._calls)
        if above is not None:
            entered = self._entered.get(above.span_id)
            if entered is None:
                return None
            begin, behind = bisect_right(self._entries, entered), bisect_left(self._entries, self._left[above.span_id])
        while (rank := self._tree.first(begin, behind)) is not None:
            if not self._calls[rank].executed:
                return self._calls[rank]
            self._tree.drop(self._places[rank])
        return None


class Attempts:
    """What the attempt before did last or did not end, to be found by a step of the attempt that follows it."""

    def __init__(self, ran: list[tuple[ToolCall, Span]], trace_id: str) -> None:
        """`ran`: what was executed in the attempt before; `trace_id`: the trace of the one that follows."""
        self._trace_id = trace_id
        self._lost: dict[tuple[str | None, str | None], deque[ToolCall]] = {}
        last = max((span for _, span in ran), key=lambda span: (span.start_ns, span.span_id), default=None)
        for call, span in ran:
            if span.end_ns == 0 or span.outcome != "ok" or span is last:
                self._lost.setdefault((call.name, span.arguments), deque()).append(call)

    def tried(self, span: Span) -> ToolCall | None:
        """The call of the same tool that was lost, if it is not tried again already."""
        lost = self._lost.get((span.tool_name, span.arguments), deque[ToolCall]())
        while lost and lost[0].executions and lost[0].executions[-1].trace_id == self._trace_id:
            lost.popleft()
        return lost[0] if lost else None


class Named:
    """The calls of one tool's name that nothing was executed for, in the order in which they were opened."""

    def __init__(self) -> None:
        self._fresh: deque[tuple[int, ToolCall]] = deque()
        self._stopped: list[tuple[int, ToolCall]] = []
        """A heap: those that stopped to ask somebody."""
        self._stopped_here: list[tuple[int, ToolCall]] = []
        self._here = ""
        self._count = 0

    def add(self, call: ToolCall) -> None:
        """Take in a call that was opened."""
        self._fresh.append((self._count, call))
        self._count += 1

    def waiting(self, trace_id: str) -> ToolCall | None:
        """The first that is untouched, else the first that another trace left."""
        while self._fresh and (self._fresh[0][1].executed or self._fresh[0][1].interruptions):
            one = self._fresh.popleft()
            if not one[1].executed:
                heappush(self._stopped, one)
        if self._fresh:
            return self._fresh[0][1]
        if trace_id != self._here:
            for one in self._stopped_here:
                heappush(self._stopped, one)
            self._here, self._stopped_here = trace_id, []
        while self._stopped:
            one = self._stopped[0]
            if not one[1].executed and one[1].interruptions[-1].trace_id != trace_id:
                return one[1]
            heappop(self._stopped)
            if not one[1].executed:
                self._stopped_here.append(one)
        return None


class OpenRequests:
    """What was asked for and of whose own id nothing else of a trace tells: a history may know it by another id."""

    def __init__(self, calls: list[ToolCall], spans: list[Span], talk: dict[str, Talk]) -> None:
        self.run_without_id = {
            span.tool_name for span in spans if span.kind == "tool" and span.tool_name and not span.tool_call_id
        }
        dealt_with = {answer.id for said in talk.values() for answer in said.answers if answer.id}
        dealt_with |= {span.tool_call_id for span in spans if span.tool_call_id}
        self._open: dict[tuple[str | None, str | None], deque[ToolCall]] = {}
        for call in calls:
            if call.id and call.id not in dealt_with and call.requesting is not None and not call.executed:
                self._open.setdefault((call.name, call.arguments), deque()).append(call)

    def of(self, answer: ToolAnswer) -> ToolCall | None:
        """The first of the answer's name and arguments; it is open no more."""
        found = self._open.get((answer.name, answer.arguments))
        return found.popleft() if found else None


def _entered_and_left(trace: Trace) -> tuple[dict[str, int], dict[str, int]]:
    """Numbers in a walk through the tree: what is below a step was entered after it and before it was left.

    Steps in a circle of parents are never entered.
    """
    below: dict[str, list[str]] = {}
    tops: list[str] = []
    for span in trace.ordered():
        if span.parent_span_id in trace.spans:
            below.setdefault(span.parent_span_id or "", []).append(span.span_id)
        else:
            tops.append(span.span_id)
    entered: dict[str, int] = {}
    left: dict[str, int] = {}
    ways = [(span_id, False) for span_id in reversed(tops)]
    while ways:
        span_id, is_done = ways.pop()
        if is_done:
            left[span_id] = len(entered)
            continue
        entered[span_id] = len(entered)
        ways.append((span_id, True))
        ways.extend((child, False) for child in reversed(below.get(span_id, ())))
    return entered, left


def _plain(name: str) -> str:
    return _NOT_IN_A_NAME.sub("_", name.lower())
