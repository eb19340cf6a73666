"""How long a test waits for what takes moments: a bound for a machine that is busy with other things, never a measure."""

import time
from pathlib import Path
from typing import Final

BUSY_SECONDS: Final = 180.0
"""Of waiting for an answer, a thread, a process or the view: what takes longer stands still. It is a second at most where the
machine has nothing else to do; with two cores and twenty that want them, a server took more than a minute to start."""


def starved_seconds() -> float:
    """For how long so far something on this machine has waited for a core, as the kernel counts; 0 where it does not."""
    try:
        counted = Path("/proc/pressure/cpu").read_text()
    except OSError:
        return 0.0
    return int(counted.partition("total=")[2].split()[0]) / 1e6


class Stopwatch:
    """Measures what is promised in seconds: without those in which the machine had less than was wanted of it."""

    def __init__(self) -> None:
        self._begun = time.monotonic() - starved_seconds()

    @property
    def seconds(self) -> float:
        return time.monotonic() - starved_seconds() - self._begun
