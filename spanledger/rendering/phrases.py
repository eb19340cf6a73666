"""Small words for people: durations, offsets, counts, and content cut to what a line can hold.

What an agent or a tool said is not to be trusted with a terminal: control characters, escape sequences among them, are
made visible before anything is printed.
"""

import unicodedata
from datetime import datetime
from typing import Any, Final

import msgspec

_NS_PER_MS: Final = 1_000_000
_NS_PER_SECOND: Final = 1_000_000_000
# Cc: control; Cf holds the bidirectional overrides that make text read otherwise than it is.
_UNSAFE_CATEGORIES: Final = ("Cc", "Cf", "Cs")


def duration(time_ns: int | None) -> str:
    """`250 ms`, `4.5 s`, `3 m 05 s`, `2 h 01 m`; a dash where nobody said."""
    if time_ns is None:
        return "-"
    if time_ns < _NS_PER_SECOND:
        return f"{time_ns / _NS_PER_MS:.0f} ms" if time_ns >= 10 * _NS_PER_MS else f"{time_ns / _NS_PER_MS:.1f} ms"
    seconds = time_ns / _NS_PER_SECOND
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def offset(time_ns: int | None) -> str:
    """Time since the start of a run: `+0.250 s`, `+12:05.000`."""
    if time_ns is None:
        return ""
    sign = "-" if time_ns < 0 else "+"
    milliseconds = abs(time_ns) // _NS_PER_MS
    minutes, rest = divmod(milliseconds, 60_000)
    if not minutes:
        return f"{sign}{rest / 1000:.3f} s"
    return f"{sign}{minutes}:{rest // 1000:02d}.{rest % 1000:03d}"


def clock(at: str | None) -> str:
    """An RFC 3339 time as `2026-07-01 12:00:00`, in UTC as recorded; a dash where nobody said."""
    return "-" if at is None else at[:19].replace("T", " ")


def elapsed_ns(since: str | None, at: str | None) -> int | None:
    """Nanoseconds between two RFC 3339 UTC times as our rows write them; None where one is not known."""
    if since is None or at is None:
        return None
    seconds = (datetime.fromisoformat(at[:19]) - datetime.fromisoformat(since[:19])).total_seconds()
    return int(seconds) * _NS_PER_SECOND + int(at[20:29]) - int(since[20:29])


def count(number: int | None) -> str:
    """`12,345`; a dash where nobody said."""
    return "-" if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cost(usd: float | None) -> str:
    """`$0.0123`; a dash where nobody said."""
    return "-" if usd is None else f"${usd:.4f}"


def content(value: Any, width: int) -> str:
    """Content on one line, at most `width` characters: text as it is, everything else as compact JSON."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    # Only what may be shown is looked at: a megabyte of result is not scanned to print a line of it.
    return cut(" ".join(printable(text[: width * 4]).split()), width, more=len(text) > width * 4)


def cut(text: str, width: int, *, more: bool = False) -> str:
    """`text`, or its beginning and an ellipsis."""
    if len(text) <= width and not more:
        return text
    return text[: width - 1].rstrip() + "…"


def printable(text: str) -> str:
    """`text` with control characters made visible; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(char):04x}" if char not in "\n\t" and unicodedata.category(char) in _UNSAFE_CATEGORIES else char
        for char in text.replace("\r\n", "\n")
    )
