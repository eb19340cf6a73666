"""The times of a query: RFC 3339 with up to nine digits of a second, or integer nanoseconds since 1970.

`datetime` stops at microseconds, so the fraction is read apart and the rest left to it.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

NS_PER_SECOND: Final = 1_000_000_000
TIME_NS_MAX: Final = 2**63 - 1  # Times are 64 bit in the engines: 2262-04-11.

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A space where the offset's plus belongs: what an unescaped + of a query string turns into.
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?:([Zz])|([-+ ])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)
_EXPECTED: Final = "expected RFC 3339 (2026-07-01T12:00:00.123456789Z) or integer nanoseconds since 1970"


def parse_time_ns(text: str) -> int:
    """UTC nanoseconds of a time as a caller wrote it. Raises ValueError with what was expected."""
    if text.isascii() and text.isdigit():
        value = int(text) if len(text) <= len(str(TIME_NS_MAX)) else TIME_NS_MAX + 1
    else:
        value = _rfc3339_ns(text)
    if not 0 <= value <= TIME_NS_MAX:
        raise ValueError(f"{text!r} lies outside 1970-01-01 to 2262-04-11")
    return value


def _rfc3339_ns(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; {_EXPECTED}")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    # RFC 3339 has leap seconds, datetime has not: 60 is the first instant of the next minute.
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
        if match[8] is None:
            offset = timedelta(hours=int(match[10]), minutes=int(match[11]))
            moment += offset if match[9] == "-" else -offset
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}; {_EXPECTED}") from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1) + leap
    return seconds * NS_PER_SECOND + int((match[7] or "").ljust(9, "0"))
