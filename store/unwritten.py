"""The view as it will be when the batch that is being written is in it.

While the engine writes one batch (it holds no interpreter lock) the next is placed among what the view holds. Whether the
engine answers from before or from after the commit is chance; laid over with the batch, both are the same answer. Traces
that the batch touched are remembered whole until it is written, so nobody asks for them here.
"""

from collections.abc import Iterable

from store.model.trace import Trace
from store.view import StoredSegment, ViewBatch, Writer


class Unwritten:
    """`store.view.Lookups`, with a batch laid over. One thread's."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
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
        self._events = {event.event_id for event in batch.events} if batch else set()
        self._points = {point.point_id for point in batch.points} if batch else set()
        self._accesses = {one.record.access_id or "" for one in batch.accesses} if batch else set()

    def traces(self, keys: Iterable[tuple[str, str]]) -> list[Trace]:
        return self._writer.traces(keys)

    def segments(self, keys: Iterable[tuple[str, str]]) -> list[StoredSegment]:
        wanted = set(keys)
        laid = [segment for key, segment in self._segments.items() if key in wanted]
        return laid + self._others(self._writer.segments(wanted))

    def tied(self, ties: Iterable[int]) -> list[StoredSegment]:
        wanted = frozenset(ties)
        laid = [segment for segment in self._segments.values() if not wanted.isdisjoint(segment.facts.ties)]
        return laid + self._others(self._writer.tied(wanted))

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
