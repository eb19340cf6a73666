"""One life of the receiver process: it is born, told and heard, and ends.

What it is told goes into a queue that one thread sends from: the journal's thread, which says what is durable, never
waits for a process that does not read. That thread also looks at whether the process is there at all: one that hangs
(a native decoder in a circle, a stop by a signal) is killed, which its senders take for any other broken connection.
"""

import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import structlog

from spanledger.receiver.wire import MESSAGES_MAX, Ended, Kind, Message, Stalled, Wire

# Those that a terminal or a service manager sends to a whole group. They are the server's, which says what they mean.
SIGNALS_OF_THE_SERVER: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SPACE_SECONDS: Final = 0.05  # Between two looks at the room there is: some 1,000 spans come meanwhile.
ALIVE_SECONDS: Final = 1.0  # Between two questions whether it is alive.
START_SECONDS_MAX: Final = 60  # Until it is ready: it imports in one, a loaded machine may take long.
# Without a word from it, then. A request of 64 MiB holds its interpreter's lock for half a second while it is decoded, one of
# the 1 GiB that may be set, ten.
SILENT_SECONDS_MAX: Final = 30
SEND_SECONDS_MAX: Final = 10  # Without a byte that it takes, of what it is told.

_log: Final = structlog.stdlib.get_logger(__name__)


class Life:
    """The process from its start to its end. One thread hears, another speaks, any may tell it something."""

    def __init__(self, told: bytes, http: socket.socket) -> None:
        """Start the process, which takes from `http`; it waits for what it is `told` until `speak`. Raises OSError.

        It dies with the thread that calls this.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs, _deaf_to_signals():
                self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and our own module)
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "spanledger.receiver.process",
                        str(theirs.fileno()),
                        str(http.fileno()),
                    ],
                    pass_fds=(theirs.fileno(), http.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # On stdout goes the ready line and nothing else.
                    env=_environment(),
                )
        except OSError:
            ours.close()
            raise
        self._wire = Wire(ours, send_seconds_max=SEND_SECONDS_MAX)
        self._post: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._ready = False
        self._unanswered = 0
        self.cause = ""
        """Why it was ended, where it did not end by itself."""
        self.tell(Message(Kind.START, document=told))

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: Message) -> None:
        """Have it told something, if it is still there then. Never blocks."""
        self._post.put(message)

    def hear(self) -> Message:
        """The next it says, waiting for it. Raises Ended."""
        message = self._wire.receive()
        if message.kind is Kind.READY:
            self._ready = True
        if self._ready:
            self._unanswered = 0
        return message

    def speak(self, room: Callable[[], bytes]) -> None:
        """Send what it is told and, every `SPACE_SECONDS`, what `room` gives, until it ends: the body of a thread."""
        try:
            self._speak(room)
        except Stalled as error:
            self.cause = f"it hung: {error}"
        except Ended:
            pass
        except Exception as error:  # noqa: BLE001 - a process that nobody speaks to acknowledges nothing
            self.cause = "it could not be told anything"
            _log.error("receiver_untold", exc_info=error)
        finally:
            self._process.kill()

    def wait(self, seconds_max: float) -> int | None:
        """Its exit status, or None where it does not end in time."""
        try:
            return self._process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once. Safe when it has ended."""
        self._process.kill()

    def end(self) -> int:
        """See that nothing is left of it, and return its exit status. For the thread that hears."""
        self._process.kill()  # It may hang with its end closed.
        status = self._process.wait()
        self._post.put(None)
        self._wire.close()
        return status

    def _speak(self, room: Callable[[], bytes]) -> None:
        space_due = alive_due = time.monotonic()
        while True:
            messages = self._told_until(space_due)
            if messages is None:
                return
            now = time.monotonic()
            if now >= space_due:
                space_due = now + SPACE_SECONDS
                messages.append(Message(Kind.SPACE, document=room()))
            if now >= alive_due:
                alive_due = now + ALIVE_SECONDS
                self._ask_whether_alive(messages)
            if messages:
                self._wire.send(*messages)

    def _ask_whether_alive(self, messages: list[Message]) -> None:
        # Questions are counted, not seconds: it is not to blame when both of us were stopped.
        if self._unanswered >= (SILENT_SECONDS_MAX if self._ready else START_SECONDS_MAX) / ALIVE_SECONDS:
            raise Stalled(
                f"it gave no sign of life for {SILENT_SECONDS_MAX} s"
                if self._ready
                else f"it was not ready after {START_SECONDS_MAX} s"
            )
        self._unanswered += 1
        messages.append(Message(Kind.ALIVE))

    def _told_until(self, deadline: float) -> list[Message] | None:
        """What it is to be told, as soon as there is anything; nothing when the time is over; None at the end."""
        messages: list[Message] = []
        try:
            while len(messages) < MESSAGES_MAX - 2:  # Two may come to these.
                message = (
                    self._post.get_nowait()
                    if messages
                    else self._post.get(timeout=max(deadline - time.monotonic(), 0.0))
                )
                if message is None:
                    return None
                messages.append(message)
        except queue.Empty:
            pass
        return messages


def exit_said(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


@contextmanager
def _deaf_to_signals() -> Generator[None]:
    """What is started meanwhile has them blocked from its first instruction on, long before it can ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_OF_THE_SERVER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """Ours, but modules come from where ours come from: not from the folder it is started in, which may have any names.
    Settings are told and not found.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPANLEDGER_")}
    return kept | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
