"""What a step cost, of the two that may say it: its span, and a log record that speaks for it.

A library may send the cost of a model call on a record beside the span, before it or long after. Both tell of one call, so
one of them counts: the span where it reports a cost itself, else the record, and the table of prices where neither does.
Records of one call are one report however many there are: the first in order of time.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from store.model.span import Event, Span

PAID_KINDS: Final = frozenset({"llm", "embedding", "rerank"})
"""Steps that are paid for. A record that names no response of a model names the step around the call, which is none."""
REPORTED: Final = "reported"


class Paid(NamedTuple):
    """US dollars, and `reported` or `priced`; None and None where nobody says it. Made of every leaf with every batch."""

    usd: float | None
    source: str | None


def paid_for(span: Span, reported_usd: float | None) -> Paid:
    """What a step cost. `reported_usd`: what its log records say (see `reported_by`)."""
    if reported_usd is None or span.cost_source == REPORTED or span.kind not in PAID_KINDS:
        return Paid(span.cost_usd, span.cost_source)
    return Paid(reported_usd, REPORTED)


def reported_by(events: Iterable[Event]) -> float | None:
    """What the log records of one step say that it cost, in US dollars; None where none does."""
    said = [event for event in events if event.cost_usd is not None]
    return min(said, key=_place).cost_usd if said else None


def _place(event: Event) -> tuple[int, str]:
    return event.time_ns or event.observed_ns, event.event_id
