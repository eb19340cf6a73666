"""Spans made to order: a body from a few words a span."""

import json
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from store.record import Signal
from tests.store.ledger_bench import NOON_NS, SECOND_NS, Body

ASKED = json.dumps(
    [{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "deploy", "arguments": {}}]}]
)
"""The output of a model that asks for the call `c1` of the tool `deploy`."""


def spans_body(*spans: dict[str, Any], service: str | None = None) -> Body:
    """Spans `{trace, span, parent, start, end, kind, name, ...attributes}`: ids are numbers, times seconds after noon."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    if service:
        resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_spans.add()
    for given in spans:
        said = dict(given)
        parent, end = said.pop("parent", None), said.pop("end", None)
        span = scope.spans.add(
            trace_id=bytes([said.pop("trace")] * 16),
            span_id=bytes([said.pop("span")] * 8),
            parent_span_id=bytes([parent] * 8) if parent else b"",
            start_time_unix_nano=NOON_NS + said.pop("start") * SECOND_NS,
            end_time_unix_nano=NOON_NS + end * SECOND_NS if end else 0,
            name=said.pop("name"),
            kind=said.pop("kind", 0),
        )
        for key, value in said.items():
            span.attributes.add(key=key).value.string_value = value
    return Body(Signal.TRACES, request.SerializeToString())


def logs_body(*records: dict[str, Any]) -> Body:
    """Log records `{trace, span, at, event_name, body, ...attributes}`, with or without trace and span, as spans are."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for given in records:
        said = dict(given)
        trace, span, body = said.pop("trace", None), said.pop("span", None), said.pop("body", {})
        record = scope.log_records.add(
            trace_id=bytes([trace] * 16) if trace else b"",
            span_id=bytes([span] * 8) if span else b"",
            time_unix_nano=NOON_NS + said.pop("at") * SECOND_NS,
            event_name=said.pop("event_name"),
        )
        for key, value in body.items():
            record.body.kvlist_value.values.add(key=key).value.string_value = value
        for key, value in said.items():
            added = record.attributes.add(key=key).value
            if isinstance(value, float):
                added.double_value = value
            else:
                added.string_value = value
    return Body(Signal.LOGS, request.SerializeToString())
