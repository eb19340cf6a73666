"""An open loop over keep-alive connections on one thread: thousands of small requests a second without eating the cores.

The clock says when a request is due; it goes out on a connection that is idle, or as soon as one is. Latency counts from when
it was due, so waiting for a connection is not hidden. Answers are parsed as far as a status and a length.
"""

import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_RECEIVE_BYTES: Final = 65536
_TICK_SECONDS: Final = 0.0005  # How late a request may go out because the loop was looking for answers.
_DRAIN_SECONDS_MAX: Final = 60.0
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(slots=True)
class Answers:
    """What came back. `acked` has the numbers of the requests; latencies are seconds since each was due."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    latencies: list[float] = field(default_factory=list[float])
    acked: list[int] = field(default_factory=list[int])
    sent: int = 0
    broken: int = 0
    seconds: float = 0.0
    """From the first send to the last answer."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    number: int = -1
    due: float = 0.0


def http_post(body: bytes) -> bytes:
    """A whole OTLP request as it goes over the wire."""
    head = (
        "POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-protobuf\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(
    address: tuple[str, int], make: Callable[[int], bytes], *, rate: float, seconds: float, connections: int
) -> Answers:
    """Send `rate` requests a second for so many seconds; `make` gives the wire bytes of a request by its number.

    What no connection was free for by then is not sent any more. A connection that breaks is counted and opened again.
    """
    answers = Answers()
    wanted = round(rate * seconds)
    with selectors.DefaultSelector() as selector:
        idle = deque(_open(address, selector) for _ in range(connections))
        started = time.perf_counter()
        while answers.sent < wanted and (now := time.perf_counter()) < started + seconds + _TICK_SECONDS:
            while idle and answers.sent < wanted and started + answers.sent / rate <= now:
                _send(idle.popleft(), make(answers.sent), answers, started + answers.sent / rate)
            for connection in _read(selector, _TICK_SECONDS, answers, address):
                idle.append(connection)
        deadline = time.perf_counter() + _DRAIN_SECONDS_MAX
        while len(idle) < connections and time.perf_counter() < deadline:
            idle.extend(_read(selector, 0.1, answers, address))
        answers.seconds = time.perf_counter() - started
        answers.broken += connections - len(idle)
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return answers


def _open(address: tuple[str, int], selector: selectors.BaseSelector) -> _Connection:
    made = socket.create_connection(address, timeout=30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = _Connection(made)
    selector.register(made, selectors.EVENT_READ, connection)
    return connection


def _send(connection: _Connection, request: bytes, answers: Answers, due: float) -> None:
    connection.number, connection.due = answers.sent, due
    answers.sent += 1
    # A broken connection shows again when its answer is read, and is counted there.
    try:
        connection.socket.sendall(request)
    except OSError:
        connection.received.clear()


def _read(
    selector: selectors.BaseSelector, timeout_seconds: float, answers: Answers, address: tuple[str, int]
) -> list[_Connection]:
    """The connections that have become idle."""
    free: list[_Connection] = []
    for key, _ in selector.select(timeout_seconds):
        connection: _Connection = key.data
        try:
            data = connection.socket.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            selector.unregister(connection.socket)
            connection.socket.close()
            # The server may close one that is idle; only one that waited for an answer is broken.
            answers.broken += connection.number >= 0
            free.append(_open(address, selector))
            continue
        connection.received += data
        status = _take_answer(connection.received)
        if status is not None:
            answers.statuses[status] += 1
            answers.latencies.append(time.perf_counter() - connection.due)
            if status == 200:
                answers.acked.append(connection.number)
            connection.number = -1
            free.append(connection)
    return free


def _take_answer(received: bytearray) -> int | None:
    """The status of a whole answer, which is taken away; None where it has not all come."""
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    whole = end + len(_HEAD_END) + length
    if len(received) < whole:
        return None
    del received[:whole]
    return int(head.split(b" ", 2)[1])
