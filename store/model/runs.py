"""Runs: what a run amounts to. Pure functions of current spans.

A run is not a trace: resuming after an approval opens a new one (`store/model/joining.py` says which are one run). The first
segment names the run; the id of every segment keeps leading to it.
"""

from dataclasses import dataclass, field

from store.model.above import Above
from store.model.call_book import CallBook
from store.model.decisions import Decision, decisions_of
from store.model.dialect import dialect_of_scope
from store.model.joining import RULE_NAMES, Joined, Rule
from store.model.particulars import RunParticulars, of_a_run
from store.model.span import Span
from store.model.tally import MODEL_KINDS, Tally, summed, tally_of
from store.model.tool_calls import ToolCall
from store.model.totals import totals_of
from store.model.trace import Trace

IDLE_NS = 30 * 60 * 1_000_000_000
"""A run that says nothing for so long is no longer running: agents wait minutes for a model, not half hours."""
CLOCK_SKEW_NS = 60 * 60 * 1_000_000_000
"""An old run that is imported now has not just happened: its last sign of life is at most so long after its last event."""

_KINDS = (("agent", frozenset({"agent"})), ("workflow", frozenset({"workflow"})),
          ("engine", frozenset({"workflow_engine"})), ("model_call", MODEL_KINDS))  # fmt: skip


@dataclass(slots=True)
class Run:
    """A run as it is stored. `open_reason` is set while its end is not recorded: `unended` or `missing_root`."""

    tenant: str
    run_id: str
    run_kind: str
    agent_name: str | None
    workflow_name: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    framework: str | None
    conversation_id: str | None
    conversation_id_source: str | None
    user_id: str | None
    status: str
    open_reason: str | None
    outcome_reason: str | None
    start_ns: int
    end_ns: int
    last_event_ns: int
    last_received_ns: int
    steps: int
    llm_calls: int
    tool_calls: int
    tool_errors: int
    decisions: int
    retries: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cost_source: str | None
    models: list[str]
    tools: list[str]
    trace_ids: list[str]
    missing_parents: int
    missing_root: bool
    unexecuted_tool_calls: int
    content_absent: bool
    models_unseen: bool
    truncated: int
    redacted: int
    first_sequence: int
    last_sequence: int
    particulars: RunParticulars | None
    segments: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


@dataclass(frozen=True, slots=True)
class WholeRun:
    """A run with everything that was worked out for it."""

    run: Run
    segments: list[Joined]
    calls: list[ToolCall]
    decisions: list[Decision]


def whole_run(segments: list[Joined], traces: dict[str, Trace]) -> WholeRun:
    """Work out a run from its segments, in order of time, and their traces (by trace id)."""
    run_id = segments[0].run_id
    ordered = [traces[segment.facts.trace_id] for segment in segments]
    calls = CallBook(run_id, _attempts(segments)).read(ordered)
    decisions = decisions_of(run_id, calls, ordered)
    tallies = [tally_of(trace) for trace in ordered]
    tally = summed(tallies)
    totals = totals_of(ordered)
    conversation_id = segments[0].facts.conversation_id
    head = tallies[0].root or ordered[0].ordered()[0]
    asked: dict[str, list[ToolCall]] = {}
    for call in calls:
        if call.asking is not None:
            asked.setdefault(call.asking.trace_id, []).append(call)
    statuses = [
        _status(trace, one.root, asked.get(trace.trace_id, [])) for trace, one in zip(ordered, tallies, strict=True)
    ]
    status, reason = statuses[-1]
    open_reason = tallies[-1].open_reason
    run = Run(
        tenant=segments[0].facts.tenant,
        run_id=run_id,
        run_kind=next((kind for kind, telling in _KINDS if tally.kinds & telling), "other"),
        agent_name=tally.agent_name,
        workflow_name=next(iter(tally.workflows), None),
        service_name=head.service_name,
        service_version=head.service_version,
        environment=head.environment,
        framework=tally.framework,
        conversation_id=conversation_id,
        conversation_id_source=_source_of(conversation_id, ordered[0]) if conversation_id else None,
        user_id=next((told.user_id for told in tally.particulars if told.user_id), None),
        status=status,
        open_reason=open_reason,
        outcome_reason=reason,
        start_ns=tally.start_ns,
        end_ns=0 if open_reason else tally.end_ns,
        last_event_ns=tally.last_event_ns,
        last_received_ns=tally.last_received_ns,
        steps=tally.steps,
        llm_calls=tally.llm_calls,
        tool_calls=len(calls),
        tool_errors=sum(1 for call in calls if call.outcome == "error"),
        decisions=len(decisions),
        retries=sum(max(call.attempts - 1, 0) for call in calls),
        **totals.used,
        cost_usd=totals.cost_usd,
        cost_source=totals.cost_source,
        models=sorted(tally.models),
        tools=sorted({call.name for call in calls if call.name}),
        trace_ids=[segment.facts.trace_id for segment in segments],
        missing_parents=tally.missing_parents,
        missing_root=tally.missing_root,
        unexecuted_tool_calls=sum(1 for call in calls if call.unexecuted),
        content_absent=bool(tally.llm_calls) and not tally.content_present,
        models_unseen=tally.llm_calls == 0 and "agent" in tally.kinds and any(map(_lacks_models, ordered)),
        truncated=tally.truncated,
        redacted=tally.redacted,
        first_sequence=min(segment.facts.first_sequence for segment in segments),
        last_sequence=max(segment.facts.last_sequence for segment in segments),
        particulars=of_a_run(tally.particulars, totals),
        segments=[
            _segment(segment, one, ended) for segment, one, (ended, _) in zip(segments, tallies, statuses, strict=True)
        ],
    )
    return WholeRun(run, segments, calls, decisions)


def _lacks_models(trace: Trace) -> bool:
    """Whether an agent ran that does nothing without a model."""
    dialects = (dialect_of_scope(span.scope_name or "") for span in trace.spans.values() if span.kind == "agent")
    return any(dialect is not None and dialect.agents_call_models for dialect in dialects)


def _attempts(segments: list[Joined]) -> dict[str, str]:
    """Of every trace that is another attempt of a workflow, the trace of the attempt before."""
    traces = {segment.facts.segment_id: segment.facts.trace_id for segment in segments}
    workflow = RULE_NAMES[Rule.WORKFLOW]
    return {
        segment.facts.trace_id: traces[segment.continues]
        for segment in segments
        if segment.rule == workflow and segment.continues in traces
    }


def status_at(status: str, open_reason: str | None, last_event_ns: int, last_received_ns: int, *, now_ns: int) -> str:
    """A run's status at a moment: while its end is not recorded it is running, until it has been silent for too long."""
    if open_reason is None:
        return status
    last_sign_ns = min(last_received_ns, last_event_ns + CLOCK_SKEW_NS)
    if now_ns - last_sign_ns < IDLE_NS:
        return "running"
    return "incomplete" if open_reason == "missing_root" else "abandoned"


def _status(trace: Trace, root: Span | None, asked: list[ToolCall]) -> tuple[str, str | None]:
    """How a segment ended. What a later segment made of it is that one's own status. `asked`: what was asked about in it."""
    failed = root if root is not None and root.outcome == "error" else _failed_agent(trace)
    if failed is not None:
        return "error", _first_words(failed.status_message) or failed.error_type
    waiting = [call for call in asked if _left_waiting(call, trace.trace_id)]
    if waiting:
        return "interrupted", "waits for approval of " + ", ".join(sorted({call.name or "a tool" for call in waiting}))
    if root is not None and root.outcome in ("interrupted", "cancelled", "denied"):
        return root.outcome, root.status_message
    return "ok", None


def _failed_agent(trace: Trace) -> Span | None:
    """The last agent that ran below no other, if it failed: some libraries put a root above it that is OK all the same."""
    agents = [span for span in trace.ordered() if span.kind == "agent" and span.agent_name]
    above = Above(trace, lambda span: True if span.kind == "agent" and span.agent_name else None)
    last = next((span for span in reversed(agents) if not above.of(span)), None)
    return last if last is not None and last.outcome == "error" else None


def _first_words(message: str | None) -> str | None:
    """A message without the stack trace that some libraries append."""
    words = (message or "").partition("Traceback (most recent call last)")[0].strip()
    return words or message


def _left_waiting(call: ToolCall, trace_id: str) -> bool:
    return not any(
        trace_id in happened for happened in (call.ran_by_trace(), call.told_by_trace(), call.given_by_trace())
    )


def _segment(segment: Joined, tally: Tally, status: str) -> dict[str, object]:
    return {
        "segment_id": segment.facts.segment_id,
        "trace_id": segment.facts.trace_id,
        "segment_no": segment.segment_no,
        "status": status,
        "open_reason": tally.open_reason,
        "start_ns": segment.facts.start_ns,
        "end_ns": 0 if tally.open_reason else tally.end_ns,
        "last_event_ns": tally.last_event_ns,
        "last_received_ns": tally.last_received_ns,
        "steps": tally.steps,
        "joined_by": segment.rule,
        "continues": segment.continues,
    }


def _source_of(conversation_id: str, trace: Trace) -> str | None:
    said = (span.conversation_source for span in trace.ordered() if span.conversation_id == conversation_id)
    return next(said, None)
