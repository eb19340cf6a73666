"""uvicorn as both HTTP services run it: on a socket that is bound already, with bounds that uvicorn does not have.

A connection costs a file descriptor, and the journal needs descriptors too: a process that has none left cannot begin its
next segment. So connections are bounded well below the process's limit: the next one takes the place of the one that has
been idle for longest. One that is idle for long, or dawdles over the head of its request, is closed anyway. What comes after
the head is the application's to bound.

uvicorn's own `limit_concurrency` is not used: it counts idle connections as load, and refuses in a way that tells no
exporter when to come back.
"""

import asyncio
import contextlib
import resource
import socket
from asyncio.events import TimerHandle
from collections.abc import Generator
from typing import Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from spanledger.doors import BACKLOG
from spanledger.tls import Tls

GRACE_SECONDS: Final = 3
# Exporters send every 5 s or every 60 s over one connection: a server that closes it between is met in the middle of a
# request now and then. 10,000 idle connections take 52 MB.
IDLE_SECONDS_MAX: Final = 75
HEAD_SECONDS_MAX: Final = 10.0
HEAD_BYTES_MAX: Final = 64 * 1024  # What other servers allow is 8 to 64 KiB; httptools itself has no bound.

CONNECTIONS_MAX: Final = 16_384  # Of one service. More senders than this want a collector between.
DESCRIPTORS_KEPT: Final = 256  # For segments, the view and its log, threads' event descriptors, gRPC's own.
SHARE_OF_OTLP_HTTP: Final = 0.6  # Of the descriptors; gRPC, which has no bound of its own, gets what is left.
SHARE_OF_API: Final = 0.2

_log: Final = structlog.stdlib.get_logger(__name__)


def raise_descriptor_limit() -> int:
    """Raise this process's limit of file descriptors as far as it may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # a hard limit above what the kernel gives one process
            _log.warning("descriptor_limit_kept", limit=soft, cause=str(error))
            return soft
    return hard


def connections_of(descriptors: int, share: float) -> int:
    """How many connections a service may hold of a process's `descriptors`, at least one."""
    return max(1, min(CONNECTIONS_MAX, int((descriptors - DESCRIPTORS_KEPT) * share)))


class BoundedHttp(HttpToolsProtocol):
    """One connection. `connections_max` and `idle` (in the order in which they became so) are of the whole service."""

    connections_max: int = CONNECTIONS_MAX
    idle: dict["BoundedHttp", None]
    head_seconds_max: float = HEAD_SECONDS_MAX
    head_bytes_max: int = HEAD_BYTES_MAX

    _head_open = False
    _head_bytes = 0
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            longest_idle = next(iter(self.idle), self)
            self.idle.pop(longest_idle, None)
            longest_idle.transport.abort()
            if longest_idle is self:
                return
        self.idle[self] = None
        # uvicorn's idle timer begins with the first response; a connection that never asks anything has none.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self.idle[self] = None

    def data_received(self, data: bytes) -> None:
        self.idle.pop(self, None)
        continued = self._head_open
        super().data_received(data)
        if not self._head_open or self.transport.is_closing():
            return
        # Rare: nearly every head comes in one piece.
        if continued:
            self._head_bytes += len(data)
            if self._head_bytes > self.head_bytes_max:
                self.transport.abort()
                return
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds_max, self.transport.abort)

    def on_message_begin(self) -> None:
        self._head_open, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._stop_head_timer()
        super().on_headers_complete()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpService(uvicorn.Server):
    """One application on a socket that is bound already; it tells when it listens, and leaves signals to the process."""

    def __init__(self, app: Any, connections_max: int, tls: Tls | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=type("BoundedHttp", (BoundedHttp,), {"connections_max": connections_max, "idle": {}}),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=IDLE_SECONDS_MAX,
                timeout_graceful_shutdown=GRACE_SECONDS,
                **(tls.of_uvicorn() if tls else {}),
            )
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
