"""Senders that write down what they send: threads over HTTP and gRPC that note every acknowledgement in the client's journal.

What a sender meets is counted and never hidden: refusals that may be retried, refusals that may not, broken connections. One
that is refused for good, or whose connection breaks, ends; whoever broke it is the case.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from random import Random
from threading import Condition, Event, Thread
from typing import Any, Final, Self

import grpc

from bench.acks import AckJournal, new_trace
from bench.hostile_server import HostileServer
from bench.load import OTLP_HEADERS, connect
from bench.span_stamp import CHAT, ROOT, SPAN_NS, TOOL, Requests, SpanStamp

TRACES_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
RETRYABLE_HTTP: Final = frozenset({"429", "503"})
RETRYABLE_GRPC: Final = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})
_STATUS_DETAILS: Final = (
    "grpc-status-details-bin"  # There when the server itself answered, absent when the connection broke.
)
_TRACE_SPANS_MAX: Final = 200  # Then a sender begins another trace: runs of many requests, but not all in one run.
_PAUSE_SECONDS: Final = 0.1  # After a refusal; less than servers ask for, as a bad client does.
_REQUEST_SECONDS_MAX: Final = 60.0
_JOIN_SECONDS: Final = 90.0


class SenderStuck(Exception):
    """A sender waits for an answer that does not come."""


@dataclass(slots=True)
class Tally:
    """What the senders met. `latencies` are (time of the ack, seconds) by `time.perf_counter`."""

    acks: int = 0
    refusals: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])
    breaks: int = 0
    latencies: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])


@dataclass(frozen=True, slots=True)
class _Answer:
    """`status` is 200 (or OK) for an ack; None where the connection broke."""

    status: str | None
    retryable: bool = False


class Senders:
    """`connections` threads, every other one over gRPC, each with a trace of its own at a time.

    A context: they send inside it as fast as they are acknowledged, and have ended after it. `spans_max` bounds a request's
    spans, which are as many as chance says; `stamp` is the kind of span instead of chats and tool calls; `retry` sends what
    was refused again until it is acknowledged.
    """

    def __init__(
        self,
        server: HostileServer,
        journal: AckJournal,
        *,
        connections: int,
        spans_max: int,
        seed: int,
        stamp: SpanStamp | None = None,
        retry: bool = False,
    ) -> None:
        self.tally = Tally()
        self._server = server
        self._journal = journal
        self._spans_max = spans_max
        self._seed = seed
        self._stamp = stamp
        self._retry = retry
        self._requests = Requests("hostile")
        self._changed = Condition()
        self._stop = Event()
        self._threads = [
            Thread(target=self._run, args=(number,), name=f"sender-{number}") for number in range(connections)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                raise SenderStuck(f"{thread.name} still waits for an answer after {_JOIN_SECONDS:g} s")

    def wait_for(self, holds: Callable[[Tally], bool], seconds_max: float) -> bool:
        """Wait until the tally is as wanted. False where it does not come to that in time."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self.tally), seconds_max)

    def _run(self, number: int) -> None:
        export, close = self._over_grpc() if number % 2 else self._over_http()
        random = Random(f"{self._seed}:{number}")
        try:
            while not self._stop.is_set():
                trace, first = new_trace(), 1
                while first <= _TRACE_SPANS_MAX and not self._stop.is_set():
                    numbers = range(first, first + random.randint(1, self._spans_max))
                    if not self._send(export, trace, numbers):
                        return
                    first = numbers.stop
        finally:
            close()

    def _send(self, export: Callable[[bytes], _Answer], trace: bytes, numbers: range) -> bool:
        """One request, and again where it may be. False where this sender is at its end."""
        spans = [number.to_bytes(8, "big") for number in numbers]
        now_ns = time.time_ns()
        body = self._requests.body(
            self._kind(number).stamp(trace, span, (1).to_bytes(8, "big"), now_ns + number * SPAN_NS)
            for number, span in zip(numbers, spans, strict=True)
        )
        request = self._journal.sent(trace.hex(), [span.hex() for span in spans])
        while True:
            begun = time.perf_counter()
            answer = export(body)
            acked = time.perf_counter()
            if answer.status in ("200", "OK"):
                self._journal.acked(request)
            self._count(answer, acked, acked - begun)
            if answer.status in ("200", "OK"):
                return True
            if not answer.retryable:
                return False
            if not self._retry or self._stop.wait(_PAUSE_SECONDS):
                return not self._stop.is_set()

    def _kind(self, number: int) -> SpanStamp:
        if self._stamp is not None:
            return self._stamp
        return ROOT if number == 1 else CHAT if number % 2 else TOOL

    def _count(self, answer: _Answer, at: float, seconds: float) -> None:
        with self._changed:
            if answer.status is None:
                self.tally.breaks += 1
            elif answer.status in ("200", "OK"):
                self.tally.acks += 1
                self.tally.latencies.append((at, seconds))
            elif answer.retryable:
                self.tally.refusals[answer.status] += 1
            else:
                self.tally.failures[answer.status] += 1
            self._changed.notify_all()

    def _over_http(self) -> tuple[Callable[[bytes], _Answer], Callable[[], None]]:
        opened: list[HTTPConnection] = []

        def export(body: bytes) -> _Answer:
            try:
                if not opened:
                    opened.append(connect(self._server.otlp))
                opened[0].request("POST", "/v1/traces", body, dict(OTLP_HEADERS))
                response = opened[0].getresponse()
                response.read()
            except (OSError, HTTPException):
                return _Answer(None)
            status = str(response.status)
            return _Answer(status, status in RETRYABLE_HTTP and response.getheader("retry-after") is not None)

        def close() -> None:
            for connection in opened:
                connection.close()

        return export, close

    def _over_grpc(self) -> tuple[Callable[[bytes], _Answer], Callable[[], None]]:
        channel = grpc.insecure_channel(self._server.grpc)
        call = channel.unary_unary(TRACES_EXPORT)

        def export(body: bytes) -> _Answer:
            try:
                call(body, timeout=_REQUEST_SECONDS_MAX)
            except grpc.RpcError as error:
                metadata: Any = error.trailing_metadata() or ()
                trailing = {name for name, _ in metadata}
                if _STATUS_DETAILS not in trailing:
                    return _Answer(None)
                return _Answer(error.code().name, error.code().name in RETRYABLE_GRPC)
            return _Answer("OK")

        return export, channel.close
