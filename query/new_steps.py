"""Steps in the order of the record, in pages that end where a position ends.

A poller goes on from the last position it saw, and all steps of one request share theirs: a page that ended within a
request would lose the rest of it. So a page never does; where one request alone is larger than the page, it is given
whole (the receivers bound it).
"""

from collections.abc import Callable
from typing import Final

from store.model.rows import StepRow
from store.record import Position

_GROWTH: Final = 4


def new_steps(
    read: Callable[[Position | None, int], list[StepRow]], after: Position | None, *, limit: int
) -> list[StepRow]:
    """Steps after a position, oldest first: about `limit`, and more only where one request holds more.

    `read` gives the steps after a position, as many as it is told at most.
    """
    asked = limit
    while True:
        rows = read(after, asked)
        if len(rows) < asked:
            return rows
        whole = [row for row in rows if row.position != rows[-1].position]
        if whole:
            return whole
        asked *= _GROWTH
