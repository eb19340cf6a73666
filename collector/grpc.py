"""OTLP over gRPC: the three Export services and grpc.health.v1 on one port.

Handlers take and give raw bytes, so a body is parsed once, by the Arrow decoder. gRPC itself decompresses (gzip and
deflate) and refuses a message past the bound while it does. The bodies of calls that wait for a thread stay in the
senders' hands; a few threads more than there are places answer calls that find no place.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from typing import Final, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.answers import POSITION_HEADER, export_response, retry_info, short, status
from collector.errors import Answer, PortUnavailable, message_for
from collector.intake import Intake
from store.record import DEFAULT_TENANT, Signal

SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
PORT_MAX: Final = 65535
REFUSING_THREADS: Final = 4  # a refusal takes well under a millisecond
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_INFO_KEY: Final = "google.rpc.retryinfo-bin"

_CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
_HINTS: Final = {
    EADDRINUSE: "another process listens there (a Spanledger that still runs?): stop it or choose another port, "
    "0 picks a free one",
    EACCES: "ports below 1024 need a privilege: choose a higher one",
    EADDRNOTAVAIL: "the address is not one of this machine's: try 127.0.0.1, or 0.0.0.0 for all of them",
}
_HINT: Final = "check that the host is a name or an address of this machine"


class OtlpGrpcServer:
    """A server that is started once and stopped once. Port 0 picks a free one."""

    def __init__(self, intake: Intake, *, host: str, port: int, tenant: str = DEFAULT_TENANT) -> None:
        self._intake = intake
        self._host = host
        self._port = port
        self._tenant = tenant
        self._threads = ThreadPoolExecutor(
            intake.limits.requests_in_flight_max + REFUSING_THREADS, thread_name_prefix="otlp-grpc"
        )
        self._health = health.HealthServicer()
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_receive_message_length", intake.limits.body_bytes_max),
                # Two processes on one port would share the senders between them, and neither would say so.
                ("grpc.so_reuseport", 0),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service, {"Export": grpc.unary_unary_rpc_method_handler(self._export(signal))}
                )
                for signal, service in SERVICES.items()
            ]
        )

    def start(self) -> int:
        """Listen, and return the port. Raises PortUnavailable."""
        _check_bindable(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            port: int = self._server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise PortUnavailable(self._host, self._port, str(error), _HINT) from error
        self._server.start()
        for service in ("", *SERVICES.values()):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    def stop(self, grace_seconds: float) -> None:
        """Tell health checks, take no new call, and give those under way `grace_seconds` to end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._threads.shutdown(wait=True)

    def _export(self, signal: Signal) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            started = time.perf_counter()
            try:
                with self._intake.admission.admit() as ticket:
                    ticket.hold(len(body))
                    outcome = self._intake.accept(signal, body, tenant=self._tenant)
            except Exception as error:  # noqa: BLE001 - the outermost frame: whatever happened, the sender gets an answer
                answer = self._intake.declined(signal, "grpc", error)
                _abort(context, answer, message_for(error))
            self._intake.acknowledged(signal, "grpc", outcome, time.perf_counter() - started)
            if outcome.position:
                context.set_trailing_metadata(((POSITION_HEADER, str(outcome.position)),))
            return export_response(signal, outcome).SerializeToString()

        return export


def _abort(context: grpc.ServicerContext, answer: Answer, message: str) -> NoReturn:
    metadata = [(STATUS_DETAILS_KEY, status(answer, message).SerializeToString())]
    info = retry_info(answer)
    if info is not None:
        metadata.append((RETRY_INFO_KEY, info.SerializeToString()))
    context.set_trailing_metadata(tuple(metadata))
    context.abort(_CODES[answer.rpc_code], short(message))


def _check_bindable(host: str, port: int) -> None:
    """Ask the operating system first: gRPC says on stderr why it cannot bind, where no caller can read it."""
    if not 0 <= port <= PORT_MAX:
        raise PortUnavailable(host, port, "there is no such port", f"ports go from 0 to {PORT_MAX}, 0 picks a free one")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with closing(socket.socket(family, kind, protocol)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise PortUnavailable(host, port, error.strerror or str(error), _HINTS.get(error.errno or 0, _HINT)) from error
    except UnicodeError as error:  # a name that DNS cannot spell
        raise PortUnavailable(host, port, str(error), _HINT) from error
