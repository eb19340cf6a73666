"""One row per logical tool call, out of the up to five places that tell of it.

A model asks (output messages), a person may be asked (approvals), a tool step executes, an MCP client span below it sends,
an MCP server span in another process answers, and the next model call is given the result. What joins them, in this order:
the same call id in a run; nesting; the same tool name in order of time. Never a call id alone across runs.
"""

from dataclasses import dataclass, field

from store.model.ids import record_id, step_id
from store.model.span import Span, ToolRequest
from store.model.trace import Talk, Trace

TOOLS_CALL = "tools/call"


@dataclass(slots=True)
class ToolCall:
    """A logical call while it is put together. Times in ns, 0 when unknown; arguments and result are content ids."""

    key: str
    id: str | None
    name: str | None
    arguments: str | None = None
    result: str | None = None
    answer: str | None = None
    requested_ns: int = 0
    asked_ns: int = 0
    answered_ns: int = 0
    requesting: Span | None = None
    asking: Span | None = None
    answering: Span | None = None
    executions: list[Span] = field(default_factory=list[Span])
    clients: list[Span] = field(default_factory=list[Span])
    servers: list[Span] = field(default_factory=list[Span])
    rounds: int = 0

    @property
    def execution(self) -> Span | None:
        """The execution that counts: the last one that was not interrupted, else the last."""
        done = [span for span in self.executions if span.outcome != "interrupted"]
        return (done or self.executions or [None])[-1]

    @property
    def executed(self) -> bool:
        execution = self.execution
        return (execution is not None and execution.outcome != "interrupted") or bool(self.clients or self.servers)

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
            if any(span.outcome == "running" for span in self.steps):
                return "requested"
            return "error" if self.failed else "ok"
        if self.asked_ns or self.executions:
            return "denied" if self.answered_ns else "pending_approval"
        return "ok" if self.answered_ns else "requested"

    @property
    def started_ns(self) -> int:
        return self.steps[0].start_ns if self.executed and self.steps else 0

    @property
    def ended_ns(self) -> int:
        return self.steps[0].end_ns if self.executed and self.steps else 0

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
        return "function" if self.executed else None

    @property
    def mcp_server(self) -> str | None:
        return self.servers[-1].service_name if self.servers else None


def name_step(span: Span | None) -> str | None:
    return step_id(span.trace_id, span.span_id) if span is not None else None


class CallBook:
    """Puts the calls of one run together. Feed it the run's traces in order of time."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._calls: list[ToolCall] = []
        self._by_id: dict[str, ToolCall] = {}
        self._by_step: dict[tuple[str, str], ToolCall] = {}

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
        return sorted(self._calls, key=_first_ns)  # Of the same moment: in the order the model named them.

    def _open(self, call_id: str | None, name: str | None, arguments: str | None) -> ToolCall:
        ordinal = sum(1 for call in self._calls if call.id is None and call.name == name)
        parts = ("id", call_id) if call_id else ("name", name or "", arguments or "", str(ordinal))
        call = ToolCall(record_id("tool_call", self._run_id, *parts), call_id, name, arguments)
        self._calls.append(call)
        if call_id:
            self._by_id[call_id] = call
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
            if span.kind != "tool":
                continue
            call = self._by_id.get(span.tool_call_id) if span.tool_call_id else self._waiting(span.tool_name)
            call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
            call.executions.append(span)
            call.name = call.name or span.tool_name
            call.arguments = span.arguments or call.arguments
            call.result = span.result or call.result
            self._by_step[span.trace_id, span.span_id] = call
            if span.outcome == "interrupted" and not call.asked_ns:
                call.asking, call.asked_ns = span, span.end_ns or span.start_ns

    def _waiting(self, name: str | None) -> ToolCall | None:
        """The first call of that tool that nothing has executed yet: what joins where no call id is sent."""
        return next((call for call in self._calls if call.name == name and name and not call.steps), None)

    def _read_mcp(self, trace: Trace, spans: list[Span]) -> None:
        # Parents first, whatever the clocks of two processes say.
        for span in sorted(spans, key=lambda span: sum(1 for _ in trace.ancestors(span))):
            if span.mcp_method != TOOLS_CALL or span.kind not in ("mcp_client", "mcp_server"):
                continue
            enclosing = (self._by_step.get((above.trace_id, above.span_id)) for above in trace.ancestors(span))
            call = next((call for call in enclosing if call is not None), None) or self._waiting(span.tool_name)
            call = call or self._open(span.tool_call_id, span.tool_name, span.arguments)
            self._by_step[span.trace_id, span.span_id] = call
            call.name = call.name or span.tool_name
            call.arguments = call.arguments or span.arguments
            call.result = call.result or span.result
            if span.kind == "mcp_server":
                call.servers.append(span)
                continue
            nested = any(above in call.clients for above in trace.ancestors(span))
            call.rounds += 0 if nested else 1
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
                if call is not None and call.answering is None:
                    call.answering, call.answered_ns, call.answer = span, span.start_ns, answer.result
                    call.result = call.result or answer.result


def _first_ns(call: ToolCall) -> int:
    known = [at for at in (call.requested_ns, call.started_ns, call.asked_ns) if at]
    return min(known, default=0)
