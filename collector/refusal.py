"""Records that cannot be told apart from others, and a request without them.

A span is found by its ids; one without them can be neither found nor counted once. Such records are refused and the
rest of their request is stored (OTLP's partial success). The rest is written by the official protobuf runtime, which
keeps the fields it does not know.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from store.otlp.decode import Decoded, Records, decode
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

_compute: Final[Any] = pyarrow.compute  # its functions are made at import time, so no type checker sees them
_Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refused records of a request: `mask` has one entry a record, `counts` the records by key of REASONS."""

    signal: Signal
    mask: _Mask
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def message(self) -> str:
        """How many of what were refused, why, and what to do; '' when none was."""
        if not self.counts:
            return ""
        causes = "; ".join(f"{count} with {REASONS[reason]}" for reason, count in self.counts.items())
        return f"refused {self.total} of {len(self.mask)} {_NOUNS[self.signal]}: {causes}; {REMEDY}"


def refusals_of(records: Records) -> Refusals:
    """Which records of one request must be refused, each counted under the first reason that holds."""
    refused: _Mask = np.zeros(len(records), dtype=np.bool_)
    counts: dict[str, int] = {}
    for reason, holds in _checks(records):
        count = int(np.count_nonzero(holds & ~refused))
        if count:
            counts[reason] = count
            refused |= holds
    return Refusals(records.signal, refused, counts)


def without_refused(decoded: Decoded, refusals: Refusals) -> Decoded:
    """The request less its refused records, unknown fields kept, decoded again."""
    request = REQUEST_MESSAGES[decoded.signal].FromString(decoded.body)
    outer_name, scope_name, record_name = LEVELS[decoded.signal]
    refused = iter(refusals.mask.tolist())
    for outer in getattr(request, outer_name):
        for scope in getattr(outer, scope_name):
            records: Any = getattr(scope, record_name)
            kept = [record for record in records if not next(refused)]
            if len(kept) < len(records):
                del records[:]
                records.extend(kept)
    return decode(decoded.signal, request.SerializeToString())


def _checks(records: Records) -> list[tuple[str, _Mask]]:
    columns = records.records
    match records.signal:
        case Signal.TRACES:
            parent = columns.field("parent_span_id")
            return [
                ("trace_id", ~_is_id(columns.field("trace_id"), TRACE_ID_BYTES)),
                ("span_id", ~_is_id(columns.field("span_id"), SPAN_ID_BYTES)),
                ("parent_span_id", ~_has_length(parent, 0, SPAN_ID_BYTES)),
            ]
        case Signal.LOGS:
            return [
                ("log_trace_id", ~_has_length(columns.field("trace_id"), 0, TRACE_ID_BYTES)),
                ("log_span_id", ~_has_length(columns.field("span_id"), 0, SPAN_ID_BYTES)),
            ]
        case Signal.METRICS:
            return []


def _has_length(column: pa.Array, *lengths: int) -> _Mask:
    return np.isin(np.asarray(_compute.binary_length(column)), lengths)


def _is_id(column: pa.Array, length: int) -> _Mask:
    zero = _compute.equal(column, pa.scalar(bytes(length), column.type))
    return _has_length(column, length) & ~np.asarray(zero, dtype=np.bool_)
