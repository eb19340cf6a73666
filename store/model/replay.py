"""A run as ordered events, each with the state after it: what happened, not what was instrumented.

Model calls give reasoning, messages and requests; tool calls give approval, execution and result, however many spans told of
them; the state runs along: tokens and cost so far, calls still open, approvals still pending.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from store.model.conversation import Message
from store.model.ids import step_id
from store.model.rows import DecisionRow, EvaluationRow, ReplayEvent, RunRow, ToolCallRow
from store.model.span import Span
from store.model.times import rfc3339
from store.model.tool_calls import name_step
from store.model.trace import Trace, usage_leaves
from store.model.truncation import cut_steps, redacted_steps

# Of equal time: what causes stands before what follows.
_ORDER: Final = {
    name: index
    for index, names in enumerate(
        (("run_started",), ("sub_run",), ("message", "reasoning"), ("tool_requested",), ("approval_asked",), ("decided", ""),
         ("retry",), ("tool_executed",), ("tool_result",), ("error",), ("evaluation",), ("run_ended",))
    )
    for name in names
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Times:
    """A tool call's or decision's times in ns, beside its row: `asked`, `decided` for decisions."""

    requested_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0


@dataclass(slots=True)
class _Happening:
    """One event to be. Without a type it changes the state and is not told."""

    at_ns: int
    type: str
    step_id: str | None
    data: dict[str, Any]
    order: int = 0
    opens: str | None = None
    closes: str | None = None
    asks: str | None = None
    settles: str | None = None


@dataclass(slots=True)
class Replay:
    """What a replay is made of. `calls` and `decisions` come with their times; `evaluations` with ns."""

    run: RunRow
    traces: list[Trace]
    messages: list[Message]
    calls: list[tuple[ToolCallRow, Times]]
    decisions: list[tuple[DecisionRow, Times]]
    evaluations: list[tuple[EvaluationRow, int]] = field(default_factory=list[tuple[EvaluationRow, int]])

    def events(self) -> Iterator[ReplayEvent]:
        """The events in order, positions from 0."""
        spans = [span for trace in self.traces for span in trace.ordered()]
        begun_ns = min((span.start_ns for span in spans if span.start_ns), default=0)
        happened = [
            *self._frame(spans, begun_ns), *self._said(), *self._steps(), *self._called(), *self._decided(),
            *self._evaluated(),
        ]  # fmt: skip
        happened.sort(key=lambda one: (one.type == "run_ended", one.at_ns, _ORDER[one.type], one.order))
        yield from self._with_state(happened, begun_ns)

    def _with_state(self, happened: list[_Happening], begun_ns: int) -> Iterator[ReplayEvent]:
        usage = deque(sorted(self._usage(), key=lambda leaf: leaf.end_ns or leaf.start_ns))
        input_tokens = output_tokens = 0
        cost_usd = 0.0
        open_calls: dict[str, str] = {}
        pending: dict[str, str] = {}
        cut = {step_id(trace.trace_id, span_id) for trace in self.traces for span_id in cut_steps(trace)}
        redacted = {step_id(trace.trace_id, span_id) for trace in self.traces for span_id in redacted_steps(trace)}
        position = 0
        for one in happened:
            while usage and ((usage[0].end_ns or usage[0].start_ns) <= one.at_ns or one.type == "run_ended"):
                leaf = usage.popleft()
                input_tokens += leaf.input_tokens or 0
                output_tokens += leaf.output_tokens or 0
                cost_usd += leaf.cost_usd or 0.0
            name = one.data.get("tool_name") or one.data.get("target") or "tool"
            if one.opens:
                open_calls[one.opens] = name
            if one.closes:
                open_calls.pop(one.closes, None)
            if one.asks:
                pending[one.asks] = name
            if one.settles:
                pending.pop(one.settles, None)
            if not one.type:
                continue
            yield ReplayEvent(
                position=position,
                at=rfc3339(one.at_ns),
                type=one.type,  # pyright: ignore[reportArgumentType] - made from the literal names above
                step_id=one.step_id,
                data=one.data
                | ({"step_truncated": True} if one.step_id in cut else {})
                | ({"step_redacted": True} if one.step_id in redacted else {}),
                state={
                    "elapsed_ns": max(one.at_ns - begun_ns, 0) if one.at_ns else None,
                    "input_tokens": input_tokens,
                    "output_tokens": output_tokens,
                    "cost_usd": cost_usd if self.run.cost_usd is not None else None,
                    "open_calls": list(open_calls.values()),
                    "pending_approvals": list(pending.values()),
                },
            )
            position += 1

    def _usage(self) -> list[Span]:
        return [leaf for trace in self.traces for leaf in usage_leaves(trace.spans.values(), trace)]

    def _frame(self, spans: list[Span], begun_ns: int) -> Iterator[_Happening]:
        run = self.run
        first = self.traces[0].root() or spans[0]
        yield _Happening(
            begun_ns, "run_started", name_step(first),
            {"run_id": run.run_id, "run_kind": run.run_kind, "agent_name": run.agent_name, "service_name": run.service_name,
             "conversation_id": run.conversation_id, "segments": len(run.segments)},
        )  # fmt: skip
        if run.ended_at is not None:
            last = self.traces[-1].root() or spans[-1]
            ended_ns = max(span.end_ns for span in spans)
            yield _Happening(
                ended_ns, "run_ended", name_step(last),
                {"status": run.status, "outcome_reason": run.outcome_reason, "duration_ns": run.duration_ns,
                 "steps": run.steps, "llm_calls": run.llm_calls, "tool_calls": run.tool_calls,
                 "tool_errors": run.tool_errors},
            )  # fmt: skip

    def _said(self) -> Iterator[_Happening]:
        known_calls = {call.tool_call_id for call, _ in self.calls if call.tool_call_id}
        parts = ((message, part) for message in self.messages for part in message.parts)
        for order, (message, part) in enumerate(parts):
            kind, data = _part(part)
            if kind == "tool_call_response" and part.get("id") in known_calls:
                continue  # Told by the tool call's own result.
            if kind == "tool_call":
                if message.direction == "output" or part.get("id") in known_calls:
                    continue  # Told by the tool call's own request.
                kind = "message"
            event = "reasoning" if kind == "reasoning" else "message"
            yield _Happening(
                message.at_ns,
                event,
                name_step(message.span),
                {"role": message.role, "direction": message.direction, **data},
                order,
            )

    def _steps(self) -> Iterator[_Happening]:
        for trace in self.traces:
            root = trace.root()
            for span in trace.ordered():
                end_ns = span.end_ns or span.start_ns
                if span.kind == "agent" and span is not root and _is_sub_agent(trace, span):
                    data = {"agent_name": span.agent_name, "name": span.name}
                    yield _Happening(span.start_ns, "sub_run", name_step(span), data)
                if span.outcome == "error" and span.kind not in ("tool", "handoff", "mcp_client", "mcp_server"):
                    yield _Happening(
                        end_ns, "error", name_step(span),
                        {"kind": span.kind, "name": span.name, "error_type": span.error_type,
                         "message": span.status_message},
                    )  # fmt: skip

    def _called(self) -> Iterator[_Happening]:
        for order, (call, times) in enumerate(self.calls):
            told = {"tool_name": call.tool_name, "tool_call_id": call.tool_call_id, "mcp_server": call.mcp_server}
            key = call.tool_call_key
            if times.requested_ns:
                yield _Happening(
                    times.requested_ns, "tool_requested", call.requesting_step, {**told, "arguments": call.arguments},
                    order, opens=key,
                )  # fmt: skip
            if times.started_ns:
                yield _Happening(
                    times.started_ns, "tool_executed", call.executing_step or call.mcp_client_step or call.mcp_server_step,
                    {**told, "arguments": call.arguments, "tool_source": call.tool_source,
                     "mcp_client_step": call.mcp_client_step, "mcp_server_step": call.mcp_server_step,
                     "mcp_rounds": call.mcp_rounds},
                    order, opens=key,
                )  # fmt: skip
            if call.outcome in ("requested", "pending_approval"):
                continue
            if call.outcome == "error":
                yield _Happening(
                    times.ended_ns, "error", call.executing_step or call.mcp_client_step,
                    {**told, "error_type": call.error_type, "message": call.result}, order,
                )  # fmt: skip
            yield _Happening(
                times.ended_ns, "tool_result", call.executing_step,
                {**told, "outcome": call.outcome, "error_type": call.error_type, "result": call.result,
                 "duration_ns": call.duration_ns},
                order, closes=key,
            )  # fmt: skip

    def _decided(self) -> Iterator[_Happening]:
        asked: set[str] = set()
        for order, (decision, times) in enumerate(self.decisions):
            told = {
                "kind": decision.kind, "target": decision.target, "tool_name": decision.target,
                "tool_call_id": decision.tool_call_id,
            }  # fmt: skip
            # One question can be decided twice: once in each continuation of the run.
            question = f"{decision.kind} {decision.tool_call_key or decision.decision_id} {times.requested_ns}"
            if question not in asked and times.requested_ns:  # Some answers are sent without their question.
                asked.add(question)
                yield _Happening(
                    times.requested_ns, "approval_asked", decision.request_step, told, order, asks=question
                )  # fmt: skip
            if decision.verdict != "ask":
                yield _Happening(
                    times.ended_ns, "decided", decision.decide_step,
                    {**told, "verdict": decision.verdict, "action": decision.action, "reason": decision.reason,
                     "decided_by_kind": decision.decided_by_kind, "wait_ns": decision.wait_ns,
                     "evidence": decision.evidence, "evidence_rule": decision.evidence_rule},
                    order, settles=question,
                )  # fmt: skip
            elif times.ended_ns:  # Somebody answered, and what they said was not sent: nothing waits any longer.
                yield _Happening(times.ended_ns, "", None, {}, order, settles=question)

    def _evaluated(self) -> Iterator[_Happening]:
        for order, (one, time_ns) in enumerate(self.evaluations):
            yield _Happening(
                time_ns, "evaluation", one.step_id,
                {"name": one.name, "score": one.score, "label": one.label, "passed": one.passed,
                 "explanation": one.explanation, "evaluator_name": one.evaluator_name, "target": one.target,
                 "error_type": one.error_type},
                order,
            )  # fmt: skip


def _part(part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    match part["type"]:
        case "text" | "reasoning":
            return part["type"], {"text": part.get("content")}
        case kind:
            return kind, {"part": part}


def _is_sub_agent(trace: Trace, span: Span) -> bool:
    """Whether an agent runs below another: a second span about the same agent is not a second agent."""
    above = next((one for one in trace.ancestors(span) if one.kind == "agent"), None)
    return above is not None and above.agent_name != span.agent_name
