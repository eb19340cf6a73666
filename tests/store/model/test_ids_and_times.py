import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.model.ids import content_id, record_id, segment_id, split_step_id, step_id
from store.model.times import rfc3339

HEX_32 = re.compile(r"[0-9a-f]{32}")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_ids_follow_from_what_they_name_and_from_nothing_else() -> None:
    assert segment_id("acme", TRACE) == segment_id("acme", TRACE)
    found = {
        segment_id("acme", TRACE), segment_id("globex", TRACE), segment_id("acme", SPAN),
        content_id("acme", b""), content_id("acme", TRACE.encode()), content_id("globex", TRACE.encode()),
        record_id("segment", TRACE, "acme"), record_id("decision", "acme", TRACE),
    }  # fmt: skip
    assert len(found) == 8
    assert all(HEX_32.fullmatch(one) for one in found)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_the_same_letters_cut_otherwise_are_another_id(first: list[str], second: list[str]) -> None:
    assert (record_id("x", *first) == record_id("x", *second)) == (first == second)


def test_a_step_id_holds_its_trace_and_span() -> None:
    assert split_step_id(step_id(TRACE, SPAN)) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "text", ["", "-", TRACE, f"{TRACE}-", f"-{SPAN}", f"{TRACE}-{SPAN}0", f"{SPAN}-{TRACE}", f"{TRACE}_{SPAN}"]
)
def test_what_is_no_step_id_is_none(text: str) -> None:
    assert split_step_id(text) is None


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_795_161_600_000_000_001, "2026-11-20T08:00:00.000000001Z"),
        (1_795_161_600_999_999_999, "2026-11-20T08:00:00.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (0, None),
        (None, None),
        (2**80, None),
    ],
)
def test_a_time_keeps_every_nanosecond_and_an_unset_one_is_none(time_ns: int | None, text: str | None) -> None:
    assert rfc3339(time_ns) == text


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_times_sort_as_their_texts_do(first: int, second: int) -> None:
    texts = rfc3339(first), rfc3339(second)
    assert None not in texts
    assert (texts[0] < texts[1]) == (first < second)  # type: ignore[operator]
