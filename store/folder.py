"""A data folder: what lies in it, who holds it, and who may open it.

`journal/` is the record, `view.duckdb` what is made from it, `lock` says which process has it open and where its doors are.
"""

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from store.errors import DataFolderLocked, DataFolderUnusable

JOURNAL: Final = "journal"
VIEW: Final = "view.duckdb"
LOCK: Final = "lock"
UNFINISHED: Final = "journal.unfinished"  # A backup in the making: a folder that has it is not whole.
_LOCK_BYTES: Final = 2048  # Always written whole and inside one page, so that nobody reads half of it.
_ATTEMPTS: Final = 5
_ATTEMPT_SECONDS: Final = 0.02  # `running_server` holds the lock for a moment to see whether anybody else does.


class FolderLock:
    """Holds a data folder for this process: the lock is the operating system's, so a crash releases it."""

    def __init__(self, data: Path) -> None:
        """Make the folder if need be and lock it. Raises DataFolderUnusable, DataFolderLocked."""
        self._path = data / LOCK
        self._descriptor = -1
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            locked = _lock(self._descriptor, attempts=_ATTEMPTS)
            if locked:
                self.publish({})
        except OSError as error:
            self._close()
            raise DataFolderUnusable(
                f"the data folder {data} cannot be used: {error.strerror}: {_hint(error)}"
            ) from error
        if not locked:
            holder = _read(self._path)
            self._close()
            who = f"process {holder['pid']}" if "pid" in holder else "another process"
            raise DataFolderLocked(
                f"the data folder {data} is open in {who}: stop it, use its API, or name another folder"
            )

    def publish(self, addresses: dict[str, str]) -> None:
        """Write where this process can be reached, for the command line to find."""
        text = msgspec.json.encode({"pid": str(os.getpid()), **addresses})
        os.pwrite(self._descriptor, text.ljust(_LOCK_BYTES), 0)

    def release(self) -> None:
        """Give the folder back. Safe to call twice."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def running_server(data: Path) -> dict[str, str] | None:
    """The addresses of the process that holds a data folder; None when no process does."""
    path = data / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _lock(descriptor, attempts=1) else _read(path) or None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, attempts: int) -> bool:
    """Whether the lock is now ours. Raises OSError where the file system cannot lock."""
    for attempt in range(attempts):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < attempts:
                time.sleep(_ATTEMPT_SECONDS)
        else:
            return True
    return False


def _hint(error: OSError) -> str:
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "there is a file of that name: name a folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free disk space"
    return "make it writable for this user or name another one"


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}
