"""Drops classes of content from the records of a request.

Every record is walked, in Python: a policy that drops something pays for it with each span, which docs/redaction.md says.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from collector.cutting import place_of
from collector.redaction.classes import (
    CONTENT_EVENTS,
    EVENT_NAME_KEY,
    RESULT_KEYS,
    TOOL_NAME_KEYS,
    is_content,
    is_reasoning,
)
from collector.redaction.dropping import CONTENT, REASONING, TOOL_RESULT, Drops, Took, less_text, without_pieces
from collector.redaction.marking import Redaction
from collector.redaction.policy import RuleSet
from store.otlp.schema import LEVELS
from store.record import Signal

_CALL_PREFIXES: Final = ("execute_tool ", "tools/call ", "tool.")
Path = tuple[tuple[str, int], ...]


def drop_classes(signal: Signal, request: Any, rules_at: Callable[[Path], RuleSet]) -> dict[Path, list[Redaction]]:
    """Drop what the rules for each record drop, in place. What was dropped, by the path of the record."""
    dropped: dict[Path, list[Redaction]] = {}
    if signal is Signal.METRICS:
        return dropped  # Points have no content but their labels, which no class names.
    for path, record in _records(signal, request):
        drops = rules_at(path).drops
        if drops:
            redacted = _Dropping(record, drops).redactions()
            if redacted:
                dropped[path] = redacted
    return dropped


def _records(signal: Signal, request: Any) -> Iterator[tuple[Path, Any]]:
    outer_name, scope_name, record_name = LEVELS[signal]
    for i, outer in enumerate(getattr(request, outer_name)):
        for j, scope in enumerate(getattr(outer, scope_name)):
            for k, record in enumerate(getattr(scope, record_name)):
                yield ((outer_name, i), (scope_name, j), (record_name, k)), record


class _Dropping:
    """A span or log record from which classes are dropped."""

    def __init__(self, record: Any, drops: Drops) -> None:
        self._record = record
        self._drops = drops
        self._redacted: list[Redaction] = []

    def redactions(self) -> list[Redaction]:
        record = self._record
        is_dropped_call = self._is_dropped_call()
        if record.DESCRIPTOR.name == "LogRecord":
            name = record.event_name or _text(record.attributes, EVENT_NAME_KEY)
            is_event = name in CONTENT_EVENTS
            self._attributes(record.attributes, "attributes", is_dropped_call)
            self._body(is_event, is_dropped_call)
            return self._redacted
        self._attributes(record.attributes, "attributes", is_dropped_call)
        for index, event in enumerate(record.events):
            within = f"events/{index}/attributes"
            if self._drops.content and event.name in CONTENT_EVENTS:
                self._redacted += [
                    Redaction(place_of(within, pair.key, 1), CONTENT, "drop", pair.value.ByteSize())
                    for pair in event.attributes
                ]
                del event.attributes[:]
            else:
                self._attributes(event.attributes, within, is_dropped_call)
        return self._redacted

    def _is_dropped_call(self) -> bool:
        """Whether the record is of a call whose results are dropped."""
        if not self._drops.tools:
            return False
        name: str = getattr(self._record, "name", "")
        names = [name, *(name.removeprefix(prefix) for prefix in _CALL_PREFIXES)]
        names += [pair.value.string_value for pair in self._record.attributes if pair.key in TOOL_NAME_KEYS]
        return any(self._drops.names_tool(name) for name in names)

    def _attributes(self, attributes: Any, within: str, is_dropped_call: bool) -> None:
        drops = self._drops
        for index in reversed(range(len(attributes))):
            pair = attributes[index]
            key: str = pair.key
            if drops.content and is_content(key):
                under = CONTENT
            elif drops.reasoning and is_reasoning(key):
                under = REASONING
            elif is_dropped_call and key in RESULT_KEYS:
                under = TOOL_RESULT
            else:
                if is_content(key):
                    self._pieces(pair.value, place_of(within, key, 1))
                continue
            self._redacted.append(Redaction(place_of(within, key, 1), under, "drop", pair.value.ByteSize()))
            del attributes[index]

    def _body(self, is_event: bool, is_dropped_call: bool) -> None:
        body = self._record.body
        if not body.ByteSize() or not (is_event or is_dropped_call):
            return
        if self._drops.content or is_dropped_call:
            under = CONTENT if self._drops.content else TOOL_RESULT
            self._redacted.append(Redaction("body", under, "drop", body.ByteSize()))
            self._record.ClearField("body")
        else:
            self._pieces(body, "body")

    def _pieces(self, value: Any, place: str) -> None:
        """Reasoning and results within messages."""
        took: Took = []
        member = value.WhichOneof("value")
        if member == "string_value":
            text = less_text(value.string_value, self._drops, took)
            if took:
                value.string_value = text
        elif member in ("array_value", "kvlist_value"):
            plain = without_pieces(_plain(value), self._drops, took)
            if took:
                value.Clear()
                _say(value, plain)
        self._redacted += [Redaction(place, under, "drop", length) for under, length in took]


def _text(attributes: Any, key: str) -> str:
    return next((pair.value.string_value for pair in attributes if pair.key == key), "")


def _plain(value: Any) -> Any:
    """An AnyValue as Python has it. A map keeps the last of equal keys."""
    member = value.WhichOneof("value")
    if member == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if member == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, member) if member else None


def _say(value: Any, plain: Any) -> None:
    """The reverse of `_plain`."""
    match plain:
        case None:
            return
        case bool():
            value.bool_value = plain
        case int():
            value.int_value = plain
        case float():
            value.double_value = plain
        case bytes():
            value.bytes_value = plain
        case list():
            value.array_value.SetInParent()
            for item in plain:
                _say(value.array_value.values.add(), item)
        case dict():
            value.kvlist_value.SetInParent()
            for key, item in plain.items():
                _say(value.kvlist_value.values.add(key=key).value, item)
        case _:
            value.string_value = str(plain)
