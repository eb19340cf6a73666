"""JSON that somebody sent as text, read within a bound.

What is read here is written again, and sent on, at other depths of the stack: a bound far below what any of them takes
makes sure that none of them fails on what another one accepted.
"""

import re
from typing import Any, Final

import msgspec

NESTING_MAX: Final = 100
"""Levels. Schemas and tool results have ten or twenty; the stack gives out at several hundred."""

_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class NotJson(ValueError):
    """The text is not JSON, or nested too deep to be read."""


def read_json(text: str | bytes | msgspec.Raw) -> Any:
    """The value of a JSON text. Raises NotJson."""
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        # Counting is quick and nearly always enough; only text with that many brackets is looked through.
        if raw.count(b"[") + raw.count(b"{") > NESTING_MAX and _is_deep(raw):
            raise NotJson(f"nested deeper than {NESTING_MAX} levels")
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _is_deep(raw: bytes) -> bool:
    """Whether more brackets are open at once than may be, those in strings left out."""
    depth = 0
    for token in _BRACKETS.finditer(raw):
        match raw[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                if depth > NESTING_MAX:
                    return True
            case 0x22:
                pass
            case _:
                depth -= 1
    return False
