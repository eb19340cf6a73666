"""The attributes of one span, read by its plan: columns, content by reference, and what stays an attribute."""

from collections.abc import Container
from typing import Any, Final

from store.model.columns import READERS, read_text
from store.model.content import INLINE_BYTES_MAX, ContentSink, Pieces
from store.model.indexed import indexed_messages, indexed_values
from store.model.messages import parsed
from store.model.particulars import read_particulars
from store.model.paths import first_at, read_whole
from store.model.plan import MESSAGE_COLUMNS, Plan
from store.model.rules import ContentRule, NameRule, Path
from store.model.span import Span, ToolRequest
from store.model.speech import compose, with_reasoning
from store.otlp.values import to_json_bytes

_NOTHING: Final = (None, "")


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
        span, plan, values = self._span, self._plan, self._values
        self._read_columns()
        span.kind = self._kind()
        if not plan.is_plain:
            self._read_more()
        if plan.is_particular:
            read_particulars(span, plan, values)
        kept = self._read_kept(long)
        if plan.speaks_oddly:
            self._read_oddly()
        return kept

    def _read_kept(self, long: Container[int]) -> dict[str, Any]:
        span, plan, values, keys = self._span, self._plan, self._values, self._plan.keys
        if not plan.content and not plan.shared and not long:
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
            if plan.shared:
                self._read_shared(long, kept)
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

    def _read_more(self) -> None:
        """What no attribute of its own says: it stands in a name, or in a JSON value, or follows from other columns."""
        span = self._span
        self._read_names()
        self._read_inside()
        if self._plan.dialect.input_excludes_cache and span.input_tokens is not None:
            span.input_tokens += (span.cache_read_tokens or 0) + (span.cache_write_tokens or 0)

    def _read_names(self) -> None:
        """What only the name of the span or its service says, where no attribute said it."""
        span = self._span
        for rule in self._plan.names:
            if (not rule.kinds or span.kind in rule.kinds) and not (rule.root and span.parent_span_id):
                self._read_name(rule, span.name if rule.source == "name" else span.service_name or "")

    def _read_name(self, rule: NameRule, name: str) -> None:
        matched = rule.pattern.search(name) if self._span.said(rule.column) is None else None
        if matched is not None:
            self._span.take(rule.column, rule.value or matched["value"])

    def _read_inside(self) -> None:
        """What only the inside of a JSON value says. A value is read once, and only where a column still lacks something."""
        span = self._span
        for place, rule in self._plan.inside:
            if rule.kinds and span.kind not in rule.kinds:
                continue
            if rule.where and self._values[self._plan.keys.index(rule.where[0])] != rule.where[1]:
                continue
            lacking = [column for column in rule.columns if span.said(column) is None]
            value = read_whole(self._values[place]) if lacking else None
            for column in lacking:
                found = first_at(value, rule.columns[column])
                read = READERS.get(column, read_text)(found)
                if read not in _NOTHING:
                    span.take(column, read)

    def shrink_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Span events with their large values moved to content."""
        for index, event in enumerate(events):
            for key in [key for key, value in event["attributes"].items() if is_large(value)]:
                pieces = self._sink.put_value(self._span.tenant, event["attributes"].pop(key))
                self.pieces[f"events/{index}/{key}"] = pieces.as_json()
        return events

    def _kind(self) -> str:
        span = self._span
        for at, rule in self._plan.kinds:
            value = self._values[at] if at >= 0 else ""
            if value is None or (rule.span_kind and rule.span_kind != span.span_kind):
                continue
            if rule.span_name is not None and not rule.span_name.search(span.name):
                continue
            if rule.root and span.parent_span_id:
                continue
            if rule.kind is not None:
                return rule.kind
            if isinstance(value, str) and value in rule.values:
                return rule.values[value]
        return "other"

    def _read_shared(self, long: Container[int], kept: dict[str, Any]) -> None:
        """Attributes that are one thing on one kind of step and another on another, or several things at once."""
        for at, rules in self._plan.shared:
            key, value = self._plan.keys[at], self._values[at]
            fitting = [rule for rule in rules if not rule.kinds or self._span.kind in rule.kinds]
            for rule in fitting:
                self._read_content(key, value, rule)
            if not fitting and at in long:
                self._keep(key, value)
            elif not fitting:
                kept[key] = value

    def _read_content(self, key: str, value: Any, rule: ContentRule) -> None:
        span, column = self._span, rule.column
        is_messages = column in MESSAGE_COLUMNS
        if is_messages:
            pieces = self._sink.put_array(span.tenant, value, self._conversation(column, value))
        else:
            pieces = self._sink.put_value(span.tenant, value)
        place = f"attributes/{key}"
        is_wanted = (
            getattr(span, column) is None
            and value not in _NOTHING
            and not (rule.only_json and not isinstance(parsed(value), dict | list))
        )
        if is_wanted and not rule.wraps:
            # The column has the same ids; those of the answer may get more than the attribute from here on.
            is_kept = column != "output_messages" or not self._plan.reasoning
            self.pieces[place] = pieces.as_json(column if is_kept else None)
        elif place not in self.pieces:
            self.pieces[place] = pieces.as_json()
        if is_wanted and rule.wraps:
            unwrapped = self._unwrap(value, rule)
            is_wanted = unwrapped is not None or rule.or_whole
            pieces = self._put_unwrapped(unwrapped, rule) if unwrapped is not None else pieces
        if not is_wanted:
            return
        setattr(span, column, pieces.ids if is_messages else pieces.ids[0])
        if column == "input_messages":
            self.heard[column] = pieces
        elif column == "output_messages":
            self.heard[column] = self._with_reasoning(pieces) if self._plan.reasoning else pieces

    def _unwrap(self, value: Any, rule: ContentRule) -> Any:
        """What a value wraps; takes the call's id from the wrapping where the span does not say it."""
        wrapped = read_whole(value)
        if self._span.tool_call_id is None and rule.call_id:
            self._span.tool_call_id = read_text(first_at(wrapped, rule.call_id))
        found = first_at(wrapped, rule.inside) if rule.inside else wrapped
        if rule.each_json and isinstance(found, list):
            return [parsed(item) for item in found]
        return found

    def _put_unwrapped(self, found: Any, rule: ContentRule) -> Pieces:
        if rule.column not in MESSAGE_COLUMNS:
            return self._sink.put_value(self._span.tenant, found)
        listed = found if isinstance(found, list) else [found]
        if listed and all(isinstance(item, list) for item in listed):  # A batch of conversations, which has one.
            listed = [message for batch in listed for message in batch]
        return self._sink.put_array(self._span.tenant, listed)

    def _conversation(self, column: str, value: Any) -> tuple[str, ...]:
        """What a history grows under: the calls of one agent. Instructions and definitions are the same everywhere."""
        span = self._span
        if column == "input_messages":
            return (column, span.tenant, span.trace_id, span.parent_span_id or "")
        if column in ("system_instructions", "tool_definitions") and isinstance(value, str):
            return (column, span.tenant, str(len(value)), value[-40:])
        return ()

    def _read_oddly(self) -> None:
        """Messages that are put together from several attributes, and the calls that a run waits for."""
        plan, span = self._plan, self._span
        if plan.indexed or plan.indexed_tools or plan.approvals:
            attributes = dict(zip(plan.keys, self._values, strict=True))
            for prefix, column in plan.indexed:
                if getattr(span, column) is None:
                    self._take(column, indexed_messages(attributes, prefix))
            for prefix, path in plan.indexed_tools:
                self._read_indexed_tools(attributes, prefix, path)
            self._read_approvals(attributes)
        for composed in plan.compose:
            rule = composed.rule
            if (rule.kinds and span.kind not in rule.kinds) or getattr(span, rule.column) is not None:
                continue
            made = compose(composed, self._values)
            if made is not None and rule.column in MESSAGE_COLUMNS:
                self._take(rule.column, [made])
            elif made is not None:
                setattr(span, rule.column, self._sink.put_value(span.tenant, made).ids[0])

    def _take(self, column: str, messages: list[Any]) -> None:
        if not messages:
            return
        pieces = self._sink.put_array(self._span.tenant, messages)
        setattr(self._span, column, pieces.ids)
        if column == "output_messages" and self._plan.reasoning:
            pieces = self._with_reasoning(pieces)
        self.heard[column] = pieces

    def _with_reasoning(self, pieces: Pieces) -> Pieces:
        """The same messages with the reasoning that only another attribute has."""
        for place, rule in self._plan.reasoning:
            if not rule.kinds or self._span.kind in rule.kinds:
                messages = with_reasoning(pieces, read_whole(self._values[place]), rule)
                if messages is not None:
                    found = self._sink.put_array(self._span.tenant, messages)
                    self._span.output_messages = found.ids
                    return found
        return pieces

    def _read_indexed_tools(self, attributes: dict[str, Any], prefix: str, path: Path) -> None:
        found = [first_at(item, [path]) for item in indexed_values(attributes, prefix)]
        tools = [parsed(tool) for tool in found if tool is not None]
        if tools and self._span.tool_definitions is None:
            self._span.tool_definitions = self._sink.put_array(self._span.tenant, tools).ids

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


def is_large(value: Any) -> bool:
    """Whether a value is better kept once, as content, than on every step."""
    if value.__class__ is str:
        return len(value) > INLINE_BYTES_MAX
    return isinstance(value, list | dict) and len(to_json_bytes(value)) > INLINE_BYTES_MAX
