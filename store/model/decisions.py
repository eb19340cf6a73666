"""Approvals and other verdicts. What telemetry says itself is `explicit`; what is worked out names its rule.

Few libraries send who approved what. Where none says so, an approval is seen by what followed: the call was executed (allow),
or the model was told of a refusal without an execution (deny), or neither yet (ask). A run can be continued twice from the
same question: each continuation has a decision of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from store.model.above import Above
from store.model.ids import record_id, step_id
from store.model.span import Span
from store.model.tool_calls import Told, ToolCall, name_step
from store.model.trace import Given, Trace

ELICITATION = "elicitation/create"
_TELLING_KINDS = ("guardrail", "approval_wait")


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
    decided_by: str | None
    reason: str | None
    requested_ns: int
    decided_ns: int
    request_step: str | None
    decide_step: str | None
    evidence: str
    evidence_rule: str

    @property
    def wait_ns(self) -> int | None:
        """From the question to the answer, where both are known."""
        return max(self.decided_ns - self.requested_ns, 0) if self.requested_ns and self.decided_ns else None


def decisions_of(run_id: str, calls: list[ToolCall], traces: list[Trace]) -> list[Decision]:
    """The decisions of a run in the order they were asked for, of the same moment in that of their calls.

    Sets `waited_ns` of calls that waited while they ran.
    """
    places = {trace.trace_id: place for place, trace in enumerate(traces)}
    reasons = _Reasons(traces)
    found = [
        decision
        for call in calls
        if call.asked_ns or call.given
        for decision in _approvals(run_id, call, places, reasons)
    ]
    by_step = {(span.trace_id, span.span_id): call for call in calls
               for span in (*call.servers, *call.clients, *call.executions, *call.refused, *call.interruptions)}  # fmt: skip
    for trace in traces:
        calls_above = Above(trace, lambda span: by_step.get((span.trace_id, span.span_id)))
        asked_above = Above(trace, lambda span: True if span.mcp_method == ELICITATION else None)
        for span in trace.ordered():
            kind = span.kind
            if kind not in _TELLING_KINDS and span.mcp_method != ELICITATION:
                continue
            call = calls_above.of(span)
            if kind == "guardrail":
                found.append(_guardrail(run_id, span))
            elif kind == "approval_wait":
                if not any(verdict.verdict for verdict in span.verdicts):
                    found.append(_wait(run_id, span, call))
            elif not asked_above.of(span):
                found.append(_elicitation(run_id, span, call))
                if call is not None and span.end_ns:
                    call.waited_ns += max(span.end_ns - span.start_ns, 0)
    return sorted(found, key=lambda one: (one.requested_ns or one.decided_ns, one.decided_ns))


def _approvals(run_id: str, call: ToolCall, places: dict[str, int], reasons: "_Reasons") -> Iterator[Decision]:
    """`places`: of the run's traces in order of time. Only those where something happened to the call are looked at."""
    ran_in, told_in, given_in = call.ran_by_trace(), call.told_by_trace(), call.given_by_trace()
    results_before: set[str | None] | None = None  # What a model was told in earlier traces that executed it.
    branch = ""  # The first decision has the question's own id, whoever decides it.
    foretold = False  # A verdict was said, and what follows from it has not been seen yet.
    for trace_id in sorted(ran_in.keys() | told_in.keys() | given_in.keys(), key=places.__getitem__):
        ran, told, given = ran_in.get(trace_id), told_in.get(trace_id), given_in.get(trace_id)
        if given is not None:
            yield _said(run_id, call, branch, given, done=ran is not None or told is not None)
            branch, foretold = trace_id, ran is None and told is None
        elif foretold:
            foretold = False
        elif ran is not None and call.asked_ns:
            yield _approval(
                run_id, call, branch, verdict="allow", action="executed", step=ran, reason=reasons.of(trace_id),
                rule="the call was executed after the approval was asked for",
            )  # fmt: skip
            branch = trace_id
        elif told is not None and call.asked_ns and not _ran_before(told, results_before):
            yield _approval(
                run_id, call, branch, verdict="deny", action="blocked", step=told.span, reason=told.result,
                rule="the model was given an answer and the call was never executed",
            )  # fmt: skip
            branch = trace_id
        if ran is not None:
            results_before = results_before or set()
            results_before |= {told.result} if told is not None else set()
    if not branch:
        rule = call.supposed_by or "the run says that it waits for approval of this call"
        yield _approval(run_id, call, branch, verdict="ask", action="none", rule=rule)


class _Reasons:
    """What a run was gone on with, where it says so without saying what it means: the reason of what followed."""

    def __init__(self, traces: list[Trace]) -> None:
        self._traces = {trace.trace_id: trace for trace in traces}
        self._known: dict[str, str | None] = {}

    def of(self, trace_id: str) -> str | None:
        """The first that was said in a trace."""
        if trace_id not in self._known:
            given = self._traces[trace_id].verdicts()
            said = (one.verdict.reason for one in given if one.verdict.verdict is None)
            self._known[trace_id] = next((reason for reason in said if reason), None)
        return self._known[trace_id]


def _said(run_id: str, call: ToolCall, branch: str, given: Given, *, done: bool) -> Decision:
    verdict = given.verdict
    allowed = verdict.verdict == "allow"
    return Decision(
        decision_id=record_id("decision", run_id, "approval", call.key, *([branch] if branch else [])),
        kind=verdict.kind,
        target=call.name,
        call=call,
        verdict=verdict.verdict or "ask",
        action="blocked" if not allowed else "executed" if done else "none",
        decided_by_kind=verdict.by,
        decided_by=None,
        reason=verdict.reason,
        requested_ns=call.asked_ns or given.asked_ns,
        decided_ns=given.decided_ns,
        request_step=name_step(call.asking),
        decide_step=name_step(given.span),
        evidence="explicit",
        evidence_rule="the answer was sent",
    )


def _ran_before(told: Told, results: set[str | None] | None) -> bool:
    """Whether an answer is that of an earlier trace's execution. Another answer than that one's model was given is not."""
    return results is not None and (not results or told.result in results)


def _approval(
    run_id: str, call: ToolCall, branch: str, *, verdict: str, action: str, rule: str,
    step: Span | None = None, reason: str | None = None,
) -> Decision:  # fmt: skip
    return Decision(
        decision_id=record_id("decision", run_id, "approval", call.key, *([branch] if branch else [])),
        kind="human_approval",
        target=call.name,
        call=call,
        verdict=verdict,
        action=action,
        decided_by_kind="human" if step else None,
        decided_by=None,
        reason=reason,
        requested_ns=call.asked_ns,
        decided_ns=step.start_ns if step else 0,
        request_step=name_step(call.asking),
        decide_step=name_step(step),
        evidence="inferred" if step or call.supposed_by else "explicit",
        evidence_rule=rule,
    )


def _elicitation(run_id: str, span: Span, call: ToolCall | None) -> Decision:
    return Decision(
        decision_id=record_id("decision", run_id, "elicitation", span.trace_id, span.span_id),
        kind="elicitation",
        target=call.name if call else None,
        call=call,
        verdict="ask",
        action="none",
        decided_by_kind="human",
        decided_by=None,
        reason=None,
        requested_ns=span.start_ns,
        decided_ns=span.end_ns,
        request_step=step_id(span.trace_id, span.span_id),
        decide_step=None,
        evidence="explicit",
        evidence_rule="an MCP elicitation was sent; its answer is not in the telemetry",
    )


def _wait(run_id: str, span: Span, call: ToolCall | None) -> Decision:
    return Decision(
        decision_id=record_id("decision", run_id, "wait", span.trace_id, span.span_id),
        kind="human_approval",
        target=call.name if call else None,
        call=call,
        verdict="ask",
        action="none",
        decided_by_kind=None,
        decided_by=None,
        reason=None,
        requested_ns=span.start_ns,
        decided_ns=span.end_ns,
        request_step=step_id(span.trace_id, span.span_id),
        decide_step=step_id(span.trace_id, span.span_id) if span.end_ns else None,
        evidence="inferred",
        evidence_rule="the run waited to be told something from outside; what it was told is not in the telemetry",
    )


def _guardrail(run_id: str, span: Span) -> Decision:
    """What its step says of the verdict, else its outcome."""
    said = next((verdict for verdict in span.verdicts if verdict.verdict), None)
    verdict = said.verdict or "allow" if said else "deny" if span.outcome == "error" else "allow"
    return Decision(
        decision_id=record_id("decision", run_id, "guardrail", span.trace_id, span.span_id),
        kind="guardrail",
        target=span.name,
        call=None,
        verdict=verdict,
        action="blocked" if verdict == "deny" else "none",
        decided_by_kind="service",
        decided_by=span.name,
        reason=said.reason if said else None,
        requested_ns=span.start_ns,
        decided_ns=span.end_ns,
        request_step=step_id(span.trace_id, span.span_id),
        decide_step=step_id(span.trace_id, span.span_id),
        evidence="explicit" if said else "inferred",
        evidence_rule="the guardrail's step says its verdict" if said else "the outcome of the guardrail's step",
    )
