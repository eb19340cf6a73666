"""Times as callers write them."""

import pytest

from query.times import parse_time_ns

NOON = 1782907200_000000000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T12:00:00Z", NOON),
        ("2026-07-01T12:00:00.123456789Z", NOON + 123456789),
        ("2026-07-01T12:00:00.5Z", NOON + 500000000),
        ("2026-07-01T14:00:00+02:00", NOON),
        ("2026-07-01T14:00:00 02:00", NOON),
        ("2026-07-01T06:30:00-05:30", NOON),
        ("2026-07-01t12:00:00z", NOON),
        ("2016-12-31T23:59:60Z", 1483228800_000000000),
        ("1782907200000000001", NOON + 1),
        ("0", 0),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text, expected):
    assert parse_time_ns(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-07-01",
        "2026-07-01T12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-07-01T24:00:00Z",
        "2026-07-01T12:00:00.1234567890Z",
        "2026-07-01T12:00:00+25:00",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "-1",
        "1.5",
        "٣",
        str(2**63),
        "9" * 10000,
    ],
)
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match=r"not a time|outside"):
        parse_time_ns(text)
