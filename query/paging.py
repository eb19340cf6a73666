"""Pages of what a reader gives in order and does not page itself."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from store.contract import Page
from store.errors import BadQuery

Row = TypeVar("Row")


def page_of(rows: Iterable[Row], key: Callable[[Row], str], *, limit: int, cursor: str | None) -> Page[Row]:
    """One page of what a reader gives in order; what comes behind the page is not asked for.

    The cursor is the key of the row before; rows may be added after it. Raises BadQuery for a cursor that names no row.
    """
    remaining = iter(rows)
    if cursor is not None and not any(key(row) == cursor for row in remaining):
        raise BadQuery("cursor", f"{cursor!r} is not a cursor of this list; start again without one")
    page = list(islice(remaining, limit))
    more = next(remaining, None) is not None
    return Page(page, key(page[-1]) if page and more else None)
