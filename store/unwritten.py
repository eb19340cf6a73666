"""The view as it will be when the batch that is being written is in it.

While the engine writes one batch (it holds no interpreter lock) the next is placed among what the view holds. Whether the
engine answers from before or from after the commit is chance; laid over with the batch, both are the same answer. Traces
that the batch touched are remembered whole until it is written, so nobody asks for them here.

Traces and ties that were never laid over, and that the view did not hold at the start, are not asked for at all.
"""

from collections.abc import Iterable

from store.model.trace import Trace
from store.sightings import Sightings
from store.view import StoredSegment, ViewBatch, Writer


class Unwritten:
    """`store.view.Lookups`, with a batch laid over. One thread's."""

    def __init__(self, writer: Writer) -> None:
        """Looks at every trace that the view holds, some 2 us each. Raises ViewError."""
        self._writer = writer
        self._traces, self._ties = Sightings(), Sightings()
        self._traces.note(writer.trace_keys())
        self._ties.note(writer.ties())
        self._segments: dict[tuple[str, str], StoredSegment] = {}
        self._events: set[str] = set()
        self._points: set[str] = set()
        self._accesses: set[str] = set()

    def lay(self, batch: ViewBatch | None) -> None:
        """Lay a batch over, in place of the one before; None where all that was placed is written."""
        self._segments = {
            (joined.facts.tenant, joined.facts.trace_id): StoredSegment(joined.facts, joined.run_id)
            for whole in (batch.runs if batch else ())
            for joined in whole.segments
        }
        self._traces.note(self._segments)
        self._traces.note((one.tenant, one.trace_id) for one in (batch.events if batch else ()) if one.speaks)
        self._ties.note(tied for segment in self._segments.values() for tied in segment.facts.ties)
        self._events = {event.event_id for event in batch.events} if batch else set()
        self._points = {point.point_id for point in batch.points} if batch else set()
        self._accesses = {one.record.access_id or "" for one in batch.accesses} if batch else set()

    def traces(self, keys: Iterable[tuple[str, str]]) -> list[Trace]:
        known = self._traces.among(keys)
        return self._writer.traces(known) if known else []

    def segments(self, keys: Iterable[tuple[str, str]]) -> list[StoredSegment]:
        wanted = set(keys)
        laid = [segment for key, segment in self._segments.items() if key in wanted]
        known = self._traces.among(wanted)
        return laid + self._others(self._writer.segments(known) if known else [])

    def tied(self, ties: Iterable[int]) -> list[StoredSegment]:
        wanted = frozenset(ties)
        laid = [segment for segment in self._segments.values() if not wanted.isdisjoint(segment.facts.ties)]
        known = self._ties.among(wanted)
        return laid + self._others(self._writer.tied(known) if known else [])

    def owed(self) -> frozenset[tuple[str, str]]:
        return self._writer.owed()

    def known_events(self, ids: list[str]) -> set[str]:
        return self._events.intersection(ids) | self._writer.known_events(ids)

    def known_points(self, ids: list[str]) -> set[str]:
        return self._points.intersection(ids) | self._writer.known_points(ids)

    def known_accesses(self, ids: list[str]) -> set[str]:
        return self._accesses.intersection(ids) | self._writer.known_accesses(ids)

    def _others(self, stored: list[StoredSegment]) -> list[StoredSegment]:
        return [one for one in stored if (one.facts.tenant, one.facts.trace_id) not in self._segments]
