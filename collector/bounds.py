"""Bounds on what one record may hold: attributes, bytes of a value, events and links. What is past one is cut and marked.

Strategy: the length of a record says that nothing in it can be past a bound, for nearly all of them; of the few long ones
the lists are counted. A request that may be past one is walked with the official runtime, record by record, and decoded
again. It is cut after the boundary, so that no length or digest of what must not be stored is stored, and before the leaves,
so that the record's digest covers what was cut (see `store.otlp.truncation` for the mark, `collector.cutting` for what a cut
keeps and says).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from collector.cutting import Cut, cut_value, drop_tail, place_of, raise_count, rename_sent_mark, write_mark
from collector.limits import Limits
from store.otlp.decode import Decoded, decode
from store.otlp.redaction import MARK as REDACTION_MARK
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.otlp.truncation import MARK
from store.otlp.wire import parts

# The bounds by their names in Limits, which is what a mark and the metrics call the reason of a cut.
ATTRIBUTES: Final = "attributes_max"
ATTRIBUTE_BYTES: Final = "attribute_bytes_max"
SPAN_EVENTS: Final = "span_events_max"
SPAN_LINKS: Final = "span_links_max"
REASONS: Final = {
    ATTRIBUTES: "a list of more than {:,} attributes",
    ATTRIBUTE_BYTES: "a value of more than {:,} bytes",
    SPAN_EVENTS: "a span of more than {:,} events",
    SPAN_LINKS: "a span of more than {:,} links",
}

_ITEM_BYTES_MIN: Final = 2  # An item of a list is at least its tag and its length.
_MARK_BYTES: Final = MARK.encode()
_ENCLOSED: Final = 2  # The field of what a Resource* or Scope* message encloses, for all signals.


@dataclass(frozen=True, slots=True)
class Bounded:
    """A request within the bounds. `cuts` counts what was cut, by reason; `message` tells the sender, '' for nothing."""

    decoded: Decoded
    cuts: dict[str, int]
    message: str


def bounded(decoded: Decoded, limits: Limits) -> Bounded:
    """The request with everything within the bounds, marked where something was not."""
    if not _is_past(decoded, limits):
        return Bounded(decoded, {}, "")
    scissors = _Scissors(limits)
    request: Any = REQUEST_MESSAGES[decoded.signal].FromString(decoded.body)
    outer_name, scope_name, record_name = LEVELS[decoded.signal]
    for outer in getattr(request, outer_name):
        if outer.HasField("resource"):
            scissors.cut(outer.resource)
        for inner in getattr(outer, scope_name):
            if inner.HasField("scope"):
                scissors.cut(inner.scope)
            for record in getattr(inner, record_name):
                scissors.cut(record)
    body = request.SerializeToString()
    del request
    if body == decoded.body:
        return Bounded(decoded, {}, "")
    return Bounded(decode(decoded.signal, body), dict(scissors.cuts), _message(scissors.cuts, limits))


def _message(cuts: Counter[str], limits: Limits) -> str:
    if not cuts:
        return ""
    said = "; ".join(f"{count} x {REASONS[reason].format(getattr(limits, reason))}" for reason, count in cuts.items())
    return f"cut: {said}; everything else is stored, and each record's attribute {MARK} says what was cut"


class _Scissors:
    """Cuts message after message, and counts."""

    def __init__(self, limits: Limits) -> None:
        self.cuts: Counter[str] = Counter()
        self._limits = limits
        self._small_bytes = _small_bytes(limits)

    def cut(self, message: Any) -> None:
        """Cut and mark a resource, scope, span, log record or metric."""
        encoded = message.SerializeToString()
        if len(encoded) <= self._small_bytes and _MARK_BYTES not in encoded:
            return
        del encoded
        match message.DESCRIPTOR.name:
            case "Span":
                self._span(message)
            case "Metric":
                self._metric(message)
            case "LogRecord":
                rename_sent_mark(message.attributes)
                cuts = self._attributes(message, "attributes")
                body = cut_value(message.body, "body", self._limits.attribute_bytes_max, ATTRIBUTE_BYTES)
                self._mark(message.attributes, cuts + ([body] if body else []))
            case _:
                rename_sent_mark(message.attributes)
                self._mark(message.attributes, self._attributes(message, "attributes"))

    def _span(self, span: Any) -> None:
        rename_sent_mark(span.attributes)
        cuts = self._attributes(span, "attributes")
        for name, reason in (("events", SPAN_EVENTS), ("links", SPAN_LINKS)):
            cuts += self._tail(span, name, name, reason)
            for index, item in enumerate(getattr(span, name)):
                cuts += self._attributes(item, "attributes", f"{name}/{index}/")
        self._mark(span.attributes, cuts)

    def _metric(self, metric: Any) -> None:
        rename_sent_mark(metric.metadata)
        self._mark(metric.metadata, self._attributes(metric, "metadata"))
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points if kind else ():
            rename_sent_mark(point.attributes)
            cuts = self._attributes(point, "attributes")
            for index, exemplar in enumerate(getattr(point, "exemplars", ())):
                cuts += self._attributes(exemplar, "filtered_attributes", f"exemplars/{index}/")
            self._mark(point.attributes, cuts)

    def _attributes(self, holder: Any, name: str, within: str = "") -> list[Cut]:
        cuts = self._tail(holder, name, within + name, ATTRIBUTES)
        seen: Counter[str] = Counter()
        for pair in getattr(holder, name):
            if pair.key == REDACTION_MARK:
                continue
            seen[pair.key] += 1
            place = place_of(within + name, pair.key, seen[pair.key])
            cut = cut_value(pair.value, place, self._limits.attribute_bytes_max, ATTRIBUTE_BYTES)
            if cut:
                cuts.append(cut)
        return cuts

    def _tail(self, holder: Any, name: str, place: str, reason: str) -> list[Cut]:
        cut = drop_tail(holder, name, getattr(self._limits, reason), place, reason)
        if cut is None:
            return []
        raise_count(holder, f"dropped_{name}_count", cut.count or 0)
        return [cut]

    def _mark(self, attributes: Any, cuts: list[Cut]) -> None:
        self.cuts.update(cut.reason for cut in cuts)
        write_mark(attributes, cuts)


# Whether there is anything to cut


def _is_past(decoded: Decoded, limits: Limits) -> bool:
    """Whether a request may hold something past a bound, or has an attribute of the mark's name: then it is walked."""
    body, small_bytes = decoded.body, _small_bytes(limits)
    if _MARK_BYTES in body:
        return True
    if len(body) <= small_bytes:
        return False
    if not decoded.plain:
        return True  # What OTLP does not know may stand anywhere, so the parts cannot be told by their lengths.
    outer_name, scope_name, record_name = LEVELS[decoded.signal]
    outers = getattr(decoded.request, outer_name)
    for outer, (_, outer_start, outer_end) in enumerate(parts(body, 0, len(body))):
        if outer_end - outer_start <= small_bytes:
            continue
        inners = iter(getattr(outers[outer], scope_name))
        for number, start, end in parts(body, outer_start, outer_end):
            inner = next(inners) if number == _ENCLOSED else None
            if end - start <= small_bytes:
                continue
            if inner is None:
                return True  # A resource of that size is rare enough to be looked at closely.
            records = iter(getattr(inner, record_name))
            for field, record_start, record_end in parts(body, start, end):
                record = next(records) if field == _ENCLOSED else None
                size = record_end - record_start
                if size > small_bytes and (record is None or _record_is_past(record, size, limits)):
                    return True
    return False


def _record_is_past(record: Any, size: int, limits: Limits) -> bool:
    if size > limits.attribute_bytes_max:
        return True
    match record.DESCRIPTOR.name:
        case "Span":
            return (
                len(record.attributes) > limits.attributes_max
                or len(record.events) > limits.span_events_max
                or len(record.links) > limits.span_links_max
                or any(len(holder.attributes) > limits.attributes_max for holder in (*record.events, *record.links))
            )
        case "LogRecord":
            return len(record.attributes) > limits.attributes_max
        case _:
            return True  # A metric of that size has many points, each with attributes of its own.


def _small_bytes(limits: Limits) -> int:
    """A message of up to so many bytes can be past no bound."""
    items = min(limits.attributes_max, limits.span_events_max, limits.span_links_max)
    return min(_ITEM_BYTES_MIN * items, limits.attribute_bytes_max)
