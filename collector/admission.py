"""Who is let in: a count of requests at each door, and of the bytes they hold at both together.

A ticket is taken before a body is read, grows with every chunk that is kept, and gives everything back at the end.
Full means a refusal that says when to come back. A request that is alone is always let in, whatever its size:
`Limits.body_bytes_max` bounds it, and a bound on the sum must not refuse it for ever.
"""

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Final, Literal, Self

from collector.errors import Overloaded
from collector.headroom import Headroom, Patience
from collector.limits import MIB, Limits

Door = Literal["http", "grpc"]

_RETRY_SECONDS: Final = (1, 3)  # A second is a whole queue's work; senders that stay away longer leave the server idle.


class Admission:
    """Counts what is in flight. Thread-safe; no method blocks."""

    def __init__(self, limits: Limits, headroom: Headroom | None = None) -> None:
        self._requests_max: dict[Door, int] = {"http": limits.http_requests_max, "grpc": limits.grpc_calls_max}
        self._bytes_max = limits.bytes_in_flight_max
        self._headroom = headroom
        self._patience = Patience(*_RETRY_SECONDS)
        self._lock = Lock()
        self._requests: dict[Door, int] = dict.fromkeys(self._requests_max, 0)
        self._bytes = 0

    def admit(self, door: Door) -> "Ticket":
        """Take a place for one request. Raises Overloaded, or ViewBehind or DiskNearlyFull when the store has no room."""
        if self._headroom is not None:
            self._headroom.check()
        with self._lock:
            requests = self._requests[door]
            if requests >= self._requests_max[door]:
                raise Overloaded(
                    f"{requests} requests are in flight over {door}, which is the limit; send it again later",
                    self._patience.seconds(),
                )
            self._requests[door] = requests + 1
        return Ticket(self, door)

    @property
    def requests_in_flight(self) -> int:
        """Tickets that are out."""
        return sum(self._requests.values())

    @property
    def bytes_in_flight(self) -> int:
        """Body bytes that are held under those tickets."""
        return self._bytes

    def refuse_if_hopeless(self, size: int) -> None:
        """Raise Overloaded when a body of that size would not fit now. Counts nothing: senders may say what they like."""
        with self._lock:
            self._check(self._bytes + size, held=0)

    def hold(self, size: int, held: int) -> None:
        """Count `size` bytes more for a ticket that has `held` already. Raises Overloaded, and then counts nothing."""
        with self._lock:
            total = self._bytes + size
            if size > 0:
                self._check(total, held)
            self._bytes = total

    def give_back(self, door: Door, size: int) -> None:
        """Take one ticket and its bytes out of the count."""
        with self._lock:
            self._requests[door] -= 1
            self._bytes -= size

    def _check(self, total: int, held: int) -> None:
        if total > self._bytes_max and self._bytes > held:
            raise Overloaded(
                f"requests in flight hold nearly {self._bytes_max / MIB:g} MiB, which is the limit; send it again later",
                self._patience.seconds(),
            )


class Ticket:
    """One request's place. Used by one thread at a time; releasing it again does nothing."""

    __slots__ = ("_admission", "_door", "_held", "_released")

    def __init__(self, admission: Admission, door: Door) -> None:
        self._admission = admission
        self._door: Door = door
        self._held = 0
        self._released = False

    def hold(self, size: int) -> None:
        """Count `size` more bytes as held by this request. Raises Overloaded, and then counts nothing."""
        self._admission.hold(size, self._held)
        self._held += size

    def settle(self, size: int) -> None:
        """Hold `size` bytes in all, whatever was expected. Raises Overloaded, and then counts what it did before."""
        self.hold(size - self._held)

    def release(self) -> None:
        """Give the place and the bytes back."""
        if not self._released:
            self._released = True
            self._admission.give_back(self._door, self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class DecodingGate:
    """Lets through as many bytes at once as may be decoded at once, in the order in which they came. Blocks.

    A body larger than the whole gate goes through alone; a small one goes through beside it.
    """

    def __init__(self, limits: Limits) -> None:
        self._bytes_max = limits.decoding_bytes_max
        self._small_bytes = limits.decoding_small_bytes
        self._moved = Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0

    @property
    def waiting(self) -> int:
        """Bodies that stand before the gate."""
        return len(self._waiting)

    @contextmanager
    def passing(self, size: int) -> Generator[None]:
        """Hold `size` bytes of the gate for the length of the block."""
        if size <= self._small_bytes:
            yield
            return
        with self._moved:
            turn = object()
            self._waiting.append(turn)
            self._moved.wait_for(
                lambda: self._waiting[0] is turn and (not self._inside or self._inside + size <= self._bytes_max)
            )
            self._waiting.popleft()
            self._inside += size
            self._moved.notify_all()
        try:
            yield
        finally:
            with self._moved:
                self._inside -= size
                self._moved.notify_all()
