"""One row per logical tool call, out of the up to five places that tell of it.

A model asks (output messages), a person may be asked (approvals), a tool step executes, an MCP client span below it sends,
an MCP server span in another process answers, and the next model call is given the result. What joins them, in this order:
the same call id in a run; nesting; the same tool name in order of time. Never a call id alone across runs.
"""

import re
from collections import Counter, deque
from dataclasses import dataclass, field

from store.model.dialect import dialect_of_scope
from store.model.ids import record_id, step_id
from store.model.span import Span, ToolRequest
from store.model.trace import Talk, Trace

TOOLS_CALL = "tools/call"
_EXECUTING_KINDS = ("tool", "handoff")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a call as a model was given it: on which step, and the result's content id."""

    span: Span
    result: str | None


@dataclass(slots=True)
class ToolCall:
    """A logical call while it is put together. Times in ns, 0 when unknown; arguments and result are content ids.

    `executions` ran; `interruptions` stopped to ask somebody first. `supposed`: that it was asked is worked out, not said.
    """

    key: str
    id: str | None
    name: str | None
    arguments: str | None = None
    result: str | None = None
    requested_ns: int = 0
    asked_ns: int = 0
    requesting: Span | None = None
    asking: Span | None = None
    supposed: bool = False
    executions: list[Span] = field(default_factory=list[Span])
    interruptions: list[Span] = field(default_factory=list[Span])
    clients: list[Span] = field(default_factory=list[Span])
    servers: list[Span] = field(default_factory=list[Span])
    told: list[Told] = field(default_factory=list[Told])
    rounds: int = 0

    @property
    def execution(self) -> Span | None:
        """The execution that counts: the last one."""
        return self.executions[-1] if self.executions else None

    @property
    def executed(self) -> bool:
        return bool(self.executions or self.clients or self.servers)

    @property
    def answered_ns(self) -> int:
        """When a model was first given an answer."""
        return self.told[0].span.start_ns if self.told else 0

    @property
    def steps(self) -> list[Span]:
        """What was executed for it, the tool step first."""
        return [span for span in (self.execution, *self.clients[-1:], *self.servers[-1:]) if span is not None]

    @property
    def failed(self) -> Span | None:
        return next((span for span in self.steps if span.outcome == "error"), None)

    @property
    def outcome(self) -> str:
        if self.executed:
            outcomes = {span.outcome for span in self.steps}
            telling = (("running", "requested"), ("error", "error"), ("cancelled", "interrupted"))
            return next((outcome for found, outcome in telling if found in outcomes), "ok")
        if self.asked_ns or self.interruptions:
            return "denied" if self.told else "pending_approval"
        return "ok" if self.told else "requested"

    @property
    def started_ns(self) -> int:
        return self.steps[0].start_ns if self.executed else 0

    @property
    def ended_ns(self) -> int:
        return self.steps[0].end_ns if self.executed else 0

    @property
    def decided_ns(self) -> int:
        """When the approval was answered, as far as it can be seen: execution began, or the model was told no."""
        if not self.asked_ns:
            return 0
        return self.started_ns if self.executed else self.answered_ns

    @property
    def wait_ns(self) -> int | None:
        return max(self.decided_ns - self.asked_ns, 0) if self.decided_ns else None

    @property
    def source(self) -> str | None:
        if self.clients or self.servers:
            return "mcp"
        if any(span.kind == "handoff" for span in self.executions):
            return "handoff"
        return "function" if self.executed else None

    @property
    def mcp_server(self) -> str | None:
        return self.servers[-1].service_name if self.servers else None

    def ran_in(self, trace_id: str) -> Span | None:
        """The step that executed it in a trace."""
        ran = (*reversed(self.executions), *self.clients, *self.servers)
        return next((span for span in ran if span.trace_id == trace_id), None)

    def told_in(self, trace_id: str) -> Told | None:
        """What a model was first told in a trace."""
        return next((told for told in self.told if told.span.trace_id == trace_id), None)


def name_step(span: Span | None) -> str | None:
    return step_id(span.trace_id, span.span_id) if span is not None else None


class CallBook:
    """Puts the calls of one run together. Feed it the run's traces in order of time."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._calls: list[ToolCall] = []
        self._by_id: dict[str, ToolCall] = {}
        self._by_name: dict[str, deque[ToolCall]] = {}
        self._by_step: dict[tuple[str, str], ToolCall] = {}
        self._nameless_ids: Counter[str | None] = Counter()
        self._silent: list[tuple[ToolCall, Span]] = []

    def read(self, traces: list[Trace]) -> list[ToolCall]:
        """The calls of the run, in the order they were asked for or first seen."""
        walks = [(trace, trace.ordered(), trace.talk()) for trace in traces]
        for trace, spans, talk in walks:
            self._read_requests(spans, talk)
            self._read_executions(spans)
            self._read_mcp(trace, spans)
            self._read_approvals(spans)
        for _, spans, talk in walks:
            self._read_answers(spans, talk)
        self._judge_silence()
        return sorted(self._calls, key=_first_ns)  # Of the same moment: in the order the model named them.

    def _open(self, call_id: str | None, name: str | None, arguments: str | None) -> ToolCall:
        if call_id:
            parts = ("id", call_id)
        else:
            parts = ("name", name or "", arguments or "", str(self._nameless_ids[name]))
            self._nameless_ids[name] += 1
        call = ToolCall(record_id("tool_call", self._run_id, *parts), call_id, name, arguments)
        self._calls.append(call)
        if call_id:
            self._by_id[call_id] = call
        if name:
            self._by_name.setdefault(name, deque()).append(call)
        return call

    def _read_requests(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            if span.kind not in ("llm", "other"):
                continue  # An agent's or workflow's messages repeat those of the model calls below it.
            for request in talk[span.span_id].requests:
                call = self._requested(request)
                if call.requesting is None:
                    call.requesting, call.requested_ns = span, span.end_ns or span.start_ns

    def _requested(self, request: ToolRequest) -> ToolCall:
        known = self._by_id.get(request.id) if request.id else None
        if known is None:
            return self._open(request.id, request.name, request.arguments)
        known.name = known.name or request.name
        known.arguments = known.arguments or request.arguments
        return known

    def _read_executions(self, spans: list[Span]) -> None:
        for span in spans:
            if span.kind not in _EXECUTING_KINDS:
                continue
            if span.tool_call_id:
                call = self._by_id.get(span.tool_call_id)
            else:
                call = self._handed_over(span) if span.kind == "handoff" else self._waiting(span)
            call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
            call.name = call.name or span.tool_name
            call.arguments = (
                (call.arguments or span.arguments) if _is_loose(span) else (span.arguments or call.arguments)
            )
            call.result = span.result or call.result
            around = self._by_step.get((span.trace_id, span.parent_span_id or ""))
            self._by_step[span.trace_id, span.span_id] = call
            if around is call:
                continue  # A part of the execution around it, told as a step of its own.
            if span.outcome == "interrupted":
                call.interruptions.append(span)
                if not call.asked_ns:
                    call.asking, call.asked_ns = span, span.end_ns or span.start_ns
            elif _is_silent(span):
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

    def _handed_over(self, span: Span) -> ToolCall | None:
        """A handoff's tool is named after the agent: `transfer_to_weather_agent` for `weather-agent`."""
        agent = _plain(span.tool_name or "")
        return next((c for c in self._calls if c.name and not c.executed and _plain(c.name).endswith(agent)), None)

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
        call = self._by_step[above.trace_id, above.span_id] if above else self._waiting(span)
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

    def _read_approvals(self, spans: list[Span]) -> None:
        for span in spans:
            for asked in span.approvals:
                call = self._requested(asked)
                if call.asking is None or call.asking.kind == "tool":
                    call.asking, call.asked_ns = span, span.end_ns or span.start_ns

    def _read_answers(self, spans: list[Span], talk: dict[str, Talk]) -> None:
        for span in spans:
            for answer in talk[span.span_id].answers:
                call = self._by_id.get(answer.id) if answer.id else None
                if call is not None:
                    call.told.append(Told(span, answer.result))
                    call.result = call.result or answer.result

    def _judge_silence(self) -> None:
        """A tool's step without a result, where results are always sent, either returned nothing or stopped to ask.

        It returned if the same trace goes on to tell the model an answer.
        """
        for call, span in self._silent:
            if call.told_in(span.trace_id) is not None:
                call.interruptions.remove(span)
                call.executions.append(span)
            elif not call.asked_ns:
                call.asking, call.asked_ns, call.supposed = span, span.end_ns or span.start_ns, True


def _is_silent(span: Span) -> bool:
    if span.result is not None or span.outcome != "ok" or span.kind != "tool":
        return False
    dialect = dialect_of_scope(span.scope_name or "")
    return dialect is not None and dialect.results_always_sent


def _is_loose(span: Span) -> bool:
    """Whether what a step says of its arguments is less than what the model asked for."""
    dialect = dialect_of_scope(span.scope_name or "")
    return dialect is not None and dialect.arguments_are_loose


def _plain(name: str) -> str:
    return _NOT_IN_A_NAME.sub("_", name.lower())


def _first_ns(call: ToolCall) -> int:
    known = [at for at in (call.requested_ns, call.started_ns, call.asked_ns) if at]
    return min(known, default=0)
