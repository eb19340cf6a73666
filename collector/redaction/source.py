"""Where the policy in force comes from: the built-in one, or a file that is read again when it changes.

The file is looked at when a request needs the policy, at most once in `LOOK_SECONDS`, so that no thread and no signal is
needed. One request reads and compiles it while the others go on with the policy before; so does everyone when the new one
cannot be used, and the log says why.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from collector.redaction.errors import PolicyUnusable
from collector.redaction.policy import Policy
from collector.redaction.policy_file import read_policy

LOOK_SECONDS: Final = 1.0
_log: Final = structlog.stdlib.get_logger(__name__)


class PolicyFile:
    """A policy file in force. Thread-safe."""

    def __init__(self, path: Path, *, has_key: bool, on_read: Callable[[bool], None] = lambda _: None) -> None:
        """`has_key` is whether pseudonyms can be made. `on_read` hears of each later reading whether it can be used.

        Raises PolicyUnusable.
        """
        self._path = path
        self._has_key = has_key
        self._on_read = on_read
        self._lock = threading.Lock()
        self._seen = _state_of(path)
        self._policy = read_policy(path, has_key=has_key)
        self._looked = time.monotonic()

    def current(self) -> Policy:
        """The policy in force: the file's as it is now, or as it was when it could be used last."""
        if time.monotonic() - self._looked >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looked = time.monotonic()
                self._lock.release()
        return self._policy

    def _look(self) -> None:
        state = _state_of(self._path)
        if state == self._seen:
            return
        self._seen = state
        try:
            policy = read_policy(self._path, has_key=self._has_key)
        except PolicyUnusable as error:
            _log.error("redaction_policy_refused", cause=str(error), in_force=self._policy.version)
            self._on_read(False)
            return
        _log.info("redaction_policy_loaded", version=policy.version, before=self._policy.version)
        self._policy = policy
        self._on_read(True)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
