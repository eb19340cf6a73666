"""The journal's side of the receiver process: starts it, stores what it sends, and starts it again where it dies.

A native decoder that a hostile request brings down takes the receiver process with it and nothing else: what was
acknowledged is in the journal of this process, what was not is sent again, and connections wait in the listening socket,
which this process keeps open.
"""

import itertools
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from spanledger.doors import Doors, address
from spanledger.errors import FrontDoorError
from spanledger.receiver.limits import limits_of
from spanledger.receiver.wire import Ended, Kind, Message, Wire
from spanledger.settings import Settings
from store.errors import StoreError
from store.record import FrameDraft, Position, Signal

SPACE_SECONDS: Final = 0.05  # Between two looks at the room there is: some 1,000 spans come meanwhile.
READY_SECONDS_MAX: Final = 60  # It imports in one; a loaded machine may take long.
METRICS_SECONDS_MAX: Final = 1.0  # A scrape waits 10 s for all of its page.
DEATHS_MAX: Final = 5  # In `DEATHS_SECONDS`: more often than a hostile sender's retries, it is us.
DEATHS_SECONDS: Final = 60.0
SEND_SECONDS_MAX: Final = 10  # The journal's thread tells of what is durable: a process that hangs must not hold it.
_DIGEST_BYTES: Final = 32

_log: Final = structlog.stdlib.get_logger(__name__)


class Record(Protocol):
    """What of the ledger the receivers need."""

    def submit(self, draft: FrameDraft) -> "Future[Position]":
        """Make one request durable; the future has its position when it is. Raises JournalFailed, JournalClosed."""
        ...

    def lag_bytes(self, bytes_max: int) -> int: ...
    def lag_excess_seconds(self, seconds_max: float) -> float: ...
    def disk(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class _Child:
    """One life of the process."""

    process: subprocess.Popen[bytes]
    wire: Wire


class Receiver(Collector):
    """The receiver process of one server. Made, `attend`ed and `stop`ped by one thread, with which the process dies."""

    def __init__(self, settings: Settings, doors: Doors, registry: CollectorRegistry) -> None:
        """Start the process: it takes a while to be ready, and takes nothing before it is attended."""
        self._settings = settings
        self._doors = doors
        self._limits = limits_of(settings)
        self._grpc_port = doors.grpc_port
        self._numbers = itertools.count(1)
        self._pages: dict[int, Future[str]] = {}
        self._families: list[Metric] = []
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._stopping = threading.Event()
        self._attended = False
        self._child = self._launched()
        registry.register(self)
        ProcessCollector(namespace="spanledger_receiver", pid=lambda: self._child.process.pid, registry=registry)

    def attend(self, record: Record, failed: Callable[[str], None]) -> int:
        """Wait until it is ready, store in `record` what it sends from now on, and return its gRPC port.

        `failed` hears why it cannot be kept alive. Raises FrontDoorError.
        """
        self._grpc_port = self._ready()
        self._attended = True
        threading.Thread(target=self._serve, args=(record, failed), name="receiver-wire", daemon=True).start()
        threading.Thread(target=self._tell_space, args=(record,), name="receiver-space", daemon=True).start()
        return self._grpc_port

    def stop(self, grace_seconds: float) -> None:
        """Have it take nothing new and end; what it has in flight is still stored and answered. Safe to call twice."""
        self._stopping.set()
        process = self._child.process
        _tell(self._child.wire, Message(Kind.STOP))
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            if self._attended:  # Else it has nothing in flight, and was about to begin.
                _log.warning("receiver_killed", cause=f"it did not end within {grace_seconds:g} s")
            process.kill()
            process.wait()
        self._child.wire.close()

    def collect(self) -> Iterable[Metric]:
        """The receivers' own metrics, as they were told last where they are not told in time."""
        number, page = next(self._numbers), Future[str]()
        self._pages[number] = page
        try:
            self._child.wire.send(Message(Kind.METRICS, number))
            self._families = list(text_string_to_metric_families(page.result(METRICS_SECONDS_MAX)))
        except (Ended, TimeoutError):
            pass  # A scrape of the rest is worth more than none.
        finally:
            self._pages.pop(number, None)
        return self._families

    def describe(self) -> Iterator[Metric]:
        """Nothing is known before the process is asked."""
        return iter(())

    def _launched(self) -> _Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        http = self._doors.otlp_http.fileno()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and our own module)
                [sys.executable, "-m", "spanledger.receiver.process", str(theirs.fileno()), str(http)],
                pass_fds=(theirs.fileno(), http),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # On stdout goes the ready line and nothing else.
            )
        return _Child(process, Wire(ours, send_seconds_max=SEND_SECONDS_MAX))

    def _ready(self) -> int:
        settings = msgspec.to_builtins(self._settings, enc_hook=str)
        told = {"settings": settings, "grpc_port": self._grpc_port}
        try:
            self._child.wire.send(Message(Kind.READY, document=msgspec.json.encode(told)))
            said = self._child.wire.receive(seconds_max=READY_SECONDS_MAX).said()
        except Ended as error:
            self._child.process.kill()
            status = self._child.process.wait()
            raise FrontDoorError(
                f"the receiver process did not start (exit status {status})", "see its last lines in the log"
            ) from error
        if "taken" in said:
            where = address(said["taken"]["host"], said["taken"]["port"])
            raise FrontDoorError(
                f"cannot listen on {where}: the port was taken meanwhile", "choose another with --otlp-grpc-port"
            )
        return said["grpc_port"]

    def _serve(self, record: Record, failed: Callable[[str], None]) -> None:
        """Take what the process sends; where it dies, begin another."""
        while True:
            wire = self._child.wire
            try:
                while True:
                    self._take(record, wire, wire.receive())
            except Ended:
                if self._stopping.is_set() or not self._begin_again(failed):
                    return

    def _take(self, record: Record, wire: Wire, message: Message) -> None:
        number = message.number
        if message.kind is Kind.METRICS:
            page = self._pages.get(number)
            if page is not None:
                page.set_result(message.document.decode())
            return
        said, digests = message.said(), message.digests
        leaves = tuple(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
        try:
            done = record.submit(FrameDraft(said["tenant"], Signal(said["signal"]), message.body, leaves))
        except (StoreError, ValueError) as error:
            _tell(wire, _refusal(number, error))
            return
        done.add_done_callback(lambda found: _tell(wire, _outcome(number, found)))

    def _begin_again(self, failed: Callable[[str], None]) -> bool:
        self._child.process.kill()  # It may hang with its end closed.
        status = self._child.process.wait()
        self._child.wire.close()
        now = time.monotonic()
        self._deaths.append(now)
        _log.error("receiver_died", exit_status=status, cause="what it had not acknowledged will be sent again")
        if len(self._deaths) == DEATHS_MAX and now - self._deaths[0] < DEATHS_SECONDS:
            failed(f"the receiver process died {DEATHS_MAX} times within {DEATHS_SECONDS:g} s")
            return False
        self._child = self._launched()
        try:
            self._ready()
        except FrontDoorError as error:
            failed(str(error))
            return False
        _log.warning("receiver_started_again")
        return True

    def _tell_space(self, record: Record) -> None:
        while not self._stopping.wait(SPACE_SECONDS):
            try:
                free, total = record.disk()
            except OSError:
                free = total = 0
            lag_bytes = record.lag_bytes(self._limits.view_lag_bytes_max)
            excess_seconds = record.lag_excess_seconds(self._limits.view_lag_seconds_max)
            room = msgspec.json.encode((lag_bytes, excess_seconds, free, total))
            _tell(self._child.wire, Message(Kind.SPACE, document=room))


def _outcome(number: int, done: "Future[Position]") -> Message:
    error = done.exception()
    return Message(Kind.DURABLE, number, str(done.result()).encode()) if error is None else _refusal(number, error)


def _refusal(number: int, error: BaseException) -> Message:
    return Message(Kind.REFUSED, number, msgspec.json.encode({"error": type(error).__name__, "message": str(error)}))


def _tell(wire: Wire, message: Message) -> None:
    """Send, if the process is still there: one that is gone has nobody left to tell."""
    with suppress(Ended):
        wire.send(message)
