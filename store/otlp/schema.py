"""The Arrow shape of OTLP: the official descriptors, with the two recursive AnyValue fields kept as bytes.

AnyValue contains itself (through ArrayValue and KeyValueList) and Arrow has no recursive type. On the wire a nested
message and `bytes` look the same, so a trimmed descriptor in which `array_value` and `kvlist_value` are bytes reads
every OTLP body; those rare values are decoded when somebody needs them (see `store.otlp.values`).
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from ptars import HandlerPool

from store.record import Signal

DEFERRED_FIELDS: Final = ("array_value", "kvlist_value")

REQUEST_MESSAGES: Final[dict[Signal, type[Message]]] = {
    Signal.TRACES: trace_service_pb2.ExportTraceServiceRequest,
    Signal.LOGS: logs_service_pb2.ExportLogsServiceRequest,
    Signal.METRICS: metrics_service_pb2.ExportMetricsServiceRequest,
}

# (outer list, scope list, record list): the three levels every OTLP request has.
LEVELS: Final[dict[Signal, tuple[str, str, str]]] = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}

_RECORD_MESSAGES: Final = {
    Signal.TRACES: "opentelemetry.proto.trace.v1.Span",
    Signal.LOGS: "opentelemetry.proto.logs.v1.LogRecord",
    Signal.METRICS: "opentelemetry.proto.metrics.v1.Metric",
}
_FILES: Final = (
    common_pb2,
    resource_pb2,
    trace_pb2,
    logs_pb2,
    metrics_pb2,
    trace_service_pb2,
    logs_service_pb2,
    metrics_service_pb2,
)


def _trimmed_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for module in _FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            if message.name == "AnyValue":
                for field in message.field:
                    if field.name in DEFERRED_FIELDS:
                        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                        field.ClearField("type_name")
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL: Final = _trimmed_pool()
_REQUESTS: Final = {
    signal: _POOL.FindMessageTypeByName(message.DESCRIPTOR.full_name) for signal, message in REQUEST_MESSAGES.items()
}
_RECORDS: Final = {signal: _POOL.FindMessageTypeByName(name) for signal, name in _RECORD_MESSAGES.items()}
_HANDLERS: Final = HandlerPool([descriptor.file for descriptor in _REQUESTS.values()])

# ptars handlers: protobuf bytes <-> Arrow for whole requests, and Arrow -> protobuf bytes for single records.
REQUEST_HANDLERS: Final[dict[Signal, Any]] = {s: _HANDLERS.get_for_message(d) for s, d in _REQUESTS.items()}
RECORD_HANDLERS: Final[dict[Signal, Any]] = {s: _HANDLERS.get_for_message(d) for s, d in _RECORDS.items()}
RESOURCE_HANDLER: Final[Any] = _HANDLERS.get_for_message(
    _POOL.FindMessageTypeByName("opentelemetry.proto.resource.v1.Resource")
)
SCOPE_HANDLER: Final[Any] = _HANDLERS.get_for_message(
    _POOL.FindMessageTypeByName("opentelemetry.proto.common.v1.InstrumentationScope")
)
