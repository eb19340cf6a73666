"""How an attribute's value becomes a column's: one reader a column, and None where the value is not of its kind.

A value that a reader refuses is not lost: it stays among the step's attributes as it was sent.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from store.model.dialect import VOCABULARY
from store.model.nesting import NotJson, read_json

_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS_MAX: Final = 19  # More digits are no count, and Python refuses to read thousands of them.


def read_text(value: Any) -> str | None:
    """A string, or a number as one (ids are sent as both)."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value)


def read_count(value: Any) -> int | None:
    """A count that is not negative, also sent as a whole double or as digits."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _INT64_DIGITS_MAX
    if is_digits or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _INT64_MAX else None


def read_number(value: Any) -> float | None:
    """A finite number, also sent as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_provider(value: Any) -> str | None:
    """A provider in one spelling; None for a framework's name, which says nothing about who ran the model."""
    text = read_text(value)
    if text is None:
        return None
    lowered = text.lower()
    return None if lowered in VOCABULARY.frameworks else VOCABULARY.provider.get(lowered, lowered)


def read_finish_reason(value: Any) -> str | None:
    """The first reason, in one spelling; sent as an array, as a JSON array in a string, or as a string."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = read_json(value)
        except NotJson:
            return None
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, str)), None)
    if not isinstance(value, str) or not value:
        return None
    return spell_finish_reason(value)


def spell_finish_reason(reason: str) -> str:
    """A finish reason in its one spelling."""
    lowered = reason.lower()
    return VOCABULARY.finish_reason.get(lowered, lowered)


def read_tags(value: Any) -> list[str] | None:
    """Texts, sent as an array, as a JSON array in a string, or as one text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = read_json(value)
        except NotJson:
            return None
    tags = [value] if isinstance(value, str) else value
    if not isinstance(tags, list):
        return None
    return list(dict.fromkeys(tag for tag in tags if isinstance(tag, str) and tag)) or None


READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "provider": read_provider,
    "finish_reason": read_finish_reason,
    "input_tokens": read_count,
    "output_tokens": read_count,
    "cache_read_tokens": read_count,
    "cache_write_tokens": read_count,
    "reasoning_tokens": read_count,
    "cost_usd": read_number,
    "session_tags": read_tags,
    "reported_input_tokens": read_count,
    "reported_output_tokens": read_count,
    "reported_cache_read_tokens": read_count,
    "reported_cache_write_tokens": read_count,
    "reported_reasoning_tokens": read_count,
}
"""Columns that are not read as text."""
