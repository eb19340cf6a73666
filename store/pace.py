"""How fast the view takes in what is recorded, and so how long it will need for what is ahead of it.

A span costs the projector about as much however small it is, and then something for its bytes. So what is ahead is not
counted in bytes but in work: bytes, and `RECORD_WORK_BYTES` for each record. Measured in work the pace hardly depends on
what agents send, and a burst of small spans after an hour of large ones is not taken for something that it is not.

The pace is learned only from batches that are as large as batches get, because the cost of a transaction hides the pace
of small ones. It is the faster of a short and a long memory: a view that was slowed for a moment (a heavy question) is
not held for slow, one that has become faster is known for it at once.
"""

from math import exp
from typing import Final

from store.projector import BATCH_BYTES_MAX, BATCH_FRAMES_MAX

# Measured: 251 us a span of 14.65 KB and 95 us one of 1.3 KB, so 12 us a KB and 80 us a span.
RECORD_WORK_BYTES: Final = 8 * 1024
# From here on a batch counts: such a one takes 100 ms and more, a transaction without rows 10 to 30. As many frames as are
# taken at once count too, because then small requests cannot be projected in larger batches.
FULL_BYTES: Final = BATCH_BYTES_MAX // 4
FULL_FRAMES: Final = BATCH_FRAMES_MAX
FULL_WORK: Final = 16 * 1024 * 1024

_LEARNED_SECONDS_MIN: Final = 1.0  # The first batch of a process is slow: modules are loaded, caches are empty.
_MEMORY_SECONDS: Final = (3.0, 30.0)  # Of full batches, not of the clock: what was learned holds over a quiet night.


def work_of(size: int, records: int) -> int:
    """What `records` records in `size` bytes are for the projector, in bytes."""
    return size + records * RECORD_WORK_BYTES


class Pace:
    """Work a second, from the batches that it is told of. Not thread-safe."""

    def __init__(self) -> None:
        self._learned_seconds = 0.0
        self._memories = [_Memory(seconds) for seconds in _MEMORY_SECONDS]
        self._rate: float | None = None

    @property
    def rate(self) -> float | None:
        """Work a second; None as long as too little was seen to tell."""
        return self._rate

    def learn(self, *, work: int, size: int, frames: int, seconds: float) -> None:
        """A batch was projected, `seconds` after the one before it, or after it could have begun."""
        if not (size >= FULL_BYTES or frames >= FULL_FRAMES or work >= FULL_WORK) or seconds <= 0:
            return
        self._learned_seconds += seconds
        for memory in self._memories:
            memory.add(work, seconds)
        if self._learned_seconds >= _LEARNED_SECONDS_MIN:
            self._rate = max(memory.rate for memory in self._memories)


class _Memory:
    """An average that forgets."""

    __slots__ = ("_length", "_seconds", "_work")

    def __init__(self, seconds: float) -> None:
        self._length = seconds
        self._work = self._seconds = 0.0

    def add(self, work: int, seconds: float) -> None:
        kept = exp(-seconds / self._length)
        self._work = self._work * kept + work
        self._seconds = self._seconds * kept + seconds

    @property
    def rate(self) -> float:
        return self._work / self._seconds
