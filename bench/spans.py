"""OTLP spans as the workloads make them: attributes, times and ids around whatever a run says.

The attribute names are those of the OpenTelemetry GenAI and MCP conventions, the set a span carries is that of today's
instrumentations; `bench.agent_run` and its neighbours decide what is said and when.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SpanKind: TypeAlias = "Span.SpanKind.ValueType"
Attribute: TypeAlias = str | int | float | bool | list[str]

NS_PER_SECOND: Final = 1_000_000_000
SAMPLED_FLAGS: Final = 0x101  # Sampled, and "the parent is known to be local": what SDKs send today.


@dataclass(frozen=True, slots=True)
class Service:
    """One process that exports: what its requests say about it. `key` orders services in a request."""

    key: int
    resource: Resource
    scope: InstrumentationScope


@dataclass(frozen=True, slots=True)
class Ended:
    """A span at its end, which is when exporters send it. `end_ns` counts from the start of the simulation."""

    end_ns: int
    service: Service
    span: Span


def make_service(key: int, *, name: str, version: str, scope: tuple[str, str], instance: str) -> Service:
    """A service with the resource attributes that SDKs and a deployment set; `scope` is name and version."""
    resource = Resource(
        attributes=attributes(
            {
                "service.name": name,
                "service.namespace": "agents",
                "service.version": version,
                "service.instance.id": instance,
                "deployment.environment.name": "production",
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.45.2",
                "host.name": f"{name}-{instance[:8]}",
                "process.pid": 1,
                "process.runtime.name": "cpython",
            }
        )
    )
    return Service(key, resource, InstrumentationScope(name=scope[0], version=scope[1]))


def make_span(
    trace_id: bytes,
    span_id: bytes,
    parent_id: bytes,
    *,
    name: str,
    kind: SpanKind,
    start_ns: int,
    end_ns: int,
    values: dict[str, Attribute],
    error: str | None = None,
) -> Span:
    """A span; `error` is the message of the exception that ended it."""
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_id,
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=end_ns,
        attributes=attributes(values),
        flags=SAMPLED_FLAGS,
    )
    if error is not None:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error[:120]))
        span.events.add(
            name="exception",
            time_unix_nano=end_ns,
            attributes=attributes({"exception.type": "ToolError", "exception.message": error}),
        )
    return span


def attributes(values: dict[str, Attribute]) -> list[KeyValue]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in values.items()]


def _any_value(value: Attribute) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
