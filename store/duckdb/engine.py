"""The embedded engine: one DuckDB instance in this process, for the writer and for every reader.

DuckDB refuses a read-only connection beside a read-write one and shuts other processes out, and its memory limit is the
instance's; so the whole instance is closed to files, network and extensions, and its configuration is locked.
"""

import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import duckdb

from store.duckdb.statements import table_definitions
from store.errors import RowRefused, ViewError

MEMORY_MB: Final = 512  # Beside the process's own: buffers for writing batches and for analytical reads.
THREADS: Final = 2
_BLOCK_BYTES: Final = "65536"  # A hundred columns in blocks of 256 KB leave a fifth of a small view empty.
_TIDY_ROOM: Final = 4  # Times the log must be free on the disk: a checkpoint writes what the log says, and more.
_TIDY_BYTES: Final = 1024 * 1024  # Of write-ahead log, which is not compressed: less is not worth a checkpoint.
_CHECKPOINT: Final = (
    "64MB"  # Of write-ahead log: fewer checkpoints while loading, still a second to replay after a crash.
)


class Engine:
    """A DuckDB file, opened by this process. `cursor()` gives every thread a connection of its own."""

    def __init__(self, path: Path, *, memory_mb: int = MEMORY_MB) -> None:
        """Open or create the file. Raises ViewError."""
        self.path = path
        try:
            self._connection = duckdb.connect(
                str(path),
                config={
                    "enable_external_access": "false",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "allow_community_extensions": "false",
                    "memory_limit": f"{memory_mb}MB",
                    "threads": str(THREADS),
                    "checkpoint_threshold": _CHECKPOINT,
                    "default_block_size": _BLOCK_BYTES,
                    "preserve_insertion_order": "true",
                    "python_enable_replacements": "false",
                },
            )
            for statement in table_definitions():
                self._connection.execute(statement)
            self._connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            raise ViewError(f"the view {path.name} cannot be opened: {error}") from error
        self._local = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._cursors_lock = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """The connection of the calling thread."""
        found = getattr(self._local, "cursor", None)
        if found is None:
            found = self._connection.cursor()
            self._local.cursor = found
            with self._cursors_lock:
                self._cursors.append(found)
        return found

    def rows(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dicts. Raises ViewError."""
        try:
            cursor = self.cursor().execute(statement, parameters or {})
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
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
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
        except (duckdb.DataError, duckdb.IntegrityError) as error:
            raise RowRefused(f"the view refuses a row: {error}") from error
        except duckdb.Error as error:
            raise ViewError(f"the view cannot be written: {error}") from error

    def tidy(self) -> None:
        """Write a checkpoint if the log has grown; not now, if a reader is in the way or the disk nearly full.

        A checkpoint for which there is no room is fatal to the instance: it refuses everything until the next start.
        """
        log = self._log()
        log_bytes = log.stat().st_size if log.exists() else 0
        if log_bytes > _TIDY_BYTES and shutil.disk_usage(log.parent).free > _TIDY_ROOM * log_bytes:
            with suppress(duckdb.TransactionException):
                self.cursor().execute("CHECKPOINT")

    def _log(self) -> Path:
        return self.path.with_name(self.path.name + ".wal")

    @property
    def bytes_on_disk(self) -> int:
        """The file and its write-ahead log."""
        files = (self.path, self._log())
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Write a checkpoint and close. Safe to call twice."""
        with self._cursors_lock:
            for cursor in self._cursors:
                cursor.close()
            self._cursors.clear()
        self._connection.close()
