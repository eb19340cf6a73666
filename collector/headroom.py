"""Whether the store has room for another request: asked before a request is read.

Two things can be wrong while the journal itself is well. The view is so far behind that readers would take an old record
for today's: in seconds, because more is sent than can be projected, or in bytes, because it stands still. Or the disk is so
full that soon neither the view nor the journal could be written. All of it ends by itself, so senders are told to come back,
and nothing has to be restarted.
"""

import random
import time
from collections.abc import Callable
from typing import Final, Protocol

from collector.errors import RETRY_SECONDS_MAX, DiskNearlyFull, ViewBehind
from collector.limits import MIB, Limits

DISK_SECONDS: Final = 0.25  # Between two looks at the disk: at 500 MB/s it fills by less than half a segment meanwhile.
SPREAD_SECONDS: Final = (
    1.0,
    3.0,
)  # Beside what it takes to have room again: a crowd that comes in one beat finds none.
SHARE_OF_SMALL_DISK: Final = 8  # The reserve is at most one part in so many, or a small volume would take nothing.

Clock = Callable[[], float]


class Space(Protocol):
    """What the store says of itself. All are asked often and must be cheap."""

    def lag_bytes(self, bytes_max: int) -> int:
        """Request bytes in the journal and not in the view, as they count against a bound of `bytes_max`."""
        ...

    def lag_excess_seconds(self, seconds_max: float) -> float:
        """By how much the view will need more than `seconds_max` for what is ahead of it, through what senders sent."""
        ...

    def disk(self) -> tuple[int, int]:
        """Free bytes and all bytes of the file system that holds the data folder. Raises OSError."""
        ...


class Patience:
    """How long to ask senders to stay away: about as long as the cause has lasted already, within bounds.

    A cause that was not met for longer than senders stay away is a new one.
    """

    def __init__(self, seconds_min: int, seconds_max: int, clock: Clock = time.monotonic) -> None:
        self._seconds_min, self._seconds_max = seconds_min, seconds_max
        self._clock = clock
        self._since = self._latest = float("-inf")

    def seconds(self) -> int:
        """For one more refusal."""
        now = self._clock()
        if now - self._latest > 2 * self._seconds_max:
            self._since = now
        self._latest = now
        return max(self._seconds_min, min(self._seconds_max, int(now - self._since)))


class Spread:
    """How long to ask senders to stay away when it is known when there will be room: until then, and each a little longer.

    Whole seconds, because Retry-After has no others, so chance rounds them.
    """

    def __init__(self, seconds_max: int, chance: random.Random) -> None:
        self._seconds_max = seconds_max
        self._chance = chance

    def seconds(self, room_in_seconds: float) -> int:
        """For one more refusal."""
        room_in_seconds = min(
            room_in_seconds, self._seconds_max - SPREAD_SECONDS[1]
        )  # Past that a crowd would be one beat.
        wanted = room_in_seconds + self._chance.uniform(*SPREAD_SECONDS)
        return min(int(wanted + self._chance.random()), self._seconds_max)


class Headroom:
    """Asks `space` before each request. Thread-safe; blocks for no longer than a look at the file system takes."""

    def __init__(
        self,
        limits: Limits,
        space: Space,
        clock: Clock = time.monotonic,
        chance: random.Random = random.Random(),  # noqa: B008, S311 (one for the process; nothing is kept secret by it)
    ) -> None:
        self._lag_bytes_max = limits.view_lag_bytes_max
        self._lag_seconds_max = limits.view_lag_seconds_max
        self._lag_spread = Spread(RETRY_SECONDS_MAX, chance)
        self._reserve_bytes = limits.disk_reserve_bytes
        self._space = space
        self._clock = clock
        self._lag_patience = Patience(2, RETRY_SECONDS_MAX, clock)
        self._disk_patience = Patience(2, RETRY_SECONDS_MAX, clock)
        self._looked = float("-inf")
        self._free = self._reserve = 0

    def check(self) -> None:
        """Raises ViewBehind or DiskNearlyFull, each with when to come back."""
        if self._lag_bytes_max:
            lag = self._space.lag_bytes(self._lag_bytes_max)
            if lag > self._lag_bytes_max:
                raise ViewBehind(
                    f"the view is {lag / MIB:,.1f} MiB behind the record and {self._lag_bytes_max / MIB:,.0f} MiB are the "
                    "limit (view_lag_max_mb): nothing is taken until it has caught up; send it again later",
                    self._lag_patience.seconds(),
                )
        if self._lag_seconds_max:
            excess = self._space.lag_excess_seconds(self._lag_seconds_max)
            if excess > 0:
                raise ViewBehind(
                    f"the view is {excess:.1f} s further behind the record than the {self._lag_seconds_max:g} s that it may "
                    "be (view_lag_max_seconds): more is sent than can be projected; send it again later",
                    self._lag_spread.seconds(excess),
                )
        self.check_disk()

    def check_disk(self) -> None:
        """The part of `check` that holds for whoever writes. Raises DiskNearlyFull."""
        if self._reserve_bytes:
            self._look()
            if self._free < self._reserve:
                raise DiskNearlyFull(
                    f"the disk of the data folder has {self._free / MIB:,.0f} MiB left and {self._reserve / MIB:,.0f} MiB "
                    "are kept free (disk_reserve_mb): nothing is taken until there is room; send it again later",
                    self._disk_patience.seconds(),
                )

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < DISK_SECONDS:
            return
        self._looked = now
        try:
            free, total = self._space.disk()
        except OSError:
            return  # What is wrong with the file system the journal will say better.
        self._reserve = min(self._reserve_bytes, total // SHARE_OF_SMALL_DISK)
        self._free = free
