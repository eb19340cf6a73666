"""Reads what a span or a log record says beside what it tells of itself, by its dialect's rules (`store/model/asides.py`)."""

from typing import Any, Final

from store.model.asides import Asides, VerdictRule
from store.model.columns import read_text
from store.model.content import ContentSink
from store.model.messages import parsed
from store.model.span import Event, Span, Verdict

_NO_PARENT: Final = "0" * 16


def read_start(span: Span, asides: Asides, attributes: dict[str, Any]) -> str | None:
    """Make of a start marker the first version of the span that began. Returns the marker's own id."""
    rule = asides.start
    if rule is None or attributes.get(rule.attribute) != rule.value or span.parent_span_id is None:
        return None
    own_id, parent = span.span_id, attributes.get(rule.parent)
    span.span_id = span.parent_span_id
    span.parent_span_id = parent if isinstance(parent, str) and parent not in ("", _NO_PARENT) else None
    span.end_ns = 0
    return own_id


def read_asides(
    span: Span, asides: Asides, attributes: dict[str, Any], events: list[dict[str, Any]], sink: ContentSink
) -> None:
    """Fill a span's `verdicts` and `attempts_failed`. Its kind is known."""
    if asides.attempt is not None and events:
        failed = sum(1 for event in events if asides.attempt.search(event["name"]))
        if failed:
            span.told().attempts_failed = failed
    for rule in asides.verdicts:
        if not rule.kinds or span.kind in rule.kinds:
            _read_verdict(span, rule, attributes, sink)


def read_record(event: Event, asides: Asides, attributes: dict[str, Any], sink: ContentSink) -> None:
    """Fill a log record's `verdicts`."""
    for rule in asides.verdicts:
        if rule.event is not None and rule.event == event.event_name:
            _read_verdict(event, rule, attributes, sink)


def _read_verdict(spoken: Span | Event, rule: VerdictRule, attributes: dict[str, Any], sink: ContentSink) -> None:
    value = attributes.get(rule.attribute)
    if rule.path:
        value = parsed(value)
        for name in rule.path:
            value = value.get(name) if isinstance(value, dict) else None
    if value in (None, ""):
        return
    verdict = rule.values.get(value) if isinstance(value, str) else None
    if rule.values and verdict is None:
        return
    reason = attributes.get(rule.reason) if rule.reason else None if rule.values else value
    who = rule.sources.get(read_text(attributes.get(rule.source)) or "", {}) if rule.source else {}
    spoken.say(
        Verdict(
            id=read_text(attributes.get(rule.call_id)) if rule.call_id else None,
            verdict=verdict,
            kind=who.get("kind", "human_approval"),
            by=who.get("by", "human"),
            name=read_text(attributes.get(rule.name)) if rule.name else None,
            reason=None if reason in (None, "") else sink.put_value(spoken.tenant, reason).ids[0],
        )
    )
