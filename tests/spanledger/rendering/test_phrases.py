"""Small words for people."""

import pytest

from spanledger.rendering import phrases

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (None, "-"),
        (0, "0.0 ms"),
        (1_250_000, "1.2 ms"),
        (250_000_000, "250 ms"),
        (4_500_000_000, "4.5 s"),
        (59_960_000_000, "1 m 00 s"),
        (185 * SECOND, "3 m 05 s"),
        (7260 * SECOND, "2 h 01 m"),
    ],
)
def test_durations_are_as_exact_as_a_reader_needs(time_ns, expected):
    assert phrases.duration(time_ns) == expected


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (None, ""),
        (0, "+0.000 s"),
        (250_000_000, "+0.250 s"),
        (725 * SECOND + 1_000_000, "+12:05.001"),
        (-SECOND, "-1.000 s"),
    ],
)
def test_offsets_line_up_on_milliseconds(time_ns, expected):
    assert phrases.offset(time_ns) == expected


def test_content_is_one_line_of_at_most_the_width():
    assert phrases.content({"a": [1, None]}, 80) == '{"a":[1,null]}'
    assert phrases.content("one\n  two\tthree", 80) == "one two three"
    assert phrases.content("x" * 100, 10) == "x" * 9 + "…"
    assert phrases.content("x" * 10, 10) == "x" * 10
    assert phrases.content("a" + " " * 100 + "b", 10).endswith("…")


def test_what_an_agent_said_cannot_drive_the_terminal():
    assert phrases.printable("\x1b]0;owned\x07\x9b31m") == r"\u001b]0;owned\u0007\u009b31m"
    assert phrases.printable("abc\u202edef") == r"abc\u202edef"
    assert phrases.printable("naïve é 日本\n\ttext") == "naïve é 日本\n\ttext"
    assert "\x1b" not in phrases.content({"a": "\x1b[2J"}, 80)
    assert "\x1b" not in phrases.content("\x1b[2J", 80)
