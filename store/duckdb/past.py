"""A run as the record stood at a moment: the frames that had come by then, projected into a view of their own.

The view knows what is so now. What was so then is worked out as it was then: the frames that say something of the run's
traces are taken from the journal up to the moment, the very same projection makes a small view in memory of them, and the
very same reader answers from it. So an answer as of a moment is that of a store that was fed no more than what had come.

Which traces were the run's may have been otherwise, too: those that have a tie or a call in common are projected with it,
until nothing more is found. Of each frame only these traces are taken: half of another one could be joined otherwise.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from store.contract import Moment
from store.duckdb.engine import Engine
from store.duckdb.statements import sql
from store.duckdb.writer import DuckDbWriter
from store.errors import BadQuery, JournalError, NotFound, PastBusy, PastNotReached, ViewError
from store.model.prices import Prices
from store.projection import Projection
from store.record import Frame

FRAMES_MAX: Final = 2_000
"""Frames of one run's past. More take minutes to read and project, and a gigabyte."""
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of their bodies: normalised they are some ten times as much, for a moment."""
TRACES_MAX: Final = 1_000
"""Traces that may have been one run."""
PASTS_MAX: Final = 4
"""That are kept for the next question about the same moment: pages of a list, a replay after a state."""
KEPT_SECONDS: Final = 60.0
AT_ONCE: Final = 2
WAIT_SECONDS: Final = 10.0
MEMORY_MB: Final = 256
_BATCH_FRAMES: Final = 256
_END: Final = 2**63 - 1

Answering = Callable[[Engine, Callable[[], int]], Any]
"""Makes a reader of a view, with a clock."""


class Record(Protocol):
    """What of the journal is asked for."""

    @property
    def durable_sequence(self) -> int:
        """The last frame that is durable."""
        ...

    def frames(self, sequences: Sequence[int]) -> Iterator[Frame]:
        """Some durable frames, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class _Past:
    engine: Engine
    now_ns: int
    made_at: float


class Pasts:
    """Views of the past, some of them kept for a while. Any thread's."""

    def __init__(
        self,
        engine: Engine,
        record: Record,
        answering: Answering,
        *,
        prices: Prices | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._writer = DuckDbWriter(engine)
        self._record = record
        self._answering = answering
        self._prices = prices
        self._clock_ns = clock_ns
        self._kept: OrderedDict[tuple[str, frozenset[str], Moment], _Past] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.BoundedSemaphore(AT_ONCE)

    def of(self, tenant: str, run_id: str, moment: Moment) -> tuple[Any, str]:
        """A reader of the run as it stood then, and its id then. Raises NotFound, BadQuery, PastBusy, PastNotReached,
        ViewError.
        """
        rows = self._engine.rows(sql("select_run"), {"tenant": tenant, "id": run_id})
        if not rows:
            raise NotFound(f"there is no run {run_id!r}")
        trace_ids: list[str] = rows[0]["trace_ids"]
        until = self._until(moment)
        past = self._past(tenant, frozenset(trace_ids), moment, until)
        reader = self._answering(past.engine, lambda: past.now_ns)
        # Before all of it had come it may have been known by another id, and been several runs.
        for known_as in (run_id, *trace_ids):
            found = past.engine.rows(sql("select_run"), {"tenant": tenant, "id": known_as})
            if found:
                return reader, found[0]["run_id"]
        raise NotFound(f"nothing of the run {run_id!r} had been recorded then")

    def _until(self, moment: Moment) -> int:
        """The last sequence that may belong to the moment. Raises BadQuery, PastNotReached."""
        reached = self._writer.position()
        if reached is None:
            raise PastNotReached("nothing is in the view yet")
        if moment.position is not None:
            if moment.position.journal_id != reached.journal_id:
                raise BadQuery("as_of", f"{moment.position} is a position of another record than this one")
            if moment.position.sequence > self._record.durable_sequence:
                raise BadQuery("as_of", f"{moment.position} is behind the end of the record")
            if moment.position.sequence > reached.sequence:
                raise PastNotReached(f"the view has not reached {moment.position} yet; ask again in a moment")
            return moment.position.sequence
        if moment.time_ns > self._clock_ns():
            raise BadQuery("as_of", "is a time that is still to come")
        ahead = next(self._record.frames([reached.sequence + 1]), None) if (
            self._record.durable_sequence > reached.sequence
        ) else None  # fmt: skip
        if ahead is not None and ahead.received_ns <= moment.time_ns:
            raise PastNotReached("the view does not hold all that had come by that time; ask again in a moment")
        return reached.sequence

    def _past(self, tenant: str, trace_ids: frozenset[str], moment: Moment, until: int) -> _Past:
        key = (tenant, trace_ids, moment)
        kept = self._keeping(key)
        if kept is not None:
            return kept
        if not self._making.acquire(timeout=WAIT_SECONDS):
            raise PastBusy(f"{AT_ONCE} moments of the past are being worked out; try again in a few seconds")
        try:
            kept = self._keeping(key)  # Whoever was waited for may have asked the same.
            if kept is not None:
                return kept
            past = self._made(tenant, set(trace_ids), moment, until)
        except JournalError as error:
            raise ViewError(f"what the record held then cannot be read: {error}") from error
        finally:
            self._making.release()
        with self._lock:
            self._kept[key] = past
            while len(self._kept) > PASTS_MAX:
                self._kept.popitem(last=False)  # Whoever still reads it holds its engine.
        return past

    def _keeping(self, key: tuple[str, frozenset[str], Moment]) -> _Past | None:
        with self._lock:
            oldest = time.monotonic() - KEPT_SECONDS
            for name in [name for name, past in self._kept.items() if past.made_at < oldest]:
                del self._kept[name]
            return self._kept.get(key)

    def _made(self, tenant: str, trace_ids: set[str], moment: Moment, until: int) -> _Past:
        """Project until no trace is found any more that the run may have been joined with."""
        now_ns = moment.time_ns
        if moment.position is not None:
            now_ns = max((frame.received_ns for frame in self._record.frames([until])), default=0)
        wanted = self._with_tied(tenant, trace_ids, [])
        while True:
            engine = self._projected(tenant, wanted, until, now_ns)
            further = self._with_tied(tenant, wanted, DuckDbWriter(engine).ties())
            if further == wanted:
                return _Past(engine, now_ns, time.monotonic())
            wanted = further

    def _with_tied(self, tenant: str, trace_ids: set[str], ties: Iterable[int]) -> set[str]:
        """The traces with all that have a tie or a call in common with them now, or one of these ties."""
        found, reached = set(trace_ids), set(ties)
        followed: set[int] = set()
        while True:
            before = len(found)
            for segment in self._writer.segments((tenant, one) for one in found):
                reached |= segment.facts.ties
            tied = self._writer.tied(reached - followed) if reached - followed else []
            followed |= reached
            found |= {segment.facts.trace_id for segment in tied if segment.facts.tenant == tenant}
            asked = {"tenant": tenant, "trace_ids": sorted(found), "limit": TRACES_MAX + 1}
            found |= {row["trace_id"] for row in self._engine.rows(sql("select_traces_with_calls"), asked)}
            if len(found) > TRACES_MAX:
                raise BadQuery("as_of", f"more than {TRACES_MAX:,} traces may have been this run then; ask without it")
            if len(found) == before:
                return found

    def _projected(self, tenant: str, trace_ids: set[str], until: int, now_ns: int) -> Engine:
        ranges = [row for row in self._engine.rows(sql("select_traces"), {"trace_ids": sorted(trace_ids)})
                  if row["tenant"] == tenant]  # fmt: skip
        asked = {
            "tenant": tenant, "trace_ids": sorted(trace_ids), "until": until, "until_ns": now_ns or _END,
            "first_sequence": min((row["first_sequence"] for row in ranges), default=0), "limit": FRAMES_MAX + 1,
        }  # fmt: skip
        sequences = [row["sequence"] for row in self._engine.rows(sql("select_frames_of_traces"), asked)]
        if len(sequences) > FRAMES_MAX:
            raise _too_much(f"more than {FRAMES_MAX:,} requests")
        engine = Engine(Path(":memory:"), memory_mb=MEMORY_MB)
        writer = DuckDbWriter(engine)
        position = self._writer.position()
        writer.begin(position.journal_id if position else "")
        projection = Projection(writer, self._prices)
        taken_bytes = 0
        batch: list[Frame] = []
        for frame in self._record.frames(sequences):
            if frame.received_ns > now_ns:
                break
            taken_bytes += len(frame.body)
            if taken_bytes > BYTES_MAX:
                raise _too_much(f"requests of more than {BYTES_MAX // 1024 // 1024} MiB")
            batch.append(frame)
            if len(batch) >= _BATCH_FRAMES:
                _project(projection, writer, batch, trace_ids)
                batch = []
        if batch:
            _project(projection, writer, batch, trace_ids)
        settled = projection.settle(until, at_once=True)
        if settled is not None:
            writer.write(settled)
        return engine


def _project(projection: Projection, writer: DuckDbWriter, frames: list[Frame], trace_ids: set[str]) -> None:
    reading = projection.read(frames)
    reading = replace(
        reading,
        spans=[one for one in reading.spans if one[0].trace_id in trace_ids],
        events=[one for one in reading.events if one.trace_id is None or one.trace_id in trace_ids],
    )
    batch = projection.place(reading)
    writer.write(batch)
    projection.placed(batch)
    projection.written()


def _too_much(what: str) -> BadQuery:
    return BadQuery(
        "as_of",
        f"this run was told by {what} by then, which is too much to work out anew; ask without it, or as of earlier",
    )
