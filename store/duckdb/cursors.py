"""Cursors: where a page ended, as an opaque string that a client hands back."""

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from store.contract import Page
from store.errors import BadQuery
from store.model.order import PlaceInTrace

Row = TypeVar("Row")


def make_cursor(*place: Any) -> str:
    """A cursor that names a place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def keyset(cursor: str | None) -> dict[str, Any]:
    """The parameters `before_ns` and `before_id` of a statement; both None at the beginning. Raises BadQuery."""
    if cursor is None:
        return {"before_ns": None, "before_id": None}
    match _place(cursor):
        case [int(before_ns), str(before_id)] if abs(before_ns) < 2**63:
            return {"before_ns": before_ns, "before_id": before_id}
        case _:
            raise _bad(cursor)


def record_place(cursor: str | None) -> dict[str, Any]:
    """The parameters `before_sequence` and `before_ordinal` of a statement; both None at the beginning. Raises BadQuery."""
    if cursor is None:
        return {"before_sequence": None, "before_ordinal": None}
    match _place(cursor):
        case [int(sequence), int(ordinal)] if 0 <= sequence < 2**63 and 0 <= ordinal < 2**31:
            return {"before_sequence": sequence, "before_ordinal": ordinal}
        case _:
            raise _bad(cursor)


def paged(
    rows: list[dict[str, Any]], limit: int, present: Callable[[dict[str, Any]], Row], time_name: str, id_name: str
) -> Page[Row]:
    """A page of a keyset: of one row more than `limit` that one is the next page's."""
    shown = rows[:limit]
    cursor = make_cursor(shown[-1][time_name], shown[-1][id_name]) if len(rows) > limit else None
    return Page([present(row) for row in shown], cursor)


def step_place(cursor: str | None) -> tuple[str, PlaceInTrace] | None:
    """The trace and the place in it of the last step before the page. Raises BadQuery."""
    if cursor is None:
        return None
    match _place(cursor):
        case [str(trace_id), int(start_ns), int(level), str(span_id)] if 0 <= start_ns < 2**63 and 0 <= level < 2**63:
            return trace_id, (start_ns, level, span_id)
        case _:
            raise _bad(cursor)


def _place(cursor: str) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _bad(cursor) from error


def _bad(cursor: str) -> BadQuery:
    return BadQuery("cursor", f"{cursor!r} is not a cursor of this list: send back a `next_cursor` as it was given")
