"""Ends gRPC calls whose body does not come.

gRPC's Python server waits for a body on a thread and has no time limit for it, so a sender that opens calls and sends
nothing would take every thread there is. One thread looks at all calls that wait, once a second.
"""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final, Protocol

LOOK_SECONDS: Final = 1.0  # How much longer than its time a call may live.


class Call(Protocol):
    """What is needed of a gRPC context."""

    def cancel(self) -> object: ...


class StalledCalls:
    """Cancels what waits for longer than `seconds_max`. `start`, then `stop`."""

    def __init__(self, seconds_max: float, look_seconds: float = LOOK_SECONDS) -> None:
        self._seconds_max = seconds_max
        self._look_seconds = min(look_seconds, seconds_max)
        self._lock = Lock()
        self._deadlines: dict[
            Call, float
        ] = {}  # In the order of their deadlines, because all calls have the same time.
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="otlp-grpc-stalled", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def waiting(self, call: Call) -> Generator[None]:
        """The call waits for its body as long as the block lasts."""
        with self._lock:
            self._deadlines[call] = monotonic() + self._seconds_max
        try:
            yield
        finally:
            with self._lock:
                self._deadlines.pop(call, None)

    def _run(self) -> None:
        while not self._stopping.wait(self._look_seconds):
            now = monotonic()
            with self._lock:
                overdue = []
                for call, deadline in self._deadlines.items():
                    if deadline > now:
                        break
                    overdue.append(call)
                for call in overdue:
                    del self._deadlines[call]
            for call in overdue:
                call.cancel()
