"""What is left of a record that cannot be redacted: who it is and when it was, and a mark that says so."""

from typing import Any, Final

from collector.redaction.marking import Redaction

RULE: Final = "unredactable"
"""The name under which a mark says that a record is a stub."""
_KEPT: Final = {
    "Span": ("trace_id", "span_id", "parent_span_id", "flags", "kind", "start_time_unix_nano", "end_time_unix_nano"),
    "LogRecord": ("trace_id", "span_id", "flags", "severity_number", "time_unix_nano", "observed_time_unix_nano"),
    "Metric": (),
    "Resource": (),
    "InstrumentationScope": (),
}
_ID_BYTES_MAX: Final = 16


def empty(record: Any) -> Redaction:
    """Take everything out of a record but its ids, times and kind. The mark is still to be written."""
    name: str = record.DESCRIPTOR.name
    length: int = record.ByteSize()
    kept = {field: getattr(record, field) for field in _KEPT[name]}
    code = record.status.code if name == "Span" else None
    record.Clear()
    for field, value in kept.items():
        if not isinstance(value, bytes) or len(value) <= _ID_BYTES_MAX:
            setattr(record, field, value)
    if code:
        record.status.code = code
    if name == "Metric":
        record.name = f"[{RULE}]"
    return Redaction("", RULE, "drop", length)
