"""Spans of any dialect to span versions of one vocabulary. A function of frames: no clock, no store.

Volume is decoded by the column (Arrow); then every span is walked once: each attribute is looked up in its dialect, feeds
a column, becomes content by reference, or stays an attribute.
"""

from typing import Any, Final

import numpy as np

from store.model.columns import READERS, read_text
from store.model.content import INLINE_BYTES_MAX, JSON, ContentSink, Pieces
from store.model.dialect import Dialect, dialect_of
from store.model.indexed import indexed_messages
from store.model.messages import parsed
from store.model.span import Span, SpanBody, ToolRequest
from store.model.talk import Listener
from store.model.times import rfc3339
from store.otlp.decode import Records, decode_bodies, records_of
from store.otlp.leaves import leaves_of
from store.otlp.values import attribute_dicts, to_json
from store.record import Frame, Signal

MESSAGE_COLUMNS: Final = frozenset(
    {"input_messages", "output_messages", "system_instructions", "tool_definitions", "unread_messages"}
)
_STATUS_ERROR: Final = 2
_INT64_MAX: Final = 2**63 - 1


class Enclosing:
    """The resources or scopes of a batch: their attributes, and each as one piece of content."""

    def __init__(self, records: Records, name: str, sink: ContentSink, frames: list[Frame]) -> None:
        column = records.resources if name == "resource" else records.scopes
        structs = column.field(name)
        self.attributes = attribute_dicts(structs.field("attributes"))
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
            found = self._ids[index, tenant] = self._sink.put(tenant, to_json(whole), JSON)
        return found


def hex_ids(column: Any) -> list[str]:
    """A column of id bytes as lower-case hex, an unset or all-zero id as an empty string."""
    return ["" if not any(value) else value.hex() for value in column.to_pylist()]


def bounded_ns(value: int) -> int:
    """A time that fits the view; one that does not is treated as unset and kept among the extra fields."""
    return value if value <= _INT64_MAX else 0


def normalise_spans(frames: list[Frame], sink: ContentSink, listener: Listener) -> list[tuple[Span, SpanBody]]:
    """Every span of trace frames, in the order of the record. Raises MalformedOtlp for a frame that cannot be read."""
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
    attributes = attribute_dicts(spans.field("attributes"))
    events, links = _events(spans.field("events")), _links(spans.field("links"))
    digests = [leaf.hex() for leaf in leaves_of(records)]
    frame_of, ordinals = records.frame.tolist(), records.ordinal.tolist()
    resource_of, scope_of = records.resource.tolist(), records.scope.tolist()
    result: list[tuple[Span, SpanBody]] = []
    for i in range(len(records)):
        frame, resource, scope = frames[frame_of[i]], resource_of[i], scope_of[i]
        attrs, facts = attributes[i], resources.attributes[resource]
        scope_name = scopes.names[scope] or ""
        dialect = dialect_of(scope_name, attrs)
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
            service_name=read_text(facts.get("service.name")),
            service_version=read_text(facts.get("service.version")),
            environment=read_text(facts.get("deployment.environment.name", facts.get("deployment.environment"))),
            dialect=dialect.name,
        )
        extra = {name: columns[name][i] for name in names[4:] if columns[name][i]}
        if start_ns != span.start_ns or end_ns != span.end_ns:
            extra |= {"start_time_unix_nano": start_ns, "end_time_unix_nano": end_ns}
        reader = AttributeReader(span, dialect, sink)
        kept = reader.read(attrs)
        _judge(span, dialect, attrs, events[i])
        listener.hear(span, reader.texts)
        body = SpanBody(
            attributes=to_json(kept),
            events=to_json(reader.shrink_events(events[i])) if events[i] else "",
            links=to_json(links[i]) if links[i] else "",
            extra=to_json(extra) if extra else "",
            pieces=to_json(reader.pieces) if reader.pieces else "",
            resource=resources.id(resource, frame.tenant),
            scope=scopes.id(scope, frame.tenant),
        )
        result.append((span, body))
    return result


class AttributeReader:
    """Reads the attributes of one span: columns, content, and what stays."""

    def __init__(self, span: Span, dialect: Dialect, sink: ContentSink) -> None:
        self._span = span
        self._dialect = dialect
        self._sink = sink
        self.pieces: dict[str, Any] = {}
        self.texts: dict[str, str] = {}

    def read(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Fill the span's columns; returns the attributes that stay inline. The others are in `pieces`."""
        span, dialect = self._span, self._dialect
        ranks: dict[str, int] = {}
        for key, value in attributes.items():
            fed = dialect.columns.get(key)
            if fed is None:
                continue
            column, rank = fed
            if rank < ranks.get(column, 1000):
                read = READERS.get(column, read_text)(value)
                if read is not None:
                    setattr(span, column, read)
                    ranks[column] = rank
        for column, pattern in dialect.span_names:
            if column not in ranks and (matched := pattern.match(span.name)):
                setattr(span, column, matched["value"])
        span.kind = kind_of(dialect, attributes, span.span_kind)
        kept: dict[str, Any] = {}
        content_ranks: dict[str, int] = {}
        for key, value in attributes.items():
            rule = dialect.content.get(key)
            if rule is not None and (not rule.kinds or span.kind in rule.kinds):
                self._read_content(key, value, rule.column, rule.rank, content_ranks)
            elif _is_large(value):
                self._keep(f"attributes/{key}", self._sink.put_value(span.tenant, value))
            else:
                kept[key] = value
        for prefix, column in dialect.indexed.items():
            self._read_indexed(attributes, prefix, column)
        self._read_approvals(attributes)
        return kept

    def shrink_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Span events with their large values moved to content."""
        for index, event in enumerate(events):
            for key in [key for key, value in event["attributes"].items() if _is_large(value)]:
                value = event["attributes"].pop(key)
                self._keep(f"events/{index}/{key}", self._sink.put_value(self._span.tenant, value))
        return events

    def _read_content(self, key: str, value: Any, column: str, rank: int, ranks: dict[str, int]) -> None:
        tenant = self._span.tenant
        is_messages = column in MESSAGE_COLUMNS
        pieces = self._sink.put_array(tenant, value) if is_messages else self._sink.put_value(tenant, value)
        self._keep(f"attributes/{key}", pieces)
        if column == "unread_messages" or rank >= ranks.get(column, 1000):
            return
        ranks[column] = rank
        setattr(self._span, column, pieces.ids if is_messages else pieces.ids[0])
        if column in ("input_messages", "output_messages"):
            self.texts |= pieces.texts

    def _read_indexed(self, attributes: dict[str, Any], prefix: str, column: str) -> None:
        if getattr(self._span, column) is not None:
            return
        messages = indexed_messages(attributes, prefix)
        if messages:
            pieces = self._sink.put_array(self._span.tenant, messages)
            setattr(self._span, column, pieces.ids)
            self.texts |= pieces.texts

    def _read_approvals(self, attributes: dict[str, Any]) -> None:
        rule = self._dialect.approvals
        waiting = parsed(attributes.get(rule.attribute)) if rule else None
        asked = waiting.get(rule.path) if rule and isinstance(waiting, dict) else None
        if rule is None or not isinstance(asked, list):
            return
        for call in asked:
            if isinstance(call, dict):
                arguments = parsed(call.get(rule.arguments))
                piece = None if arguments is None else self._sink.put_value(self._span.tenant, arguments).ids[0]
                self._span.approvals.append(
                    ToolRequest(read_text(call.get(rule.id)), read_text(call.get(rule.tool_name)), piece)
                )

    def _keep(self, place: str, pieces: Pieces) -> None:
        self.pieces[place] = pieces.as_json()


def kind_of(dialect: Dialect, attributes: dict[str, Any], span_kind: int) -> str:
    """The kind of a step by its dialect's rules; `other` where none matches."""
    for rule in dialect.kinds:
        value = attributes.get(rule.attribute)
        if value is None or (rule.span_kind and rule.span_kind != span_kind):
            continue
        if rule.kind is not None:
            return rule.kind
        if isinstance(value, str) and value in rule.values:
            return rule.values[value]
    return "other"


def _judge(span: Span, dialect: Dialect, attributes: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Fill outcome and error type. OTLP's status is one witness among several."""
    failed = span.status_code == _STATUS_ERROR or span.error_type is not None
    if failed and (span.error_type is None or span.status_message is None):
        for event in events:
            if event["name"] == "exception":
                span.error_type = span.error_type or read_text(event["attributes"].get("exception.type"))
                span.status_message = span.status_message or read_text(event["attributes"].get("exception.message"))
    for rule in dialect.outcomes:
        value = attributes.get(rule.attribute)
        if value is not None and (not rule.values or value in rule.values):
            span.outcome = rule.outcome
            return
    if span.end_ns == 0:
        span.outcome = "running"
    elif failed:
        span.outcome = "error"


def _is_large(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > INLINE_BYTES_MAX
    return isinstance(value, list | dict) and len(to_json(value)) > INLINE_BYTES_MAX


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
