"""Who stands above some steps of a trace, also where parents go round in circles."""

from array import array

from hypothesis import example, given
from hypothesis import strategies as st

from store.duckdb.run_tree import Tree

PARENTS = st.lists(st.integers(-1, 6), min_size=1, max_size=7)


def _walked(parents: list[int], start: int) -> set[int]:
    seen, at = {start}, parents[start]
    while at != -1 and at not in seen:
        seen.add(at)
        at = parents[at]
    return seen - {start}


@given(PARENTS, st.lists(st.integers(0, 6), max_size=7))
@example([0], [0])  # Its own parent: nothing is above it.
@example([1, 0], [0, 1])  # Two in a circle are above each other.
@example([1, 2, 0, 0], [0, 3])  # What the walk of one left out, another that comes to the circle does not.
def test_what_is_above_some_steps_is_what_walking_up_from_each_of_them_meets(
    named: list[int], asked: list[int]
) -> None:
    parents = [parent if parent < len(named) else -1 for parent in named]
    steps = [step for step in asked if step < len(parents)]
    tree = Tree(None, array("i", parents))
    assert tree.above(steps) == {above for step in steps for above in _walked(parents, step)}
