"""How many request bytes the journal holds that the view does not: cheap to know at any moment.

What this process appends is counted frame by frame, eight bytes of memory each, and taken out as the projector passes it.
What was in the journal already at the start is estimated once, from the sizes of its first frames, and shrinks with the
sequence: counting it exactly would mean to read it all, which may be the whole record when a view is made again.
"""

from array import array
from collections.abc import Iterable
from threading import Lock
from typing import Final

from store.errors import JournalError
from store.record import Frame

SAMPLE_BYTES_MAX: Final = (
    64 * 1024 * 1024
)  # Of frames read at the start: a tenth of a second. Fewer are counted exactly.

# Senders that keep to a bound leave at most that and what was in flight behind. More than twice the bound is a view that
# is being made again (a new release, a lost file): it can be the whole record, and refusing until it is projected would
# lose the agents' present for the sake of their past.
_INHERITED_FACTOR: Final = 2


class Backlog:
    """Request bytes between the end of the view and the end of the journal. Thread-safe; no method blocks for long."""

    def __init__(self, *, reached: int, durable: int, inherited_bytes: int) -> None:
        """`reached` and `durable` are the last sequences in the view and in the journal at the start, and
        `inherited_bytes` the request bytes between them.
        """
        self._lock = Lock()
        self._begun_at, self._durable_at_start, self._inherited_bytes = reached, durable, inherited_bytes
        self._reached = reached
        self._sizes: array[int] = array("Q")
        self._first = max(reached, durable) + 1  # The sequence of the first of `_sizes`.
        self._appended_bytes = 0
        self._appending = 0

    def begun(self) -> None:
        """A frame is on its way to the disk."""
        with self._lock:
            self._appending += 1

    def ended(self) -> None:
        """It is on the disk, or will not be."""
        with self._lock:
            self._appending -= 1

    @property
    def frames_appending(self) -> int:
        """How many frames are on their way to the disk."""
        return self._appending

    def appended(self, sequence: int, size: int) -> None:
        """A frame with a body of `size` bytes is durable. In any order: appends return on many threads."""
        with self._lock:
            index = sequence - self._first
            if index < 0:
                return  # The projector was faster than this thread.
            if index >= len(self._sizes):
                self._sizes.extend([0] * (index + 1 - len(self._sizes)))
            self._appended_bytes += size - self._sizes[index]
            self._sizes[index] = size

    def projected(self, sequence: int) -> None:
        """The view holds everything up to `sequence`."""
        with self._lock:
            self._reached = max(sequence, self._reached)
            passed = self._reached + 1 - self._first
            if passed > 0:
                self._appended_bytes -= sum(self._sizes[:passed])
                del self._sizes[:passed]
                self._first += passed

    @property
    def total_bytes(self) -> int:
        """All of it, what was found at the start as an estimate."""
        return self._inherited() + self._appended_bytes

    def charged_bytes(self, bytes_max: int) -> int:
        """What counts against a bound of `bytes_max`: all of it, but for the past of a view that is being made again."""
        inherited = self._inherited() if self._inherited_bytes <= _INHERITED_FACTOR * bytes_max else 0
        return inherited + self._appended_bytes

    def _inherited(self) -> int:
        ahead = self._durable_at_start - self._reached
        return self._inherited_bytes * ahead // (self._durable_at_start - self._begun_at) if ahead > 0 else 0


def estimated_bytes(frames: Iterable[Frame], count: int) -> int:
    """The request bytes of `count` frames, of which `frames` are the first: exact when they are few."""
    sampled = size = 0
    try:
        for frame in frames:
            sampled += 1
            size += len(frame.body)
            if size >= SAMPLE_BYTES_MAX:
                break
    except JournalError:
        pass  # The projector meets the same frame and says so; what stands before it is the sample.
    return size * count // sampled if sampled else 0
