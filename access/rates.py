"""How much a key may use: token buckets of requests and of bytes.

A bucket holds what may come at once, two seconds' worth, and fills at its rate. The size of a body is known when it was
read, so bytes are charged behind, and the next request waits until the debt is paid. Memory is bounded: callers that were
not seen for longest are forgotten, which gives them a full bucket.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from access.errors import RateExceeded
from access.permissions import Principal

CALLERS_MAX: Final = 10_000
BURST_SECONDS: Final = 2.0
# Exporters give up on a batch whose wait does not fit into their timeout (10 s as a rule); they come again by themselves.
RETRY_SECONDS_MAX: Final = 5

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Rates:
    """What each caller may use where its key does not say otherwise; 0 is no bound."""

    requests_per_second: int = 0
    bytes_per_second: int = 0


class _Bucket:
    __slots__ = ("_at", "_left")

    def __init__(self, rate: int, now: float) -> None:
        self._left, self._at = rate * BURST_SECONDS, now

    def fill(self, rate: int, now: float) -> float:
        self._left = min(rate * BURST_SECONDS, self._left + (now - self._at) * rate)
        self._at = now
        return self._left

    def take(self, amount: float) -> None:
        self._left -= amount


class KeyRates:
    """The buckets of all callers of one process. Thread-safe. A caller without a credential has none."""

    def __init__(self, rates: Rates, clock: Clock = time.monotonic) -> None:
        self._rates = rates
        self._clock = clock
        self._lock = threading.Lock()
        self._callers: OrderedDict[str, tuple[_Bucket, _Bucket]] = OrderedDict()

    def spend_request(self, who: Principal) -> None:
        """Count one request. Raises RateExceeded."""
        requests, size = self._of(who)
        if who.kind in ("open", "local") or not (requests or size):
            return
        now = self._clock()
        with self._lock:
            counted, weighed = self._buckets(who.name, requests, size, now)
            if requests:
                left = counted.fill(requests, now)
                if left < 1:
                    raise _exceeded(f"{requests:,} requests a second", (1 - left) / requests)
            if size:
                left = weighed.fill(size, now)
                if left < 0:
                    raise _exceeded(f"{size:,} bytes a second", -left / size)
            counted.take(1)

    def spend_bytes(self, who: Principal, amount: int) -> None:
        """Charge a body that was read."""
        requests, size = self._of(who)
        if who.kind in ("open", "local") or not size:
            return
        now = self._clock()
        with self._lock:
            _, weighed = self._buckets(who.name, requests, size, now)
            weighed.fill(size, now)
            weighed.take(amount)

    def _of(self, who: Principal) -> tuple[int, int]:
        requests, size = who.requests_per_second, who.bytes_per_second
        return (
            self._rates.requests_per_second if requests is None else requests,
            self._rates.bytes_per_second if size is None else size,
        )

    def _buckets(self, name: str, requests: int, size: int, now: float) -> tuple[_Bucket, _Bucket]:
        found = self._callers.get(name)
        if found is None:
            found = self._callers[name] = (_Bucket(requests, now), _Bucket(size, now))
            if len(self._callers) > CALLERS_MAX:
                self._callers.popitem(last=False)
        self._callers.move_to_end(name)
        return found


def _exceeded(bound: str, seconds: float) -> RateExceeded:
    wait = min(max(math.ceil(seconds), 1), RETRY_SECONDS_MAX)
    return RateExceeded(
        f"this key may use {bound} and has used that up: nothing was taken, come again in {wait} s", wait
    )
