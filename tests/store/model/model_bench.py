"""Spans to try the model with: as protobuf, through the normaliser, or as what the normaliser would have made of them."""

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2

from store.duckdb.present import attributes_of
from store.model.content import Content, ContentSink
from store.model.evaluations import Evaluation
from store.model.normalise import normalise_spans
from store.model.prices import NO_PRICES, Prices
from store.model.span import Event, Particulars, Span, SpanBody, ToolAnswer, ToolRequest
from store.model.talk import Listener
from store.model.trace import Trace
from store.record import Frame, FrameType, Signal

TENANT = "acme"
TRACE = "0af7651916cd43dd8448eb211c80319c"
NOON_NS = 1_800_000_000_000_000_000
MS = 1_000_000


def any_value(value: Any) -> common_pb2.AnyValue:
    """Python as an AnyValue."""
    if isinstance(value, list):
        return common_pb2.AnyValue(array_value=common_pb2.ArrayValue(values=[any_value(item) for item in value]))
    if isinstance(value, dict):
        return common_pb2.AnyValue(kvlist_value=common_pb2.KeyValueList(values=key_values(value)))
    members = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return common_pb2.AnyValue(**({} if value is None else {members[type(value)]: value}))


def key_values(pairs: dict[str, Any]) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=key, value=any_value(value)) for key, value in pairs.items()]


def request_of(*spans: dict[str, Any], scope: str = "some.scope") -> ExportTraceServiceRequest:
    """A request with these spans: fields of the protobuf Span, attributes and event attributes as dicts."""
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.extend(key_values({"service.name": "bench"}))
    inner = outer.scope_spans.add()
    inner.scope.name = scope
    for nth, given in enumerate(spans, 1):
        fields = {
            "trace_id": bytes.fromhex(TRACE), "span_id": nth.to_bytes(8, "big"), "name": f"step {nth}",
            "start_time_unix_nano": NOON_NS + nth * MS, "end_time_unix_nano": NOON_NS + (nth + 1) * MS,
        } | {name: value for name, value in given.items() if name not in ("attributes", "events")}  # fmt: skip
        span = inner.spans.add(**fields)
        span.attributes.extend(key_values(given.get("attributes", {})))
        for name, said in given.get("events", []):
            span.events.add(name=name, time_unix_nano=NOON_NS).attributes.extend(key_values(said))
    return request


@dataclass(frozen=True)
class Normalised:
    """What became of the spans of a request."""

    rows: list[tuple[Span, SpanBody]]
    texts: dict[str, str]
    contents: list[Content]
    judged: list[Evaluation]

    @property
    def span(self) -> Span:
        [(span, _)] = self.rows
        return span

    @property
    def spans(self) -> list[Span]:
        return [span for span, _ in self.rows]

    def attributes(self, nth: int = 0) -> dict[str, Any]:
        """The attributes of a span, put together again as a reader does."""
        span, body = self.rows[nth]
        return attributes_of(asdict(span) | asdict(body), self.texts)

    def json(self, content_id: str | None) -> Any:
        assert content_id is not None
        return msgspec.json.decode(self.texts[content_id])


def normalised(*requests: ExportTraceServiceRequest, prices: Prices = NO_PRICES) -> Normalised:
    """Each request is a frame of its own."""
    sink = ContentSink()
    frames = [
        Frame(nth, FrameType.OTLP, TENANT, Signal.TRACES, NOON_NS + nth, 1, b"", request.SerializeToString())
        for nth, request in enumerate(requests, 1)
    ]
    judged: list[Evaluation] = []
    rows = normalise_spans(frames, sink, Listener(sink), prices, judged)
    contents = sink.take()
    return Normalised(rows, {piece.content_id: piece.text for piece in contents}, contents, judged)


def normalise_one(
    attributes: dict[str, Any], *, scope: str = "some.scope", prices: Prices = NO_PRICES, **fields: Any
) -> Normalised:
    return normalised(request_of({"attributes": attributes, **fields}, scope=scope), prices=prices)


def make_span(span_id: str, parent: str | None = None, *, at: int = 0, until: int | None = None, **given: Any) -> Span:
    """A span as the normaliser makes it. `at` and `until` are milliseconds after noon; a span lasts one unless told."""
    fields: dict[str, Any] = {
        "tenant": TENANT, "trace_id": TRACE, "span_id": span_id, "parent_span_id": parent, "digest": f"digest-{span_id}",
        "sequence": 1, "ordinal": 0, "received_ns": NOON_NS, "name": span_id, "start_ns": NOON_NS + at * MS,
        "end_ns": NOON_NS + (at + 1 if until is None else until) * MS, "span_kind": 1, "status_code": 0,
        "status_message": None, "scope_name": "some.scope", "scope_version": None, "service_name": "bench",
        "service_version": None, "environment": None, "dialect": "other",
    }  # fmt: skip
    told = {name: given.pop(name) for name in Particulars.__struct_fields__ if name in given}
    if told:
        given["particulars"] = Particulars(**told)
    return Span(**(fields | given))


def make_event(event_id: str, *, at: int = 0, **given: Any) -> Event:
    """A log record of the bench's trace, `at` milliseconds after noon."""
    fields: dict[str, Any] = {
        "tenant": TENANT, "event_id": event_id, "sequence": 1, "ordinal": 0, "received_ns": NOON_NS, "trace_id": TRACE,
        "span_id": None, "event_name": None, "severity_number": 0, "severity_text": None, "time_ns": NOON_NS + at * MS,
        "observed_ns": 0, "service_name": "bench", "scope_name": None, "scope_version": None, "dialect": "other", "body": "",
        "attributes": "", "pieces": "", "resource": "", "scope": "", "extra": "",
    }  # fmt: skip
    return Event(**(fields | given))


def trace_of(*spans: Span, trace_id: str = TRACE) -> Trace:
    trace = Trace(TENANT, trace_id)
    for span in spans:
        span.trace_id = trace_id
        assert trace.admit(span) is None
    return trace


def asks(*calls: tuple[str | None, str], arguments: str | None = None) -> dict[str, Any]:
    """The fields of a model's step that asks for calls: (call id, tool name)."""
    return {"kind": "llm", "tool_requests": [ToolRequest(call_id, name, arguments) for call_id, name in calls]}


def is_told(**answers: str) -> dict[str, Any]:
    """The fields of a model's step that is given answers: call id -> content id."""
    return {"kind": "llm", "tool_answers": [ToolAnswer(call_id, result) for call_id, result in answers.items()]}
