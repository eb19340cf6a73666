"""Times as the API writes them: RFC 3339 in UTC with nanoseconds."""

from datetime import UTC, datetime


def rfc3339(time_ns: int | None) -> str | None:
    """`2026-11-20T08:00:00.000000001Z`; None for an unset time (None or 0)."""
    if not time_ns:
        return None
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    except (ValueError, OverflowError, OSError):  # A clock gone mad (beyond the year 9999) is shown as sent.
        return None
