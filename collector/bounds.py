"""Bounds on what one record may hold: attributes, bytes of a value, events and links. What is past one is cut and marked.

Strategy: the columns say whether anything of a request is past a bound, from the lengths of its lists and values, which
are there already; next to no request is, and those go on as they came. A request that is past one is walked with the
official runtime, record by record, and decoded again. It is cut after the boundary, so that no length or digest of what
must not be stored is stored, and before the leaves, so that the record's digest covers what was cut (see
`store.otlp.truncation` for the mark, `collector.cutting` for what a cut keeps and says).
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from collector.cutting import Cut, cut_value, drop_tail, place_of, raise_count, rename_sent_mark, write_mark
from collector.limits import Limits
from store.otlp.decode import Decoded, decode
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.otlp.truncation import MARK
from store.record import Signal

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
_MARK_SCALAR: Final = pa.scalar(MARK)  # Made once: making one looks for pandas each time.
_ATTRIBUTE_LISTS: Final = frozenset({"attributes", "filtered_attributes", "metadata"})
_COUNTED: Final = dict.fromkeys(_ATTRIBUTE_LISTS, ATTRIBUTES) | {"events": SPAN_EVENTS, "links": SPAN_LINKS}
_MEASURED: Final = ("string_value", "bytes_value", "array_value", "kvlist_value")
_compute: Final[Any] = pyarrow.compute  # its functions are made at import time, so no type checker sees them


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


# What the columns say


@dataclass(frozen=True, slots=True)
class _Node:
    """A column that holds something bounded, itself or further down. `index` is its place in the struct above it."""

    index: int
    name: str
    is_list: bool
    is_value: bool
    marked: bool
    below: "tuple[_Node, ...]" = ()


def _is_past(decoded: Decoded, limits: Limits) -> bool:
    """Whether anything of a request is past a bound, or has an attribute of the mark's name."""
    if len(decoded.body) <= _small_bytes(limits):
        return _MARK_BYTES in decoded.body
    values = len(decoded.body) > limits.attribute_bytes_max
    batch = decoded.batch
    return any(
        _column_is_past(batch.column(node.index), node, limits, values) for node in _bounded_columns(decoded.signal)
    )


def _small_bytes(limits: Limits) -> int:
    """A message of up to so many bytes can be past no bound."""
    items = min(limits.attributes_max, limits.span_events_max, limits.span_links_max)
    return min(_ITEM_BYTES_MIN * items, limits.attribute_bytes_max)


def _column_is_past(column: Any, node: _Node, limits: Limits, values: bool) -> bool:
    if node.is_value:
        return values and any(
            (_compute.max(_compute.binary_length(column.field(member))).as_py() or 0) > limits.attribute_bytes_max
            for member in _MEASURED
        )
    if not node.is_list:
        return any(_column_is_past(column.field(below.index), below, limits, values) for below in node.below)
    items = column.flatten()
    if not len(items):
        return False
    bound = _COUNTED.get(node.name)
    if bound is not None:
        count_max: int = getattr(limits, bound)
        if len(items) > count_max and _compute.max(_compute.list_value_length(column)).as_py() > count_max:
            return True
    if node.marked and _compute.equal(items.field("key"), _MARK_SCALAR).true_count:
        return True
    return any(_column_is_past(items.field(below.index), below, limits, values) for below in node.below)


@cache
def _bounded_columns(signal: Signal) -> tuple[_Node, ...]:
    """The schema is the same for every request of a signal, so it is read once."""
    return _nodes(list(decode(signal, b"").batch.schema))


def _nodes(fields: list[pa.Field], above: str = "") -> tuple[_Node, ...]:
    found: list[_Node] = []
    for index, one in enumerate(fields):
        is_list = pa.types.is_list(one.type)
        kind = one.type.value_type if is_list else one.type
        if not pa.types.is_struct(kind):
            continue
        if kind.get_field_index("kvlist_value") >= 0:
            found.append(_Node(index, one.name, is_list=False, is_value=True, marked=False))
            continue
        marked = one.name in _ATTRIBUTE_LISTS and above not in ("events", "links", "exemplars")
        below = _nodes([kind.field(place) for place in range(kind.num_fields)], one.name)
        if below or one.name in _COUNTED:
            found.append(_Node(index, one.name, is_list, is_value=False, marked=marked, below=below))
    return tuple(found)
