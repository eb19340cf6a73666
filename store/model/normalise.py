"""Spans of any dialect to span versions of one vocabulary. A function of frames: no clock, no store.

Volume is decoded by the column (Arrow); then every span is walked once: each attribute is looked up in its dialect, feeds
a column, becomes content by reference, or stays an attribute.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from store.model.aside_reader import read_asides, read_start
from store.model.attributes import AttributeReader
from store.model.columns import read_text
from store.model.content import INLINE_BYTES_MAX, JSON, ContentSink, Pieces
from store.model.dialect import VOCABULARY
from store.model.evaluations import Evaluation, evaluations_of_span
from store.model.plan import Plan, plan_of
from store.model.prices import NO_PRICES, Prices
from store.model.rules import STATUS
from store.model.span import Span, SpanBody
from store.model.speech import read_events
from store.model.talk import Listener
from store.model.times import rfc3339
from store.model.toolsets import take_toolsets
from store.otlp.decode import Records, decode_bodies, records_of
from store.otlp.leaves import leaves_of
from store.otlp.redaction import MARK as REDACTED
from store.otlp.redaction import is_redacted
from store.otlp.truncation import MARK, is_truncated
from store.otlp.values import attribute_column, attribute_dicts, to_json, to_json_bytes
from store.record import Frame, Signal

_STATUS_ERROR: Final = 2
_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What a resource says about the service that sent."""

    service_name: str | None
    service_version: str | None
    environment: str | None

    @classmethod
    def of(cls, attributes: dict[str, Any]) -> "ServiceFacts":
        """Read from a resource's attributes."""
        return cls(*[_first_text(attributes, keys) for keys in _FACT_KEYS])


_FACT_KEYS: Final = tuple(VOCABULARY.resource[field.name] for field in fields(ServiceFacts))


def _first_text(attributes: dict[str, Any], keys: list[str]) -> str | None:
    for key in keys:
        if text := read_text(attributes.get(key)):
            return text
    return None


class Enclosing:
    """The resources or scopes of a batch: their attributes, and each as one piece of content."""

    def __init__(self, records: Records, name: str, sink: ContentSink, frames: list[Frame]) -> None:
        column = records.resources if name == "resource" else records.scopes
        structs = column.field(name)
        self.attributes = attribute_dicts(structs.field("attributes"))
        self.truncated = [is_truncated(attributes) for attributes in self.attributes]
        self.redacted = [is_redacted(attributes) for attributes in self.attributes]
        self.facts = [ServiceFacts.of(attributes) for attributes in self.attributes] if name == "resource" else []
        self._urls: list[str] = column.field("schema_url").to_pylist()
        self._dropped: list[int | None] = structs.field("dropped_attributes_count").to_pylist()
        self.names: list[str | None] = structs.field("name").to_pylist() if name == "scope" else []
        self.versions: list[str | None] = structs.field("version").to_pylist() if name == "scope" else []
        self._sink = sink
        self._ids: dict[tuple[int, str], str] = {}
        self._is_scope = name == "scope"

    def id(self, index: int, tenant: str) -> str:
        """The content id of a resource or scope, with everything it said."""
        found = self._ids.get((index, tenant))
        if found is None:
            whole: dict[str, Any] = {"attributes": self.attributes[index]}
            if self._is_scope:
                whole |= {"name": self.names[index] or "", "version": self.versions[index] or ""}
            if self._urls[index]:
                whole["schema_url"] = self._urls[index]
            if self._dropped[index]:
                whole["dropped_attributes_count"] = self._dropped[index]
            found = self._ids[index, tenant] = self._sink.put(tenant, to_json_bytes(whole), JSON)
        return found


def record_digests(frames: list[Frame], records: Records) -> list[str]:
    """The leaf digest of every record as hex: the receiver's, where the frames come straight from it."""
    leaves = [leaf for frame in frames for leaf in frame.leaves]
    return [leaf.hex() for leaf in (leaves if len(leaves) == len(records) else leaves_of(records))]


def hex_ids(column: Any) -> list[str]:
    """A column of id bytes as lower-case hex, an unset or all-zero id as an empty string."""
    return [value.hex() if value.strip(b"\x00") else "" for value in column.to_pylist()]


def bounded_ns(value: int) -> int:
    """A time that fits the view; one that does not is treated as unset and kept among the extra fields."""
    return value if value <= _INT64_MAX else 0


def normalise_spans(
    frames: list[Frame],
    sink: ContentSink,
    listener: Listener,
    prices: Prices = NO_PRICES,
    judged: list[Evaluation] | None = None,
) -> list[tuple[Span, SpanBody]]:
    """Every span of trace frames, in the order of the record. Raises MalformedOtlp for a frame that cannot be read.

    Evaluations that spans carry go to `judged`.
    """
    records = records_of(Signal.TRACES, decode_bodies(Signal.TRACES, [frame.body for frame in frames]))
    if not len(records):
        return []
    spans = records.records
    resources = Enclosing(records, "resource", sink, frames)
    scopes = Enclosing(records, "scope", sink, frames)
    names = ("name", "kind", "start_time_unix_nano", "end_time_unix_nano", "trace_state", "flags",
             "dropped_attributes_count", "dropped_events_count", "dropped_links_count")  # fmt: skip
    columns = {name: spans.field(name).to_pylist() for name in names}
    trace_ids, span_ids = hex_ids(spans.field("trace_id")), hex_ids(spans.field("span_id"))
    parents = hex_ids(spans.field("parent_span_id"))
    codes = spans.field("status").field("code").fill_null(0).to_pylist()
    statuses = spans.field("status").field("message").fill_null("").to_pylist()
    attributes = attribute_column(spans.field("attributes"), long_bytes=INLINE_BYTES_MAX)
    keys, values, offsets, long = attributes.keys, attributes.values, attributes.offsets, attributes.long
    events, links = _events(spans.field("events")), _links(spans.field("links"))
    rare = {name: columns[name] for name in names[4:] if any(columns[name])}
    digests = record_digests(frames, records)
    frame_of, ordinals = records.frame.tolist(), records.ordinal.tolist()
    resource_of, scope_of = records.resource.tolist(), records.scope.tolist()
    result: list[tuple[Span, SpanBody]] = []
    for i in range(len(records)):
        frame, resource, scope = frames[frame_of[i]], resource_of[i], scope_of[i]
        facts = resources.facts[resource]
        scope_name = scopes.names[scope] or ""
        first, behind = offsets[i], offsets[i + 1]
        attrs = values[first:behind]
        plan = plan_of(scope_name, tuple(keys[first:behind]))
        start_ns, end_ns = columns["start_time_unix_nano"][i], columns["end_time_unix_nano"][i]
        span = Span(
            tenant=frame.tenant,
            trace_id=trace_ids[i],
            span_id=span_ids[i],
            parent_span_id=parents[i] or None,
            digest=digests[i],
            sequence=frame.sequence,
            ordinal=ordinals[i],
            received_ns=frame.received_ns,
            name=columns["name"][i],
            start_ns=bounded_ns(start_ns),
            end_ns=bounded_ns(end_ns),
            span_kind=columns["kind"][i],
            status_code=codes[i],
            status_message=statuses[i] or None,
            scope_name=scope_name or None,
            scope_version=scopes.versions[scope] or None,
            service_name=facts.service_name,
            service_version=facts.service_version,
            environment=facts.environment,
            dialect=plan.dialect.name,
            truncated=MARK in plan.keys or resources.truncated[resource] or scopes.truncated[scope],
            redacted=REDACTED in plan.keys or resources.redacted[resource] or scopes.redacted[scope],
        )
        extra = {name: column[i] for name, column in rare.items() if column[i]}
        if start_ns != span.start_ns or end_ns != span.end_ns:
            extra |= {"start_time_unix_nano": start_ns, "end_time_unix_nano": end_ns}
        if plan.asides is not None and plan.asides.start is not None:
            marker = read_start(span, plan.asides, dict(zip(plan.keys, attrs, strict=True)))
            extra |= {"start_marker": marker} if marker else {}
        reader = AttributeReader(span, plan, attrs, sink)
        kept = reader.read([at - first for at in range(first, behind) if at in long] if attributes.has_long[i] else ())
        if events[i] and plan.dialect.events:
            reader.heard |= read_events(span, plan.dialect, events[i], sink)
        if plan.asides is not None:
            read_asides(span, plan.asides, dict(zip(plan.keys, attrs, strict=True)), events[i], sink)
        _judge(span, plan, attrs, events[i])
        prices.settle(span)
        if (span.status_message or "") != statuses[i]:
            extra["status_message"] = statuses[i]  # As it was sent: the column has the exception's instead.
        if reader.heard:
            _hear(span, plan, attrs, reader.heard, listener)
        body = SpanBody(
            attributes=to_json(kept),
            events=to_json(reader.shrink_events(events[i])) if events[i] else "",
            links=to_json(links[i]) if links[i] else "",
            extra=to_json(extra) if extra else "",
            pieces=to_json(reader.pieces) if reader.pieces else "",
            resource=resources.id(resource, frame.tenant),
            scope=scopes.id(scope, frame.tenant),
        )
        if plan.evaluations and judged is not None:
            judged += evaluations_of_span(span, plan, attrs)
        result.append((span, body))
    return result


def _hear(span: Span, plan: Plan, values: list[Any], heard: dict[str, Pieces], listener: Listener) -> None:
    """Fill what the messages of a step say, and of which toolsets the calls are that it asked for."""
    listener.hear(span, heard.get("input_messages"), heard.get("output_messages"))
    if plan.toolsets is not None and span.tool_requests and plan.dialect.toolsets is not None:
        take_toolsets(span, plan.dialect.toolsets, values[plan.toolsets])


def _judge(span: Span, plan: Plan, values: list[Any], events: list[dict[str, Any]]) -> None:
    """Fill outcome, error type and message. OTLP's status is one witness among several."""
    thrown: dict[str, Any] = {}
    for event in events:
        if event["name"] == "exception":
            thrown = event["attributes"] | thrown
    failed = span.status_code == _STATUS_ERROR or span.error_type is not None
    if failed and thrown:
        span.error_type = span.error_type or read_text(thrown.get("exception.type"))
        span.status_message = span.status_message or read_text(thrown.get("exception.message"))
    rules = plan.dialect.outcomes if thrown else plan.outcomes
    if rules:
        said = thrown | dict(zip(plan.keys, values, strict=True)) | {STATUS: span.status_message if failed else None}
        for rule in rules:
            if rule.fits(said.get(rule.attribute)) and (not rule.kinds or span.kind in rule.kinds):
                span.outcome = rule.outcome
                return
    if span.end_ns == 0:
        span.outcome = "running"
    elif failed:
        span.outcome = "error"


def _events(column: Any) -> list[list[dict[str, Any]]]:
    items = column.flatten()
    if not len(items):
        return [[] for _ in range(len(column))]
    attributes = attribute_dicts(items.field("attributes"))
    names, times = items.field("name").to_pylist(), items.field("time_unix_nano").to_pylist()
    dropped = items.field("dropped_attributes_count").to_pylist()
    rows = [
        {"name": name, "at": rfc3339(at), "time_ns": at, "attributes": said}
        | ({"dropped_attributes_count": lost} if lost else {})
        for name, at, said, lost in zip(names, times, attributes, dropped, strict=True)
    ]
    return _split(rows, column)


def _links(column: Any) -> list[list[dict[str, Any]]]:
    items = column.flatten()
    if not len(items):
        return [[] for _ in range(len(column))]
    attributes = attribute_dicts(items.field("attributes"))
    trace_ids, span_ids = hex_ids(items.field("trace_id")), hex_ids(items.field("span_id"))
    states, flags = items.field("trace_state").to_pylist(), items.field("flags").to_pylist()
    dropped = items.field("dropped_attributes_count").to_pylist()
    rows = [
        {"trace_id": trace_id, "span_id": span_id, "attributes": said}
        | ({"trace_state": state} if state else {})
        | ({"flags": flag} if flag else {})
        | ({"dropped_attributes_count": lost} if lost else {})
        for trace_id, span_id, said, state, flag, lost in zip(
            trace_ids, span_ids, attributes, states, flags, dropped, strict=True
        )
    ]
    return _split(rows, column)


def _split(rows: list[dict[str, Any]], column: Any) -> list[list[dict[str, Any]]]:
    offsets = np.asarray(column.offsets)
    offsets = (offsets - offsets[0]).tolist()
    return [rows[offsets[i] : offsets[i + 1]] for i in range(len(column))]
