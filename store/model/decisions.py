"""Approvals and other verdicts. What telemetry says itself is `explicit`; what is worked out names its rule.

No library sends who approved what, so an approval is seen by what followed: the call was executed (allow), or the model was
told of a refusal without an execution (deny), or neither yet (ask).
"""

from dataclasses import dataclass

from store.model.ids import record_id, step_id
from store.model.span import Span
from store.model.tool_calls import ToolCall, name_step
from store.model.trace import Trace

ELICITATION = "elicitation/create"


@dataclass(slots=True)
class Decision:
    """One decision. Times in ns, 0 when unknown; `reason` is a content id."""

    decision_id: str
    kind: str
    target: str | None
    call: ToolCall | None
    verdict: str
    action: str
    decided_by_kind: str | None
    reason: str | None
    requested_ns: int
    decided_ns: int
    request_step: str | None
    decide_step: str | None
    evidence: str
    evidence_rule: str


def decisions_of(run_id: str, calls: list[ToolCall], traces: list[Trace]) -> list[Decision]:
    """The decisions of a run in the order they were asked for."""
    found = [_approval(run_id, call) for call in calls if call.asked_ns]
    by_step = {(span.trace_id, span.span_id): call for call in calls for span in (*call.servers, *call.clients)}
    for trace in traces:
        for span in trace.ordered():
            if span.mcp_method == ELICITATION and not _within_elicitation(trace, span):
                above = (by_step.get((parent.trace_id, parent.span_id)) for parent in trace.ancestors(span))
                found.append(_elicitation(run_id, span, next((call for call in above if call), None)))
            elif span.kind == "guardrail":
                found.append(_guardrail(run_id, span))
    return sorted(found, key=lambda decision: (decision.requested_ns, decision.decision_id))


def _approval(run_id: str, call: ToolCall) -> Decision:
    if call.executed:
        verdict, action, rule = "allow", "executed", "the call was executed after the approval was asked for"
        decide = call.execution or call.steps[0]
    elif call.answered_ns:
        verdict, action, rule = "deny", "blocked", "the model was given an answer and the call was never executed"
        decide = call.answering
    else:
        verdict, action, rule = "ask", "none", "the run says that it waits for approval of this call"
        decide = None
    return Decision(
        decision_id=record_id("decision", run_id, "approval", call.key),
        kind="human_approval",
        target=call.name,
        call=call,
        verdict=verdict,
        action=action,
        decided_by_kind="human" if decide else None,
        reason=call.answer if verdict == "deny" else None,
        requested_ns=call.asked_ns,
        decided_ns=call.decided_ns,
        request_step=name_step(call.asking),
        decide_step=name_step(decide),
        evidence="inferred" if decide else "explicit",
        evidence_rule=rule,
    )


def _elicitation(run_id: str, span: Span, call: ToolCall | None) -> Decision:
    return Decision(
        decision_id=record_id("decision", run_id, "elicitation", span.span_id),
        kind="elicitation",
        target=call.name if call else None,
        call=call,
        verdict="ask",
        action="none",
        decided_by_kind="human",
        reason=None,
        requested_ns=span.start_ns,
        decided_ns=span.end_ns,
        request_step=step_id(span.trace_id, span.span_id),
        decide_step=None,
        evidence="explicit",
        evidence_rule="an MCP elicitation was sent; its answer is not in the telemetry",
    )


def _guardrail(run_id: str, span: Span) -> Decision:
    denied = span.outcome == "error"
    return Decision(
        decision_id=record_id("decision", run_id, "guardrail", span.span_id),
        kind="guardrail",
        target=span.name,
        call=None,
        verdict="deny" if denied else "allow",
        action="blocked" if denied else "none",
        decided_by_kind="service",
        reason=None,
        requested_ns=span.start_ns,
        decided_ns=span.end_ns,
        request_step=step_id(span.trace_id, span.span_id),
        decide_step=step_id(span.trace_id, span.span_id),
        evidence="inferred",
        evidence_rule="the outcome of the guardrail's step",
    )


def _within_elicitation(trace: Trace, span: Span) -> bool:
    return any(above.mcp_method == ELICITATION for above in trace.ancestors(span))
