"""What the projector hands to an engine: one batch, to be written in one transaction with the position it reaches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from store.access_records import StoredAccess
from store.model.content import Content
from store.model.evaluations import Evaluation
from store.model.joining import SegmentFacts
from store.model.runs import WholeRun
from store.model.span import Event, MetricPoint, Span, SpanBody
from store.model.trace import Trace
from store.record import Position

SCHEMA_VERSION = 4
"""Raised with every change of the tables: a view of another version is made again from the journal."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A frame that could not be projected, and why."""

    sequence: int
    signal: str
    tenant: str
    error: str


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as the view holds it, with the run it is in now."""

    facts: SegmentFacts
    run_id: str


@dataclass(slots=True)
class ViewBatch:
    """New rows, and the runs to write anew. `gone_runs` and `gone_segments` are ids whose old rows go."""

    sequence: int
    steps: list[tuple[Span, SpanBody]] = field(default_factory=list[tuple[Span, SpanBody]])
    superseded: list[tuple[Span, int]] = field(default_factory=list[tuple[Span, int]])
    """Versions that are no longer current, each with the sequence that made it so."""
    reported: list[tuple[Span, float]] = field(default_factory=list[tuple[Span, float]])
    """Steps of which log records say what they cost, in US dollars: those that came with this batch, and earlier ones of
    which nobody had said it."""
    events: list[Event] = field(default_factory=list[Event])
    points: list[MetricPoint] = field(default_factory=list[MetricPoint])
    contents: list[Content] = field(default_factory=list[Content])
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    accesses: list[StoredAccess] = field(default_factory=list[StoredAccess])
    runs: list[WholeRun] = field(default_factory=list[WholeRun])
    gone_runs: set[str] = field(default_factory=set[str])
    gone_segments: set[str] = field(default_factory=set[str])
    quarantined: list[Quarantined] = field(default_factory=list[Quarantined])
    owed: frozenset[tuple[str, str]] = frozenset()
    """Traces, by (tenant, trace id), whose steps are in the view and whose run is still to be worked out anew."""


class Lookups(Protocol):
    """What placing a batch asks of the view. Every method may raise ViewError."""

    def traces(self, keys: Iterable[tuple[str, str]]) -> list[Trace]:
        """Traces by (tenant, trace id), with all versions of their spans and the log records that speak for them.

        A trace of which nothing is stored is left out.
        """
        ...

    def segments(self, keys: Iterable[tuple[str, str]]) -> list[StoredSegment]:
        """The stored segments of some traces, by (tenant, trace id)."""
        ...

    def tied(self, ties: Iterable[int]) -> list[StoredSegment]:
        """Every stored segment that has one of these ties (see `store/model/joining.py`; a tie is of one tenant)."""
        ...

    def owed(self) -> frozenset[tuple[str, str]]:
        """What the last batch left owed."""
        ...

    def known_events(self, ids: list[str]) -> set[str]:
        """Which of these event ids are stored."""
        ...

    def known_points(self, ids: list[str]) -> set[str]:
        """Which of these metric point ids are stored."""
        ...

    def known_accesses(self, ids: list[str]) -> set[str]:
        """Which of these ids of access records are stored."""
        ...


class Writer(Lookups, Protocol):
    """The side of an engine that the projector feeds. Every method may raise ViewError.

    One thread asks and prepares, another may commit meanwhile; batches are committed in the order they were prepared.
    """

    def position(self) -> Position | None:
        """The position of the last batch written; None for a view that is new."""
        ...

    def begin(self, journal_id: str) -> None:
        """Make an empty view of a journal."""
        ...

    def trace_keys(self) -> Iterator[tuple[str, str]]:
        """(tenant, trace id) of everything that `traces` and `segments` would find; some may come twice."""
        ...

    def ties(self) -> Iterator[int]:
        """Every tie that `tied` would find a segment by; some may come twice."""
        ...

    def prepare(self, batch: ViewBatch) -> Any:
        """The batch as `commit` wants it: all that has to be done in Python."""
        ...

    def commit(self, prepared: Any) -> None:
        """Write a prepared batch and its position, all or nothing."""
        ...

    def write(self, batch: ViewBatch) -> None:
        """Prepare and commit."""
        ...

    def tidy(self) -> None:
        """There is time: make what was written small, and the next start quick."""
        ...
