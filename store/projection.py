"""Frames to a batch for the view: normalise, drop what is known, join traces to runs, work the touched runs out anew.

Everything here follows from the frames and what the view holds; there is no clock. What is remembered between batches only
saves look-ups: after a failure `forget` empties it and the next batch reads the view again.
"""

from collections import OrderedDict
from collections.abc import Iterable

from store.model.content import ContentSink
from store.model.ids import segment_id
from store.model.normalise import normalise_spans
from store.model.normalise_logs import normalise_logs
from store.model.normalise_metrics import normalise_metrics
from store.model.runs import Joined, SegmentFacts, facts_of, join, whole_run
from store.model.span import Event, Span, SpanBody
from store.model.talk import Listener
from store.model.trace import Trace
from store.record import Frame, Signal
from store.view import ViewBatch, Writer

REMEMBERED_SPANS_MAX = 200_000
"""Spans kept with their traces between batches: about 200 MB. Older traces are read back from the view when touched."""


class TraceMemory:
    """The traces touched last, whole. What is not here is in the view or new."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._traces: OrderedDict[tuple[str, str], Trace] = OrderedDict()
        self._stored: set[tuple[str, str]] = set()
        self._spans = 0

    def recall(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Trace]:
        """Traces by (tenant, trace id): remembered, else from the view, else new and empty."""
        wanted = list(dict.fromkeys(keys))
        missing = [key for key in wanted if key not in self._traces]
        for trace in self._writer.traces(missing) if missing else []:
            self._traces[trace.tenant, trace.trace_id] = trace
            if trace.spans:
                self._stored.add((trace.tenant, trace.trace_id))
        for key in missing:
            if key not in self._traces:
                self._traces[key] = Trace(*key)
        for key in wanted:
            self._traces.move_to_end(key)
        return {key: self._traces[key] for key in wanted}

    def is_stored(self, key: tuple[str, str]) -> bool:
        """Whether the view holds a segment of that trace."""
        return key in self._stored

    def written(self, keys: Iterable[tuple[str, str]]) -> None:
        """The view now holds these traces. Forgets the oldest ones beyond the bound."""
        self._stored.update(keys)
        held = sum(len(trace.spans) + len(trace.events) for trace in self._traces.values())
        while held > REMEMBERED_SPANS_MAX and len(self._traces) > 1:
            key, trace = self._traces.popitem(last=False)
            self._stored.discard(key)
            held -= len(trace.spans) + len(trace.events)

    def forget(self) -> None:
        self._traces.clear()
        self._stored.clear()


class Projection:
    """Makes view batches. One thread's."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._memory = TraceMemory(writer)
        self._sink = ContentSink()
        self._listener = Listener(self._sink)

    def project(self, frames: list[Frame]) -> ViewBatch:
        """The batch of some frames in order. Raises what a frame that cannot be projected raises."""
        batch = ViewBatch(frames[-1].sequence)
        by_signal = {
            signal: [frame for frame in frames if frame.signal == signal and frame.records] for signal in Signal
        }
        spans: list[tuple[Span, SpanBody]] = []
        events: list[Event] = []
        if by_signal[Signal.TRACES]:
            spans = normalise_spans(by_signal[Signal.TRACES], self._sink, self._listener)
        if by_signal[Signal.LOGS]:
            events = self._new_events(normalise_logs(by_signal[Signal.LOGS], self._sink, self._listener))
        if by_signal[Signal.METRICS]:
            points = {point.point_id: point for point in normalise_metrics(by_signal[Signal.METRICS], self._sink)}
            known = self._writer.known_points(list(points))
            batch.points = [point for point in points.values() if point.point_id not in known]
        batch.events = events
        touched = self._admit(batch, spans, events)
        self._work_out(batch, touched)
        batch.contents = self._sink.take()
        return batch

    def written(self, batch: ViewBatch) -> None:
        """The batch is in the view."""
        self._sink.stored(batch.contents)
        self._memory.written(
            (joined.facts.tenant, joined.facts.trace_id) for whole in batch.runs for joined in whole.segments
        )

    def forget(self) -> None:
        """Start from what the view holds: a batch was not written, so what is remembered may be ahead of it."""
        self._memory.forget()
        self._sink = ContentSink()
        self._listener = Listener(self._sink)

    def _new_events(self, events: list[Event]) -> list[Event]:
        unique = {event.event_id: event for event in reversed(events)}  # The first of equals stays.
        known = self._writer.known_events(list(unique))
        return [event for event in events if unique[event.event_id] is event and event.event_id not in known]

    def _admit(
        self, batch: ViewBatch, spans: list[tuple[Span, SpanBody]], events: list[Event]
    ) -> dict[tuple[str, str], Trace]:
        """Take new versions and speaking log records into their traces; returns the traces that changed."""
        speaking = [event for event in events if event.trace_id and event.speaks]
        keys = [(span.tenant, span.trace_id) for span, _ in spans]
        keys += [(event.tenant, event.trace_id or "") for event in speaking]
        traces = self._memory.recall(keys)
        touched: dict[tuple[str, str], Trace] = {}
        for span, body in spans:
            trace = traces[span.tenant, span.trace_id]
            if trace.knows(span):
                continue
            out = trace.admit(span)
            if out is not None:
                batch.superseded.append((out, span.sequence))
            batch.steps.append((span, body))
            touched[span.tenant, span.trace_id] = trace
        for event in speaking:
            trace = traces[event.tenant, event.trace_id or ""]
            trace.events[event.event_id] = event
            touched[event.tenant, event.trace_id or ""] = trace
        return touched

    def _work_out(self, batch: ViewBatch, touched: dict[tuple[str, str], Trace]) -> None:
        alive = {key: trace for key, trace in touched.items() if trace.spans}
        if not alive:
            return
        fresh = {key: facts_of(trace) for key, trace in alive.items()}
        groups, in_run = self._groups(fresh)
        dirty: list[list[Joined]] = []
        for segments in groups:
            for run in join(segments):
                keys = [(member.facts.tenant, member.facts.trace_id) for member in run]
                moved = any(
                    in_run.get(key, member.run_id) != member.run_id for key, member in zip(keys, run, strict=True)
                )
                if moved or any(key in alive for key in keys):
                    dirty.append(run)
        members = [(member.facts.tenant, member.facts.trace_id) for run in dirty for member in run]
        traces = self._memory.recall(members)
        for run in dirty:
            tenant = run[0].facts.tenant
            batch.runs.append(whole_run(run, {m.facts.trace_id: traces[tenant, m.facts.trace_id] for m in run}))
            for member in run:
                key = (tenant, member.facts.trace_id)
                if self._memory.is_stored(key):
                    batch.gone_segments.add(member.facts.segment_id)
                    batch.gone_runs |= {member.run_id, in_run.get(key, member.run_id)}

    def _groups(
        self, fresh: dict[tuple[str, str], SegmentFacts]
    ) -> tuple[list[list[SegmentFacts]], dict[tuple[str, str], str]]:
        """Segments that may belong together: by conversation, or alone. And the run each stored one is in now."""
        conversations = {(facts.tenant, facts.conversation_id) for facts in fresh.values() if facts.conversation_id}
        stored = self._writer.conversations([(tenant, name) for tenant, name in conversations if name])
        in_run = {(segment.facts.tenant, segment.facts.trace_id): segment.run_id for segment in stored}
        groups: dict[tuple[str, str], dict[str, SegmentFacts]] = {}
        for segment in stored:
            group = groups.setdefault((segment.facts.tenant, segment.facts.conversation_id or ""), {})
            group[segment.facts.trace_id] = segment.facts
        alone: list[list[SegmentFacts]] = []
        for (tenant, trace_id), facts in fresh.items():
            in_run.setdefault((tenant, trace_id), segment_id(tenant, trace_id))
            if facts.conversation_id:
                groups.setdefault((tenant, facts.conversation_id), {})[trace_id] = facts
            else:
                alone.append([facts])
        return [list(group.values()) for group in groups.values()] + alone, in_run
