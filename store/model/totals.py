"""Tokens and cost of a run: what its leaves add up to, and beside it the totals that a framework put on their parents.

The two are never added. A total counts where no other total stands above it; the leaves below such spans should amount to it,
and whether they do is told.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from store.model.dialect import dialect_of_scope
from store.model.prices import DECIMALS
from store.model.span import Span
from store.model.trace import USAGE_KINDS, Trace, leaves_and_totals

REPORTED: Final = {name: f"reported_{name}" for name in USAGE_KINDS}


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts by column name; None where nobody said one. `agrees`: None where nothing is reported."""

    used: dict[str, int | None]
    reported: dict[str, int | None]
    agrees: bool | None
    cost_usd: float | None
    cost_source: str | None
    unpriced_calls: int
    """Leaves without a cost: the cost is without theirs."""


def totals_of(traces: list[Trace]) -> Totals:
    """Of the traces of a run, in order of time."""
    leaves: list[Span] = []
    covered: list[Span] = []
    tops: list[Span] = []
    for trace in traces:
        bearing, totals = leaves_and_totals(trace.spans.values(), trace)
        leaves += bearing
        totals += [span for span in trace.spans.values() if span.particulars is not None and _reports(span)]
        if totals:
            marked = {span.span_id for span in totals}
            below: dict[str, bool] = {}
            tops += [trace.spans[one] for one in sorted(marked) if not _is_below(trace, trace.spans[one], marked, below)]
            covered += [span for span in bearing if _is_below(trace, span, marked, below)]
    reported = {name: _sum([_reported(span, name) for span in _last_of_growing(tops)]) for name in USAGE_KINDS}
    costs = [span.cost_usd for span in leaves if span.cost_usd is not None]
    priced = any(span.cost_source == "priced" for span in leaves)
    return Totals(
        used={name: _sum([getattr(span, name) for span in leaves]) for name in USAGE_KINDS},
        reported={REPORTED[name]: reported[name] for name in USAGE_KINDS},
        agrees=_agree(reported, covered),
        cost_usd=round(sum(costs), DECIMALS) if costs else None,
        cost_source=("priced" if priced else "reported") if costs else None,
        unpriced_calls=len(leaves) - len(costs),
    )


def _reports(span: Span) -> bool:
    told = span.particulars
    return told is not None and any(getattr(told, name) is not None for name in REPORTED.values())


def _reported(span: Span, name: str) -> int | None:
    """A total under a name of its own wins over one under the name of usage."""
    own = getattr(span.particulars, REPORTED[name]) if span.particulars is not None else None
    return own if own is not None else getattr(span, name)


def _is_below(trace: Trace, span: Span, marked: Container[str], known: dict[str, bool]) -> bool:
    """Whether a span has a marked one above it. `known` remembers what was found, so that no way is walked twice."""
    path = [span.span_id]
    found = False
    for above in trace.ancestors(span):
        if above.span_id in marked:
            found = True
            break
        if above.span_id in known:
            found = known[above.span_id]
            break
        path.append(above.span_id)
    known.update(dict.fromkeys(path, found))
    return found


def _last_of_growing(tops: list[Span]) -> list[Span]:
    """Where an agent goes on counting from its span before, only its last span's total counts."""
    last: dict[tuple[str | None, str | None], Span] = {}
    kept: list[Span] = []
    for span in sorted(tops, key=lambda span: (span.start_ns, span.span_id)):
        dialect = dialect_of_scope(span.scope_name or "")
        if dialect is not None and dialect.totals_grow:
            last[span.service_name, span.agent_name] = span
        else:
            kept.append(span)
    return [*kept, *last.values()]


def _agree(reported: dict[str, int | None], covered: list[Span]) -> bool | None:
    said = {name: total for name, total in reported.items() if total is not None}
    if not said:
        return None
    return all(total == (_sum([getattr(span, name) for span in covered]) or 0) for name, total in said.items())


def _sum(values: list[int | None]) -> int | None:
    said = [value for value in values if value is not None]
    return sum(said) if said else None
