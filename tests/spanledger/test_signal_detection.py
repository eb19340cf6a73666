"""Which signal a body carries."""

import json
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.signals import AmbiguousSignal, json_signal, protobuf_signal, record_count
from store.record import Signal

CAPTURES = Path(__file__).parents[1] / "fixtures" / "captures"
TOP_KEYS = {"resourceSpans": Signal.TRACES, "resourceLogs": Signal.LOGS, "resourceMetrics": Signal.METRICS}


def test_every_captured_body_is_recognised_from_its_content_alone():
    recognised = 0
    for index in CAPTURES.glob("*/index.json"):
        for entry in json.loads(index.read_text()):
            signal, records = protobuf_signal(index.with_name(entry["file"]).read_bytes(), None)
            assert signal.label == entry["signal"], (index, entry["file"])
            assert records > 0
            recognised += 1
    assert recognised > 50


def test_a_body_without_records_is_ambiguous():
    request = ExportTraceServiceRequest()
    request.resource_spans.add().resource.attributes.add(key="service.name").value.string_value = "deploys"
    for body in (b"", request.SerializeToString()):
        with pytest.raises(AmbiguousSignal, match="--signal"):
            protobuf_signal(body, None)


def test_a_log_record_that_says_only_its_text_is_still_a_log_record():
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "it began"
    assert protobuf_signal(request.SerializeToString(), None) == (Signal.LOGS, 1)


def test_a_metric_whose_name_is_as_long_as_a_trace_id_is_still_a_metric():
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="m" * 16, unit="s")
    assert protobuf_signal(request.SerializeToString(), None) == (Signal.METRICS, 1)


def test_what_could_be_two_signals_is_not_guessed():
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="m" * 16, description="d" * 8)
    with pytest.raises(AmbiguousSignal, match="could be traces and metrics; pass --signal"):
        protobuf_signal(request.SerializeToString(), None)
    assert protobuf_signal(request.SerializeToString(), Signal.METRICS) == (Signal.METRICS, 1)


def test_bytes_that_are_no_otlp_are_not_recognised():
    with pytest.raises(AmbiguousSignal, match="not recognised"):
        protobuf_signal(b"\x89PNG\r\n\x1a\n", None)


def test_a_span_with_a_field_of_tomorrow_is_not_guessed_but_believed_when_told():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    span.MergeFromString(b"\xa2\x06\x01x")  # field 100, which OTLP does not have
    with pytest.raises(AmbiguousSignal):
        protobuf_signal(request.SerializeToString(), None)
    assert protobuf_signal(request.SerializeToString(), Signal.TRACES) == (Signal.TRACES, 1)


@pytest.mark.parametrize(("key", "signal"), TOP_KEYS.items())
def test_json_says_its_signal_in_its_top_key(key, signal):
    assert json_signal({key: [{}]}) is signal


@pytest.mark.parametrize("document", [{}, [], 1, None, {"resourceSpan": []}, {"resourceSpans": None}])
def test_json_without_a_top_key_is_no_request(document):
    with pytest.raises(AmbiguousSignal, match="resourceSpans or resourceLogs or resourceMetrics"):
        json_signal(document)


def test_json_with_two_signals_is_not_guessed():
    with pytest.raises(AmbiguousSignal, match="more than one"):
        json_signal({"resourceSpans": [{}], "resourceLogs": [{}]})


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"resourceSpans": [{"scopeSpans": [{"spans": [{}, {}]}, {"spans": [{}]}]}, {}]}, 3),
        ({"resource_spans": [{"scope_spans": [{"spans": [{}]}]}]}, 1),
        ({"resourceSpans": {"scopeSpans": 1}}, 0),
        ({"resourceSpans": [1, None, {"scopeSpans": ["x"]}]}, 0),
    ],
)
def test_records_in_json_are_counted_whatever_its_shape(document, expected):
    assert record_count(document, Signal.TRACES) == expected
