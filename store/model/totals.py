"""Tokens and cost of a run: what its leaves add up to, and beside it the totals that a framework put on their parents.

The two are never added. A total counts where no other total stands above it; the leaves below such spans should amount to it,
and whether they do is told.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from store.model.dialect import dialect_of_scope
from store.model.paid import Paid
from store.model.span import Particulars, Span
from store.model.trace import USAGE_KINDS, Trace, has_usage

_usage = attrgetter(*USAGE_KINDS)
REPORTED: Final = {name: f"reported_{name}" for name in USAGE_KINDS}


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a run. `used` by column, None where nobody said it; `reported` likewise without those, None where nothing is."""

    used: dict[str, int | None]
    reported: dict[str, int] | None = None
    agrees: bool | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    unpriced_calls: int = 0
    """Leaves without a cost: the cost is without theirs."""


_NOTHING: Final = Totals(dict.fromkeys(USAGE_KINDS))


def totals_of(traces: list[Trace]) -> Totals:
    """Of the traces of a run, in order of time."""
    parts = [part for trace in traces if (part := _of_trace(trace)) is not None]
    if not parts:
        return _NOTHING
    leaves = [span for part in parts for span in part.leaves]
    reported = _reported_by([span for part in parts for span in part.tops])
    paid = [one for part in parts for one in part.paid]
    costs = [one.usd for one in paid if one.usd is not None]
    source = "priced" if any(one.source == "priced" for one in paid) else "reported"
    return Totals(
        used=_added(leaves),
        reported=reported or None,
        agrees=_agree(reported, [span for part in parts for span in part.covered]),
        cost_usd=sum(costs) if costs else None,
        cost_source=source if costs else None,
        unpriced_calls=len(leaves) - len(costs),
    )


@dataclass(frozen=True, slots=True)
class _Bearing:
    """A trace's spans with usage: `covered` are the leaves below a total, `tops` the totals below no other.

    `paid`: what the leaves cost.
    """

    leaves: list[Span]
    paid: list[Paid]
    covered: list[Span]
    tops: list[Span]


def _of_trace(trace: Trace) -> _Bearing | None:
    """None where nothing is said."""
    spans = trace.spans
    bearing: list[Span] = []
    reporting: dict[str, Span] = {}
    for span in trace.ordered():  # The same whatever came first, also where parents go round in a circle.
        if has_usage(span):
            bearing.append(span)
        if span.particulars is not None and _reports(span.particulars):
            reporting[span.span_id] = span
    if not bearing and not reporting:
        return None
    marked = {span.span_id for span in bearing}.union(reporting)
    known: dict[str, bool] = {}
    below = {span.span_id: _is_below(spans, span, marked, known) for span in bearing}
    leaves = [span for span in bearing if span.span_id not in known]
    # A total is usage that stands above usage, or says so by its name.
    totals = reporting | {span.span_id: span for span in bearing if span.span_id in known}
    return _Bearing(
        leaves,
        [trace.paid(span) for span in leaves],
        [span for span in leaves if below[span.span_id] or span.span_id in reporting],
        [span for span in totals.values() if not _is_below(spans, span, marked, known)],
    )


def _is_below(spans: dict[str, Span], span: Span, marked: set[str], known: dict[str, bool]) -> bool:
    """Whether a marked span stands above. `known` says so of every span above one that was asked for, and of itself."""
    path: list[str] = []
    found = False
    at = span.parent_span_id
    while at is not None and at != span.span_id and at in spans:
        if at in known:
            found = known[at]
            break
        known[at] = False  # In a circle the way ends where it began.
        path.append(at)
        at = spans[at].parent_span_id
    for above in reversed(path):
        found = found or above in marked
        known[above] = found
    return found


def _reports(told: Particulars) -> bool:
    return (
        told.reported_input_tokens is not None
        or told.reported_output_tokens is not None
        or told.reported_cache_read_tokens is not None
        or told.reported_cache_write_tokens is not None
        or told.reported_reasoning_tokens is not None
    )


def _last_of_growing(tops: list[Span]) -> list[Span]:
    """Where an agent goes on counting from its span before, only its last span's total counts."""
    last: dict[tuple[str | None, str | None], Span] = {}
    kept: list[Span] = []
    if len(tops) < 2:
        return tops
    for span in sorted(tops, key=lambda span: (span.start_ns, span.span_id)):
        dialect = dialect_of_scope(span.scope_name or "")
        if dialect is not None and dialect.totals_grow:
            last[span.service_name, span.agent_name] = span
        else:
            kept.append(span)
    return [*kept, *last.values()]


def _reported_by(tops: list[Span]) -> dict[str, int]:
    """The totals added up. One under a name of its own wins over one under the name of usage."""
    found: dict[str, int] = {}
    for span in _last_of_growing(tops):
        for name in USAGE_KINDS:
            own = getattr(span.particulars, REPORTED[name]) if span.particulars is not None else None
            value = own if own is not None else getattr(span, name)
            if value is not None:
                found[name] = found.get(name, 0) + value
    return found


def _added(leaves: list[Span]) -> dict[str, int | None]:
    found: dict[str, int | None] = dict.fromkeys(USAGE_KINDS)
    for name, counts in zip(USAGE_KINDS, zip(*map(_usage, leaves), strict=True), strict=False):
        said = [count for count in counts if count is not None]
        if said:
            found[name] = sum(said)
    return found


def _agree(reported: dict[str, int], covered: list[Span]) -> bool | None:
    if not reported:
        return None
    below = _added(covered)
    return all(total == (below[name] or 0) for name, total in reported.items())
