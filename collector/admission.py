"""Who is let in: a count of requests and of the bytes they hold, both doors together.

A ticket is taken before a body is read, grows with every chunk that is kept, and gives everything back at the end.
Full means a refusal that says when to come back, never a queue. A request that is alone is always let in, whatever its
size: `Limits.body_bytes_max` bounds it, and a bound on the sum must not refuse it for ever.
"""

from threading import Lock
from typing import Self

from collector.errors import Overloaded
from collector.limits import MIB, Limits


class Admission:
    """Counts what is in flight. Thread-safe; no method blocks."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._requests = 0
        self._bytes = 0

    def admit(self) -> "Ticket":
        """Take a place for one request. Raises Overloaded."""
        with self._lock:
            if self._requests >= self._limits.requests_in_flight_max:
                raise Overloaded(f"{self._requests} requests are in flight, which is the limit; send it again later")
            self._requests += 1
        return Ticket(self)

    @property
    def requests_in_flight(self) -> int:
        """Tickets that are out."""
        return self._requests

    @property
    def bytes_in_flight(self) -> int:
        """Body bytes that are held under those tickets."""
        return self._bytes

    def hold(self, size: int, held: int) -> None:
        """Count `size` bytes more for a ticket that has `held` already. Raises Overloaded, and then counts nothing."""
        with self._lock:
            total = self._bytes + size
            if total > self._limits.bytes_in_flight_max and self._bytes > held:
                bound = self._limits.bytes_in_flight_max / MIB
                raise Overloaded(
                    f"requests in flight hold nearly {bound:g} MiB, which is the limit; send it again later"
                )
            self._bytes = total

    def give_back(self, size: int) -> None:
        """Take one ticket and its bytes out of the count."""
        with self._lock:
            self._requests -= 1
            self._bytes -= size


class Ticket:
    """One request's place. Used by one thread at a time; releasing it again does nothing."""

    __slots__ = ("_admission", "_held", "_released")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self._released = False

    def hold(self, size: int) -> None:
        """Count `size` more bytes as held by this request. Raises Overloaded, and then counts nothing."""
        self._admission.hold(size, self._held)
        self._held += size

    def release(self) -> None:
        """Give the place and the bytes back."""
        if not self._released:
            self._released = True
            self._admission.give_back(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
