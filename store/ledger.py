"""The store as one thing: a data folder with its journal, its view, and the projector between them."""

import errno
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from store.access_records import AccessRecord, access_draft
from store.backlog import Backlog, Load, estimated_load
from store.contract import Reader, Waiter
from store.duckdb.digests import table_digests
from store.duckdb.engine import MEMORY_MB, Engine
from store.duckdb.reader import DuckDbReader
from store.duckdb.statements import sql
from store.duckdb.writer import DuckDbWriter
from store.errors import DataFolderUnusable, StoreError, ViewError
from store.folder import JOURNAL, UNFINISHED, VIEW, FolderLock, running_server
from store.journal.continuity import check_continuous
from store.journal.journal import Journal
from store.journal.segments import list_segments
from store.metrics import StoreGauges, StoreMetrics
from store.model.dialect import NORMALISER_VERSION
from store.model.prices import Prices
from store.projector import Projector
from store.record import FrameDraft, Position
from store.view import SCHEMA_VERSION, ViewBatch

__all__ = ["Ledger", "Rebuilt", "rebuild", "running_server"]

_CLOSE_SECONDS: Final = 8.0  # Of the 10 that a shutdown may take: the doors close first.
_FRESH: Final = ".new"  # A rebuild in the making; one that was interrupted is worth nothing.
_log = structlog.get_logger("ledger")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: frames read, frames quarantined, and the digest of every table (hex SHA-256)."""

    frames: int
    quarantined: int
    digests: dict[str, str]


class Ledger:
    """One data folder, open in this process. `Ledger.open`, then `close`."""

    def __init__(
        self,
        lock: FolderLock,
        journal: Journal,
        engine: Engine,
        projector: Projector,
        backlog: Backlog,
        *,
        prices: Prices | None,
    ) -> None:
        self._lock = lock
        self._engine = engine
        self._projector = projector
        self._backlog = backlog
        self.journal = journal
        self.reader: Reader = DuckDbReader(engine, record=journal, prices=prices)
        self.waiter: Waiter = projector

    @classmethod
    def open(
        cls,
        data: Path,
        *,
        registry: CollectorRegistry | None = None,
        view_memory_mb: int = MEMORY_MB,
        prices: Prices | None = None,
    ) -> "Ledger":
        """Open or make a data folder and start projecting. Metrics go to `registry`. `prices`: None for the built-in ones.

        Raises DataFolderLocked, DataFolderUnusable, JournalVersionUnknown, JournalCorrupt, JournalFull, ViewError.
        """
        metrics = StoreMetrics(registry if registry is not None else CollectorRegistry())
        lock = FolderLock(data)
        try:
            journal = _open_journal(data, metrics)
            try:
                engine = _open_view(data / VIEW, journal, view_memory_mb)
                projector, backlog = _projector(journal, engine, metrics, prices)
            except BaseException:
                journal.close()
                raise
        except BaseException:
            lock.release()
            raise
        ledger = cls(lock, journal, engine, projector, backlog, prices=prices)
        if registry is not None:
            registry.register(StoreGauges(ledger._gauges, ledger._runs))
        projector.start()
        return ledger

    def publish(self, addresses: dict[str, str]) -> None:
        """Let the command line find this process by its data folder."""
        self._lock.publish(addresses)

    def append(self, draft: FrameDraft) -> Position:
        """`Journal.append`, counted: by what is appended past it the view is behind unseen. Raises what that raises."""
        return self.submit(draft).result()

    def submit(self, draft: FrameDraft) -> "Future[Position]":
        """`Journal.submit`, counted the same way."""
        self._backlog.begun()
        try:
            done = self.journal.submit(draft)
        except BaseException:
            self._backlog.ended()
            raise
        counted: Future[Position] = Future()

        def count(durable: "Future[Position]") -> None:
            # Before anybody hears of it: who asks then how far the view is behind is told of this frame, too.
            self._backlog.ended()
            error = durable.exception()
            if error is not None:
                counted.set_exception(error)
                return
            position = durable.result()
            self._backlog.appended(position.sequence, len(draft.body), len(draft.leaves))
            counted.set_result(position)

        done.add_done_callback(count)
        return counted

    def record(self, tenant: str, records: Sequence[AccessRecord]) -> "Future[Position]":
        """Make access records of one tenant durable; the future has their position when they are, or why they are not.

        They are no load that senders could be asked to hold back, so nothing is counted. Raises what `Journal.submit` raises.
        """
        return self.journal.submit(access_draft(tenant, records))

    def lag_bytes(self, bytes_max: int) -> int:
        """Request bytes in the journal and not in the view, as they count against a bound of `bytes_max`."""
        return self._backlog.charged_bytes(bytes_max)

    def lag_excess_seconds(self, seconds_max: float) -> float:
        """By how much the view will need more than `seconds_max` for what is ahead of it, through what senders sent."""
        return self._backlog.excess_seconds(seconds_max)

    def disk(self) -> tuple[int, int]:
        """Free bytes and all bytes of the file system of the data folder, or of its journal where that has its own.

        Raises OSError.
        """
        data = self._engine.path.parent
        usages = [shutil.disk_usage(folder) for folder in (data, data / JOURNAL)]
        fullest = min(usages, key=lambda usage: usage.free)
        return fullest.free, fullest.total

    def digests(self) -> dict[str, str]:
        """The digest of every table of the view, as it is now."""
        return table_digests(self._engine)

    def close(self, timeout_seconds: float = _CLOSE_SECONDS) -> None:
        """Stop accepting, project what the time allows (the rest is safe in the journal), and let the folder go."""
        self.journal.close()
        if not self._projector.stop(timeout_seconds):
            _log.warning("view_behind_at_close", view=self._projector.sequence, journal=self.journal.durable_sequence)
        if self._projector.running:
            return  # In the middle of a batch: the engine cannot be closed under it, and the folder goes with the process.
        try:
            self._engine.close()
        finally:
            self._lock.release()

    def _gauges(self) -> dict[str, tuple[float, str]]:
        return {
            "spanledger_journal_sequence": (self.journal.durable_sequence, "The last sequence on disk"),
            "spanledger_view_sequence": (self._projector.sequence, "The last sequence in the view"),
            "spanledger_projection_lag_seconds": (self._projector.lag_seconds, "How long the view has been behind"),
            "spanledger_quarantined_frames": (self.reader.status().quarantined_frames, "Frames that do not project"),
            "spanledger_journal_bytes": (self.journal.bytes_on_disk, "Bytes of the journal"),
            "spanledger_view_bytes": (self._engine.bytes_on_disk, "Bytes of the view"),
            "spanledger_projection_lag_bytes": (self._backlog.total_bytes, "Request bytes not in the view yet"),
            "spanledger_projection_catch_up_seconds": (
                self._backlog.catch_up_seconds,
                "Needed for what is not in the view",
            ),
            "spanledger_journal_queue_depth": (self._backlog.frames_appending, "Requests on their way to the disk"),
            "spanledger_disk_free_bytes": (self.disk()[0], "Bytes free on the file system of the data folder"),
        }

    def _runs(self) -> dict[str, int]:
        counts = self.reader.status().counts
        return {name.removeprefix("runs."): count for name, count in counts.items() if name.startswith("runs.")}


def rebuild(
    data: Path,
    *,
    view_memory_mb: int = MEMORY_MB,
    prices: Prices | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Rebuilt:
    """Make the view again from the journal, beside the old one, and put it in its place when it is whole.

    No server may hold the folder. `progress` hears (sequence, last sequence). Raises what `Ledger.open` raises.
    """
    lock = FolderLock(data)
    try:
        journal = _open_journal(data, StoreMetrics(CollectorRegistry()))
        try:
            fresh = data / (VIEW + _FRESH)
            _remove(fresh)
            engine = Engine(fresh, memory_mb=view_memory_mb)
            try:
                writer = DuckDbWriter(engine)
                Projector(journal, writer, prices=prices).catch_up(progress)
                quarantined = DuckDbReader(engine).status().quarantined_frames
                digests = table_digests(engine)
            finally:
                engine.close()
            _remove(data / VIEW)
            fresh.rename(data / VIEW)
            return Rebuilt(journal.durable_sequence, quarantined, digests)
        finally:
            journal.close()
    finally:
        lock.release()


def _open_journal(data: Path, metrics: StoreMetrics) -> Journal:
    if (data / UNFINISHED).exists():
        raise DataFolderUnusable(
            f"the data folder {data} is a backup that was not finished ({UNFINISHED}): start on a whole one, or remove it"
        )
    try:
        # Before anything is mended: a folder with a hole in its record is left as it is.
        check_continuous(list_segments(data / JOURNAL))
        return Journal(data / JOURNAL, on_fsync=metrics.fsync_seconds.observe)
    except OSError as error:
        hint = "free disk space" if error.errno == errno.ENOSPC else "check that this user may write there"
        raise DataFolderUnusable(f"the journal in {data} cannot be opened: {error.strerror}: {hint}") from error


def _projector(
    journal: Journal, engine: Engine, metrics: StoreMetrics, prices: Prices | None
) -> tuple[Projector, Backlog]:
    try:
        status = DuckDbReader(engine).status()
        backlog = _backlog(journal, status.position.sequence if status.position else 0)

        def written(batch: ViewBatch, seconds: float) -> None:
            backlog.projected(batch.sequence)
            metrics.count(batch, seconds)

        writer = DuckDbWriter(engine)
        quarantined = status.quarantined_frames
        return Projector(journal, writer, prices=prices, quarantined_frames=quarantined, on_batch=written), backlog
    except StoreError:
        engine.close()
        raise


def _backlog(journal: Journal, reached: int) -> Backlog:
    durable = journal.durable_sequence
    inherited = estimated_load(journal.frames_after(reached), durable - reached) if durable > reached else Load()
    return Backlog(reached=reached, durable=durable, inherited=inherited)


def _open_view(path: Path, journal: Journal, memory_mb: int) -> Engine:
    """Open the view; one of another journal, schema or normaliser is made again from the record."""
    _remove(path.with_name(path.name + _FRESH))
    if not path.exists():
        _remove(path)  # A write-ahead log without its file is another view's.
    else:
        reason = _outdated(path, journal, memory_mb)
        if reason is None:
            return Engine(path, memory_mb=memory_mb)
        _log.warning("view_made_again", cause=reason)
        _remove(path)
    return Engine(path, memory_mb=memory_mb)


def _outdated(path: Path, journal: Journal, memory_mb: int) -> str | None:
    try:
        engine = Engine(path, memory_mb=memory_mb)
        try:
            rows = engine.rows(sql("select_meta"))
            engine.rows(sql("select_fit"))
        finally:
            engine.close()
    except ViewError as error:
        return str(error)
    if not rows:
        return "it was never begun"
    found = rows[0]
    if (found["schema_version"], found["normaliser_version"]) != (SCHEMA_VERSION, NORMALISER_VERSION):
        return "it was made by another release"
    if found["journal_id"] != journal.journal_id:
        return "it belongs to another journal"
    if found["sequence"] > journal.durable_sequence:
        return "it is ahead of the journal"
    return None


def _remove(path: Path) -> None:
    # The log first: a view without it is an older one, but the log without its view would be taken for the next one's.
    for name in (path.with_name(path.name + ".wal"), path):
        name.unlink(missing_ok=True)
