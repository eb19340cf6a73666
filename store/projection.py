"""Frames to a batch for the view: normalise, drop what is known, join traces to runs, work the touched runs out anew.

Everything here follows from the frames and what the view holds. What is remembered between batches only saves look-ups:
after a failure `forget` empties it and the next batch reads the view again.

A run is worked out from all of its spans, so a run of a million spans must not be worked out for each of its batches. The
clock decides nothing but that: a run that took long rests for ten times as long, its steps being in the view meanwhile.
What is owed is written with the batch, and `settle` pays it.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from store.access_records import StoredAccess, accesses_of
from store.model.content import Content, ContentSink
from store.model.evaluations import Evaluation
from store.model.joining import SegmentFacts, facts_of, join
from store.model.normalise import normalise_spans
from store.model.normalise_logs import normalise_logs
from store.model.normalise_metrics import normalise_metrics
from store.model.paid import PAID_KINDS, reported_by
from store.model.prices import Prices, built_in_prices
from store.model.runs import WholeRun, whole_run
from store.model.span import Event, MetricPoint, Span, SpanBody
from store.model.talk import Listener
from store.model.trace import Trace
from store.record import Frame, FrameType, Signal
from store.unwritten import Unwritten
from store.view import Lookups, ViewBatch, Writer

REMEMBERED_SPANS_MAX = 100_000
"""Spans kept with their traces between batches: 150 to 200 MB. Older traces are read back from the view when touched."""


REST_BEGINS_SECONDS = 0.05
"""Of processor time: nothing below some 3,000 spans takes that long to be worked out, and is never rested."""
REST_FACTOR = 10
"""Large runs get a tenth of the projector's time, whatever their size."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the view has a trace: its ties, and the run that it is a segment of."""

    ties: frozenset[int]
    run_id: str


class TraceMemory:
    """The traces touched last, whole, and their places. What is not here is in the view or new."""

    def __init__(self, writer: Lookups) -> None:
        self._writer = writer
        self._traces: OrderedDict[tuple[str, str], Trace] = OrderedDict()
        self._places: dict[tuple[str, str], Place] = {}
        self._recalled: set[tuple[str, str]] = set()

    def recall(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Trace]:
        """Traces by (tenant, trace id): remembered, else from the view, else new and empty."""
        wanted = list(dict.fromkeys(keys))
        missing = [key for key in wanted if key not in self._traces]
        if missing:
            self._traces |= {(trace.tenant, trace.trace_id): trace for trace in self._writer.traces(missing)}
            for segment in self._writer.segments(missing):
                self._place(segment.facts, segment.run_id)
        for key in missing:
            if key not in self._traces:
                self._traces[key] = Trace(*key)
        self._recalled.update(wanted)
        for key in wanted:
            self._traces.move_to_end(key)
        return {key: self._traces[key] for key in wanted}

    def place(self, key: tuple[str, str]) -> Place | None:
        """Where the view has a recalled trace; None where it has none."""
        return self._places.get(key)

    def placed(self, runs: list[WholeRun]) -> None:
        """The view will hold these runs, and holds all before. Forgets the oldest traces beyond the bound."""
        for whole in runs:
            for joined in whole.segments:
                self._place(joined.facts, joined.run_id)
        recalled, self._recalled = self._recalled, set()
        held = sum(len(trace.spans) + len(trace.events) for trace in self._traces.values())
        while held > REMEMBERED_SPANS_MAX:
            key = next(iter(self._traces))
            if key in recalled:
                break  # Those of the batch come last, and the view does not have it yet.
            trace = self._traces.pop(key)
            self._places.pop(key, None)
            held -= len(trace.spans) + len(trace.events)

    def _place(self, facts: SegmentFacts, run_id: str) -> None:
        self._places[facts.tenant, facts.trace_id] = Place(facts.ties, run_id)

    def forget(self) -> None:
        self._traces.clear()
        self._places.clear()
        self._recalled.clear()


@dataclass(frozen=True, slots=True)
class Reading:
    """Frames, normalised: what they say by themselves, before the view is asked what of it is new."""

    sequence: int
    spans: list[tuple[Span, SpanBody]]
    events: list[Event]
    points: list[MetricPoint]
    contents: list[Content]
    evaluations: list[Evaluation]
    accesses: list[StoredAccess]


class Projection:
    """Makes view batches: `read` frames, then `place` what they say. Each of the two is one thread's at a time."""

    def __init__(self, writer: Writer, prices: Prices | None = None) -> None:
        """`prices`: those of this release unless others are given."""
        self._prices = prices or built_in_prices()
        self._writer = Unwritten(writer)
        self._memory = TraceMemory(self._writer)
        self._sink = ContentSink()
        self._listener = Listener(self._sink)
        self._owed = set(writer.owed())
        self._rested: dict[tuple[str, str], float] = {}

    def read(self, frames: list[Frame]) -> Reading:
        """Normalise some frames in order: the costly part, and it asks the view nothing. Raises what a bad frame raises."""
        sink, listener = self._sink, self._listener
        by_signal = {
            signal: [frame for frame in frames if frame.signal == signal and frame.records] for signal in Signal
        }
        traces, logs, metrics = by_signal[Signal.TRACES], by_signal[Signal.LOGS], by_signal[Signal.METRICS]
        judged: list[Evaluation] = []
        return Reading(
            frames[-1].sequence,
            normalise_spans(traces, sink, listener, self._prices, judged) if traces else [],
            normalise_logs(logs, sink, listener, judged) if logs else [],
            normalise_metrics(metrics, sink) if metrics else [],
            sink.take(),
            judged,
            [one for frame in frames if frame.type is FrameType.ACCESS for one in accesses_of(frame)],
        )

    def place(self, reading: Reading) -> ViewBatch:
        """The batch of a reading. Everything before it must be in the view, but for the last batch that was `placed`."""
        batch = ViewBatch(reading.sequence)
        batch.events = self._new_events(reading.events)
        points: dict[str, MetricPoint] = {}
        for point in reading.points:
            points.setdefault(point.point_id, point)
        known = self._writer.known_points(list(points))
        batch.points = [point for point in points.values() if point.point_id not in known]
        touched = self._admit(batch, reading.spans, batch.events)
        batch.evaluations = _evaluations(batch, reading.evaluations)
        batch.reported = list(_reported(batch, touched))
        resting = {key for key in touched if self._rests(key)}
        self._owed |= resting
        self._work_out(batch, {key: trace for key, trace in touched.items() if key not in resting})
        batch.owed = frozenset(self._owed)
        batch.contents = reading.contents
        batch.accesses = self._new_accesses(reading.accesses)
        return batch

    def project(self, frames: list[Frame]) -> ViewBatch:
        """Read and place."""
        return self.place(self.read(frames))

    def has_due(self, *, at_once: bool = False) -> bool:
        """Whether `settle` has something to work out."""
        return any(at_once or not self._rests(key) for key in self._owed)

    def settle(self, sequence: int, *, at_once: bool = False) -> ViewBatch | None:
        """A batch that works out what is owed and has rested (`at_once`: all of it); None where nothing is."""
        due = [key for key in sorted(self._owed) if at_once or not self._rests(key)]
        if not due:
            return None
        batch = ViewBatch(sequence)
        self._owed.difference_update(due)
        self._work_out(batch, self._memory.recall(due))
        batch.owed = frozenset(self._owed)
        return batch

    def _rests(self, key: tuple[str, str]) -> bool:
        until = self._rested.get(key)
        if until is not None and time.monotonic() >= until:
            del self._rested[key]
            until = None
        return until is not None

    def placed(self, batch: ViewBatch) -> None:
        """The batch is being written, and the one before it is in the view."""
        self._memory.placed(batch.runs)
        self._writer.lay(batch)

    def written(self) -> None:
        """All that was placed is in the view."""
        self._writer.lay(None)

    def forget(self) -> None:
        """Start from what the view holds: a batch was not written, so what is remembered may be ahead of it."""
        self._memory.forget()
        self._writer.lay(None)
        self._owed = set(self._writer.owed())
        self._sink = ContentSink()
        self._listener = Listener(self._sink)

    def _new_events(self, events: list[Event]) -> list[Event]:
        unique = {event.event_id: event for event in reversed(events)}  # The first of equals stays.
        known = self._writer.known_events(list(unique))
        return [event for event in events if unique[event.event_id] is event and event.event_id not in known]

    def _new_accesses(self, accesses: list[StoredAccess]) -> list[StoredAccess]:
        """Those that were not recorded before: one with an id may be recorded twice, and the first counts."""
        first = {one.record.access_id: one for one in reversed(accesses) if one.record.access_id}
        known = self._writer.known_accesses(list(first))
        return [
            one for one in accesses
            if not one.record.access_id or (first[one.record.access_id] is one and one.record.access_id not in known)
        ]  # fmt: skip

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
            trace.hear(event)
            touched[event.tenant, event.trace_id or ""] = trace
        return touched

    def _work_out(self, batch: ViewBatch, touched: dict[tuple[str, str], Trace]) -> None:
        alive = {key: trace for key, trace in touched.items() if trace.spans}
        if not alive:
            return
        self._owed.difference_update(alive)
        fresh = {key: facts_of(trace) for key, trace in alive.items()}
        places = {key: place for key in alive if (place := self._memory.place(key)) is not None}
        segments, in_run = self._tied(fresh, places)
        runs = join(segments)
        # A run is worked out anew when a trace of it is new or changed, came to it, or left it.
        changed = {place.run_id for place in places.values()}
        for run in runs:
            keys = [(member.facts.tenant, member.facts.trace_id) for member in run]
            before = {in_run[key] for key in keys if key in in_run}
            if before - {run[0].run_id} or any(key in alive for key in keys):
                changed |= before | {run[0].run_id}
        dirty = [run for run in runs if run[0].run_id in changed]
        batch.gone_runs |= changed.intersection(in_run.values())
        traces = self._memory.recall(
            (member.facts.tenant, member.facts.trace_id) for run in dirty for member in run
        )  # fmt: skip
        for run in dirty:
            tenant = run[0].facts.tenant
            begun = time.thread_time()
            batch.runs.append(whole_run(run, {m.facts.trace_id: traces[tenant, m.facts.trace_id] for m in run}))
            took = time.thread_time() - begun
            for member in run:
                key = (tenant, member.facts.trace_id)
                if took > REST_BEGINS_SECONDS:
                    self._rested[key] = time.monotonic() + REST_FACTOR * took
                if self._memory.place(key) is not None:
                    batch.gone_segments.add(member.facts.segment_id)

    def _tied(
        self, fresh: dict[tuple[str, str], SegmentFacts], places: dict[tuple[str, str], Place]
    ) -> tuple[list[SegmentFacts], dict[tuple[str, str], str]]:
        """Every segment that may belong with the fresh ones, these included, and the run each stored one is in now.

        Ties that a trace has no longer are followed, too; so are those of what is found, until nothing more is.
        """
        in_run = {key: place.run_id for key, place in places.items()}
        found = dict(fresh)
        wanted = {tied for facts in fresh.values() for tied in facts.ties}.union(*(one.ties for one in places.values()))
        followed: set[int] = set()
        while wanted:
            followed |= wanted
            reached = self._writer.tied(wanted)
            wanted = set()
            for segment in reached:
                key = (segment.facts.tenant, segment.facts.trace_id)
                in_run[key] = segment.run_id
                if key not in found:
                    found[key] = segment.facts
                    wanted |= segment.facts.ties - followed
        return list(found.values()), in_run


def _evaluations(batch: ViewBatch, judged: list[Evaluation]) -> list[Evaluation]:
    """Those whose span or log record is new, each with the revision of the span that carries it."""
    if not judged:
        return []
    new = {(event.sequence, event.ordinal): 0 for event in batch.events}
    new |= {(span.sequence, span.ordinal): span.revision for span, _ in batch.steps}
    found = [one for one in judged if (one.sequence, one.ordinal) in new]
    for one in found:
        one.revision = new[one.sequence, one.ordinal]
    return found


def _reported(batch: ViewBatch, touched: dict[tuple[str, str], Trace]) -> Iterator[tuple[Span, float]]:
    """See `ViewBatch.reported`. What was counted before, as priced or by an earlier record, is not told again."""
    told: set[tuple[str, str, str]] = set()
    for span, _ in batch.steps:
        if span.revision == 1 and span.kind in PAID_KINDS:
            usd = reported_by(touched[span.tenant, span.trace_id].bills(span))
            told.add((span.tenant, span.trace_id, span.span_id))
            if usd is not None:
                yield span, usd
    come = {event.event_id: event for event in batch.events if event.cost_usd is not None and event.trace_id}
    for event in come.values():
        trace = touched[event.tenant, event.trace_id or ""]
        span = trace.spans.get(trace.step_of(event))
        if span is None or span.cost_usd is not None or (span.tenant, span.trace_id, span.span_id) in told:
            continue
        bills = trace.bills(span)
        usd = reported_by(bills)
        if usd is not None and all(bill.event_id in come for bill in bills):
            told.add((span.tenant, span.trace_id, span.span_id))
            yield span, usd
