"""A run that is held whole, told by the model: what the engines tell some steps at a time must be the same."""

from collections.abc import Iterable, Iterator, Mapping

from store.model.call_book import CallBook
from store.model.conversation import (
    REPEATING_KINDS,
    SPEAKING_KINDS,
    AskedCalls,
    Conversation,
    Message,
    Pieces,
    Speaker,
    heard_of,
    pieces_of_step,
)
from store.model.happenings import merged, whole
from store.model.ids import step_id
from store.model.replay import Bounds, Noted, Saying, Times, Usage, called, decided, evaluated, frame, noted, told
from store.model.rows import DecisionRow, EvaluationRow, ReplayEvent, RunRow, ToolCallRow
from store.model.span import Event, Span
from store.model.tool_calls import name_step
from store.model.trace import Trace, usage_leaves
from store.model.truncation import cut_steps, redacted_steps


def events_by_step(trace: Trace) -> dict[str, list[Event]]:
    """Speaking log records by span id."""
    found: dict[str, list[Event]] = {}
    for event in trace.events.values():
        found.setdefault(trace.step_of(event), []).append(event)
    return found


def speakers(traces: list[Trace]) -> list[Speaker]:
    """The steps of a run that say something, in order."""
    return [
        Speaker(
            span.trace_id,
            span.span_id,
            span.start_ns,
            span.end_ns,
            pieces,
            span.finish_reason,
            truncated=span.span_id in cut,
            redacted=span.span_id in redacted,
        )
        for trace in traces
        for cut, redacted in [(cut_steps(trace), redacted_steps(trace))]
        for span, pieces in _speaking(trace)
        if pieces.any
    ]


def _speaking(trace: Trace) -> Iterator[tuple[Span, Pieces]]:
    events = events_by_step(trace)
    pieces = {
        span.span_id: pieces_of_step(span, events.get(span.span_id, []))
        for span in trace.ordered()
        if span.kind in SPEAKING_KINDS | REPEATING_KINDS
    }
    given_below: set[str] = set()
    said_below: set[str] = set()
    for span in trace.ordered():
        own = pieces.get(span.span_id)
        if own is not None and own.given and span.kind in SPEAKING_KINDS:
            given_below.update(above.span_id for above in trace.ancestors(span))
        if own is not None and own.said:
            said_below.update(above.span_id for above in trace.ancestors(span))
    for span in trace.ordered():
        own = pieces.get(span.span_id)
        if own is None:
            continue
        if span.kind in SPEAKING_KINDS:
            yield span, own
            continue
        heard = heard_of(
            own, span.particulars, given_below=span.span_id in given_below, said_below=span.span_id in said_below
        )
        if heard is not None:
            yield span, heard


def asked_calls(traces: list[Trace]) -> AskedCalls:
    """The calls of a run by the steps that asked for them."""
    by_step: dict[str, list[tuple[str, str | None]]] = {}
    calls = [call for call in CallBook("run").read(traces) if call.id]
    for call in calls:
        by_step.setdefault(name_step(call.requesting) or "", []).append((call.id or "", call.name))
    return AskedCalls({call.id or "" for call in calls}, lambda: by_step)


def content_ids(traces: list[Trace]) -> set[str]:
    """Every piece that `conversation` will want to read."""
    pieces = [one.pieces for one in speakers(traces)]
    return {piece for one in pieces for piece in (*one.system, *one.given, *one.said)}


def conversation(traces: list[Trace], texts: Mapping[str, str]) -> Iterator[Message]:
    """The messages of a run in order. `texts`: content id -> text."""

    def read(ids: Iterable[str]) -> dict[str, str]:
        return {one: texts[one] for one in ids if one in texts}

    heard = Conversation(read, lambda: asked_calls(traces)).hear(speakers(traces))
    return (message for messages in heard for message in messages)


def replay(
    *,
    run: RunRow,
    traces: list[Trace],
    messages: list[Message],
    calls: list[tuple[ToolCallRow, Times]],
    decisions: list[tuple[DecisionRow, Times]],
    evaluations: list[tuple[EvaluationRow, int]] | None = None,
) -> list[ReplayEvent]:
    """The run's events: every stream in one batch."""
    spans = [span for trace in traces for span in trace.ordered()]
    bounds = Bounds(
        min((span.start_ns for span in spans if span.start_ns), default=0),
        max(span.end_ns for span in spans),
        name_step(traces[0].root() or spans[0]),
        name_step(traces[-1].root() or spans[-1]),
    )
    leaves = [(trace, leaf) for trace in traces for leaf in usage_leaves(trace.spans.values(), trace)]
    usage = [
        Usage(
            leaf.end_ns or leaf.start_ns, leaf.input_tokens or 0, leaf.output_tokens or 0, trace.paid(leaf).usd or 0.0
        )
        for trace, leaf in leaves
    ]
    happened = merged([
        whole(frame(run, bounds)),
        whole(Saying({call.tool_call_id for call, _ in calls if call.tool_call_id}).said(messages)),
        whole(one for trace in traces for span in trace.ordered() for one in noted(_noted(trace, span))),
        whole(one for order, (call, times) in enumerate(calls) for one in called(call, times, order)),
        whole(decided(decisions)),
        whole(evaluated(evaluations or [])),
    ])  # fmt: skip
    cut = {step_id(trace.trace_id, span_id) for trace in traces for span_id in cut_steps(trace)}
    redacted = {step_id(trace.trace_id, span_id) for trace in traces for span_id in redacted_steps(trace)}
    in_order = sorted(usage, key=lambda one: one.at_ns)
    return list(told(run, bounds, happened, in_order, cut=cut, redacted=redacted))


def _noted(trace: Trace, span: Span) -> Noted:
    return Noted(
        name_step(span) or "", span.kind, span.name, span.outcome, span.agent_name, span.error_type, span.status_message,
        span.start_ns, span.end_ns, _is_sub_agent(trace, span),
    )  # fmt: skip


def _is_sub_agent(trace: Trace, span: Span) -> bool:
    if span.kind != "agent" or span is trace.root():
        return False
    above = next((one for one in trace.ancestors(span) if one.kind == "agent"), None)
    return above is not None and above.agent_name != span.agent_name
