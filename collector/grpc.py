"""OTLP over gRPC: the three Export services and grpc.health.v1 on one port.

Handlers take and give raw bytes, so a body is parsed once, by the Arrow decoder. gRPC itself decompresses (gzip and
deflate) and refuses a message past the bound while it does. Export takes one message, yet its handlers are written for a
stream of them: so the body is asked for by the handler, and a call that is refused is refused before its body is read. The
bodies of calls that wait for a thread stay in the senders' hands; a few threads more than there are places answer calls that
find no place.
"""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from threading import Event
from typing import Final, NoReturn
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from access.errors import AccessError
from access.gate import Gate
from access.permissions import Permission, Principal
from access.refusals import refusal_of
from collector.admission import Ticket
from collector.answers import POSITION_HEADER, export_response, retry_info, short, status
from collector.errors import Answer, BodyTooSlow, ClientDisconnected, MalformedBody, PortUnavailable, message_for
from collector.intake import Intake, Outcome
from collector.stalled import StalledCalls
from store.record import Signal

SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
DOOR: Final = "otlp-grpc"
PORT_MAX: Final = 65535
REFUSING_THREADS: Final = 4  # a refusal takes well under a millisecond
EXPECTED_SHARE: Final = 16  # After one huge body there is still room for as many calls at once.
ENDING_SECONDS: Final = 0.1  # Only a sender that breaks the protocol is waited for.
LOOKAHEAD_BYTES: Final = 256 * 1024  # Of a call that nobody reads yet. The rest is let in when its handler asks for it.
STREAMS_MAX: Final = 256  # Calls of one connection at once; more wait in their sender. Each costs some 20 KB here.
IDLE_CONNECTION_MS_MAX: Final = (
    10 * 60 * 1000
)  # Without a call. Each costs a descriptor; senders connect again by themselves.
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

    def __init__(
        self, intake: Intake, *, gate: Gate, host: str, port: int, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        """`gate` says who may send, and for which tenant. `credentials` are those of TLS; None is without."""
        self._intake = intake
        self._gate = gate
        self._credentials = credentials
        self._host = host
        self._port = port
        self._threads = ThreadPoolExecutor(
            intake.limits.grpc_calls_max + REFUSING_THREADS, thread_name_prefix="otlp-grpc"
        )
        self._expected_bytes = 0
        self._stalled = StalledCalls(intake.limits.grpc_body_read_seconds_max)
        self._health = health.HealthServicer()
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_receive_message_length", intake.limits.body_bytes_max),
                ("grpc.max_concurrent_streams", STREAMS_MAX),
                # gRPC would measure the path and then take megabytes ahead of the handlers, for each connection.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
                ("grpc.max_connection_idle_ms", IDLE_CONNECTION_MS_MAX),
                # Two processes on one port would share the senders between them, and neither would say so.
                ("grpc.so_reuseport", 0),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service, {"Export": grpc.stream_unary_rpc_method_handler(self._export(signal))}
                )
                for signal, service in SERVICES.items()
            ]
        )

    def start(self) -> int:
        """Listen, and return the port. Raises PortUnavailable."""
        _check_bindable(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            address = f"{host}:{self._port}"
            if self._credentials is None:
                port: int = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise PortUnavailable(self._host, self._port, str(error), _HINT) from error
        self._server.start()
        self._stalled.start()
        for service in ("", *SERVICES.values()):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    def stop(self, grace_seconds: float) -> None:
        """Tell health checks, take no new call, and give those under way `grace_seconds` to end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._stalled.stop()
        self._threads.shutdown(wait=True)

    def _export(self, signal: Signal) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
        def export(bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                who = self._admitted(context)
                with self._intake.admission.admit("grpc") as ticket:
                    outcome = self._accept(signal, bodies, context, ticket, who)
            except ClientDisconnected:
                self._intake.disconnected(signal, "grpc")
                return b""
            except Exception as error:  # noqa: BLE001 - the outermost frame: whatever happened, the sender gets an answer
                answer = self._intake.declined(signal, "grpc", error)
                _abort(context, answer, message_for(error))
            if outcome.position:
                context.set_trailing_metadata(((POSITION_HEADER, str(outcome.position)),))
            return export_response(signal, outcome).SerializeToString()

        return export

    def _admitted(self, context: grpc.ServicerContext) -> Principal:
        metadata = [(name, value) for name, value in context.invocation_metadata() if isinstance(value, str)]
        who: Principal | None = None
        try:
            who = self._gate.admit_waiting([value for name, value in metadata if name == "authorization"])
            who.require(Permission.WRITE)
            self._gate.rates.spend_request(who)
        except AccessError as error:
            self._gate.refusals.note(refusal_of(error, door=DOOR, peer=_address(context.peer()), who=who))
            raise
        return who

    def _accept(
        self,
        signal: Signal,
        bodies: Iterator[bytes],
        context: grpc.ServicerContext,
        ticket: Ticket,
        who: Principal,
    ) -> Outcome:
        limits = self._intake.limits
        ticket.hold(max(self._expected_bytes, limits.grpc_body_bytes_expected))
        body = self._read(bodies, context)
        started = time.perf_counter()
        # Of many threads one or the other may be overwritten: an expectation need not be exact.
        largest = max(len(body), self._expected_bytes * 7 // 8)
        self._expected_bytes = min(largest, limits.bytes_in_flight_max // EXPECTED_SHARE)
        ticket.settle(len(body))
        self._gate.rates.spend_bytes(who, len(body))
        outcome = self._intake.accept(signal, body, tenant=who.tenant)
        self._intake.acknowledged(signal, "grpc", outcome, time.perf_counter() - started)
        return outcome

    def _read(self, bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with self._stalled.waiting(context) as wait:
            try:
                return next(bodies)
            except (StopIteration, grpc.RpcError) as error:
                cause = error
        # How a call that was ended shows is a matter of chance: as one without a message, or as an error.
        if wait.ended:
            seconds_max = self._intake.limits.grpc_body_read_seconds_max
            raise BodyTooSlow(f"the body did not arrive within {seconds_max:g} s") from cause
        if not _has_ended(context):
            raise MalformedBody("the call ended without a message: send one Export request") from cause
        raise ClientDisconnected(
            "the sender went away before its body was whole, or sent more than the bound and was told so by gRPC"
        ) from cause


def _address(peer: str) -> str:
    """The address of what gRPC calls a peer: `ipv4:127.0.0.1:4711`, `ipv6:%5B::1%5D:4711`."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]") or peer


def _has_ended(context: grpc.ServicerContext) -> bool:
    """Whether the call is over. That it was cancelled is told a moment after its message did not come."""
    ended = Event()
    return not context.add_callback(ended.set) or ended.wait(ENDING_SECONDS)


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
