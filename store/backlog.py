"""How far the view is behind the journal, in bytes and in seconds: cheap to know at any moment.

What this process appends is counted frame by frame, sixteen bytes of memory each, and taken out as the projector passes it.
What was in the journal already at the start is estimated once, from the sizes of its first frames, and shrinks with the
sequence: counting it exactly would mean to read it all, which may be the whole record when a view is made again.

Seconds are what the view will need at the pace it was seen to have (`store.pace`). They tell senders that send more than
can be projected from senders that do not, which bytes cannot. They say nothing when the view stands still: an engine that
is down is no reason to refuse a request, so what gathers meanwhile is `_late`. It may stay, if it shrinks.
"""

import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from store.errors import JournalError
from store.pace import Pace, work_of
from store.projector import BATCH_BYTES_MAX, BATCH_FRAMES_MAX
from store.record import Frame, FrameType

SAMPLE_BYTES_MAX: Final = (
    64 * 1024 * 1024
)  # Of frames read at the start: a tenth of a second. Fewer are counted exactly.

# Senders that keep to a bound leave at most that and what was in flight behind. More than twice the bound is a view that
# is being made again (a new release, a lost file): it can be the whole record, and refusing until it is projected would
# lose the agents' present for the sake of their past.
_INHERITED_FACTOR: Final = 2

# Without progress for so long, and twice the time that the batch at hand should take, the view stands still. It is less than
# any sensible bound in seconds: senders of no more than is projected are never refused because the engine hangs.
STILL_SECONDS: Final = 3.0
_STILL_FACTOR: Final = 2.0
_STILL_SECONDS_UNKNOWN: Final = 10.0  # The same for a view whose pace is not known.
# What a view that stood still is late may stay, if it shrinks by a tenth of a second each second: senders of up to nine
# tenths of what can be projected are not refused meanwhile, and a view that is late cannot stay late for ever.
LATE_SHRINKS: Final = 0.1
_LATE_ROOM_SECONDS: Final = 5.0  # Beside the lowest it has come to since: requests come in gusts.


@dataclass(frozen=True, slots=True)
class Load:
    """Requests as what they are for the view: their bytes, and the work they make (`store.pace.work_of`)."""

    size: int = 0
    work: int = 0


class Backlog:
    """What is between the end of the view and the end of the journal. Thread-safe; no method blocks for long."""

    def __init__(
        self, *, reached: int, durable: int, inherited: Load, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`reached` and `durable` are the last sequences in the view and in the journal at the start, and `inherited`
        what is between them. `clock` gives seconds.
        """
        self._lock = Lock()
        self._clock = clock
        self._begun_at, self._durable_at_start, self._inherited_at_start = reached, durable, inherited
        self._reached = reached
        self._sizes: array[int] = array("Q")
        self._works: array[int] = array("Q")  # One entry for each of `_sizes`.
        self._first = max(reached, durable) + 1  # The sequence of the first of `_sizes`.
        self._appended = Load()
        self._appending = 0
        self._pace = Pace()
        self._moved_at = clock()  # When the view came to `_reached`, or had something to do again.
        self._batch_seconds = 0.0  # What the batch at hand should take.
        self._still_after = _STILL_SECONDS_UNKNOWN
        self._late = 0.0

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

    def appended(self, sequence: int, size: int, records: int) -> None:
        """A frame with a body of `size` bytes is durable. In any order: appends return on many threads."""
        work = work_of(size, records)
        with self._lock:
            index = sequence - self._first
            if index < 0:
                return  # The projector was faster than this thread.
            if not self._ahead().work:
                self._moved_at, self._batch_seconds = self._clock(), 0.0
            if index >= len(self._sizes):
                missing = [0] * (index + 1 - len(self._sizes))
                self._sizes.extend(missing)
                self._works.extend(missing)
            before = Load(self._sizes[index], self._works[index])
            self._appended = Load(self._appended.size + size - before.size, self._appended.work + work - before.work)
            self._sizes[index], self._works[index] = size, work

    def projected(self, sequence: int) -> None:
        """The view holds everything up to `sequence`."""
        with self._lock:
            if sequence <= self._reached:
                return
            before = self._ahead()
            passed = sequence + 1 - self._first
            # Frames without work (who read what) are taken in beside the others: nothing is learned of the pace from them.
            found_at_start = max(min(sequence, self._durable_at_start) - self._reached, 0)
            frames = found_at_start + sum(work > 0 for work in self._works[: max(passed, 0)])
            self._reached = sequence
            if passed > 0:
                sizes, works = sum(self._sizes[:passed]), sum(self._works[:passed])
                self._appended = Load(self._appended.size - sizes, self._appended.work - works)
                del self._sizes[:passed]
                del self._works[:passed]
                self._first += passed
            after = self._ahead()
            self._moved(frames, Load(before.size - after.size, before.work - after.work), after)

    @property
    def total_bytes(self) -> int:
        """All of it, what was found at the start as an estimate."""
        return self._ahead().size

    def charged_bytes(self, bytes_max: int) -> int:
        """What counts against a bound of `bytes_max`: all of it, but for the past of a view that is being made again."""
        counts = self._inherited_at_start.size <= _INHERITED_FACTOR * bytes_max
        return self._appended.size + (self._inherited().size if counts else 0)

    @property
    def catch_up_seconds(self) -> float:
        """How long the view will need for all of it; 0 as long as its pace is not known."""
        with self._lock:
            return self._seconds_left(self._clock())

    def excess_seconds(self, seconds_max: float) -> float:
        """By how much `catch_up_seconds` is more than `seconds_max` through what senders sent; 0 when it is not.

        A view that stands still is no excess, nor is what gathered meanwhile or while its pace was not known.
        """
        with self._lock:
            now = self._clock()
            if now - self._moved_at > self._still_after:
                return 0.0
            return max(self._seconds_left(now) - max(seconds_max, self._late), 0.0)

    def _moved(self, frames: int, passed: Load, ahead: Load) -> None:
        now = self._clock()
        seconds, known = now - self._moved_at, self._pace.rate is not None
        stood_still = seconds > self._still_after
        if not stood_still:
            self._pace.learn(work=passed.work, size=passed.size, frames=frames, seconds=seconds)
        late = self._seconds_for(ahead.work)
        if stood_still or not known:
            self._late = late
        else:
            self._late = max(min(self._late - LATE_SHRINKS * seconds, late + _LATE_ROOM_SECONDS), 0.0)
        self._moved_at = now
        if self._pace.rate is not None:
            self._batch_seconds = self._seconds_for(self._next_work(passed.work))
            self._still_after = STILL_SECONDS + _STILL_FACTOR * self._batch_seconds

    def _next_work(self, latest: int) -> int:
        """What the batch at hand can be, of what is there when it begins. Of frames found at the start the last one tells."""
        if self._reached < self._durable_at_start:
            return latest
        work = size = 0
        for frame_size, frame_work in zip(self._sizes[:BATCH_FRAMES_MAX], self._works, strict=False):
            size += frame_size
            if work and size > BATCH_BYTES_MAX:
                break
            work += frame_work
        return work

    def _seconds_left(self, now: float) -> float:
        # A batch counts as ahead until it is written: what it has taken already is done.
        done = min(now - self._moved_at, self._batch_seconds)
        return max(self._seconds_for(self._ahead().work) - done, 0.0)

    def _seconds_for(self, work: int) -> float:
        return work / self._pace.rate if self._pace.rate else 0.0

    def _ahead(self) -> Load:
        inherited = self._inherited()
        return Load(inherited.size + self._appended.size, inherited.work + self._appended.work)

    def _inherited(self) -> Load:
        ahead = self._durable_at_start - self._reached
        if ahead <= 0:
            return Load()
        frames = self._durable_at_start - self._begun_at
        return Load(self._inherited_at_start.size * ahead // frames, self._inherited_at_start.work * ahead // frames)


def estimated_load(frames: Iterable[Frame], count: int) -> Load:
    """What `count` frames are, of which `frames` are the first: exact when they are few."""
    sampled = size = records = 0
    try:
        for frame in frames:
            sampled += 1
            if frame.type is not FrameType.OTLP:
                continue
            size += len(frame.body)
            records += frame.records
            if size >= SAMPLE_BYTES_MAX:
                break
    except JournalError:
        pass  # The projector meets the same frame and says so; what stands before it is the sample.
    if not sampled:
        return Load()
    return Load(size * count // sampled, work_of(size, records) * count // sampled)
