"""Log records to events. Those that carry a step's messages (by their dialect's event rules) say so in columns."""

from collections import Counter
from typing import Any

from store.model.aside_reader import read_record
from store.model.columns import read_number, read_text
from store.model.content import INLINE_BYTES_MAX, ContentSink, Pieces
from store.model.dialect import dialect_of
from store.model.evaluations import EVALUATION_EVENT, Evaluation, evaluation_of_event
from store.model.ids import record_id
from store.model.messages import parsed
from store.model.normalise import Enclosing, bounded_ns, hex_ids, record_digests
from store.model.plan import MESSAGE_COLUMNS
from store.model.rules import Dialect, EventRule
from store.model.span import Event, ToolRequest
from store.model.speech import message_of
from store.model.talk import Listener
from store.otlp.decode import decode_bodies, records_of
from store.otlp.values import any_values, attribute_dicts, to_json
from store.record import Frame, Signal


def normalise_logs(
    frames: list[Frame], sink: ContentSink, listener: Listener, judged: list[Evaluation] | None = None
) -> list[Event]:
    """Every log record of log frames, in the order of the record. Evaluations go to `judged`. Raises MalformedOtlp."""
    records = records_of(Signal.LOGS, decode_bodies(Signal.LOGS, [frame.body for frame in frames]))
    if not len(records):
        return []
    logs = records.records
    resources = Enclosing(records, "resource", sink, frames)
    scopes = Enclosing(records, "scope", sink, frames)
    names = ("time_unix_nano", "observed_time_unix_nano", "severity_number", "severity_text", "event_name", "flags",
             "dropped_attributes_count")  # fmt: skip
    columns = {name: logs.field(name).to_pylist() for name in names}
    trace_ids, span_ids = hex_ids(logs.field("trace_id")), hex_ids(logs.field("span_id"))
    bodies = any_values(logs.field("body"))
    attributes = attribute_dicts(logs.field("attributes"))
    digests = record_digests(frames, records)
    frame_of, ordinals = records.frame.tolist(), records.ordinal.tolist()
    resource_of, scope_of = records.resource.tolist(), records.scope.tolist()
    equals: Counter[tuple[int, str]] = Counter()
    result: list[Event] = []
    for i in range(len(records)):
        frame, resource, scope = frames[frame_of[i]], resource_of[i], scope_of[i]
        attrs = attributes[i]
        scope_name = scopes.names[scope] or ""
        dialect = dialect_of(scope_name, attrs)
        nth = equals[frame_of[i], digests[i]]
        equals[frame_of[i], digests[i]] += 1
        time_ns, observed_ns = columns["time_unix_nano"][i], columns["observed_time_unix_nano"][i]
        extra = {name: columns[name][i] for name in ("flags", "dropped_attributes_count") if columns[name][i]}
        event = Event(
            tenant=frame.tenant,
            event_id=record_id("event", frame.tenant, digests[i], str(nth)),
            sequence=frame.sequence,
            ordinal=ordinals[i],
            received_ns=frame.received_ns,
            trace_id=trace_ids[i] or None,
            span_id=span_ids[i] or None,
            event_name=columns["event_name"][i] or read_text(attrs.get("event.name")),
            severity_number=columns["severity_number"][i],
            severity_text=columns["severity_text"][i] or None,
            time_ns=bounded_ns(time_ns),
            observed_ns=bounded_ns(observed_ns),
            service_name=read_text(resources.attributes[resource].get("service.name")),
            scope_name=scope_name or None,
            scope_version=scopes.versions[scope] or None,
            dialect=dialect.name,
            body="",
            attributes="",
            pieces="",
            resource=resources.id(resource, frame.tenant),
            scope=scopes.id(scope, frame.tenant),
            extra=to_json(extra) if extra else "",
        )
        _fill(event, dialect, body=bodies[i], attributes=attrs, sink=sink, listener=listener)
        if event.event_name == EVALUATION_EVENT and judged is not None:
            found = evaluation_of_event(event, attrs)
            if found is not None:
                judged.append(found)
        result.append(event)
    return result


def _fill(
    event: Event, dialect: Dialect, *, body: Any, attributes: dict[str, Any], sink: ContentSink, listener: Listener
) -> None:
    pieces: dict[str, Any] = {}
    heard: dict[str, Pieces] = {}
    kept: dict[str, Any] = {}
    rule = next((rule for rule in dialect.events.get(event.event_name or "", ()) if not rule.kinds), None)
    ranks: dict[str, int] = {}
    for key, value in attributes.items():
        content = next((rule for rule in dialect.content.get(key, ()) if rule.column in MESSAGE_COLUMNS), None)
        if content is not None:
            found = sink.put_array(event.tenant, value)
            pieces[f"attributes/{key}"] = found.as_json()
            read = rule is not None and rule.attributes and hasattr(event, content.column)
            wanted = read and value not in (None, "")
            if wanted and content.rank < ranks.get(content.column, 1000):
                ranks[content.column] = content.rank
                setattr(event, content.column, found.ids)
                heard[content.column] = found
        elif len(value if isinstance(value, str) else to_json(value)) > INLINE_BYTES_MAX:
            pieces[f"attributes/{key}"] = sink.put_value(event.tenant, value).as_json()
        else:
            kept[key] = value
    if rule is not None:
        _follow(event, rule, body=body, attributes=attributes, sink=sink, heard=heard)
    body_json = to_json(body)
    if len(body_json) > INLINE_BYTES_MAX:
        pieces["body"] = sink.put_value(event.tenant, body).as_json()
        body_json = ""
    event.body, event.attributes = body_json, to_json(kept)
    event.pieces = to_json(pieces) if pieces else ""
    if dialect.asides.verdicts:
        read_record(event, dialect.asides, attributes, sink)
    if event.has_messages:
        listener.hear(event, heard.get("input_messages"), heard.get("output_messages"))


def _follow(
    event: Event, rule: EventRule, *, body: Any, attributes: dict[str, Any], sink: ContentSink, heard: dict[str, Pieces]
) -> None:
    """What the event's own rule reads: a message from its body or an attribute, the tool call that it names, a cost."""
    if rule.column is not None and (rule.value is not None or body is not None):
        message = message_of(rule, body, attributes)
        if message is not None:
            found = heard[rule.column] = sink.put_array(event.tenant, [message])
            setattr(event, rule.column, found.ids)
    if rule.request and (call_id := read_text(attributes.get(rule.request["id"]))) is not None:
        arguments = parsed(attributes.get(rule.request.get("arguments", "")))
        piece = None if arguments is None else sink.put_value(event.tenant, arguments).ids[0]
        name = read_text(attributes.get(rule.request.get("name", "")))
        type_of_tool = read_text(attributes.get(rule.request.get("type", "")))
        event.tool_requests.append(ToolRequest(call_id, name, piece, type_of_tool))
    if rule.cost is not None:
        event.cost_usd = read_number(attributes.get(rule.cost))
    if rule.response_id is not None:
        event.response_id = read_text(attributes.get(rule.response_id))
