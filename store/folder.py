"""A data folder: what lies in it, who holds it, and who may open it.

`journal/` is the record, `view.duckdb` what is made from it, `lock` says which process has it open and where its doors are.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from store.errors import DataFolderLocked, DataFolderUnusable

JOURNAL: Final = "journal"
VIEW: Final = "view.duckdb"
LOCK: Final = "lock"


class FolderLock:
    """Holds a data folder for this process: the lock is the operating system's, so a crash releases it."""

    def __init__(self, data: Path) -> None:
        """Make the folder if need be and lock it. Raises DataFolderUnusable, DataFolderLocked."""
        self._path = data / LOCK
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderUnusable(
                f"the data folder {data} cannot be used: {error.strerror}: make it writable for this user or name another one"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(self._path)
            os.close(self._descriptor)
            who = f"process {holder['pid']}" if "pid" in holder else "another process"
            raise DataFolderLocked(
                f"the data folder {data} is open in {who}: stop it, use its API, or name another folder"
            ) from error
        self.publish({})

    def publish(self, addresses: dict[str, str]) -> None:
        """Write where this process can be reached, for the command line to find."""
        text = msgspec.json.encode({"pid": str(os.getpid()), **addresses})
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Give the folder back. Safe to call twice."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
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
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _read(path) or None
    else:
        return None
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}
