"""Messages that no attribute holds as such: put together from several, completed from another, or told by events.

Span events and log records follow the same rules (`rules.EventRule`). What is made here has the form of the messages that
other libraries send, `{"role", "parts"}` or `{"role", "content"}`, and is read like them.
"""

from collections.abc import Iterable
from typing import Any, Final

from store.model.content import ContentSink, Pieces
from store.model.messages import normalise_part, parsed, read_message
from store.model.paths import at
from store.model.plan import MESSAGE_COLUMNS, Composed
from store.model.rules import Dialect, EventRule, ReasoningRule
from store.model.span import Span

_RANK_MAX: Final = 1000
_NOTHING: Final = (None, "", [], {})
_EVENT_CONTENT: Final = "gen_ai.event.content"  # Where span events of the conventions' first years have their body.


def compose(composed: Composed, values: list[Any]) -> dict[str, Any] | None:
    """A message from the attributes that have its parts, or a tool's arguments by name; None where all are empty."""
    rule = composed.rule
    found = [
        (kind, value)
        for kind, places in composed.parts
        if (value := next((values[place] for place in places if values[place] not in _NOTHING), None)) is not None
    ]
    if not found:
        return None
    if rule.column not in MESSAGE_COLUMNS:
        return dict(found)
    message: dict[str, Any] = {
        "role": rule.role,
        "parts": [part for kind, value in found for part in _parts(kind, value)],
    }
    reason = next((values[place] for place in composed.finish_reason if isinstance(values[place], str)), None)
    return message if reason is None else message | {"finish_reason": reason}


def _parts(kind: str, value: Any) -> list[dict[str, Any]]:
    """The parts of one kind that an attribute has: one, or a list of them."""
    listed = parsed(value)
    if kind == "text" or not isinstance(listed, list):
        return [{"type": kind, "content": value}]
    return [
        normalise_part({"type": kind, **item}) if isinstance(item, dict) else {"type": kind, "content": item}
        for item in listed
    ]


def with_reasoning(pieces: Pieces, value: Any, rule: ReasoningRule) -> list[dict[str, Any]] | None:
    """Messages, the first with the reasoning parts that `value` has for it; None where they have some, or it has none."""
    thought = next((found for path in rule.paths if (found := _thoughts(at(value, path)))), None)
    if thought is None:
        return None
    messages = [read_message(raw, "assistant") for raw in pieces.raws]
    if any(part["type"] == "reasoning" for message in messages for part in message["parts"]):
        return None
    return [
        message | {"parts": thought + message["parts"]} if not nth else message for nth, message in enumerate(messages)
    ]


def _thoughts(found: Any) -> list[dict[str, Any]]:
    """The reasoning in what a path leads to: a text, a part, or a list in which parts of reasoning stand among others."""
    if isinstance(found, str):
        return [{"type": "reasoning", "content": found}] if found else []
    return [
        read
        for part in (found if isinstance(found, list) else [found])
        if isinstance(part, dict) and (read := normalise_part(part))["type"] == "reasoning" and read.get("content")
    ]


def message_of(rule: EventRule, body: Any, attributes: dict[str, Any]) -> Any:
    """What an event says, as a message or (for `arguments` and `result`) as a value; None where it says nothing.

    Per-message events have the message in their body, `gen_ai.choice` one level down.
    """
    if rule.value is not None:
        return _in_attribute(rule, attributes.get(rule.value), attributes)
    said = parsed(body if body is not None else attributes.get(_EVENT_CONTENT, attributes))
    if said in _NOTHING:
        return None
    if not isinstance(said, dict):
        return {"role": rule.role, "content": said}
    inner = parsed(said.get("message"))
    if isinstance(inner, dict):
        return {"role": rule.role, **inner, **_finish_of(said)}
    if isinstance(inner, list | str) and "content" not in said:
        return {"role": rule.role, "content": inner, **_finish_of(said)}
    return {"role": rule.role, **said}


def _in_attribute(rule: EventRule, said: Any, attributes: dict[str, Any]) -> Any:
    blocks = parsed(said)
    if said is None or rule.column not in MESSAGE_COLUMNS:
        return blocks
    content = blocks if isinstance(blocks, list) and all(isinstance(one, dict) for one in blocks) else said
    return {"role": rule.role, "content": content, **_finish_of(attributes)}


def _finish_of(said: dict[str, Any]) -> dict[str, str]:
    reason = said.get("finish_reason")
    return {"finish_reason": reason} if isinstance(reason, str) else {}


def read_events(span: Span, dialect: Dialect, events: Iterable[dict[str, Any]], sink: ContentSink) -> dict[str, Pieces]:
    """Fill what only a span's events say: messages, arguments, the result. Returns the messages, by column.

    What the span said itself stands: a library that sends both says the same thing twice.
    """
    messages: dict[str, list[Any]] = {}
    for event in events:
        for rule in dialect.events.get(event["name"], ()):
            if rule.kinds and span.kind not in rule.kinds:
                continue
            said: dict[str, Any] = event["attributes"]
            if rule.attributes:
                _read_attributes(dialect, said, messages)
            elif rule.column is not None:
                made = message_of(rule, None, said)
                if made is not None:
                    messages.setdefault(rule.column, []).append(made)
            break
    heard: dict[str, Pieces] = {}
    if span.kind == "tool":
        _read_tool(messages)
    for column, found in messages.items():
        if getattr(span, column, found) is not None or not found:
            continue
        if column in MESSAGE_COLUMNS:
            heard[column] = sink.put_array(span.tenant, found)
            setattr(span, column, heard[column].ids)
        else:
            setattr(span, column, sink.put_value(span.tenant, found[-1]).ids[0])
    return heard


def _read_attributes(dialect: Dialect, said: dict[str, Any], messages: dict[str, list[Any]]) -> None:
    """The message attributes of an event that has a span's, the best source of each column."""
    best: dict[str, tuple[int, Any]] = {}
    for key, value in said.items():
        for rule in dialect.content.get(key, ()):
            wanted = rule.column in MESSAGE_COLUMNS and rule.column != "all_messages" and value not in _NOTHING
            if wanted and rule.rank < best.get(rule.column, (_RANK_MAX, None))[0]:
                best[rule.column] = rule.rank, parsed(value)
    for column, (_, value) in best.items():
        messages.setdefault(column, []).extend(value if isinstance(value, list) else [value])


def _read_tool(messages: dict[str, list[Any]]) -> None:
    """A tool's step that tells of itself in messages: the call that it was given, and its answer."""
    for column, kind, field, told in (
        ("input_messages", "tool_call", "arguments", "arguments"),
        ("output_messages", "tool_call_response", "response", "result"),
    ):
        found = messages.pop(column, [])
        parts = [
            part for one in found if isinstance(one, dict) for part in one.get("parts", []) if isinstance(part, dict)
        ]
        for part in parts:
            if part.get("type") == kind and part.get(field) is not None:
                messages.setdefault(told, []).append(part[field])
