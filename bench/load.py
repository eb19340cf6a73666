"""The client: a few keep-alive connections that post prebuilt bodies, and what it takes to get them acknowledged.

One blocking thread a connection, so that this side costs almost nothing of the cores it shares with the server: the
bodies are made before, a response is read and not interpreted. Closed loop (`rate` None) sends the next body when the
last is acknowledged, which finds the most a server takes; open loop sends by the clock whatever the server does, and
counts latency from the time a request was due, so that a stall is not hidden by the requests that it held back.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from socket import IPPROTO_TCP, TCP_NODELAY
from threading import Event, Thread
from typing import Final, Protocol

POSITION_HEADER: Final = "spanledger-position"
OTLP_HEADERS: Final = {"content-type": "application/x-protobuf"}
CONNECTIONS: Final = 4
REQUEST_SECONDS_MAX: Final = 120.0  # MLflow needs seconds for one request under load.
_ANSWER_CHARS_MAX: Final = 300  # Of a refusal, for the message that tells it.
_RETRIES_MAX: Final = 600


class LoadFailed(Exception):
    """The server did not take the load: what it said."""


class Bodies(Protocol):
    """Request bodies by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> bytes: ...
    def spans_of(self, index: int) -> int:
        """Spans in one body."""
        ...


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged request. Times are of `time.perf_counter`; `due` is when an open loop wanted to send it."""

    index: int
    due: float
    sent: float
    acked: float
    position: str | None
    refusals: int

    @property
    def seconds(self) -> float:
        """Latency as a sender on a schedule sees it."""
        return self.acked - self.due


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client did: `started` is its first send, `cpu_seconds` what this process used meanwhile."""

    started: float
    acks: list[Ack]
    cpu_seconds: float

    @property
    def refusals(self) -> int:
        """Answers that asked to come back later, all retried."""
        return sum(ack.refusals for ack in self.acks)

    @property
    def last_ack(self) -> float:
        return max(ack.acked for ack in self.acks)


@dataclass(slots=True)
class _Turn:
    """Which body is next, and when. `count` is atomic, so that connections need no lock."""

    bodies: Bodies
    rate: float | None
    started: float = 0.0
    numbers: Callable[[], int] = field(default_factory=lambda: count().__next__)

    def next(self) -> tuple[int, float] | None:
        index = self.numbers()
        if index >= len(self.bodies):
            return None
        if self.rate is None:
            return index, time.perf_counter()
        due = self.started + index / self.rate
        if (ahead := due - time.perf_counter()) > 0:
            time.sleep(ahead)
        return index, due


def send(
    address: tuple[str, int],
    bodies: Bodies,
    *,
    rate: float | None = None,
    connections: int = CONNECTIONS,
    path: str = "/v1/traces",
    headers: Mapping[str, str] = OTLP_HEADERS,
    on_ack: Callable[[Ack], None] = lambda _: None,
    seconds_max: float | None = None,
) -> Sent:
    """Post every body once, `rate` requests a second or as fast as they are acknowledged.

    429 and 503 are retried after what Retry-After says, as exporters do. `seconds_max` ends the sending early. `on_ack`
    is called on the connections' threads. Raises LoadFailed when a request is refused for good or a connection breaks.
    """
    turn = _Turn(bodies, rate)
    failed: list[Exception] = []
    stop = Event()
    lists: list[list[Ack]] = [[] for _ in range(connections)]

    def work(acks: list[Ack]) -> None:
        try:
            with_connection(acks)
        except (OSError, HTTPException, LoadFailed) as error:
            failed.append(error)
            stop.set()

    def with_connection(acks: list[Ack]) -> None:
        connection = connect(address)
        try:
            while not stop.is_set() and (place := turn.next()) is not None:
                index, due = place
                sent = time.perf_counter()
                position, refusals = _post(connection, path, headers, bodies[index])
                ack = Ack(index, due, sent, time.perf_counter(), position, refusals)
                acks.append(ack)
                on_ack(ack)
                if seconds_max is not None and ack.acked - turn.started > seconds_max:
                    stop.set()
        finally:
            connection.close()

    threads = [Thread(target=work, args=(acks,), name=f"connection-{n}") for n, acks in enumerate(lists)]
    cpu_before = time.process_time()
    turn.started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise LoadFailed(f"sending to {address[0]}:{address[1]} ended early: {failed[0]}") from failed[0]
    acks = sorted((ack for acks in lists for ack in acks), key=lambda ack: ack.acked)
    return Sent(turn.started, acks, time.process_time() - cpu_before)


def connect(address: tuple[str, int]) -> HTTPConnection:
    """A keep-alive connection that sends small packets at once."""
    connection = HTTPConnection(*address, timeout=REQUEST_SECONDS_MAX)
    connection.connect()
    connection.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    return connection


def _post(connection: HTTPConnection, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str | None, int]:
    """Post until it is acknowledged. Returns the receipt's position and how many times it was asked to wait."""
    for refusals in range(_RETRIES_MAX):
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        answer = response.read()
        if response.status == 200:
            return response.getheader(POSITION_HEADER), refusals
        if response.status not in (429, 503):
            text = answer[:_ANSWER_CHARS_MAX].decode(errors="replace")
            raise LoadFailed(f"a request got {response.status} {response.reason}: {text}")
        time.sleep(float(response.getheader("retry-after") or 1))
    raise LoadFailed(f"a request was asked to wait {_RETRIES_MAX} times")
