"""The bounds that uvicorn does not have, on real sockets."""

import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvloop

from spanledger.http_service import (
    CONNECTIONS_MAX,
    DESCRIPTORS_KEPT,
    BoundedHttp,
    HttpService,
    connections_of,
)
from tests.patience import BUSY_SECONDS

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def serving() -> Iterator[Callable[..., tuple[str, int]]]:
    """Start a service with bounds of its own on a thread."""
    running: list[tuple[HttpService, threading.Thread, socket.socket]] = []

    def start(connections_max: int = 100, idle_seconds: int = 30, **bounds: Any) -> tuple[str, int]:
        listening = socket.create_server(("127.0.0.1", 0))
        service = HttpService(application, connections_max)
        service.config.timeout_keep_alive = idle_seconds
        protocol: Any = service.config.http
        assert issubclass(protocol, BoundedHttp)
        for name, value in bounds.items():
            setattr(protocol, name, value)
        thread = threading.Thread(target=uvloop.run, args=(service.serve([listening]),))
        thread.start()
        running.append((service, thread, listening))
        return listening.getsockname()

    yield start
    for service, thread, listening in running:
        service.should_exit = True
        thread.join(BUSY_SECONDS)
        assert not thread.is_alive()
        listening.close()


def ask(connection: socket.socket) -> bytes:
    """The answer, or b'' from a connection that was closed."""
    try:
        connection.sendall(ASK)
        return answer_of(connection)
    except ConnectionError:
        return b""


def answer_of(connection: socket.socket) -> bytes:
    connection.settimeout(BUSY_SECONDS)
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


def test_where_all_connections_are_taken_a_new_one_takes_the_place_of_the_longest_idle(serving):
    address = serving(connections_max=3)
    opened = [socket.create_connection(address) for _ in range(3)]
    try:
        for connection in opened:
            assert ask(connection).startswith(b"HTTP/1.1 200")
        assert ask(opened[0]).startswith(b"HTTP/1.1 200"), "now the second is the one that has been idle for longest"
        with closing(socket.create_connection(address)) as new:
            assert ask(new).startswith(b"HTTP/1.1 200")
            assert answer_of(opened[1]) == b""
            for connection in (opened[0], opened[2], new):
                assert ask(connection).startswith(b"HTTP/1.1 200")
    finally:
        for connection in opened:
            connection.close()


def test_where_all_connections_are_at_work_a_new_one_is_closed(serving):
    address = serving(connections_max=2)
    opened = [socket.create_connection(address) for _ in range(2)]
    try:
        for connection in opened:
            assert ask(connection).startswith(b"HTTP/1.1 200")
            connection.sendall(ASK[:10])
        with closing(socket.create_connection(address)) as new:
            assert answer_of(new) == b""
        for connection in opened:
            connection.sendall(ASK[10:])
            assert answer_of(connection).startswith(b"HTTP/1.1 200")
    finally:
        for connection in opened:
            connection.close()


@pytest.mark.parametrize("begun", [b"", ASK], ids=["never asked", "asked once"])
def test_an_idle_connection_is_closed(serving, begun):
    with closing(socket.create_connection(serving(idle_seconds=0.05))) as idle:
        idle.sendall(begun)
        if begun:
            assert answer_of(idle).startswith(b"HTTP/1.1 200")
        assert answer_of(idle) == b""


def test_a_head_that_does_not_end_in_time_closes_its_connection(serving):
    with closing(socket.create_connection(serving(head_seconds_max=0.05))) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert answer_of(slow) == b""


def test_a_head_that_does_not_end_at_all_closes_its_connection(serving):
    with closing(socket.create_connection(serving(head_bytes_max=100_000))) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nX: ")
        endless.settimeout(BUSY_SECONDS)
        with pytest.raises(ConnectionError):
            endless.sendall(b"x" * 200_000_000)


def test_a_head_in_pieces_is_read(serving):
    with closing(socket.create_connection(serving())) as pieces:
        for at in range(0, len(ASK), 5):
            pieces.sendall(ASK[at : at + 5])
        assert answer_of(pieces).startswith(b"HTTP/1.1 200")


def test_connections_leave_descriptors_for_the_journal():
    soft = 20_000
    shares = connections_of(soft, 0.6), connections_of(soft, 0.2)
    assert sum(shares) < soft - DESCRIPTORS_KEPT
    assert connections_of(10**9, 0.6) == CONNECTIONS_MAX
    assert connections_of(64, 0.6) == 1


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be():
    code = (
        "import resource; from spanledger.http_service import raise_descriptor_limit as raised; "
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)); "
        "assert raised() == hard; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert done.stdout.split() == [str(hard), str(hard)]
