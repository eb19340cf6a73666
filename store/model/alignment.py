"""Two sequences aligned: which item of one is which of the other, and what only one of them has.

Items are paired where their keys are equal. As many as possible are paired (a longest common subsequence), and among the
alignments that pair as many, one that pairs the most items which are also equal in full. It is the classical table of
Needleman and Wunsch, made a row at a time by numpy: 2,000 items beside 2,000 take 16 MB and some 50 ms.
"""

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np

ALIGNED_MAX: Final = 2_000
"""Items of one sequence: the table has a cell for each pair, so 10,000 would take 400 MB."""

Pair = tuple[int | None, int | None]


def aligned(a: Sequence[tuple[Hashable, Hashable]], b: Sequence[tuple[Hashable, Hashable]]) -> list[Pair]:
    """The pairs in order, by index; None where only the other has one. An item is its key, and what it is in full.

    `aligned(b, a)` is the mirror image. Raises ValueError for more than `ALIGNED_MAX` items.
    """
    if max(len(a), len(b)) > ALIGNED_MAX:
        raise ValueError(f"at most {ALIGNED_MAX} items are aligned, not {max(len(a), len(b))}")
    # Of alignments that are as good as each other one is chosen by the side, so the sides are told apart by what is in them.
    if repr(a) > repr(b):
        return _in_turn([(left, right) for right, left in _aligned(b, a)])
    return _in_turn(_aligned(a, b))


def _aligned(a: Sequence[tuple[Hashable, Hashable]], b: Sequence[tuple[Hashable, Hashable]]) -> list[Pair]:
    table = _table(a, b)
    found: list[Pair] = []
    i, j = len(a), len(b)
    while i and j:
        if table[i, j] == table[i - 1, j]:
            i -= 1
            found.append((i, None))
        elif table[i, j] == table[i, j - 1]:
            j -= 1
            found.append((None, j))
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    found += [(one, None) for one in range(i - 1, -1, -1)]
    found += [(None, one) for one in range(j - 1, -1, -1)]
    return found[::-1]


def _table(
    a: Sequence[tuple[Hashable, Hashable]], b: Sequence[tuple[Hashable, Hashable]]
) -> "np.ndarray[tuple[int, int], np.dtype[np.int32]]":
    """The best that the first i of one and the first j of the other come to."""
    pair = np.int32(min(len(a), len(b)) + 1)  # One pair more outweighs every pair that is equal in full.
    a_keys, b_keys = _numbered([key for key, _ in a], [key for key, _ in b])
    a_full, b_full = _numbered(list(a), list(b))
    table = np.zeros((len(a) + 1, len(b) + 1), np.int32)
    for i in range(len(a)):
        weight = (b_keys == a_keys[i]) * pair + (b_full == a_full[i])
        np.maximum(table[i, 1:], table[i, :-1] + weight, out=table[i + 1, 1:])
        np.maximum.accumulate(table[i + 1], out=table[i + 1])
    return table


def _numbered(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    numbers = {one: number for number, one in enumerate(dict.fromkeys([*a, *b]))}
    return np.array([numbers[one] for one in a], np.int32), np.array([numbers[one] for one in b], np.int32)


def _in_turn(pairs: list[Pair]) -> list[Pair]:
    """Between two pairs what only the first has comes before what only the second has, whichever way it was found."""
    found: list[Pair] = []
    only_b: list[Pair] = []
    for one in pairs:
        if one[0] is None:
            only_b.append(one)
            continue
        if one[1] is not None:
            found += only_b
            only_b = []
        found.append(one)
    return found + only_b
