"""The listening sockets: had before anything is started, so that a port in use costs nobody anything.

They listen at once: two sockets that are only bound may share a port, and the second would fail when the first thread
runs already. Who connects before the server is ready waits in the backlog.
"""

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from spanledger.errors import FrontDoorError, UsageError
from spanledger.settings import Settings

BACKLOG: Final = 2048  # Connections that wait for accept: agents start in herds.

_CAUSES: Final = {
    errno.EADDRINUSE: (
        "the port is in use",
        "stop what listens there (a Spanledger that still runs?), or choose another with {option}; 0 picks a free one",
    ),
    errno.EACCES: ("this user may not listen there", "choose a port from 1024 with {option}"),
    errno.EADDRNOTAVAIL: ("this machine does not have that address", "give one that it has with --host"),
}
_HINT: Final = "choose another with {option} or --host"


@dataclass(frozen=True, slots=True)
class Doors:
    """Listening sockets of the two HTTP services, and where gRPC is to listen (0 in `grpc_port` picks a free port)."""

    host: str
    grpc_port: int
    otlp_http: socket.socket
    api: socket.socket

    def close(self) -> None:
        self.otlp_http.close()
        self.api.close()


def open_doors(settings: Settings) -> Doors:
    """Listen on every port of `settings`. Raises FrontDoorError that names the setting of one that cannot be had."""
    _refuse_same_port(settings)
    with ExitStack() as bound:
        # gRPC binds its own socket later; that it could is found out now.
        _bind(settings.host, settings.otlp_grpc_port, "otlp_grpc_port").close()
        otlp_http = bound.enter_context(_bind(settings.host, settings.otlp_http_port, "otlp_http_port"))
        api = bound.enter_context(_bind(settings.host, settings.api_port, "api_port"))
        bound.pop_all()
    return Doors(settings.host, settings.otlp_grpc_port, otlp_http, api)


def address(host: str, port: int) -> str:
    """`host:port` as a URL writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(bound: socket.socket, host: str) -> str:
    """Where a bound socket can be reached, by the name it was asked for."""
    return address(host, bound.getsockname()[1])


def port_refused(host: str, port: int, setting: str, error: OSError) -> FrontDoorError:
    """The error of a port that cannot be listened on."""
    cause, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), _HINT))
    option = "--" + setting.replace("_", "-")
    return FrontDoorError(f"cannot listen on {address(host, port)}: {cause}", hint.format(option=option))


def _refuse_same_port(settings: Settings) -> None:
    names: dict[int, str] = {}
    for name in ("otlp_grpc_port", "otlp_http_port", "api_port"):
        port: int = getattr(settings, name)
        if port and port in names:
            raise UsageError(
                f"{names[port]} and {name} are both {port}", "give each a port of its own; 0 picks a free one"
            )
        names[port] = name


def _bind(host: str, port: int, setting: str) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise FrontDoorError(
            f"cannot listen on {address(host, port)}: {error.strerror}", "give an address of this machine with --host"
        ) from error
    family, kind, protocol, _, where = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Not SO_REUSEPORT: two servers that share a port each get half of the telemetry, and nobody notices.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise port_refused(host, port, setting, error) from error
    return bound
