"""A workbench for the collector: a journal that only remembers, builders of requests, and an ASGI sender.

The journal is the one fake: the tests of the journal itself are elsewhere. Everything else is the real thing.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.http import OtlpHttpApp
from collector.intake import Intake
from store.record import FrameDraft, Position, Signal
from tests.patience import BUSY_SECONDS

FIXTURES = Path(__file__).parents[1] / "fixtures"
TRACE_ID = bytes(range(1, 17))
SPAN_ID = bytes(range(1, 9))


class RememberingJournal:
    """The append target: keeps what it is given, fails or waits when told to."""

    def __init__(self) -> None:
        self.drafts: list[FrameDraft] = []
        self.failure: Exception | None = None
        self.entered = Event()
        self.gate = Event()
        self.gate.set()
        self._lock = Lock()

    def append(self, draft: FrameDraft) -> Position:
        self.entered.set()
        assert self.gate.wait(BUSY_SECONDS)
        if self.failure is not None:
            raise self.failure
        with self._lock:
            self.drafts.append(draft)
            return Position("remembered", len(self.drafts))


@dataclass
class Answered:
    """What an ASGI application sent back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    chunks_read: int = 0


@dataclass
class Bench:
    """One intake with everything around it."""

    journal: RememberingJournal
    registry: CollectorRegistry
    intake: Intake

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def exchange(
    app: OtlpHttpApp,
    chunks: Iterable[bytes],
    *,
    path: str = "/v1/traces",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    disconnect: bool = False,
) -> Answered:
    """One HTTP request as an ASGI server would hand it on; `disconnect` ends it before its last chunk."""
    answered = Answered()
    given = {"content-type": "application/x-protobuf"} | (headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        answered.chunks_read += 1
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or disconnect}
        if disconnect:
            return {"type": "http.disconnect"}
        if answered.chunks_read == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            answered.status = event["status"]
            answered.headers = {name.decode(): value.decode() for name, value in event["headers"]}
        else:
            answered.body += event["body"]

    await asyncio.wait_for(app(scope, receive, send), BUSY_SECONDS)
    return answered


def traces_request(*spans: dict[str, Any]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "bench"
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    for span in spans:
        scope.spans.add(**({"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "step"} | span))
    return request


def logs_request(*records: dict[str, Any]) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "bench"
    scope = resource.scope_logs.add()
    scope.scope.name = "bench"
    for record in records:
        scope.log_records.add(**record)
    return request


@dataclass(frozen=True)
class Capture:
    name: str
    signal: Signal
    body: bytes


def captures() -> list[Capture]:
    """Every recorded request body."""
    found: list[Capture] = []
    for index in sorted(FIXTURES.glob("captures/*/index.json")):
        for entry in json.loads(index.read_text()):
            path = index.parent / entry["file"]
            found.append(
                Capture(f"{index.parent.name}/{path.name}", Signal[entry["signal"].upper()], path.read_bytes())
            )
    return found
