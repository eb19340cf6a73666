"""The attributes of one span, read by its plan: columns, content by reference, and what stays an attribute."""

from collections.abc import Container
from typing import Any

from store.model.columns import read_text
from store.model.content import INLINE_BYTES_MAX, ContentSink, Pieces
from store.model.dialect import ContentRule
from store.model.indexed import indexed_messages
from store.model.messages import parsed
from store.model.particulars import read_particulars
from store.model.plan import MESSAGE_COLUMNS, Plan
from store.model.span import Span, ToolRequest
from store.otlp.values import to_json_bytes


class AttributeReader:
    """Reads one span. `pieces` is what went to content, by place; `heard` the messages that were given and said."""

    __slots__ = ("_plan", "_sink", "_span", "_values", "heard", "pieces")

    def __init__(self, span: Span, plan: Plan, values: list[Any], sink: ContentSink) -> None:
        """`values` are the span's attributes in the order of `plan.keys`."""
        self._span = span
        self._plan = plan
        self._values = values
        self._sink = sink
        self.pieces: dict[str, Any] = {}
        self.heard: dict[str, Pieces] = {}

    def read(self, long: Container[int]) -> dict[str, Any]:
        """Fill the span's columns; returns the attributes that stay inline. The others are in `pieces`.

        `long` has the places of values that are better kept once, as content, than on every step.
        """
        span, plan, values, keys = self._span, self._plan, self._values, self._plan.keys
        self._read_columns()
        span.kind = self._kind()
        if plan.span_names:
            self._read_name()
        if plan.is_particular:
            read_particulars(span, plan, values)
        kept = self._read_kept(long)
        if plan.indexed or plan.approvals:
            attributes = dict(zip(keys, values, strict=True))
            for prefix, column in plan.indexed:
                self._read_indexed(attributes, prefix, column)
            self._read_approvals(attributes)
        return kept

    def _read_kept(self, long: Container[int]) -> dict[str, Any]:
        span, plan, values, keys = self._span, self._plan, self._values, self._plan.keys
        if not plan.content and not long:
            kept = dict(zip(keys, values, strict=True))
        else:
            kept = {keys[at]: values[at] for at in plan.kept}
            if long:
                for at in plan.kept:
                    if at in long:
                        self._keep(keys[at], kept.pop(keys[at]))
            for at, rule in plan.content:
                if not rule.kinds or span.kind in rule.kinds:
                    self._read_content(keys[at], values[at], rule)
                elif at in long:
                    self._keep(keys[at], values[at])
                else:
                    kept[keys[at]] = values[at]
        return kept

    def _read_columns(self) -> None:
        """The first source of a column whose value can be read feeds it."""
        span, plan, values = self._span, self._plan, self._values
        for column, places in plan.texts:
            for at in places:
                value = values[at]
                read = value if value.__class__ is str else read_text(value)
                if read:
                    setattr(span, column, read)
                    break
        for column, reader, places in plan.others:
            for at in places:
                read = reader(values[at])
                if read is not None:
                    setattr(span, column, read)
                    break

    def _read_name(self) -> None:
        """What only the span's name says, where no attribute said it."""
        span = self._span
        for rule in self._plan.span_names:
            fits = (not rule.kinds or span.kind in rule.kinds) and not (rule.root and span.parent_span_id)
            if fits and (matched := rule.pattern.match(span.name)):
                setattr(span, rule.column, matched["value"])

    def shrink_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Span events with their large values moved to content."""
        for index, event in enumerate(events):
            for key in [key for key, value in event["attributes"].items() if is_large(value)]:
                pieces = self._sink.put_value(self._span.tenant, event["attributes"].pop(key))
                self.pieces[f"events/{index}/{key}"] = pieces.as_json()
        return events

    def _kind(self) -> str:
        for at, rule in self._plan.kinds:
            value = self._values[at]
            if value is None or (rule.span_kind and rule.span_kind != self._span.span_kind):
                continue
            if rule.span_name is not None and not rule.span_name.match(self._span.name):
                continue
            if rule.kind is not None:
                return rule.kind
            if isinstance(value, str) and value in rule.values:
                return rule.values[value]
        return "other"

    def _read_content(self, key: str, value: Any, rule: ContentRule) -> None:
        span, column = self._span, rule.column
        is_messages = column in MESSAGE_COLUMNS
        if is_messages:
            pieces = self._sink.put_array(span.tenant, value, self._conversation(column, value))
        else:
            pieces = self._sink.put_value(span.tenant, value)
        place = f"attributes/{key}"
        self.pieces[place] = pieces.as_json()
        if column == "unread_messages" or getattr(span, column) is not None or value in (None, ""):
            return
        if rule.only_json and not isinstance(parsed(value), dict | list):
            return
        if rule.inside and (unwrapped := self._unwrap(value, rule)) is not None:
            pieces = self._sink.put_value(span.tenant, unwrapped)
        else:
            self.pieces[place] = pieces.as_json(column)
        setattr(span, column, pieces.ids if is_messages else pieces.ids[0])
        if column in ("input_messages", "output_messages"):
            self.heard[column] = pieces

    def _unwrap(self, value: Any, rule: ContentRule) -> Any:
        """What a value wraps; takes the call's id from the wrapping where the span does not say it."""
        wrapped = parsed(value)
        if self._span.tool_call_id is None and rule.call_id:
            self._span.tool_call_id = read_text(_inside(wrapped, rule.call_id))
        return _inside(wrapped, rule.inside)

    def _conversation(self, column: str, value: Any) -> tuple[str, ...]:
        """What a history grows under: the calls of one agent. Instructions and definitions are the same everywhere."""
        span = self._span
        if column == "input_messages":
            return (column, span.tenant, span.trace_id, span.parent_span_id or "")
        if column in ("system_instructions", "tool_definitions") and isinstance(value, str):
            return (column, span.tenant, str(len(value)), value[-40:])
        return ()

    def _read_indexed(self, attributes: dict[str, Any], prefix: str, column: str) -> None:
        if getattr(self._span, column) is not None:
            return
        messages = indexed_messages(attributes, prefix)
        if messages:
            pieces = self._sink.put_array(self._span.tenant, messages)
            setattr(self._span, column, pieces.ids)
            self.heard[column] = pieces

    def _read_approvals(self, attributes: dict[str, Any]) -> None:
        rule = self._plan.approvals
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

    def _keep(self, key: str, value: Any) -> None:
        self.pieces[f"attributes/{key}"] = self._sink.put_value(self._span.tenant, value).as_json()


def _inside(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def is_large(value: Any) -> bool:
    """Whether a value is better kept once, as content, than on every step."""
    if value.__class__ is str:
        return len(value) > INLINE_BYTES_MAX
    return isinstance(value, list | dict) and len(to_json_bytes(value)) > INLINE_BYTES_MAX
