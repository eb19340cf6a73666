from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.refusal import Refusals, refusals_of, without_refused
from store.otlp.decode import decode, records_of
from store.record import Signal

Build = Callable[..., bytes]


def refused(signal: Signal, body: bytes) -> Refusals:
    return refusals_of(decode(signal, body))


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"trace_id": b""}, "trace_id"),
        ({"trace_id": bytes(16)}, "trace_id"),
        ({"trace_id": b"x" * 15}, "trace_id"),
        ({"trace_id": b"x" * 17}, "trace_id"),
        ({"span_id": b""}, "span_id"),
        ({"span_id": bytes(8)}, "span_id"),
        ({"span_id": b"x" * 16}, "span_id"),
        ({"parent_span_id": b"x" * 7}, "parent_span_id"),
        ({"parent_span_id": bytes(16)}, "parent_span_id"),
        ({"trace_id": b"", "span_id": b"", "parent_span_id": b"x"}, "trace_id"),
    ],
)
def test_a_span_with_an_unusable_id_is_refused_under_one_reason(
    traces: Build, span: dict[str, Any], reason: str
) -> None:
    assert refused(Signal.TRACES, traces({}, span, {})).counts == {reason: 1}
    assert refused(Signal.TRACES, traces({}, span, {})).reasons == [None, reason, None]


@pytest.mark.parametrize("parent", [b"", bytes(8), b"x" * 8])
def test_a_span_with_or_without_a_parent_is_taken(traces: Build, parent: bytes) -> None:
    assert refused(Signal.TRACES, traces({"parent_span_id": parent})).total == 0


@pytest.mark.parametrize(
    "record", [{}, {"trace_id": bytes(16), "span_id": bytes(8)}, {"trace_id": b"t" * 16, "span_id": b"s" * 8}]
)
def test_a_log_record_needs_no_ids(logs: Build, record: dict[str, Any]) -> None:
    assert refused(Signal.LOGS, logs(record)).total == 0


@pytest.mark.parametrize(
    ("record", "reason"),
    [({"trace_id": b"t"}, "log_trace_id"), ({"trace_id": b"t" * 16, "span_id": b"s" * 9}, "log_span_id")],
)
def test_a_log_record_with_an_id_of_the_wrong_length_is_refused(
    logs: Build, record: dict[str, Any], reason: str
) -> None:
    assert refused(Signal.LOGS, logs({}, record)).counts == {reason: 1}


def test_the_message_says_how_many_of_what_and_why(traces: Build) -> None:
    message = refused(Signal.TRACES, traces({}, {"trace_id": bytes(16)}, {"trace_id": b"x"}, {"span_id": b""})).message
    assert message == (
        "refused 3 of 4 spans: 2 with a trace id that is not 16 bytes or is all zero; "
        "1 with a span id that is not 8 bytes or is all zero; "
        "correct these ids where they are made; sending them again does not help"
    )


def test_the_rest_keeps_its_places_and_the_fields_nobody_knows() -> None:
    request = ExportTraceServiceRequest()
    for resource in range(2):
        outer = request.resource_spans.add(schema_url=f"resource {resource}")
        for scope in range(2):
            inner = outer.scope_spans.add(schema_url=f"scope {scope}")
            for span in range(3):
                bad = (resource, scope, span) in ((0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 1, 2))
                inner.spans.add(trace_id=b"" if bad else b"t" * 16, span_id=b"s" * 8, name=f"{resource}{scope}{span}")
    unknown = b"\xf2\x3f\x03abc"  # field 1022
    request.resource_spans[0].scope_spans[0].spans[1].MergeFromString(unknown)
    request.resource_spans[1].MergeFromString(unknown)
    decoded = decode(Signal.TRACES, request.SerializeToString())
    refusals = refusals_of(decoded)

    rest = without_refused(decoded, refusals)

    kept = ExportTraceServiceRequest.FromString(rest.body)
    names = [
        [[span.name for span in scope.spans] for scope in resource.scope_spans] for resource in kept.resource_spans
    ]
    assert names == [[["000", "001", "002"], ["011", "012"]], [[], ["110", "111"]]]
    assert [outer.schema_url for outer in kept.resource_spans] == ["resource 0", "resource 1"]
    assert rest.body.count(unknown) == 2
    assert len(records_of(Signal.TRACES, rest.batch)) == 7
