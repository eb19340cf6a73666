"""Keeps a process's keyring as new as the control store, and writes there when keys were used.

The control store is asked for its revision four times a second: a key that was revoked by any process is of no use here
within that time and what it takes to tell the receivers. A SQLite store that does not exist yet is not made: there are no
keys then.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from access.control import Control, sqlite_file
from access.errors import ControlError, ControlUnusable
from access.keyring import KeyHolder, Keyring
from access.keys import KeyRecord

POLL_SECONDS: Final = 0.25
USED_SECONDS: Final = 60.0  # Between two times that the use of keys is written down.
SETTINGS: Final = "settings"  # Who made the keys that are given in files.
_STOP_SECONDS_MAX: Final = 6.0  # It may be waiting for a database that is busy.

_log: Final = structlog.stdlib.get_logger(__name__)


class KeyWatch:
    """Watches one control store. `start`, then `stop`."""

    def __init__(self, url: str, holder: KeyHolder, *, make: Sequence[KeyRecord] = ()) -> None:
        """Read the keys once; `make` are kept first where they are not yet.

        Raises ControlUnusable, ControlVersionUnknown, KeyRefused.
        """
        self._url = url
        self._file = sqlite_file(url)
        self._holder = holder
        self._on_look: Callable[[Keyring | None], None] = lambda _: None
        self._control: Control | None = None
        self._failing = False
        self._used: dict[str, float] = {}
        self._used_due = time.monotonic() + USED_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)
        if make:
            self._control = Control.open(url)
            for key in make:
                self._control.add(key, by=SETTINGS)
        self._look()

    @property
    def control(self) -> Control | None:
        """The control store; None as long as there is none."""
        return self._control

    def start(self) -> None:
        self._thread.start()

    def listen(self, on_look: Callable[[Keyring | None], None]) -> None:
        """Call `on_look` whenever the control store was asked: with the keyring where it is another one, else with None."""
        self._on_look = on_look
        on_look(self._holder.keyring)

    def stop(self) -> None:
        """End, and write down when keys were used. Safe to call twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS_MAX)
        if self._control is not None:
            try:
                self._write_used()
            except ControlError as error:
                _log.warning("key_uses_unwritten", cause=str(error))
            self._control.close()
            self._control = None

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self._look()
                self._note_used()
            except ControlError as error:
                if not self._failing:
                    _log.error(
                        "keys_unreadable", cause=str(error), effect="nobody is let in after some seconds of this"
                    )
                self._failing = True
            except Exception as error:  # noqa: BLE001 - a watch that died unheard would never see a revocation
                _log.error("keys_unwatched", exc_info=error)
                self._failing = True
            else:
                if self._failing:
                    _log.info("keys_readable")
                self._failing = False

    def _look(self) -> None:
        if self._file is not None and not os.path.exists(self._file):  # noqa: PTH110 (no error where it may not look)
            self._absent(self._file)
            return
        if self._control is None:
            self._control = Control.open(self._url)
        if self._control.revision() == self._holder.keyring.revision:
            self._confirm()
            return
        keyring = self._control.keyring(time.time())
        self._holder.replace(keyring)
        self._on_look(keyring)

    def _absent(self, file: Path) -> None:
        """Without a store there are no keys; but one that was there and is gone does not open the doors."""
        if self._control is not None:
            raise ControlUnusable(f"the control store {file} is gone: put it back, or restart without keys")
        self._confirm()

    def _confirm(self) -> None:
        self._holder.confirm()
        self._on_look(None)

    def _note_used(self) -> None:
        self._used |= self._holder.take_used()
        if self._used and time.monotonic() >= self._used_due:
            self._write_used()

    def _write_used(self) -> None:
        self._used |= self._holder.take_used()
        if self._control is not None and self._used:
            self._control.used(self._used)
            self._used = {}
        self._used_due = time.monotonic() + USED_SECONDS
