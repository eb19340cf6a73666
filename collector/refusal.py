"""Records that cannot be told apart from others, and a request without them.

A span is found by its ids; one without them can be neither found nor counted once. Such records are refused and the
rest of their request is stored (OTLP's partial success). The rest is written by the official protobuf runtime, which
keeps the fields it does not know.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from store.otlp.decode import Decoded, decode
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.record import Signal

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

REASONS: Final = {
    "trace_id": f"a trace id that is not {TRACE_ID_BYTES} bytes or is all zero",
    "span_id": f"a span id that is not {SPAN_ID_BYTES} bytes or is all zero",
    "parent_span_id": f"a parent span id that is neither empty nor {SPAN_ID_BYTES} bytes",
    "log_trace_id": f"a trace id that is neither empty nor {TRACE_ID_BYTES} bytes",
    "log_span_id": f"a span id that is neither empty nor {SPAN_ID_BYTES} bytes",
}
# The refused are not sent again by exporters that follow the specification; whoever reads this can help the next ones.
REMEDY: Final = "correct these ids where they are made; sending them again does not help"
_NOUNS: Final = {Signal.TRACES: "spans", Signal.LOGS: "log records", Signal.METRICS: "metrics"}

_NO_TRACE_ID: Final = bytes(TRACE_ID_BYTES)
_NO_SPAN_ID: Final = bytes(SPAN_ID_BYTES)


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refused records of a request: `reasons` has one entry a record, a key of REASONS or None for one that is kept."""

    signal: Signal
    reasons: list[str | None]

    @property
    def counts(self) -> dict[str, int]:
        """Refused records by key of REASONS."""
        counted = Counter(self.reasons)
        return {reason: counted[reason] for reason in REASONS if reason in counted}

    @property
    def total(self) -> int:
        """How many are refused."""
        return len(self.reasons) - self.reasons.count(None)

    @property
    def all(self) -> bool:
        """Whether nothing is left to store, which is so of a request without records too."""
        return self.total == len(self.reasons)

    @property
    def message(self) -> str:
        """How many of what were refused, why, and what to do; '' when none was."""
        if not self.total:
            return ""
        causes = "; ".join(f"{count} with {REASONS[reason]}" for reason, count in self.counts.items())
        return f"refused {self.total} of {len(self.reasons)} {_NOUNS[self.signal]}: {causes}; {REMEDY}"


def refusals_of(decoded: Decoded) -> Refusals:
    """Which records of one request must be refused, each under the first reason that holds."""
    reason_of = _REASONS_OF[decoded.signal]
    return Refusals(
        decoded.signal, [reason_of(record) for scope in _scopes(decoded.signal, decoded.request) for record in scope]
    )


def without_refused(decoded: Decoded, refusals: Refusals) -> Decoded:
    """The request less its refused records, unknown fields kept, decoded again."""
    request = REQUEST_MESSAGES[decoded.signal].FromString(decoded.body)
    reasons = iter(refusals.reasons)
    for records in _scopes(decoded.signal, request):
        kept = [record for record in records if next(reasons) is None]
        if len(kept) < len(records):
            del records[:]
            records.extend(kept)
    return decode(decoded.signal, request.SerializeToString())


def _scopes(signal: Signal, request: Any) -> Iterator[Any]:
    """The list of records of each scope of a request, in body order."""
    outer_name, scope_name, record_name = LEVELS[signal]
    for outer in getattr(request, outer_name):
        for scope in getattr(outer, scope_name):
            yield getattr(scope, record_name)


def _reason_of_span(span: Any) -> str | None:
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != TRACE_ID_BYTES or trace_id == _NO_TRACE_ID:
        return "trace_id"
    if len(span_id) != SPAN_ID_BYTES or span_id == _NO_SPAN_ID:
        return "span_id"
    return None if len(span.parent_span_id) in (0, SPAN_ID_BYTES) else "parent_span_id"


def _reason_of_log_record(record: Any) -> str | None:
    if len(record.trace_id) not in (0, TRACE_ID_BYTES):
        return "log_trace_id"
    return None if len(record.span_id) in (0, SPAN_ID_BYTES) else "log_span_id"


def _reason_of_metric(_metric: Any) -> str | None:
    return None


_REASONS_OF: Final[dict[Signal, Callable[[Any], str | None]]] = {
    Signal.TRACES: _reason_of_span,
    Signal.LOGS: _reason_of_log_record,
    Signal.METRICS: _reason_of_metric,
}
