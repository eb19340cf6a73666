"""One row per logical tool call, out of the places that tell of it.

What joins them, in this order: the same call id (and tool) in a run; nesting; the same tool name in order of time. Never a
call id alone across runs.

A run's traces are read in order of time. Requests come first, then what a history recalls of requests that were not sent or
were sent under another id, then what was executed, then answers. Last it is judged what steps do not say of themselves: that
one stopped to ask, that one was executed anew when the run was gone on with, that one was refused.
"""

import re
from collections import Counter, deque
from collections.abc import Mapping

from store.model.dialect import dialect_of_scope
from store.model.ids import record_id
from store.model.span import Span, ToolAnswer, ToolRequest
from store.model.tool_calls import REQUESTING_KINDS, Told, ToolCall, is_loose, is_silent
from store.model.trace import Given, Talk, Trace

TOOLS_CALL = "tools/call"
HANDOFF_PREFIX = "transfer_to_"
_EXECUTING_KINDS = ("tool", "handoff")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")
_BY_SILENCE = "the tool's step ended without a result, which this library always sends, and no model was told one"
_BY_REPETITION = "the call was executed again when the run was gone on with, and no model was told a first result"


class CallBook:
    """Puts the calls of one run together. Feed it the run's traces in order of time.

    `attempts` names, of every trace that is another attempt of a workflow, the trace of the attempt before.
    """

    def __init__(self, run_id: str, attempts: Mapping[str, str] | None = None) -> None:
        self._run_id = run_id
        self._attempts = attempts or {}
        self._calls: list[ToolCall] = []
        self._by_id: dict[str, list[ToolCall]] = {}
        self._by_name: dict[str, deque[ToolCall]] = {}
        self._by_step: dict[tuple[str, str], ToolCall] = {}
        self._nameless_ids: Counter[str | None] = Counter()
        self._silent: list[tuple[ToolCall, Span]] = []

    def read(self, traces: list[Trace]) -> list[ToolCall]:
        """The calls of the run, in the order they were asked for or first seen."""
        walks = [(trace, trace.ordered(), trace.talk()) for trace in traces]
        for trace, spans, talk in walks:
            self._read_requests(spans, talk)
            self._read_recalled(spans, talk)
            self._read_executions(trace, spans)
            self._read_mcp(trace, spans)
            self._read_approvals(spans, talk)
        for trace, spans, talk in walks:
            self._read_answers(spans, talk)
            self._read_verdicts(trace)
        self._judge_silence()
        self._judge_repetition()
        self._judge_refusal()
        return sorted(self._calls, key=_first_ns)  # Of the same moment: in the order the model named them.

    def _open(self, call_id: str | None, name: str | None, arguments: str | None) -> ToolCall:
        if call_id:
            same = len(self._by_id.get(call_id, ()))
            parts = ("id", call_id, *([str(same)] if same else []))
        else:
            parts = ("name", name or "", arguments or "", str(self._nameless_ids[name]))
            self._nameless_ids[name] += 1
        call = ToolCall(record_id("tool_call", self._run_id, *parts), call_id, name, arguments)
        self._calls.append(call)
        if call_id:
            self._by_id.setdefault(call_id, []).append(call)
        if name:
            self._by_name.setdefault(name, deque()).append(call)
        return call

    def _known(self, call_id: str | None, name: str | None = None) -> ToolCall | None:
        """The call of an id: the last one, of another tool's call with the same id none."""
        calls = self._by_id.get(call_id, ()) if call_id else ()
        fitting = (call for call in reversed(calls) if not name or not call.name or _same_tool(call.name, name))
        return next(fitting, None)

    def _read_requests(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            if span.kind not in REQUESTING_KINDS:
                continue
            for request in talk[span.span_id].requests:
                call = self._requested(request)
                if call.requesting is None:
                    call.requesting, call.requested_ns = span, span.end_ns or span.start_ns

    def _requested(self, request: ToolRequest) -> ToolCall:
        known = self._known(request.id, request.name)
        if known is None:
            return self._open(request.id, request.name, request.arguments)
        known.name = known.name or request.name
        known.arguments = known.arguments or request.arguments
        return known

    def _read_recalled(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        """Requests that only the history before an answer tells of: not sent as an answer, or with another id."""
        before: Span | None = None
        dealt_with: set[str] | None = None
        for span in spans:
            if span.kind not in REQUESTING_KINDS:
                continue
            for answer in talk[span.span_id].answers:
                if not answer.id or not answer.name or self._by_id.get(answer.id):
                    continue
                dealt_with = dealt_with or _dealt_with(spans, talk)
                call = self._under_another_id(answer, dealt_with)
                # What was asked for and done before this run began is none of its calls.
                if call is None and (before is not None or _runs_without_id(spans, answer.name)):
                    call = self._open(answer.id, answer.name, answer.arguments)
                    if before is not None:
                        call.requesting, call.requested_ns = before, before.end_ns or before.start_ns
            before = span if span.kind == "llm" else before

    def _under_another_id(self, answer: ToolAnswer, dealt_with: set[str]) -> ToolCall | None:
        """An open request of the same name and arguments, of whose own id nothing else tells; it takes the history's id."""
        if answer.id is None:
            return None
        for call in self._by_name.get(answer.name or "", ()):
            same = call.arguments == answer.arguments and not call.executed and not call.told
            if same and call.id and call.id not in dealt_with and call.requesting is not None:
                self._by_id[call.id].remove(call)
                call.id = answer.id
                self._by_id.setdefault(answer.id, []).append(call)
                return call
        return None

    def _read_executions(self, trace: Trace, spans: list[Span]) -> None:
        for span in spans:
            if span.kind not in _EXECUTING_KINDS:
                continue
            outer = self._by_step.get((span.trace_id, span.parent_span_id or ""))
            if outer is not None and outer.id and span.tool_call_id == outer.id and span.kind == "tool":
                # The part of a call's step that ran, in a step of its own.
                outer.within.setdefault(span.parent_span_id or "", []).append(span)
                outer.result = span.result or outer.result
                self._by_step[span.trace_id, span.span_id] = outer
                continue
            if span.tool_call_id:
                call = self._known(span.tool_call_id, span.tool_name)
            elif span.kind == "handoff":
                call = self._handed_over(trace, span)
            else:
                call = self._waiting(span) or self._tried_before(span)
            call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
            call.name = call.name or span.tool_name
            call.type = call.type or span.tool_type
            if is_loose(span):
                call.arguments = call.arguments or span.arguments
            else:
                call.arguments = span.arguments or call.arguments
            call.result = span.result or call.result
            self._by_step[span.trace_id, span.span_id] = call
            if span.outcome == "interrupted":
                call.interruptions.append(span)
                if not call.asked_ns:
                    call.asking, call.asked_ns = span, span.end_ns or span.start_ns
            elif is_silent(span):
                call.interruptions.append(span)
                self._silent.append((call, span))
            else:
                call.executions.append(span)

    def _waiting(self, span: Span) -> ToolCall | None:
        """What joins where no call id is sent: the first untouched call of that tool, else one that an earlier trace left."""
        named = self._by_name.get(span.tool_name or "", deque[ToolCall]())
        while named and named[0].executed:
            named.popleft()
        fresh = next((call for call in named if not call.executed and not call.interruptions), None)
        stopped = (call for call in named if not call.executed and call.interruptions)
        return fresh or next((call for call in stopped if call.interruptions[-1].trace_id != span.trace_id), None)

    def _tried_before(self, span: Span) -> ToolCall | None:
        """In another attempt of a workflow: what the one before did last or did not end, if it is the same tool's call."""
        before = self._attempts.get(span.trace_id)
        if before is None:
            return None
        tried = [(call, ran) for call in self._calls for ran in call.executions if ran.trace_id == before]
        last = max(tried, key=lambda one: (one[1].start_ns, one[1].span_id), default=None)
        for call, ran in tried:
            lost = ran.end_ns == 0 or ran.outcome != "ok" or (last is not None and ran is last[1])
            again = any(other.trace_id == span.trace_id for other in call.executions)
            if lost and not again and call.name == span.tool_name and ran.arguments == span.arguments:
                return call
        return None

    def _handed_over(self, trace: Trace, span: Span) -> ToolCall | None:
        """A handoff's tool is named after the agent: `transfer_to_weather_agent` for `weather-agent`. Where the step does not
        say to whom, it is the first that the agent above it asked for.
        """
        agent = _plain(span.tool_name or "")
        waiting = [call for call in self._calls if call.name and not call.executed and call.requesting is not None]
        if agent:
            return next((call for call in waiting if _plain(call.name or "").endswith(agent)), None)
        above = next((one for one in trace.ancestors(span) if one.kind == "agent"), None)
        asked = (call for call in waiting if call.name and call.name.startswith(HANDOFF_PREFIX))
        return next((call for call in asked if above is None or _is_below(trace, call.requesting, above)), None)

    def _read_mcp(self, trace: Trace, spans: list[Span]) -> None:
        if not any(span.mcp_method == TOOLS_CALL for span in spans):
            return
        depths = trace.depths()
        nearest: dict[str, Span] = {}  # Of every span, the step above it that is part of a call.
        # Parents first, whatever the clocks of two processes say.
        for span in sorted(spans, key=lambda span: depths[span.span_id]):
            above = trace.spans.get(span.parent_span_id or "")
            if above is not None and (above.trace_id, above.span_id) not in self._by_step:
                above = nearest.get(above.span_id)
            if above is not None:
                nearest[span.span_id] = above
            if span.mcp_method == TOOLS_CALL and span.kind in ("mcp_client", "mcp_server"):
                self._admit_mcp(span, above)

    def _admit_mcp(self, span: Span, above: Span | None) -> None:
        if above is not None and above.kind == "mcp_server" and span.kind == "mcp_client":
            if above.tool_name is None and above.mcp_method == TOOLS_CALL:  # It names its tool in a step of its own.
                self._by_step[span.trace_id, span.span_id] = self._by_step[above.trace_id, above.span_id]
                return
            above = None  # A server that calls another server makes a call of its own.
        call = self._by_step[above.trace_id, above.span_id] if above else self._meanwhile(span) or self._waiting(span)
        call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
        self._by_step[span.trace_id, span.span_id] = call
        call.name = call.name or span.tool_name
        call.arguments = call.arguments or span.arguments
        call.result = call.result or span.result
        if span.kind == "mcp_server":
            call.servers.append(span)
            return
        if above is None or above.kind != "mcp_client":  # A library's client span around the SDK's is the same round.
            call.rounds += 1
        call.clients.append(span)

    def _meanwhile(self, span: Span) -> ToolCall | None:
        """A server in the agent's own process hangs off no tool's step: the call of its tool in whose time it answered."""
        if span.kind != "mcp_server":
            return None
        for call in self._calls:
            ran = call.ran_in(span.trace_id)
            if ran is None or call.servers or call.clients or not _same_tool(call.name or "", span.tool_name or ""):
                continue
            if ran.start_ns <= span.start_ns and (ran.end_ns == 0 or span.end_ns <= ran.end_ns):
                return call
        return None

    def _read_approvals(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            for asked in talk[span.span_id].approvals:
                call = self._requested(asked)
                if call.asking is None or call.asking.kind == "tool":
                    call.asking, call.asked_ns = span, span.end_ns or span.start_ns

    def _read_answers(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            for answer in talk[span.span_id].answers:
                call = self._known(answer.id, answer.name)
                if call is not None:
                    call.told.append(Told(span, answer.result))
                    call.result = call.result or answer.result

    def _read_verdicts(self, trace: Trace) -> None:
        for given in trace.verdicts():
            call = self._known(given.verdict.id, given.verdict.name) if given.verdict.id else self._above(trace, given)
            if call is None or given.verdict.verdict is None:
                continue
            twin = next((one for one in call.given if one.tells_the_same(given)), None)
            if twin is None:
                call.given.append(given)
            elif (
                given.asked_ns and not twin.asked_ns
            ):  # A log record and a step of one decision: the step knows the waiting.
                call.given[call.given.index(twin)] = given
        for call in self._calls:
            said = next((one for one in call.given if one.verdict.by == "human"), None)
            if said is None or call.asked_ns:
                continue
            if said.asked_ns:
                call.asking, call.asked_ns = said.span, said.asked_ns
            else:  # The question itself was not sent: it came of the request.
                call.asking, call.asked_ns = call.requesting, call.requested_ns

    def _above(self, trace: Trace, given: Given) -> ToolCall | None:
        """The call within whose step a verdict without a call id was given; none for a guardrail's, a decision of its own."""
        if given.span is None or given.span.kind == "guardrail":
            return None
        above = (self._by_step.get((one.trace_id, one.span_id)) for one in (given.span, *trace.ancestors(given.span)))
        return next((call for call in above if call is not None), None)

    def _judge_silence(self) -> None:
        """A tool's step without a result, where results are always sent, either returned nothing or stopped to ask.

        It returned if the same trace goes on to tell the model an answer.
        """
        for call, span in self._silent:
            if call.told_in(span.trace_id) is not None:
                call.interruptions.remove(span)
                call.executions.append(span)
            elif not call.asked_ns:
                call.asking, call.asked_ns, call.supposed_by = span, span.end_ns or span.start_ns, _BY_SILENCE

    def _judge_repetition(self) -> None:
        """Where a resume keeps the run's id, a call that a later trace executes again had only stopped to ask."""
        for call in self._calls:
            if len({span.trace_id for span in call.executions}) < 2:
                continue
            last = call.executions[-1].trace_id
            for span in [span for span in call.executions if span.trace_id != last]:
                dialect = dialect_of_scope(span.scope_name or "")
                if dialect is None or not dialect.resumes_keep_run_id or call.told_in(span.trace_id) is not None:
                    continue
                call.executions.remove(span)
                call.interruptions.append(span)
                if not call.asked_ns:
                    call.asking, call.asked_ns, call.supposed_by = span, span.end_ns or span.start_ns, _BY_REPETITION

    def _judge_refusal(self) -> None:
        """The step of a call that was refused ran nothing: it has no result, and no step within it."""
        for call in self._calls:
            for given in call.given:
                if given.verdict.verdict != "deny":
                    continue
                begun = [span for span in call.executions if span.trace_id == given.trace_id]
                for span in begun:
                    if span.result is None and span.span_id not in call.within and span.outcome in ("ok", "error"):
                        call.executions.remove(span)
                        call.refused.append(span)


def _dealt_with(spans: list[Span], talk: dict[str, Talk]) -> set[str]:
    """The call ids that something of a trace answers or executes."""
    answered = {answer.id for said in talk.values() for answer in said.answers if answer.id}
    return answered | {span.tool_call_id for span in spans if span.tool_call_id}


def _runs_without_id(spans: list[Span], name: str) -> bool:
    return any(span.kind == "tool" and span.tool_name == name and not span.tool_call_id for span in spans)


def _is_below(trace: Trace, span: Span | None, above: Span) -> bool:
    return span is not None and any(one.span_id == above.span_id for one in trace.ancestors(span))


def _same_tool(one: str, other: str) -> bool:
    """Whether two names are one tool's: hosts put the server's name before it (`mcp__payments__refund`)."""
    return one == other or one.endswith(f"__{other}") or other.endswith(f"__{one}")


def _plain(name: str) -> str:
    return _NOT_IN_A_NAME.sub("_", name.lower())


def _first_ns(call: ToolCall) -> int:
    known = [at for at in (call.requested_ns, call.started_ns, call.asked_ns) if at]
    return min(known, default=0)
