"""OTLP over HTTP: a plain ASGI application, because three routes that take bytes need no framework.

Nobody is told anything before it is known who asks, not even what paths there are. The event loop only moves bytes. A body is
counted while it is read, whatever Content-Length says; decompressing, decoding and waiting for the journal happen on a
thread, which is not had before the body is whole. A refused request's body is left to the server, which reads and drops it: a
sender that is cut off in the middle of its body sees a broken connection instead of the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from access.errors import AccessError, Unauthenticated
from access.gate import Gate
from access.permissions import Permission, Principal
from access.refusals import refusal_of
from collector.admission import Ticket
from collector.answers import POSITION_HEADER, export_response, status, to_json
from collector.encoding import CONTENT_ENCODINGS, decompress, encoding_of
from collector.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientDisconnected,
    MalformedBody,
    UnknownPath,
    UnsupportedContentType,
    UnsupportedEncoding,
    WrongMethod,
    message_for,
)
from collector.intake import Intake, Outcome
from collector.otlp_json import to_protobuf
from collector.quoting import quoted
from store.record import Signal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PROTOBUF: Final = "application/x-protobuf"
DOOR: Final = "otlp-http"
JSON: Final = "application/json"
PATHS: Final = {f"/v1/{signal.label}": signal for signal in Signal}


@dataclass(frozen=True, slots=True)
class _Request:
    """The head of a request."""

    method: str
    path: str
    content_type: str
    content_encoding: str
    content_length: str
    query: bytes
    host: tuple[str, ...]
    authorization: tuple[str, ...]
    other_key: bool
    """Whether there is an `x-api-key`, which is not read."""
    peer: str | None
    """The address that it came from."""

    @classmethod
    def of(cls, scope: Scope) -> "_Request":
        values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        joined = {name: ",".join(given) for name, given in values.items()}
        return cls(
            method=scope["method"],
            path=scope["path"],
            content_type=joined.get("content-type", "").partition(";")[0].strip().lower(),
            content_encoding=joined.get("content-encoding", ""),
            content_length=joined.get("content-length", ""),
            query=scope.get("query_string", b""),
            host=tuple(values.get("host", ())),
            authorization=tuple(values.get("authorization", ())),
            other_key="x-api-key" in values,
            peer=scope["client"][0] if scope.get("client") else None,
        )


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])

    async def send(self, send: Send) -> None:
        headers = {"content-type": self.content_type, "content-length": str(len(self.body)), **self.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})


class OtlpHttpApp:
    """The ASGI application for POST /v1/traces, /v1/logs and /v1/metrics. Close it when the server has stopped."""

    def __init__(self, intake: Intake, *, gate: Gate) -> None:
        """`gate` says who may send, and for which tenant."""
        self._intake = intake
        self._limits = intake.limits
        self._gate = gate
        self._threads = ThreadPoolExecutor(self._limits.http_threads, thread_name_prefix="otlp-http")

    def close(self) -> None:
        """Wait for the requests that are being stored. The lifespan protocol's shutdown does the same."""
        self._threads.shutdown(wait=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._respond(_Request.of(scope), receive, send)
        else:
            raise ValueError(f"this application serves HTTP, not {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _respond(self, request: _Request, receive: Receive, send: Send) -> None:
        signal = PATHS.get(request.path)
        try:
            response = await self._export(signal, request, receive)
        except ClientDisconnected:
            if signal is not None:
                self._intake.disconnected(signal, "http")
            return
        except Exception as error:  # noqa: BLE001 - the outermost frame: whatever happened, the sender gets an answer
            response = self._declined(signal, request, error)
        await response.send(send)

    async def _admitted(self, request: _Request) -> Principal:
        who: Principal | None = None
        try:
            self._gate.check_target(request.path, request.query)
            self._gate.check_host(request.host)
            found = self._gate.admit(request.authorization, other_header=request.other_key)
            who = await asyncio.wrap_future(found) if isinstance(found, Future) else found
            who.require(Permission.WRITE)
            self._gate.rates.spend_request(who)
        except AccessError as error:
            self._gate.refusals.note(refusal_of(error, door=DOOR, peer=request.peer, who=who))
            raise
        return who

    async def _export(self, signal: Signal | None, request: _Request, receive: Receive) -> _Response:
        who = await self._admitted(request)
        if signal is None:
            raise UnknownPath(f"nothing is at {quoted(request.path)}; OTLP is taken at POST {', '.join(PATHS)}")
        encoding = _check_head(request)
        ticket = self._intake.admission.admit("http")
        try:
            bytes_max = self._wire_bytes_max(encoding)
            self._intake.admission.refuse_if_hopeless(_content_length(request.content_length, bytes_max))
            chunks = await self._read(receive, ticket, bytes_max)
            started = time.perf_counter()
            work = self._threads.submit(self._accept, signal, request, encoding, chunks, ticket=ticket, who=who)
        except BaseException:
            ticket.release()
            raise
        # The thread goes on when this task is cancelled, so the place is given back when the thread is done.
        work.add_done_callback(lambda _: ticket.release())
        outcome = await asyncio.wrap_future(work)
        self._intake.acknowledged(signal, "http", outcome, time.perf_counter() - started)
        headers = {POSITION_HEADER: str(outcome.position)} if outcome.position else {}
        content_type, content = _encoded(export_response(signal, outcome), request.content_type)
        return _Response(200, content_type, content, headers)

    def _wire_bytes_max(self, encoding: str) -> int:
        return self._limits.body_bytes_max if encoding == "identity" else self._limits.compressed_bytes_max

    async def _read(self, receive: Receive, ticket: Ticket, bytes_max: int) -> list[bytes]:
        chunks: list[bytes] = []
        size = 0
        limits = self._limits
        now = asyncio.get_running_loop().time
        deadline = now() + limits.body_read_seconds_max
        try:
            async with asyncio.timeout(None) as patience:
                while True:
                    patience.reschedule(min(now() + limits.body_idle_seconds_max, deadline))
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        raise ClientDisconnected(f"the sender went away after {size:,} bytes of its body")
                    chunk: bytes = event.get("body", b"")
                    size += len(chunk)
                    if size > bytes_max:
                        raise _too_large(f"more than {bytes_max:,}", bytes_max)
                    ticket.hold(len(chunk))
                    chunks.append(chunk)
                    if not event.get("more_body", False):
                        return chunks
        except TimeoutError as error:
            raise BodyTooSlow(
                f"the body rested for {limits.body_idle_seconds_max:g} s or was not whole within "
                f"{limits.body_read_seconds_max:g} s; {size:,} bytes of it came"
            ) from error

    def _accept(
        self, signal: Signal, request: _Request, encoding: str, chunks: list[bytes], *, ticket: Ticket, who: Principal
    ) -> Outcome:
        body = b"".join(chunks)
        chunks.clear()  # The pool keeps its arguments until the end, and the body is here twice now.
        body = decompress(encoding, body, bytes_max=self._limits.body_bytes_max, on_growth=ticket.hold)
        self._gate.rates.spend_bytes(who, len(body))
        if request.content_type == JSON:
            with self._intake.decoding.passing(len(body)):
                body = to_protobuf(signal, body)
        ticket.settle(len(body))  # What was sent compressed or as JSON is let go.
        return self._intake.accept(signal, body, tenant=who.tenant)

    def _declined(self, signal: Signal | None, request: _Request, error: Exception) -> _Response:
        answer = self._intake.declined(signal, "http", error)
        headers: dict[str, str] = {}
        if answer.retry_after_seconds is not None:
            headers["retry-after"] = str(answer.retry_after_seconds)
        match error:
            case Unauthenticated():
                headers["www-authenticate"] = 'Bearer realm="spanledger"'
            case WrongMethod():
                headers["allow"] = "POST"
            case UnsupportedEncoding():
                headers["accept-encoding"] = ", ".join(CONTENT_ENCODINGS)
            case UnsupportedContentType():
                headers["accept"] = f"{PROTOBUF}, {JSON}"
            case BodyTooSlow():
                headers["connection"] = "close"  # The rest of the body, should it come, is worth no socket.
            case _:
                pass
        content_type, content = _encoded(status(answer, message_for(error)), request.content_type)
        return _Response(answer.http_status, content_type, content, headers)


def _encoded(message: Message, content_type: str) -> tuple[str, bytes]:
    """A response in the request's encoding; whoever speaks neither is probably a person, who reads JSON."""
    return (PROTOBUF, message.SerializeToString()) if content_type == PROTOBUF else (JSON, to_json(message))


def _check_head(request: _Request) -> str:
    """The content encoding of a request that can be read here."""
    if request.method != "POST":
        raise WrongMethod(f"{request.method[:20]} is not for {request.path}: OTLP is sent with POST")
    if request.content_type not in (PROTOBUF, JSON):
        raise UnsupportedContentType(
            f"Content-Type {quoted(request.content_type)} is not OTLP; send {PROTOBUF} or {JSON}"
        )
    return encoding_of(request.content_encoding)


def _content_length(header: str, bytes_max: int) -> int:
    """What the sender says; 0 when it does not. Raises MalformedBody, BodyTooLarge."""
    if not header:
        return 0
    if not (header.isascii() and header.isdigit()):
        raise MalformedBody(f"Content-Length {quoted(header)} is not a number of bytes")
    if len(header) > 18 or int(header) > bytes_max:
        raise _too_large(header[:40], bytes_max)
    return int(header)


def _too_large(size: str, bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is {size} bytes on the wire and {bytes_max:,} are the limit; send fewer records in one request"
    )
