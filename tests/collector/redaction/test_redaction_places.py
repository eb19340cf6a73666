"""Whatever a rule finds is found wherever it stands, and the record says so."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.planted import MAKERS, planted
from collector.boundary import Passed
from collector.bounds import bounded
from collector.limits import Limits
from collector.redaction.boundary import UNKNOWN_FIELDS, RedactingBoundary
from collector.redaction.policy import built_in_policy
from store.otlp.decode import decode
from store.otlp.redaction import MARK, SENT_MARK
from store.otlp.wire import varint
from store.record import Signal

POLICY = built_in_policy()
BOUNDARY = RedactingBoundary(lambda: POLICY)
TRACES, LOGS, METRICS = Signal


def passed(signal: Signal, request: Any) -> Passed:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    found = BOUNDARY.apply("acme", decode(signal, body))
    # What went out is what the official runtime would make of it.
    again = decode(signal, found.decoded.body)
    assert again.body == found.decoded.body
    assert again.request == found.decoded.request
    assert again.plain == found.decoded.plain
    return found


def traces(**span: Any) -> tuple[Any, Any]:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = outer.scope_spans.add()
    scope.scope.name = "tracer"
    return request, scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1, **span)


def logs(**record: Any) -> tuple[Any, Any]:
    request = ExportLogsServiceRequest()
    return request, request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1, **record)


def metrics(name: str = "m") -> tuple[Any, Any]:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    return request, metric


def mark_of(attributes: Any) -> list[dict[str, Any]]:
    for pair in attributes:
        if pair.key == MARK:
            return [
                {one.key: one.value.string_value or one.value.int_value for one in entry.kvlist_value.values}
                for entry in pair.value.array_value.values
            ]
    return []


# Places


def _value(attributes: Any) -> Any:
    return attributes.add(key="k").value


def in_resource(text: str) -> Any:
    request, _ = traces()
    _value(request.resource_spans[0].resource.attributes).string_value = text
    return TRACES, request


def in_scope(text: str) -> Any:
    request, _ = traces()
    request.resource_spans[0].scope_spans[0].scope.version = text
    return TRACES, request


def in_schema_url(text: str) -> Any:
    request, _ = traces()
    request.resource_spans[0].schema_url = text
    request.resource_spans[0].scope_spans[0].schema_url = text
    return TRACES, request


def in_span_name(text: str) -> Any:
    return TRACES, traces(name=text)[0]


def in_span_attribute(text: str) -> Any:
    request, span = traces(name="n")
    _value(span.attributes).string_value = text
    return TRACES, request


def in_attribute_key(text: str) -> Any:
    request, span = traces()
    span.attributes.add(key=text).value.bool_value = True
    return TRACES, request


def in_bytes_value(text: str) -> Any:
    request, span = traces()
    _value(span.attributes).bytes_value = b"\xff\x00 " + text.encode() + b" \xfe"
    return TRACES, request


def in_nested_values(text: str) -> Any:
    request, span = traces()
    inner = _value(span.attributes).kvlist_value.values.add(key="a").value.array_value.values.add().kvlist_value
    inner.values.add(key="b").value.string_value = text
    inner.values.add(key=text).value.int_value = 7
    return TRACES, request


def in_event_and_link(text: str) -> Any:
    request, span = traces()
    event = span.events.add(name=text)
    _value(event.attributes).string_value = text
    link = span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state=text)
    _value(link.attributes).string_value = text
    return TRACES, request


def in_status_and_trace_state(text: str) -> Any:
    request, span = traces(trace_state=text)
    span.status.message = text
    return TRACES, request


def in_an_id_that_is_none(text: str) -> Any:
    request, span = traces()
    span.links.add(trace_id=b" " * 20 + text.encode(), span_id=b"s" * 8)
    return TRACES, request


def in_log_body(text: str) -> Any:
    return LOGS, logs(body={"string_value": text})[0]


def in_nested_log_body(text: str) -> Any:
    request, record = logs(event_name=text)
    record.body.kvlist_value.values.add(key="m").value.array_value.values.add().string_value = text
    record.severity_text = text
    return LOGS, request


def in_metric_labels(text: str) -> Any:
    request, metric = metrics()
    _value(metric.sum.data_points.add(as_int=1).attributes).string_value = text
    point = metric.sum.data_points.add(as_int=2)
    _value(point.exemplars.add().filtered_attributes).string_value = text
    return METRICS, request


def in_metric_names(text: str) -> Any:
    request, metric = metrics(name=text)
    metric.description = metric.unit = text
    _value(metric.metadata).string_value = text
    metric.gauge.data_points.add(as_double=0.5)
    return METRICS, request


def in_json(text: str) -> Any:
    request, span = traces()
    _value(span.attributes).string_value = json.dumps([{"role": "user", "content": json.dumps({"a": f"x\n{text}\ny"})}])
    return TRACES, request


PLACES = [one for name, one in list(globals().items()) if name.startswith("in_")]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("rule", MAKERS)
def test_a_value_of_every_rule_is_gone_from_every_place(rule: str, place: Callable[[str], Any]) -> None:
    rng = Random(f"{rule} {place.__name__}")
    for _ in range(3):
        one = planted(rng, rule)
        secret = one.secret
        signal, request = place(one.text)
        body = request.SerializeToString()
        found = passed(signal, request)
        assert secret.encode() not in found.decoded.body, one.text
        assert rule in found.redactions, one.text
        assert MARK.encode() in found.decoded.body
        assert found.decoded.body != body


@pytest.mark.parametrize("rule", MAKERS)
def test_a_value_with_its_characters_escaped_is_gone(rule: str) -> None:
    rng = Random(rule)
    for backslashes in (1, 2, 4):
        one = planted(rng, rule)
        place = one.text.find(one.secret)
        middle = place + len(one.secret) // 2
        hidden = "\\" * backslashes + f"u{ord(one.text[middle]):04x}"
        text = one.text[:middle] + hidden + one.text[middle + 1 :]
        signal, request = in_span_attribute('{"m":"' + text.replace('"', "'") + '"}')
        before = one.secret[: len(one.secret) // 2]
        found = passed(signal, request)
        assert (before + hidden).encode() not in found.decoded.body, text
        assert found.redactions, text


def test_what_came_without_hits_is_recorded_byte_by_byte_as_it_came() -> None:
    request, span = traces(name="GET /")
    _value(span.attributes).string_value = "12 + 3 @ home, see v1.2.3"
    decoded = decode(TRACES, request.SerializeToString())
    assert BOUNDARY.apply("acme", decoded) == Passed(decoded)


def test_the_mark_says_rule_version_place_and_length_and_never_the_value() -> None:
    request, span = traces(name="to anna@example.org")
    _value(span.attributes).string_value = "anna@example.org, +49 30 901820 and bob@example.org"
    span.events.add(name="e").attributes.add(key="k").value.string_value = "4111 1111 1111 1111"
    found = passed(TRACES, request)
    redacted = found.decoded.request.resource_spans[0].scope_spans[0].spans[0]
    version = POLICY.version
    assert redacted.name == "to [redacted:email]"
    assert mark_of(redacted.attributes) == [
        {"place": "name", "rule": "email", "action": "mask", "version": version, "length": 16},
        {"place": "attributes/k", "rule": "email", "action": "mask", "version": version, "length": 31, "count": 2},
        {"place": "attributes/k", "rule": "phone", "action": "mask", "version": version, "length": 13},
        {"place": "events/0/attributes/k", "rule": "card", "action": "mask", "version": version, "length": 19},
    ]
    assert found.redactions == {"email": 3, "phone": 1, "card": 1}


def test_the_place_of_a_value_does_not_tell_what_its_key_was() -> None:
    request, span = traces()
    span.attributes.add(key="of anna@example.org").value.string_value = "bob@example.org"
    body = passed(TRACES, request).decoded.body
    assert b"anna" not in body
    assert b"attributes/of [redacted:email]" in body


def test_a_senders_own_mark_is_none() -> None:
    request, span = traces()
    span.attributes.add(key=MARK).value.string_value = "fake"
    span.events.add(name="e").attributes.add(key=MARK).value.string_value = "fake"
    body = passed(TRACES, request).decoded.body
    assert body.count(SENT_MARK.encode()) == body.count(MARK.encode()) == 2
    request, span = traces(name="anna@example.org")
    span.attributes.add(key=MARK).value.string_value = "fake"
    kept = passed(TRACES, request).decoded.request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [pair.key for pair in kept] == [MARK, SENT_MARK]
    assert mark_of(kept)[0]["rule"] == "email"


def test_an_attribute_that_is_a_credential_is_masked_whatever_its_value() -> None:
    request, span = traces()
    span.attributes.add(key="http.request.header.authorization").value.array_value.values.add().string_value = "abc"
    span.attributes.add(key="http.request.header.authorization2").value.string_value = "abc"
    attributes = passed(TRACES, request).decoded.request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert attributes[1].value.string_value == "[redacted:credential_attribute]"
    assert attributes[2].value.string_value == "abc"


def test_a_number_in_json_leaves_json() -> None:
    request, span = traces()
    _value(span.attributes).string_value = '{"card": 4111111111111111, "ssn": "123-45-6789"}'
    said = passed(TRACES, request).decoded.request.resource_spans[0].scope_spans[0].spans[0].attributes[1]
    assert json.loads(said.value.string_value) == {"card": "[redacted:card]", "ssn": "[redacted:us_ssn]"}


def test_a_secret_in_a_field_that_otlp_does_not_know_is_dropped_with_it_and_said() -> None:
    _, span = traces(name="n")
    secret = b"sk-ant-api03-" + b"aB3dE5gH" * 8
    inner = span.SerializeToString() + b"\xfa\x3e" + varint(len(secret)) + secret + b"\xf2\x3e\x03abc"
    scope = b"\x12" + varint(len(inner)) + inner
    enclosed = b"\x12" + varint(len(scope)) + scope
    body = b"\n" + varint(len(enclosed)) + enclosed
    found = passed(TRACES, body)
    assert secret not in found.decoded.body
    redacted = found.decoded.request.resource_spans[0].scope_spans[0].spans[0]
    assert [entry["rule"] for entry in mark_of(redacted.attributes)] == [UNKNOWN_FIELDS]
    assert found.redactions == {UNKNOWN_FIELDS: 1}


def test_an_unknown_field_without_secrets_stays() -> None:
    body = traces(name="n")[0].SerializeToString() + b"\xfa\x3e\x03abc"
    decoded = decode(TRACES, body)
    assert BOUNDARY.apply("acme", decoded).decoded is decoded


def test_a_secret_that_straddles_a_cut_leaves_neither_half() -> None:
    limits = Limits(attribute_bytes_max=1024)
    secret = "sk-ant-api03-" + "aB3dE5gH" * 11
    request, span = traces()
    _value(span.attributes).string_value = "x" * 1000 + " " + secret + "y" * 5000
    _value(span.attributes).string_value = "x" * 990 + " anna.the.person@example.org " + "y" * 5000
    within = bounded(passed(TRACES, request).decoded, limits).decoded
    assert secret[:18].encode() not in within.body
    assert b"anna.the" not in within.body
    attributes = within.request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [entry["rule"] for entry in mark_of(attributes)] == ["anthropic_key", "email"]
    assert {"spanledger.truncated", MARK} <= {pair.key for pair in attributes}


def test_the_mark_outlives_the_bounds_on_attributes() -> None:
    request, span = traces(name="anna@example.org")
    for number in range(400):
        span.attributes.add(key=f"k{number}").value.string_value = f"{number}@example.org"
    within = bounded(passed(TRACES, request).decoded, Limits(attributes_max=128, attribute_bytes_max=1024)).decoded
    attributes = within.request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert len(mark_of(attributes)) == 401


def test_a_record_that_is_full_of_secrets_becomes_a_stub_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.redaction.boundary.ENTRIES_MAX", 3)
    request, span = traces(name="anna@example.org", kind=2)
    span.status.code = 2
    for number in range(9):
        span.attributes.add(key=f"k{number}").value.string_value = "x@example.org"
    span = passed(TRACES, request).decoded.request.resource_spans[0].scope_spans[0].spans[0]
    assert (span.trace_id, span.span_id, span.kind, span.start_time_unix_nano, span.status.code) == (
        b"t" * 16, b"s" * 8, 2, 1, 2,
    )  # fmt: skip
    assert (span.name, [pair.key for pair in span.attributes]) == ("", [MARK])
    assert mark_of(span.attributes)[0]["rule"] == "unredactable"
