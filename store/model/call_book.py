"""One row per logical tool call, out of the places that tell of it.

What joins them, in this order: the same call id (and tool) in a run; nesting; the same tool name in order of time. Never a
call id alone across runs.

A run's traces are read in order of time. Requests come first, then what a history recalls of requests that were not sent or
were sent under another id, then what was executed, then answers. Last it is judged what steps do not say of themselves: that
one stopped to ask, that one was executed anew when the run was gone on with, that one was refused.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from store.model.above import Above
from store.model.call_finding import Attempts, Handovers, Named, OpenRequests, Running, same_tool
from store.model.call_judging import judge_refusal, judge_repetition, judge_silence
from store.model.ids import record_id
from store.model.span import Span, ToolRequest
from store.model.tool_calls import REQUESTING_KINDS, Told, ToolCall, is_loose, is_silent
from store.model.toolsets import settle_toolsets
from store.model.trace import Given, Talk, Trace

TOOLS_CALL = "tools/call"
_EXECUTING_KINDS = ("tool", "handoff")
_NAMES_OF_AN_ID_MAX: Final = 64
"""Calls of one id under other names that are looked at: a name may have a host's before it, or come later than the id."""


class CallBook:
    """Puts the calls of one run together. Feed it the run's traces in order of time.

    `attempts` names, of every trace that is another attempt of a workflow, the trace of the attempt before.
    """

    def __init__(self, run_id: str, attempts: Mapping[str, str] | None = None) -> None:
        self._run_id = run_id
        self._attempts = attempts or {}
        self._calls: list[ToolCall] = []
        self._by_id: dict[str, list[ToolCall]] = {}
        self._by_id_and_name: dict[tuple[str, str], ToolCall] = {}
        self._by_name: dict[str, Named] = {}
        self._by_step: dict[tuple[str, str], ToolCall] = {}
        self._nameless_ids: Counter[str | None] = Counter()
        self._silent: list[tuple[ToolCall, Span]] = []
        self._ran: dict[str, list[tuple[ToolCall, Span]]] = {}
        """By trace: what was executed in it."""
        self._handovers: Handovers | None = None
        self._tries: Attempts | None = None
        """Of the trace that is being read."""
        self._given: dict[tuple[str, str, str | None, str], int] = {}
        """Where among a call's verdicts one stands: by the call's key, the trace, the verdict and its kind."""

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
        judge_silence(self._silent)
        judge_repetition(self._calls)
        judge_refusal(self._calls)
        settle_toolsets(self._calls)
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
        if call_id and name:
            self._by_id_and_name[call_id, name] = call
        if name:
            named = self._by_name.get(name)
            if named is None:
                named = self._by_name[name] = Named()
            named.add(call)
        return call

    def _known(self, call_id: str | None, name: str | None = None) -> ToolCall | None:
        """The call of an id: the last one, of another tool's call with the same id none."""
        calls = self._by_id.get(call_id) if call_id else None
        if not calls or call_id is None:
            return None
        if not name:
            return calls[-1]
        exact = self._by_id_and_name.get((call_id, name))
        if exact is not None and exact.id == call_id:
            return exact
        for call in reversed(calls[-_NAMES_OF_AN_ID_MAX:]):
            if not call.name or same_tool(call.name, name):
                return call
        return None

    def _read_requests(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            if span.kind not in REQUESTING_KINDS:
                continue
            for request in talk[span.span_id].requests:
                call = self._requested(request)
                if call.requesting is None:
                    call.requesting, call.requested_ns = span, span.end_ns or span.start_ns

    def _requested(self, request: ToolRequest) -> ToolCall:
        call = self._known(request.id, request.name)
        if call is None:
            call = self._open(request.id, request.name, request.arguments)
        call.name = call.name or request.name
        call.arguments = call.arguments or request.arguments
        call.type = call.type or request.type
        call.toolset = call.toolset or request.toolset
        return call

    def _read_recalled(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        """Requests that only the history before an answer tells of: not sent as an answer, or with another id."""
        before: Span | None = None
        open_requests: OpenRequests | None = None
        for span in spans:
            if span.kind not in REQUESTING_KINDS:
                continue
            for answer in talk[span.span_id].answers:
                if not answer.id or not answer.name or self._by_id.get(answer.id):
                    continue
                if open_requests is None:
                    open_requests = OpenRequests(self._calls, spans, talk)
                call = open_requests.of(answer)
                if call is not None:
                    self._rename(call, answer.id)
                # What was asked for and done before this run began is none of its calls.
                elif before is not None or answer.name in open_requests.run_without_id:
                    call = self._open(answer.id, answer.name, answer.arguments)
                    if before is not None:
                        call.requesting, call.requested_ns = before, before.end_ns or before.start_ns
            before = span if span.kind == "llm" else before

    def _rename(self, call: ToolCall, call_id: str) -> None:
        """Give a call the id that the history knows it by."""
        self._by_id[call.id or ""] = [one for one in self._by_id[call.id or ""] if one is not call]
        call.id = call_id
        self._by_id.setdefault(call_id, []).append(call)
        self._by_id_and_name[call_id, call.name or ""] = call

    def _read_executions(self, trace: Trace, spans: list[Span]) -> None:
        self._handovers = self._tries = None
        ran = self._ran[trace.trace_id] = list[tuple[ToolCall, Span]]()
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
            call = self._asked_for(trace, span)
            call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
            call.name = call.name or span.tool_name
            call.type = call.type or span.tool_type
            call.server = call.server or (span.particulars and span.particulars.mcp_server)
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
                ran.append((call, span))

    def _asked_for(self, trace: Trace, span: Span) -> ToolCall | None:
        if span.tool_call_id:
            return self._known(span.tool_call_id, span.tool_name)
        if span.kind == "handoff":
            if self._handovers is None:
                self._handovers = Handovers(trace, self._calls)
            return self._handovers.of(span)
        before = self._attempts.get(trace.trace_id)
        call = self._waiting(span)
        if call is None and before is not None:
            if self._tries is None:
                self._tries = Attempts(self._ran.get(before, []), trace.trace_id)
            call = self._tries.tried(span)
        return call

    def _waiting(self, span: Span) -> ToolCall | None:
        """What joins where no call id is sent: the first untouched call of that tool, else one that an earlier trace left."""
        named = self._by_name.get(span.tool_name or "")
        return named.waiting(span.trace_id) if named is not None else None

    def _read_mcp(self, trace: Trace, spans: list[Span]) -> None:
        if not any(span.mcp_method == TOOLS_CALL for span in spans):
            return
        depths = trace.depths()
        running = Running(spans, self._by_step)
        nearest: dict[str, Span] = {}  # Of every span, the step above it that is part of a call.
        # Parents first, whatever the clocks of two processes say.
        for span in sorted(spans, key=lambda span: depths[span.span_id]):
            above = trace.spans.get(span.parent_span_id or "")
            if above is not None and (above.trace_id, above.span_id) not in self._by_step:
                above = nearest.get(above.span_id)
            if above is not None:
                nearest[span.span_id] = above
            if span.mcp_method == TOOLS_CALL and span.kind in ("mcp_client", "mcp_server"):
                self._admit_mcp(span, above, running)

    def _admit_mcp(self, span: Span, above: Span | None, running: Running) -> None:
        if above is not None and above.kind == "mcp_server" and span.kind == "mcp_client":
            if above.tool_name is None and above.mcp_method == TOOLS_CALL:  # It names its tool in a step of its own.
                self._by_step[span.trace_id, span.span_id] = self._by_step[above.trace_id, above.span_id]
                return
            above = None  # A server that calls another server makes a call of its own.
        if above is not None:
            call = self._by_step[above.trace_id, above.span_id]
        else:
            call = running.answered_by(span) if span.kind == "mcp_server" else None
            call = call or self._waiting(span) or self._open(span.tool_call_id, span.tool_name, span.arguments)
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
        if not trace.verdicts():
            return
        by_step = self._by_step
        above = Above(trace, lambda span: by_step.get((span.trace_id, span.span_id)))
        judged: dict[str, ToolCall] = {}
        for given in trace.verdicts():
            said = given.verdict
            call = self._known(said.id, said.name) if said.id else self._around(given, above)
            if call is None or said.verdict is None:
                continue
            judged[call.key] = call
            place = (call.key, given.trace_id, said.verdict, said.kind)
            twin = self._given.setdefault(place, len(call.given))
            if twin == len(call.given):
                call.given.append(given)
            elif given.asked_ns and not call.given[twin].asked_ns:
                # A log record and a step of one decision: the step knows the waiting.
                call.given[twin] = given
        for call in judged.values():
            told = next((one for one in call.given if one.verdict.by == "human"), None)
            if told is None or call.asked_ns:
                continue
            if told.asked_ns:
                call.asking, call.asked_ns = told.span, told.asked_ns
            else:  # The question itself was not sent: it came of the request.
                call.asking, call.asked_ns = call.requesting, call.requested_ns

    def _around(self, given: Given, above: "Above[ToolCall]") -> ToolCall | None:
        """The call within whose step a verdict without a call id was given. What a guardrail says is its own decision."""
        span = given.span
        if span is None or span.kind == "guardrail":
            return None
        return self._by_step.get((span.trace_id, span.span_id)) or above.of(span)


def _first_ns(call: ToolCall) -> int:
    known = [at for at in (call.requested_ns, call.started_ns, call.asked_ns) if at]
    return min(known, default=0)
