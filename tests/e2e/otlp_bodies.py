"""OTLP requests: those that real agents once sent, and small ones made for a test with the official protobuf runtime."""

import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

CAPTURES: Final = Path(__file__).parents[1] / "fixtures" / "captures"
# Of the captures' time, so that no run is thought to be under way.
BEGUN_NS: Final = 1_780_000_000_000_000_000
MESSAGES: Final = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class Captured:
    """One request as it was recorded."""

    capture: str
    signal: str
    path: Path

    @property
    def body(self) -> bytes:
        return self.path.read_bytes()


def captured(*names: str) -> list[Captured]:
    """The requests of some captures in the order they were sent; of all captures where none is named."""
    folders = [CAPTURES / name for name in names] or sorted(index.parent for index in CAPTURES.glob("*/index.json"))
    return [
        Captured(folder.name, entry["signal"], folder / entry["file"])
        for folder in folders
        for entry in json.loads((folder / "index.json").read_text())
    ]


def spans_of(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def trace_id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def add_span(scope: Any, trace: int, number: int, *, parent: int = 0, **fields: Any) -> None:
    """One ended span. `trace`, `number` and `parent` count from 1."""
    defaults: dict[str, Any] = {
        "trace_id": trace_id_of(trace),
        "span_id": number.to_bytes(8, "big"),
        "parent_span_id": parent.to_bytes(8, "big") if parent else b"",
        "name": f"step {number}",
        "start_time_unix_nano": BEGUN_NS + number * 1_000_000,
        "end_time_unix_nano": BEGUN_NS + number * 1_000_000 + 500_000,
    }
    scope.spans.add(**(defaults | fields))


def trace_request(trace: int, spans: int = 1, *, service: str = "e2e", padding: str = "") -> ExportTraceServiceRequest:
    """A whole trace: a root and `spans - 1` children of it, each with `padding` as an attribute where there is any."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_spans.add()
    scope.scope.name = "e2e"
    for number in range(1, spans + 1):
        add_span(scope, trace, number, parent=1 if number > 1 else 0)
    if padding:
        for span in scope.spans:
            span.attributes.add(key="padding").value.string_value = padding
    return request


def trace_body(trace: int, spans: int = 1, *, service: str = "e2e", padding: str = "") -> bytes:
    return trace_request(trace, spans, service=service, padding=padding).SerializeToString()


def plain(value: AnyValue) -> Any:
    """An attribute value as the API is to show it: OTLP's own JSON mapping where JSON has nothing of its kind."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "double_value" if not math.isfinite(value.double_value):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value.double_value)]
        case member:
            return getattr(value, member)


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span, a resource, an event or a log record; a key that comes again as `key#2`."""
    found: dict[str, Any] = {}
    for pair in holder.attributes:
        again = sum(key == pair.key or key.startswith(f"{pair.key}#") for key in found)
        found[f"{pair.key}#{again + 1}" if again else pair.key] = plain(pair.value)
    return found
