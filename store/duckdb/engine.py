"""The embedded engine: one DuckDB instance in this process, for the writer and for every reader.

DuckDB refuses a read-only connection beside a read-write one and shuts other processes out, and its memory limit is the
instance's; so the whole instance is closed to files, network and extensions, and its configuration is locked.

A checkpoint for which the disk has no room is fatal to the instance: from then on it refuses everything. What is on disk is
whole all the same, so it is opened again, by whoever asks next, and the view goes on by itself once there is room.
"""

import shutil
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import structlog

from store.duckdb.statements import table_definitions
from store.errors import RowRefused, ViewError

MEMORY_MB: Final = 512  # Beside the process's own: buffers for writing batches and for analytical reads.
THREADS: Final = 2
_BLOCK_BYTES: Final = 65_536  # A hundred columns in blocks of 256 KB leave a fifth of a small view empty.
GROUP_ROWS: Final = 8_192
"""A checkpoint writes the last group of a table anew, and every group that lost rows. With the engine's own 122,880 rows the
longest held the writer up for 0.7 s (*small*) and 0.4 s (*history*), with these for 0.26 s, and all of them together
cost half as much or less (`python -m bench.checkpoints`). With half as many it is 0.2 s, but what describes a group stays in
memory: 60 bytes a span stored, where it is 35 with these."""
BATCH_ROWS: Final = 65_536
_SPILL: Final = ".spill"
_USE: Final = "USE view"  # Every connection begins in the empty database that the file is attached to.
_TIDY_BYTES: Final = 1024 * 1024  # Of write-ahead log, which is not compressed: less is not worth a checkpoint.
_TIDY_ROOM: Final = (
    4  # Times the log must be free on the disk: a checkpoint writes what the log says, and some indexes.
)
_REOPEN_SECONDS: Final = 1.0  # Between two attempts: each may replay a log of `CHECKPOINT_MB`.
CHECKPOINT_MB: Final = 40  # Of write-ahead log: each is short, and there is less than a second to replay after a crash.

_log = structlog.get_logger("view")


class Engine:
    """A DuckDB file, opened by this process. `cursor()` gives every thread a connection of its own."""

    def __init__(
        self,
        path: Path,
        *,
        memory_mb: int = MEMORY_MB,
        group_rows: int = GROUP_ROWS,
        checkpoint_mb: int = CHECKPOINT_MB,
    ) -> None:
        """Open or create the file. The engine writes a checkpoint by itself at `checkpoint_mb` of log. Raises ViewError."""
        self.path = path
        self._memory_mb = memory_mb
        self._group_rows = group_rows
        self._checkpoint_mb = checkpoint_mb
        self._connection = self._open()
        self._local = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self._life = 0  # Counts openings: a thread's connection to an earlier one is of no use.
        self._fatal: str | None = None
        self._reopen_at = 0.0

    def _open(self) -> duckdb.DuckDBPyConnection:
        connection: duckdb.DuckDBPyConnection | None = None
        try:
            connection = duckdb.connect(
                ":memory:",
                config={
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "allow_community_extensions": "false",
                    "memory_limit": f"{self._memory_mb}MB",
                    "temp_directory": self._spill(),
                    "threads": str(THREADS),
                    "checkpoint_threshold": f"{self._checkpoint_mb}MB",
                    "preserve_insertion_order": "true",
                    "python_enable_replacements": "false",
                },
            )
            # The rows of a group can only be told where a file is attached, and ATTACH takes no parameters.
            place = str(self.path).replace("'", "''")
            shape = f"BLOCK_SIZE {_BLOCK_BYTES}, ROW_GROUP_SIZE {self._group_rows}"
            connection.execute(f"ATTACH '{place}' AS view ({shape})")
            connection.execute(_USE)
            connection.execute("SET enable_external_access = false")
            for statement in table_definitions():
                connection.execute(statement)
            connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            if connection is not None:
                _close(connection)  # Or the file would stay held, and nobody else could open it.
            raise ViewError(f"the view {self.path.name} cannot be opened: {error}") from error
        return connection

    def _spill(self) -> str:
        """Where the engine puts what its memory does not hold: beside the file, not where the process was started."""
        return "" if self.path.name == ":memory:" else str(self.path.with_name(self.path.name + _SPILL))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """The connection of the calling thread. Raises ViewError while the engine cannot be opened again."""
        if self._fatal is None and getattr(self._local, "life", None) == self._life:
            return self._local.cursor
        with self._lock:
            if self._fatal is not None:
                self._reopen(self._fatal)
            found = self._connection.cursor()
            found.execute(_USE)
            self._cursors.append(found)
            self._local.cursor, self._local.life = found, self._life
        return found

    @contextmanager
    def snapshot(self) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection of its own that sees the view as of one moment; another thread may interrupt it. Raises ViewError."""
        self.cursor()  # Opens an instance that gave up again.
        with self._lock:
            own = self._connection.cursor()
            self._cursors.append(own)
        try:
            own.execute(_USE)
            own.execute("BEGIN TRANSACTION READ ONLY")
            yield own
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot answer: {error}") from error
        finally:
            with self._lock:
                self._cursors.remove(own)
            _close(own)

    def _reopen(self, cause: str) -> None:
        """Close an instance that refuses everything, and open its file again."""
        now = time.monotonic()
        if now < self._reopen_at:
            raise ViewError(f"the engine of the view gave up and is opened again in a moment: {cause}")
        self._reopen_at = now + _REOPEN_SECONDS
        # As long as one connection is open, the instance holds the file and a new one is refused it.
        if not self._close_all():
            self._reopen_at = now  # What is still running fails by itself.
            raise ViewError(f"the engine of the view gave up and statements are still ending: {cause}")
        self._connection = self._open()
        self._life += 1
        self._fatal = None
        _log.warning("view_opened_again", cause=cause)

    def _note(self, error: duckdb.Error) -> None:
        """Remember an error after which the instance refuses everything."""
        if _gives_up(error) and self._fatal is None and self._local.life == self._life:
            self._fatal = str(error).partition("\n")[0]
            _log.error("view_engine_gave_up", cause=str(error))

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dicts. Raises ViewError."""
        try:
            cursor = self.cursor().execute(statement, parameters or {})
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot answer: {error}") from error

    def table(self, statement: str, parameters: dict[str, Any]) -> pa.Table:
        """Run one query and return its rows as columns: for many rows, a tenth of the memory. Raises ViewError."""
        try:
            return self.cursor().sql(statement, params=parameters).to_arrow_table()
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot answer: {error}") from error

    def batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Run one query and return its rows as columns, some at a time: for more than should be held. Raises ViewError.

        The calling thread asks nothing else until it is through.
        """
        try:
            yield from self.cursor().sql(statement).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot answer: {error}") from error

    @contextmanager
    def transaction(self) -> Generator[duckdb.DuckDBPyConnection]:
        """All or nothing. Raises ViewError for what the engine refuses."""
        cursor = self.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                if isinstance(error, duckdb.Error):
                    self._note(error)
                with suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                raise
        except (duckdb.DataError, duckdb.IntegrityError) as error:
            raise RowRefused(f"the view refuses a row: {error}") from error
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot be written: {error}") from error

    def tidy(self) -> None:
        """Write a checkpoint if the log has grown; not now, if a reader is in the way or the disk nearly full.

        Raises ViewError.
        """
        log = self._log()
        log_bytes = log.stat().st_size if log.exists() else 0
        if log_bytes <= _TIDY_BYTES or shutil.disk_usage(log.parent).free < _TIDY_ROOM * log_bytes:
            return
        try:
            with suppress(duckdb.TransactionException):
                self.cursor().execute("CHECKPOINT")
        except duckdb.Error as error:
            self._note(error)
            raise ViewError(f"the view cannot be written: {error}") from error

    def _log(self) -> Path:
        return self.path.with_name(self.path.name + ".wal")

    @property
    def bytes_on_disk(self) -> int:
        """The file and its write-ahead log."""
        files = (self.path, self._log())
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Write a checkpoint and close. Safe to call twice."""
        with self._lock:
            self._close_all()

    def _close_all(self) -> bool:
        """Close what can be closed. False where a statement is still running."""
        self._cursors = [cursor for cursor in self._cursors if not _close(cursor)]
        return not self._cursors and _close(self._connection)


def _gives_up(error: duckdb.Error) -> bool:
    """Whether the engine refuses everything from now on. For a file that was attached it says so in words alone."""
    return isinstance(error, duckdb.FatalException) or "has been invalidated" in str(error)


def _close(connection: duckdb.DuckDBPyConnection) -> bool:
    try:
        connection.close()
    except duckdb.Error:
        return False
    return True
