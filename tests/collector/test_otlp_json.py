import base64
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from collector_bench import FIXTURES
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.errors import MalformedBody
from collector.otlp_json import to_protobuf
from store.otlp.decode import decode
from store.record import Signal

SAMPLES = [
    ("claude-agent-sdk-0.2.184.004", Signal.TRACES),
    ("dbos-3.4.001", Signal.LOGS),
    ("pydantic-evals-2.62-online.001", Signal.METRICS),
]
TRACE_HEX = "0102030405060708090a0b0c0d0e0fab"
SPAN_HEX = "010203040506070f"


def body_of(span: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def span_of(span: dict[str, Any]) -> Span:
    request = ExportTraceServiceRequest.FromString(to_protobuf(Signal.TRACES, body_of(span)))
    return request.resource_spans[0].scope_spans[0].spans[0]


def value_of(value: dict[str, Any]) -> Any:
    return span_of({"attributes": [{"key": "k", "value": value}]}).attributes[0].value


def refusal(body: bytes, signal: Signal = Signal.TRACES) -> str:
    with pytest.raises(MalformedBody) as caught:
        to_protobuf(signal, body)
    return str(caught.value)


@pytest.mark.parametrize(("name", "signal"), SAMPLES)
def test_a_real_body_as_json_decodes_to_the_same_values_as_its_protobuf(name: str, signal: Signal) -> None:
    capture, number = name.rsplit(".", 1)
    as_json = (FIXTURES / "otlp_json" / f"{name}.json").read_bytes()
    as_protobuf = (FIXTURES / "captures" / capture / f"{number}.pb").read_bytes()
    assert len(json.loads(as_json)) == 1
    assert decode(signal, to_protobuf(signal, as_json)).batch.equals(decode(signal, as_protobuf).batch)


@pytest.mark.parametrize("write", [str.lower, str.upper])
@pytest.mark.parametrize("names", [("traceId", "spanId", "parentSpanId"), ("trace_id", "span_id", "parent_span_id")])
def test_ids_are_hexadecimal_of_either_case(write: Callable[[str], str], names: tuple[str, str, str]) -> None:
    trace, span, parent = names
    found = span_of({trace: write(TRACE_HEX), span: write(SPAN_HEX), parent: write(SPAN_HEX)})
    assert found.trace_id.hex() == TRACE_HEX
    assert found.span_id.hex() == found.parent_span_id.hex() == SPAN_HEX


def test_ids_of_links_log_records_and_exemplars_are_hexadecimal_too() -> None:
    ids = {"traceId": TRACE_HEX, "spanId": SPAN_HEX}
    link = span_of({"links": [ids]}).links[0]
    logs = ExportLogsServiceRequest.FromString(
        to_protobuf(Signal.LOGS, json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [ids]}]}]}).encode())
    )
    metric = {"name": "m", "gauge": {"dataPoints": [{"asInt": "1", "exemplars": [ids]}]}}
    metrics = ExportMetricsServiceRequest.FromString(
        to_protobuf(
            Signal.METRICS, json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()
        )
    )
    exemplar = metrics.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].exemplars[0]
    for found in (link, logs.resource_logs[0].scope_logs[0].log_records[0], exemplar):
        assert (found.trace_id.hex(), found.span_id.hex()) == (TRACE_HEX, SPAN_HEX)


def test_an_empty_id_and_null_are_no_id() -> None:
    found = span_of({"traceId": TRACE_HEX, "spanId": None, "parentSpanId": ""})
    assert (found.span_id, found.parent_span_id) == (b"", b"")


@pytest.mark.parametrize("name", ["traceId", "spanId", "parentSpanId", "trace_id"])
@pytest.mark.parametrize("value", ["zz" * 8, "0" * 15, "00" * 20, 7, ["00"], "AQIDBAUGBwg="])
def test_a_wrong_id_is_refused_by_its_name(name: str, value: Any) -> None:
    message = refusal(body_of({name: value}))
    assert f"resourceSpans[0].scopeSpans[0].spans[0].{name}: " in message
    assert "hexadecimal digits" in message


@pytest.mark.parametrize("value", [1795159163736991883, "1795159163736991883"])
def test_64_bit_integers_are_strings_or_numbers(value: Any) -> None:
    assert span_of({"startTimeUnixNano": value}).start_time_unix_nano == 1795159163736991883
    assert value_of({"intValue": value}).int_value == 1795159163736991883


def test_the_ends_of_the_integer_ranges_are_taken_and_past_them_refused() -> None:
    assert value_of({"intValue": str(-(2**63))}).int_value == -(2**63)
    assert span_of({"startTimeUnixNano": 2**64 - 1}).start_time_unix_nano == 2**64 - 1
    assert "startTimeUnixNano: must be an integer from 0" in refusal(body_of({"startTimeUnixNano": 2**64}))
    assert "startTimeUnixNano" in refusal(body_of({"startTimeUnixNano": -1}))


@pytest.mark.parametrize(("value", "number"), [(3, 3), ("SPAN_KIND_CLIENT", 3), (77, 77)])
def test_enums_are_numbers_or_names(value: Any, number: int) -> None:
    assert span_of({"kind": value}).kind == number


def test_an_unknown_enum_name_is_refused_and_not_dropped() -> None:
    assert "spans[0].kind: must be a number or a name of SpanKind" in refusal(body_of({"kind": "SPAN_KIND_CLOWN"}))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_bytes_are_base64(encode: Callable[[bytes], bytes]) -> None:
    content = bytes(range(256))
    assert value_of({"bytesValue": encode(content).decode()}).bytes_value == content
    assert value_of({"bytesValue": encode(content).decode().rstrip("=")}).bytes_value == content


@pytest.mark.parametrize(("text", "check"), [("NaN", math.isnan), ("-Infinity", lambda x: x == -float("inf"))])
def test_doubles_that_are_not_finite_are_strings(text: str, check: Callable[[float], bool]) -> None:
    assert check(value_of({"doubleValue": text}).double_value)


def test_an_attribute_value_of_every_kind_is_read() -> None:
    nested = value_of({"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{}]}}}]}})
    assert nested.kvlist_value.values[0].value.array_value.values[0].WhichOneof("value") is None
    assert value_of({"boolValue": True}).bool_value is True
    assert value_of({"doubleValue": 1}).double_value == 1.0
    assert value_of({"doubleValue": "1.5e3"}).double_value == 1500.0
    assert value_of({"stringValue": "\U0001f600 ü"}).string_value == "\U0001f600 ü"


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    odd = {"traceId": 5, "spans": "no", "values": [[{}]]}
    found = span_of({"name": "n", "future": odd, "status": {"code": 2, "deprecatedCode": 7}})
    assert (found.name, found.status.code) == ("n", 2)


@pytest.mark.parametrize("signal", Signal)
def test_an_empty_object_is_an_empty_request(signal: Signal) -> None:
    assert to_protobuf(signal, b" {} ") == b""


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_empty_body_is_refused(body: bytes) -> None:
    assert "the body is empty" in refusal(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "the request: must be an object, not an array"),
        (b"null", "the request: must be an object, not null"),
        (b'"x"', 'the request: must be an object, not "x"'),
        (b"{", "line 1, column 2"),
        (b'{"resourceSpans": [}', "line 1, column 20"),
        (b"{} {}", "Extra data"),
        (b'{"resourceSpans": "\xff"}', "byte 19 is not UTF-8"),
        (b'{"resourceSpans": {}}', "resourceSpans: must be an array, not an object"),
        (b'{"resourceSpans": "abc"}', "resourceSpans: must be an array"),
        (b'{"resourceSpans": ["abc"]}', 'resourceSpans[0]: must be an object, not "abc"'),
        (b'{"resourceSpans": [[]]}', "resourceSpans[0]: must be an object, not an array"),
        (b'{"resourceSpans": [null]}', "resourceSpans[0]: must be an object, not null"),
        (b'{"resourceSpans": [{"resource": []}]}', "resourceSpans[0].resource: must be an object"),
        (b'{"resourceSpans": [], "resourceSpans": []}', "the request: must be an object in which no key comes twice"),
        (b'{"resourceSpans": [], "resource_spans": []}', "given twice"),
        (b'{"future": NaN}', "NaN without quotes"),
        (b'{"resourceSpans": [' + b"[" * 100_000, "nested deeper"),
        (b'{"resourceSpans": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
    ],
)
def test_what_is_not_otlp_json_is_refused_with_what_and_where(body: bytes, said: str) -> None:
    message = refusal(body)
    assert said in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ({"name": 5}, "name: must be a string, not 5"),
        ({"name": "\ud800"}, "name: holds half of a surrogate pair"),
        ({"flags": "1_0"}, "flags: must be an integer"),
        ({"flags": True}, "flags: must be an integer"),
        ({"flags": 1.5}, "flags: must be an integer"),
        ({"flags": 2**32}, "flags: must be an integer from 0 to 4294967295"),
        ({"status": {"code": True}}, "status.code: must be an integer"),
        ({"events": [{}, {"name": []}]}, "events[1].name: must be a string, not an array"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "!!"}}]}, "value.bytesValue: must be a base64 string"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "A"}}]}, "value.bytesValue: must be a base64 string"),
        ({"attributes": [{"key": "k", "value": {"boolValue": "true"}}]}, "value.boolValue: must be true or false"),
        ({"attributes": [{"key": "k", "value": {"doubleValue": "x"}}]}, "value.doubleValue: must be a number"),
        ({"attributes": [{"key": "k", "value": {"doubleValue": 10**400}}]}, "that a double can hold"),
        ({"attributes": [{"key": "k", "value": {"doubleValue": float("nan")}}]}, "in quotes, not NaN"),
        ({"attributes": [{"key": "k", "value": {"intValue": "1", "stringValue": "2"}}]}, "oneof"),
        ({"attributes": {"k": "v"}}, "attributes: must be an array, not an object"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_where_it_is(span: dict[str, Any], said: str) -> None:
    message = refusal(body_of(span))
    assert said in message
    assert "spans[0]" in message


@pytest.mark.parametrize("field", ["kind", "startTimeUnixNano", "flags", "traceId", "links"])
def test_a_wrong_value_that_could_be_a_secret_is_not_repeated(field: str) -> None:
    for value in ("sk-live-0123456789", "a prompt nobody should see in a log " * 100, 4111111111111111.5):
        message = refusal(body_of({field: value}))
        assert len(message) < 250
        assert not any(part in message for part in ("sk-live", "prompt", "4111"))
    assert "a string of 18 characters" in refusal(body_of({"kind": "sk-live-0123456789"}))


def test_values_nested_past_every_limit_are_refused() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(120):
        value = {"arrayValue": {"values": [value]}}
    assert "nested deeper" in refusal(body_of({"attributes": [{"key": "k", "value": value}]}))
