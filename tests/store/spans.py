"""Spans made to order: a body from a few words a span."""

import json
from typing import Any

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
