"""All the places of an OTLP request in which a secret could stand: what is specified, what is repeated, what nobody knows.

A place puts a text into one record with its resource and scope. What the official runtime would not write (a field sent
twice, a field of no specification) is returned as bytes that go behind the record's own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from store.otlp.wire import varint
from store.record import Signal

CREDENTIAL_KEYS: Final = ("http.request.header.authorization", "http.request.header.cookie", "db.password", "api_key")
UNKNOWN_MEMBER: Final = "notOfOtlp"
_UNKNOWN_FIELD: Final = 1007
_SPAN_NAME: Final = 5
_SPAN_ATTRIBUTES: Final = 9
_INT_SEVEN: Final = b"\x18\x07"  # AnyValue.int_value
_SECOND_NS: Final = 1_000_000_000


@dataclass(slots=True)
class Parts:
    """One record with what encloses it, apart from each other."""

    outer: Any
    scope: Any
    record: Any


@dataclass(frozen=True, slots=True)
class Place:
    """`put` returns what goes behind the record's bytes. `kept` is whether an acknowledged request still holds the text when
    nobody redacts: the first of two values of a field is gone when it has been read. `in_json` is whether JSON can say it.
    """

    name: str
    signal: Signal
    put: Callable[[Parts, str], bytes | None]
    kept: bool = True
    in_json: bool = True


@dataclass(slots=True)
class _Places:
    all: list[Place] = field(default_factory=list[Place])

    def of(
        self, signal: Signal, *, kept: bool = True, in_json: bool = True
    ) -> Callable[[Callable[[Parts, str], bytes | None]], None]:
        def add(put: Callable[[Parts, str], bytes | None]) -> None:
            self.all.append(Place(put.__name__.strip("_").replace("_", " "), signal, put, kept, in_json))

        return add


def parts(rng: Random, signal: Signal, now_ns: int) -> Parts:
    """A record that is accepted, and says nothing."""
    scope = InstrumentationScope(name="bench.secrets")
    match signal:
        case Signal.TRACES:
            made = Parts(ResourceSpans(), ScopeSpans(scope=scope), Span(name="chat"))
            made.record.trace_id, made.record.span_id = rng.randbytes(16), rng.randbytes(8)
            made.record.start_time_unix_nano, made.record.end_time_unix_nano = now_ns, now_ns + _SECOND_NS
        case Signal.LOGS:
            made = Parts(ResourceLogs(), ScopeLogs(scope=scope), LogRecord(time_unix_nano=now_ns))
            made.record.trace_id, made.record.span_id = rng.randbytes(16), rng.randbytes(8)
        case Signal.METRICS:
            made = Parts(ResourceMetrics(), ScopeMetrics(scope=scope), Metric(name="agent.cost"))
    made.outer.resource.attributes.add(key="service.name").value.string_value = "shop"
    return made


def enclosed(made: Parts, behind: bytes) -> bytes:
    """The bytes of the ResourceSpans, ResourceLogs or ResourceMetrics with its one record: they number their fields alike."""
    record = made.record.SerializeToString() + behind
    return made.outer.SerializeToString() + wire(2, made.scope.SerializeToString() + wire(2, record))


def wire(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    return varint(number << 3 | 2) + varint(len(content)) + content


_places: Final = _Places()
_trace, _log, _metric = (_places.of(signal) for signal in Signal)


def _value(attributes: Any, key: str = "app.note") -> Any:
    return attributes.add(key=key).value


@_trace
def _resource_attribute(made: Parts, text: str) -> None:
    _value(made.outer.resource.attributes).string_value = text


@_trace
def _scope_attribute(made: Parts, text: str) -> None:
    _value(made.scope.scope.attributes).string_value = text


@_trace
def _scope_name_and_version(made: Parts, text: str) -> None:
    made.scope.scope.name = made.scope.scope.version = text


@_trace
def _schema_url(made: Parts, text: str) -> None:
    made.outer.schema_url = made.scope.schema_url = text


@_trace
def _span_name(made: Parts, text: str) -> None:
    made.record.name = text


@_trace
def _span_attribute(made: Parts, text: str) -> None:
    _value(made.record.attributes).string_value = text


@_trace
def _attribute_key(made: Parts, text: str) -> None:
    made.record.attributes.add(key=text).value.bool_value = True


@_trace
def _bytes_value(made: Parts, text: str) -> None:
    _value(made.record.attributes).bytes_value = b"\xff\x00 " + text.encode() + b" \xfe"


@_trace
def _nested_value(made: Parts, text: str) -> None:
    inner = _value(made.record.attributes).kvlist_value.values.add(key="a").value.array_value
    inner.values.add().kvlist_value.values.add(key="b").value.string_value = text


@_trace
def _nested_key(made: Parts, text: str) -> None:
    _value(made.record.attributes).array_value.values.add().kvlist_value.values.add(key=text).value.int_value = 7


@_trace
def _event_name(made: Parts, text: str) -> None:
    made.record.events.add(name=text)


@_trace
def _event_attribute(made: Parts, text: str) -> None:
    _value(made.record.events.add(name="gen_ai.choice").attributes).string_value = text


@_trace
def _exception(made: Parts, text: str) -> None:
    _value(made.record.events.add(name="exception").attributes, "exception.message").string_value = text
    made.record.status.code = 2


@_trace
def _link(made: Parts, text: str) -> None:
    link = made.record.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state=text)
    _value(link.attributes).string_value = text


@_trace
def _status_message(made: Parts, text: str) -> None:
    made.record.status.message = text
    made.record.status.code = 2


@_trace
def _trace_state(made: Parts, text: str) -> None:
    made.record.trace_state = text


@_trace
def _message(made: Parts, text: str) -> None:
    _value(made.record.attributes, "gen_ai.operation.name").string_value = "chat"
    said = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    _value(made.record.attributes, "gen_ai.input.messages").string_value = json.dumps(said)


@_trace
def _reasoning(made: Parts, text: str) -> None:
    _value(made.record.attributes, "gen_ai.operation.name").string_value = "chat"
    said = [{"role": "assistant", "parts": [{"type": "reasoning", "content": text}]}]
    _value(made.record.attributes, "gen_ai.output.messages").string_value = json.dumps(said, ensure_ascii=False)


@_trace
def _tool_call(made: Parts, text: str) -> None:
    for key, said in (("operation.name", "execute_tool"), ("tool.name", "read_mail"), ("tool.call.result", text)):
        _value(made.record.attributes, f"gen_ai.{key}").string_value = said
    _value(made.record.attributes, "gen_ai.tool.call.arguments").string_value = json.dumps({"body": text})


@_trace
def _unknown_field(_made: Parts, text: str) -> bytes:
    return wire(_UNKNOWN_FIELD, text.encode())


@_places.of(Signal.TRACES, in_json=False)
def _unknown_field_of_a_value(_made: Parts, text: str) -> bytes:
    value = _INT_SEVEN + wire(_UNKNOWN_FIELD, text.encode())
    return wire(_SPAN_ATTRIBUTES, wire(1, b"app.note") + wire(2, value))


@_places.of(Signal.TRACES, in_json=False)
def _name_sent_again(_made: Parts, text: str) -> bytes:
    return wire(_SPAN_NAME, text.encode())


@_places.of(Signal.TRACES, kept=False, in_json=False)
def _name_sent_before(made: Parts, text: str) -> bytes:
    made.record.name = text
    return wire(_SPAN_NAME, b"chat")


@_places.of(Signal.TRACES, kept=False, in_json=False)
def _value_sent_before(_made: Parts, text: str) -> bytes:
    return wire(_SPAN_ATTRIBUTES, wire(1, b"app.note") + wire(2, wire(1, text.encode()) + _INT_SEVEN))


@_log
def _log_body(made: Parts, text: str) -> None:
    made.record.body.string_value = text


@_log
def _nested_log_body(made: Parts, text: str) -> None:
    body = made.record.body.kvlist_value
    body.values.add(key="messages").value.array_value.values.add().string_value = text


@_log
def _log_attribute(made: Parts, text: str) -> None:
    _value(made.record.attributes).string_value = text


@_log
def _log_names(made: Parts, text: str) -> None:
    made.record.severity_text = made.record.event_name = text


@_log
def _log_resource(made: Parts, text: str) -> None:
    _value(made.outer.resource.attributes, "host.note").array_value.values.add().string_value = text


@_log
def _log_unknown_field(_made: Parts, text: str) -> bytes:
    return wire(_UNKNOWN_FIELD, text.encode())


@_metric
def _metric_label(made: Parts, text: str) -> None:
    _value(made.record.sum.data_points.add(as_int=1, time_unix_nano=1).attributes).string_value = text


@_metric
def _histogram_label(made: Parts, text: str) -> None:
    point = made.record.histogram.data_points.add(count=1, sum=2.0, bucket_counts=[1], time_unix_nano=1)
    _value(point.attributes).array_value.values.add().string_value = text


@_metric
def _exemplar(made: Parts, text: str) -> None:
    point = made.record.gauge.data_points.add(as_double=0.5, time_unix_nano=1)
    _value(point.exemplars.add(as_double=0.5).filtered_attributes).string_value = text


@_metric
def _metric_name(made: Parts, text: str) -> None:
    made.record.name = text
    made.record.gauge.data_points.add(as_double=0.5, time_unix_nano=1)


@_metric
def _metric_words(made: Parts, text: str) -> None:
    made.record.description = made.record.unit = text
    _value(made.record.metadata).string_value = text
    made.record.gauge.data_points.add(as_double=0.5, time_unix_nano=1)


@_metric
def _metric_unknown_field(made: Parts, text: str) -> bytes:
    made.record.gauge.data_points.add(as_double=0.5, time_unix_nano=1)
    return wire(_UNKNOWN_FIELD, text.encode())


PLACES: Final = tuple(_places.all)


def credential(key: str) -> Place:
    """An attribute whose whole value is a credential, by its name."""

    def put(made: Parts, text: str) -> None:
        _value(made.record.attributes, key).string_value = text

    return Place("credential attribute", Signal.TRACES, put)
