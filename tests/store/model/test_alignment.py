"""Two sequences aligned."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.model.alignment import ALIGNED_MAX, aligned

ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=12)


def keys(text: str) -> list[tuple[str, int]]:
    return [(letter, 0) for letter in text]


@given(ITEMS)
def test_a_sequence_beside_itself_is_paired_item_by_item(items):
    assert aligned(items, items) == [(index, index) for index in range(len(items))]


@given(ITEMS, ITEMS)
def test_the_other_way_round_is_the_mirror_image(a, b):
    pairs = [pair for pair in aligned(a, b) if None not in pair]
    assert [(j, i) for i, j in pairs] == [pair for pair in aligned(b, a) if None not in pair]


@given(ITEMS, ITEMS)
def test_every_item_is_in_it_once_and_in_order(a, b):
    found = aligned(a, b)
    assert [i for i, _ in found if i is not None] == list(range(len(a)))
    assert [j for _, j in found if j is not None] == list(range(len(b)))
    assert all(a[i][0] == b[j][0] for i, j in found if i is not None and j is not None)


@given(ITEMS, ITEMS)
def test_no_fewer_are_paired_than_another_algorithm_pairs(a, b):
    matcher = SequenceMatcher(None, [key for key, _ in a], [key for key, _ in b], autojunk=False)
    assert sum(None not in pair for pair in aligned(a, b)) >= sum(block.size for block in matcher.get_matching_blocks())


def test_of_two_with_the_same_key_the_one_that_is_equal_is_paired():
    assert aligned([("get", 2)], [("get", 1), ("get", 2)]) == [(None, 0), (0, 1)]


def test_what_only_the_first_has_comes_before_what_only_the_second_has():
    assert aligned(keys("axb"), keys("ayb")) == [(0, 0), (1, None), (None, 1), (2, 2)]
    assert aligned(keys("ayb"), keys("axb")) == [(0, 0), (1, None), (None, 1), (2, 2)]


def test_more_than_there_is_memory_for_is_refused():
    with pytest.raises(ValueError, match="at most 2000"):
        aligned([("a", 0)] * (ALIGNED_MAX + 1), [])
