"""The journal's side of the receiver process: starts it, stores what it sends, and starts it again where it dies.

A native decoder that a hostile request brings down takes the receiver process with it and nothing else: what was
acknowledged is in the journal of this process, what was not is sent again, and connections wait in the listening socket,
which this process keeps open. One thread hears the process, and starts the next one: the kernel kills a process when the
thread that started it ends. Nothing that this thread does waits for the process, so that it never waits for us in turn.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from access.keyring import KeyHolder, Keyring
from access.refusals import Refusals, unpacked
from spanledger.doors import Doors
from spanledger.errors import FrontDoorError
from spanledger.receiver import families
from spanledger.receiver.life import Life, exit_said
from spanledger.receiver.limits import limits_of
from spanledger.receiver.wire import Ended, Kind, Message
from spanledger.redaction import PolicySaid
from spanledger.settings import Settings
from store.record import FrameDraft, Position, Signal

METRICS_SECONDS_MAX: Final = 1.0  # A scrape waits 10 s for all of its page.
DEATHS_MAX: Final = 5  # In `DEATHS_SECONDS`: more often than a hostile sender's retries, it is us.
DEATHS_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 1.0  # Before another try where the system has no process for us.
_THREAD_SECONDS_MAX: Final = 1.0  # It has nothing left to wait for when the process is gone.
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


class Receiver(Collector):
    """The receiver process of one server. Made and `stop`ped by one thread, with which its first life ends."""

    def __init__(
        self,
        settings: Settings,
        doors: Doors,
        registry: CollectorRegistry,
        keys: KeyHolder,
        refusals: Refusals | None = None,
    ) -> None:
        """Start the process: it takes a while to be ready, and takes nothing before it is attended. `keys` are those that
        it begins with, and `keys.used` hears of those that it lets in, `refusals` of those that it does not.

        Raises FrontDoorError.
        """
        self._refusals = refusals or Refusals()
        self._hear_policy: Callable[[PolicySaid], None] = lambda _: None
        self._settings = settings
        self._doors = doors
        self._keys = keys
        self._limits = limits_of(settings)
        self._grpc_port = doors.grpc_port
        self._numbers = itertools.count(1)
        self._pages: dict[int, Future[bytes]] = {}
        self._families: list[Metric] = []
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._lock = threading.Lock()  # Between a life that begins and the end of all.
        self._stopping = False
        self._up = False
        self._thread: threading.Thread | None = None
        self._ready: Future[int] = _promise()
        self.over: Future[None] = _promise()
        """Has why the process can no longer be kept alive, when it cannot: a FrontDoorError."""
        self._refusal: FrontDoorError | None = None
        try:
            self._life = self._born()
        except OSError as error:
            raise FrontDoorError(
                f"the receiver process cannot be started: {error}", "see how many processes this user may have"
            ) from error
        registry.register(self)
        ProcessCollector(namespace="spanledger_receiver", pid=lambda: self._life.pid, registry=registry)
        self._died = Counter(
            "spanledger_receiver_deaths_total", "Times the receiver process ended unasked.", registry=registry
        )
        up = Gauge("spanledger_receiver_up", "1 while the receiver process takes requests.", registry=registry)
        up.set_function(lambda: self._up)

    def attend(self, record: Record, hear_policy: Callable[[PolicySaid], None] = lambda _: None) -> "Future[int]":
        """Store in `record` what it sends from now on, and tell `hear_policy` what becomes of its policy. The future has its
        gRPC port when it is ready, or a FrontDoorError.
        """
        self._hear_policy = hear_policy
        self._thread = threading.Thread(target=self._serve, args=(record,), name="receiver-heard", daemon=True)
        self._thread.start()
        return self._ready

    def tell_keys(self, keyring: Keyring | None) -> None:
        """Have it let in who has one of these keys from now on; None: those that it has are still the latest."""
        with self._lock:
            self._life.tell(Message(Kind.KEYS, document=keyring.packed() if keyring else b""))

    @property
    def problem(self) -> str | None:
        """Why no request is taken, if none is."""
        if self._stopping:
            return "the receivers have stopped"
        if self._up:
            return None
        return "the receiver process is being started: requests wait meanwhile"

    def stop(self, grace_seconds: float) -> None:
        """Have it take nothing new and end; what it has in flight is still stored and answered. Safe to call twice."""
        with self._lock:
            self._stopping = True
            life, thread = self._life, self._thread
        self._doors.otlp_http.close()  # Or who connects would wait for somebody who accepts, until we are gone.
        life.tell(Message(Kind.STOP))
        # Unattended it has nothing in flight, and nobody who would tell it.
        if life.wait(grace_seconds if thread else 0) is None:
            if thread:
                _log.warning("receiver_killed", cause=f"it did not end within {grace_seconds:g} s")
            life.kill()
        if thread:
            thread.join(_THREAD_SECONDS_MAX)
        else:
            life.end()

    def collect(self) -> Iterable[Metric]:
        """The receivers' own metrics, as they were told last where they are not told in time."""
        if not self._up:
            return self._families
        number, page = next(self._numbers), Future[bytes]()
        self._pages[number] = page
        self._life.tell(Message(Kind.METRICS, number))
        try:
            self._families = families.unpacked(page.result(METRICS_SECONDS_MAX))
        except TimeoutError:
            pass  # A scrape of the rest is worth more than none.
        finally:
            del self._pages[number]
        return self._families

    def describe(self) -> Iterator[Metric]:
        """Nothing is known before the process is asked."""
        return iter(())

    def _born(self) -> Life:
        """A new life. Raises OSError."""
        settings = msgspec.to_builtins(replace(self._settings, control_url=None), enc_hook=str)  # Not its to have.
        keyring = self._keys.keyring.packed()
        told = msgspec.msgpack.encode({"settings": settings, "grpc_port": self._grpc_port, "keyring": keyring})
        return Life(told, self._doors.otlp_http)

    def _serve(self, record: Record) -> None:
        try:
            self._live(record)
        except Exception as error:  # noqa: BLE001 - nobody else would hear that no request is taken any more
            _log.error("receiver_abandoned", exc_info=error)
            self._give_up(FrontDoorError("the receiver process cannot be kept alive", "report the log's last error"))

    def _live(self, record: Record) -> None:
        """Take what the process sends; where it dies, begin another."""
        life: Life | None = self._life
        room = self._room_in(record)
        while life is not None:
            speaking = threading.Thread(target=life.speak, args=(room,), name="receiver-told", daemon=True)
            speaking.start()
            try:
                while True:
                    self._take(record, life, life.hear())
            except Ended:
                pass
            except Exception as error:  # noqa: BLE001 - a thread that died unheard would leave every sender waiting
                _log.error("receiver_unheard", exc_info=error)
            self._up = False
            status = life.end()
            speaking.join(_THREAD_SECONDS_MAX)  # It knows why, where it was the one to end it.
            life = self._after(status, life.cause)

    def _take(self, record: Record, life: Life, message: Message) -> None:
        number = message.number
        match message.kind:
            case Kind.APPEND:
                append(record, message, life.tell)
            case Kind.METRICS:
                page = self._pages.get(number)
                if page is not None:
                    page.set_result(message.document)
            case Kind.USED:
                for prefix, at in message.said().items():
                    self._keys.used(prefix, at)
            case Kind.REFUSALS:
                self._refusals.put(unpacked(message.document))
            case Kind.POLICY:
                self._hear_policy(msgspec.msgpack.decode(message.document, type=PolicySaid))
            case Kind.READY:
                self._is_ready(**message.said())
            case _:
                pass  # A sign of life, which any message is.

    def _is_ready(self, grpc_port: int | None, refused: str = "", hint: str = "") -> None:
        if grpc_port is None:
            self._refusal = FrontDoorError(refused, hint)  # It ends now.
            return
        self._grpc_port, self._up = grpc_port, True
        if self._ready.done():
            _log.warning("receiver_started_again")
        else:
            self._ready.set_result(grpc_port)

    def _after(self, status: int, cause: str) -> Life | None:
        """The life after one that ended; None where there is to be none."""
        if self._stopping and not status:
            return None
        died = cause or exit_said(status)
        self._died.inc()
        _log.error("receiver_died", exit_status=status, cause=died, effect="what it had not acknowledged is sent again")
        if not self._ready.done():
            self._give_up(self._refusal or _not_started(died))
            return None
        while not self._often():
            with self._lock:
                if self._stopping:
                    return None
                try:
                    self._life = self._born()
                except OSError as error:
                    _log.error("receiver_not_started", cause=str(error))
                else:
                    return self._life
            time.sleep(_AGAIN_SECONDS)
        self._give_up(
            FrontDoorError(
                f"the receiver process died {DEATHS_MAX} times within {DEATHS_SECONDS:g} s, at last: {died}",
                "the log has each of them: events receiver_died, receiver_failed",
            )
        )
        return None

    def _give_up(self, error: FrontDoorError) -> None:
        (self.over if self._ready.done() else self._ready).set_exception(error)

    def _often(self) -> bool:
        """Count a death, and say whether it is one too many."""
        now = time.monotonic()
        self._deaths.append(now)
        return len(self._deaths) == DEATHS_MAX and now - self._deaths[0] < DEATHS_SECONDS

    def _room_in(self, record: Record) -> Callable[[], bytes]:
        def room() -> bytes:
            try:
                free, total = record.disk()
            except OSError:
                free = total = 0
            lag_bytes = record.lag_bytes(self._limits.view_lag_bytes_max)
            excess_seconds = record.lag_excess_seconds(self._limits.view_lag_seconds_max)
            return msgspec.msgpack.encode((lag_bytes, excess_seconds, free, total))

        return room


def append(record: Record, message: Message, tell: Callable[[Message], None]) -> None:
    """Have the journal store a request, and its sender told how it went."""
    number, (tenant, signal) = message.number, message.said()
    digests = message.digests
    leaves = tuple(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
    try:
        done = record.submit(FrameDraft(tenant, Signal(signal), message.body, leaves))
    except Exception as error:  # noqa: BLE001 - whatever happened, the sender gets an answer
        tell(_refusal(number, error))
        return
    done.add_done_callback(lambda found: tell(_outcome(number, found)))


def _outcome(number: int, done: "Future[Position]") -> Message:
    error = done.exception()
    return Message(Kind.DURABLE, number, str(done.result()).encode()) if error is None else _refusal(number, error)


def _refusal(number: int, error: BaseException) -> Message:
    # A message may name a file, and a file's name need not be text.
    said = str(error).encode(errors="replace").decode()
    return Message(Kind.REFUSED, number, msgspec.msgpack.encode((type(error).__name__, said)))


def _not_started(died: str) -> FrontDoorError:
    return FrontDoorError(f"the receiver process did not start ({died})", "see its last lines in the log")


def _promise() -> "Future[Any]":
    """A future that nobody can cancel: an event loop that is done with waiting would."""
    promise: Future[Any] = Future()
    promise.set_running_or_notify_cancel()
    return promise
