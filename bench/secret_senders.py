"""Senders that do not give up: what a killed server did not acknowledge goes to its next life, and some goes twice."""

from collections import Counter, deque
from collections.abc import Sequence
from random import Random
from threading import Condition, Event, Thread
from typing import Final

from bench.doors import Answer, Doors
from bench.hostile_server import HostileServer
from bench.sowing import Parcel

SENDERS: Final = 4
AGAIN_SHARE: Final = 0.05
"""Of acknowledged requests, how many are sent once more, as by an exporter that did not get the answer."""
_PAUSE_SECONDS: Final = 0.1
_SAID_CHARACTERS: Final = 2000


class SendingFailed(Exception):
    """A request was refused that must be taken, or taken that must be refused."""


class Waiting:
    """What is still to be sent, and what became of the rest. Thread-safe."""

    def __init__(self, parcels: Sequence[Parcel], key: str, rng: Random) -> None:
        self.key = key
        self.total = len(parcels)
        self.answers: Counter[str] = Counter()
        self.done = 0
        self._parcels = deque(parcels)
        self._changed = Condition()
        self._rng = rng
        self._failure: SendingFailed | None = None

    def take(self, count: int = 1) -> list[Parcel]:
        """Up to so many parcels for `import`, which takes only what is to be accepted."""
        with self._changed:
            taken = [parcel for parcel in self._parcels if parcel.accepted][:count]
            gone = set(map(id, taken))
            self._parcels = deque(parcel for parcel in self._parcels if id(parcel) not in gone)
            return taken

    def next(self, stop: Event) -> Parcel | None:
        """The next parcel, waiting for it; None where all are done, or `stop` is set (`wake` tells of it)."""
        with self._changed:
            self._changed.wait_for(lambda: self._parcels or self._over or stop.is_set())
            return None if stop.is_set() or self._over else self._parcels.popleft()

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def answered(self, parcel: Parcel, answer: Answer) -> None:
        """What a server said to a parcel that `next` gave."""
        with self._changed:
            if answer.retryable:
                self._parcels.appendleft(parcel)
            elif answer.acknowledged is not parcel.accepted:
                self._failure = SendingFailed(f"{answer.door} answered {answer.status} to {parcel.sown[0].place}")
            else:
                self._ended(answer.door if parcel.accepted else "refused", [parcel])
            self._changed.notify_all()

    def ended(self, door: str, parcels: Sequence[Parcel], *, acknowledged: bool, said: bytes) -> None:
        """What became of parcels that `take` gave: they are taken whole, or are sent again."""
        with self._changed:
            if acknowledged:
                self._ended(door, parcels)
            else:
                raise SendingFailed(
                    f"{door} did not take its files: {said[-_SAID_CHARACTERS:].decode(errors='replace')}"
                )

    def wait_for(self, acks: int) -> None:
        """Wait until so many parcels, or all, are done. Raises SendingFailed."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.done >= acks)
            if self._failure is not None:
                raise self._failure

    @property
    def _over(self) -> bool:
        return self._failure is not None or self.done >= self.total

    def _ended(self, door: str, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            self.answers[door] += 1
            self.done += 1
            if self._rng.random() < AGAIN_SHARE:
                self.total += 1
                self._parcels.append(parcel)


class Senders:
    """Threads that send to one life of a server. A context: they send inside it, and have ended after it."""

    def __init__(self, server: HostileServer, waiting: Waiting, seed: int) -> None:
        self._server = server
        self._waiting = waiting
        self._stop = Event()
        self._threads = [
            Thread(target=self._run, args=(Random(f"{seed}:{number}"),), name=f"sender-{number}")
            for number in range(SENDERS)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._waiting.wake()
        for thread in self._threads:
            thread.join()

    def _run(self, rng: Random) -> None:
        doors = Doors(self._server, self._waiting.key, rng)
        try:
            while parcel := self._waiting.next(self._stop):
                answer = doors.send(parcel)
                self._waiting.answered(parcel, answer)
                if answer.retryable:
                    self._stop.wait(_PAUSE_SECONDS)
        finally:
            doors.close()
