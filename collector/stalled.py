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


class Wait:
    """One call that waits for its body. `ended` says that it waited for too long."""

    __slots__ = ("call", "deadline", "ended")

    def __init__(self, call: Call, deadline: float) -> None:
        self.call = call
        self.deadline = deadline
        self.ended = False


class StalledCalls:
    """Cancels what waits for longer than `seconds_max`. `start`, then `stop`."""

    def __init__(self, seconds_max: float, look_seconds: float = LOOK_SECONDS) -> None:
        self._seconds_max = seconds_max
        self._look_seconds = min(look_seconds, seconds_max)
        self._lock = Lock()
        # In the order of their deadlines, because all calls have the same time.
        self._waits: dict[Wait, None] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="otlp-grpc-stalled", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def waiting(self, call: Call) -> Generator[Wait]:
        """The call waits for its body as long as the block lasts."""
        wait = Wait(call, monotonic() + self._seconds_max)
        with self._lock:
            self._waits[wait] = None
        try:
            yield wait
        finally:
            with self._lock:
                self._waits.pop(wait, None)

    def _run(self) -> None:
        while not self._stopping.wait(self._look_seconds):
            now = monotonic()
            overdue: list[Wait] = []
            with self._lock:
                for wait in self._waits:
                    if wait.deadline > now:
                        break
                    overdue.append(wait)
                for wait in overdue:
                    del self._waits[wait]
                    wait.ended = True
            for wait in overdue:
                wait.call.cancel()
