"""Agents under load: threads that send whole traces over both protocols and remember exactly what was acknowledged."""

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

import grpc
import httpx
from otlp_bodies import trace_body, trace_id_of
from running_server import POSITION_HEADER, PROTOBUF, RunningServer

from tests.patience import BUSY_SECONDS

TRACES_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SPANS_MAX: Final = 5
AGAIN_SECONDS: Final = 0.05  # Sooner than any exporter comes again.
RECONNECTING: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


class Refused(Exception):
    """An answer that is no acknowledgement."""


def position_of(call: grpc.Call) -> str:
    """The receipt that a gRPC acknowledgement carries."""
    position = dict(call.trailing_metadata())[POSITION_HEADER]
    assert isinstance(position, str)
    return position


@dataclass
class Sent:
    """What was sent, and what of it was acknowledged, by trace id (hex): the number of spans."""

    tried: dict[str, int] = field(default_factory=dict[str, int])
    acknowledged: dict[str, int] = field(default_factory=dict[str, int])
    last: tuple[str, str] | None = None
    """Of the latest acknowledgement: trace id and position."""


class Senders:
    """`senders` threads, every other one over gRPC, each request a trace of its own. A context: they run inside it and
    have ended after it. A refused or broken request ends its thread: whoever broke it is the test. Where they are
    `persistent` it is sent again until it is acknowledged, as exporters do.
    """

    def __init__(
        self,
        server: RunningServer,
        *,
        senders: int,
        service: str,
        first_trace: int,
        seed: int,
        persistent: bool = False,
    ) -> None:
        self.sent = Sent()
        self.breaks: list[str] = []
        self._server = server
        self._service = service
        self._persistent = persistent
        self._numbers = itertools.count(first_trace)
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._over_grpc if number % 2 else self._over_http) for number in range(senders)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(BUSY_SECONDS)
            assert not thread.is_alive(), "a sender still waits for an answer"

    def wait_for(self, acknowledged: int, seconds: float) -> None:
        """Return when so many requests were acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sent.acknowledged) >= acknowledged, seconds), self.breaks

    def _next(self) -> tuple[str, bytes]:
        with self._changed:
            trace, spans = next(self._numbers), self._random.randint(1, SPANS_MAX)
            trace_id = trace_id_of(trace).hex()
            self.sent.tried[trace_id] = spans
        return trace_id, trace_body(trace, spans, service=self._service)

    def _acknowledged(self, trace_id: str, position: str) -> None:
        with self._changed:
            self.sent.acknowledged[trace_id] = self.sent.tried[trace_id]
            self.sent.last = (trace_id, position)
            self._changed.notify_all()

    def _over_http(self) -> None:
        with httpx.Client(base_url=self._server.ready["otlp_http"], timeout=BUSY_SECONDS, trust_env=False) as client:

            def export(body: bytes) -> str:
                answer = client.post("/v1/traces", content=body, headers={"content-type": PROTOBUF})
                if answer.status_code != 200:
                    raise Refused(f"{answer.status_code}: {answer.text}")
                return answer.headers[POSITION_HEADER]

            self._send_with(export)

    def _over_grpc(self) -> None:
        with grpc.insecure_channel(self._server.grpc_address, options=RECONNECTING) as channel:
            call = channel.unary_unary(TRACES_EXPORT)

            def export(body: bytes) -> str:
                return position_of(call.with_call(body, timeout=BUSY_SECONDS)[1])

            self._send_with(export)

    def _send_with(self, export: Callable[[bytes], str]) -> None:
        while not self._stop.is_set():
            trace_id, body = self._next()
            while True:
                try:
                    self._acknowledged(trace_id, export(body))
                    break
                except (httpx.HTTPError, grpc.RpcError, Refused) as error:
                    self.breaks.append(repr(error))
                if not self._persistent or self._stop.wait(AGAIN_SECONDS):
                    return


def check_recorded(server: RunningServer, sent: Sent, *, service: str) -> None:
    """Everything acknowledged is there once and whole; what was not acknowledged is there whole or not at all."""
    server.caught_up()
    runs = server.rows("/v1/runs", "runs", service=service)
    trace_ids = [trace_id for run in runs for trace_id in run["trace_ids"]]
    doubled = len(trace_ids) - len(set(trace_ids))
    missing = sent.acknowledged.keys() - set(trace_ids)
    assert (len(missing), doubled) == (0, 0), f"missing {sorted(missing)[:5]}"
    for run in runs:
        [trace_id] = run["trace_ids"]
        assert run["steps"] == sent.tried[trace_id], trace_id
        assert [segment["steps"] for segment in run["segments"]] == [run["steps"]]
