"""The journal as the receiver process has it: what is appended here is durable there before the call returns."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from access.keyring import KeyHolder, Keyring
from access.refusals import Refusals, packed
from spanledger.receiver.wire import Ended, Kind, Message, Wire
from spanledger.redaction import PolicySaid
from store import errors
from store.errors import JournalClosed, StoreError
from store.record import FrameDraft, Position

_NUMBERS: Final = 2**32  # What a message's number holds: far more than are under way at once.
_log: Final = structlog.stdlib.get_logger(__name__)


class RemoteRecord:
    """`collector.intake.Journal` and `collector.headroom.Space` over a wire. `follow` is the wire's receiving thread."""

    def __init__(
        self,
        wire: Wire,
        *,
        keys: KeyHolder,
        metrics: Callable[[], bytes],
        stop: Callable[[int], None],
        refusals: Refusals | None = None,
    ) -> None:
        """`keys` are kept as new as they are told. `metrics` gives the process's metrics. `stop` is called with the exit
        status when nothing more is to be taken. `refusals` that were counted are told about once a second.
        """
        self._refusals = refusals or Refusals()
        self._wire = wire
        self._keys = keys
        self._metrics = metrics
        self._stop = stop
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Position]] = {}
        self._over = False
        self._space: tuple[int, float, int, int] | None = None

    def append(self, draft: FrameDraft) -> Position:
        """Blocks until the frame is on the disk. Raises what the journal raises there, and JournalClosed."""
        if draft.signal is None:
            raise ValueError("telemetry alone goes over the wire as frames")
        done: Future[Position] = Future()
        with self._lock:
            if self._over:
                raise JournalClosed("the process that holds the journal is gone: send it again later")
            number = next(self._numbers) % _NUMBERS
            self._waiting[number] = done
        document = msgspec.msgpack.encode((draft.tenant, int(draft.signal)))
        try:
            self._wire.send(Message(Kind.APPEND, number, document, b"".join(draft.leaves), draft.body))
        except Ended:
            self._end()
        return done.result()

    def lag_bytes(self, bytes_max: int) -> int:
        """As it was told last; nothing is known to be behind before the first time."""
        return self._space[0] if self._space else 0

    def lag_excess_seconds(self, seconds_max: float) -> float:
        """As it was told last."""
        return self._space[1] if self._space else 0.0

    def disk(self) -> tuple[int, int]:
        """As it was told last. Raises OSError where it was not."""
        if self._space is None or not self._space[3]:
            raise OSError("the disk of the data folder is not known")
        return self._space[2], self._space[3]

    def follow(self) -> None:
        """Take what the other process says, until it is gone."""
        try:
            while True:
                self._take(self._wire.receive())
        except Ended as error:
            _log.info("journal_gone", cause=str(error))
        except Exception as error:  # noqa: BLE001 - a thread that died unheard would leave every sender waiting
            _log.error("journal_unheard", exc_info=error)
        finally:
            self._end()
            self._stop(1)

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.DURABLE:
                position = Position.parse(message.document.decode())  # Before anybody is taken off who waits for it.
                done = self._answered(message.number)
                if done is not None:
                    done.set_result(position)
            case Kind.REFUSED:
                error = _error(*message.said())
                done = self._answered(message.number)
                if done is not None:
                    done.set_exception(error)
            case Kind.SPACE:
                self._space = tuple(message.said())
            case Kind.METRICS:
                self._wire.send(Message(Kind.METRICS, message.number, self._metrics()))
            case Kind.KEYS:
                self._hear_keys(message.document)
            case Kind.ALIVE:
                self._wire.send(message, *self._counted())
            case Kind.STOP:
                counted = self._counted()
                if counted:
                    self._wire.send(*counted)
                self._stop(0)
            case Kind.START | Kind.READY | Kind.APPEND | Kind.USED | Kind.REFUSALS | Kind.POLICY:
                raise Ended(f"the other process says {message.kind.name}, which is not its to say")

    def _hear_keys(self, document: bytes) -> None:
        """Other keys hold from now on; without a document those that there are were confirmed."""
        if document:
            self._keys.replace(Keyring.unpacked(document))
        else:
            self._keys.confirm()

    def tell_policy(self, said: PolicySaid) -> None:
        """A policy of redaction was taken or refused here."""
        with suppress(Ended):  # Whoever follows the wire sees that, too, and ends the process.
            self._wire.send(Message(Kind.POLICY, document=msgspec.msgpack.encode(said)))

    def _counted(self) -> list[Message]:
        """Which keys were used since this was told last, and who was refused; nothing where there is nothing."""
        messages: list[Message] = []
        if used := self._keys.take_used():
            messages.append(Message(Kind.USED, document=msgspec.msgpack.encode(used)))
        if refused := self._refusals.take():
            messages.append(Message(Kind.REFUSALS, document=packed(refused)))
        return messages

    def _answered(self, number: int) -> "Future[Position] | None":
        """Who waits under that number; nobody where it was given up before the answer came."""
        with self._lock:
            return self._waiting.pop(number, None)

    def _end(self) -> None:
        with self._lock:
            self._over = True
            waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done.set_exception(
                JournalClosed("the process that holds the journal ended before it said that this is stored")
            )


def _error(name: str, message: str) -> Exception:
    """An error of the store by its name: the receivers answer each of them in its own way."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, StoreError):
        return kind.__new__(kind, message)  # Not called: some are made of more than the message that they come to.
    return RuntimeError(f"{name}: {message}")
