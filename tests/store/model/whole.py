"""A run that is held whole, told by the model: what the engines tell some steps at a time must be the same."""

from collections.abc import Iterator, Mapping
from typing import Any

from store.model.conversation import SPEAKING_KINDS, Conversation, Message, Speaker
from store.model.happenings import merged, whole
from store.model.replay import Bounds, Noted, Saying, Times, Usage, called, decided, evaluated, frame, noted, told
from store.model.rows import DecisionRow, ReplayEvent, RunRow, ToolCallRow
from store.model.span import Event, Span
from store.model.tool_calls import name_step
from store.model.trace import Trace, usage_leaves


def speakers(traces: list[Trace]) -> list[Speaker]:
    """The steps of a run that may say something, in order."""
    found: list[Speaker] = []
    for trace in traces:
        events: dict[str, list[Event]] = {}
        for event in trace.events.values():
            events.setdefault(event.span_id or "", []).append(event)
        found += [
            Speaker.of(span, events.get(span.span_id, [])) for span in trace.ordered() if span.kind in SPEAKING_KINDS
        ]
    return found


def conversation(traces: list[Trace], texts: Mapping[str, str]) -> Iterator[Message]:
    """The messages of a run in order. `texts`: content id -> text."""
    heard = Conversation(lambda ids: {one: texts[one] for one in ids if one in texts}).hear(speakers(traces))
    return (message for messages in heard for message in messages)


def replay(
    *,
    run: RunRow,
    traces: list[Trace],
    messages: list[Message],
    calls: list[tuple[ToolCallRow, Times]],
    decisions: list[tuple[DecisionRow, Times]],
    evaluations: list[tuple[Event, dict[str, Any]]] | None = None,
) -> list[ReplayEvent]:
    """The run's events: every stream in one batch."""
    spans = [span for trace in traces for span in trace.ordered()]
    bounds = Bounds(
        min((span.start_ns for span in spans if span.start_ns), default=0),
        max(span.end_ns for span in spans),
        name_step(traces[0].root() or spans[0]),
        name_step(traces[-1].root() or spans[-1]),
    )
    leaves = [leaf for trace in traces for leaf in usage_leaves(trace.spans.values(), trace)]
    usage = [
        Usage(leaf.end_ns or leaf.start_ns, leaf.input_tokens or 0, leaf.output_tokens or 0, leaf.cost_usd or 0.0)
        for leaf in leaves
    ]
    happened = merged([
        whole(frame(run, bounds)),
        whole(Saying({call.tool_call_id for call, _ in calls if call.tool_call_id}).said(messages)),
        whole(one for trace in traces for span in trace.ordered() for one in noted(_noted(trace, span))),
        whole(one for order, (call, times) in enumerate(calls) for one in called(call, times, order)),
        whole(decided(decisions)),
        whole(evaluated(evaluations or [])),
    ])  # fmt: skip
    return list(told(run, bounds, happened, sorted(usage, key=lambda one: one.at_ns)))


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
