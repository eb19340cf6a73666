"""The first of many that fits, without looking through all of them: a run may have twenty thousand calls that are alike.

Two trees over a row of items. Each is made once and only ever loses items; a question costs the logarithm of the row.
"""

from collections.abc import Sequence
from typing import Final

_NEVER: Final = -1


class LastingTree:
    """Items in the order in which they began, each with when it ended: which is the first that lasted until then?"""

    def __init__(self, ends: Sequence[int]) -> None:
        """`ends` are not negative."""
        self._size = 1 << max(len(ends) - 1, 0).bit_length()
        leaves = [*ends, *[_NEVER] * (self._size - len(ends))]
        self._latest = [_NEVER] * self._size + leaves
        for at in range(self._size - 1, 0, -1):
            self._latest[at] = max(self._latest[2 * at], self._latest[2 * at + 1])

    def first(self, count: int, end: int) -> int | None:
        """The first of the first `count` items that ended at `end` or later; None where none did."""
        if count <= 0 or self._latest[1] < end:
            return None
        at = 1
        while at < self._size:
            at = 2 * at if self._latest[2 * at] >= end else 2 * at + 1
        found = at - self._size
        return found if found < count else None

    def drop(self, index: int) -> None:
        """Take an item out of the row."""
        at = index + self._size
        self._latest[at] = _NEVER
        while at > 1:
            at //= 2
            self._latest[at] = max(self._latest[2 * at], self._latest[2 * at + 1])


class RankTree:
    """Items in any order, each with its rank: which is the first by rank within a part of the row?"""

    def __init__(self, ranks: Sequence[int]) -> None:
        self._none = max(ranks, default=0) + 1
        self._size = max(len(ranks), 1)
        self._least = [self._none] * self._size + [*ranks, *[self._none] * (self._size - len(ranks))]
        for at in range(self._size - 1, 0, -1):
            self._least[at] = min(self._least[2 * at], self._least[2 * at + 1])

    def first(self, begin: int, end: int) -> int | None:
        """The least rank among the items from `begin` up to `end`; None where none is left."""
        found = self._none
        low, high = begin + self._size, end + self._size
        while low < high:
            if low & 1:
                found = min(found, self._least[low])
                low += 1
            if high & 1:
                high -= 1
                found = min(found, self._least[high])
            low //= 2
            high //= 2
        return found if found < self._none else None

    def drop(self, index: int) -> None:
        """Take an item out of the row."""
        at = index + self._size
        self._least[at] = self._none
        while at > 1:
            at //= 2
            self._least[at] = min(self._least[2 * at], self._least[2 * at + 1])
