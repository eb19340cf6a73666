"""Tokens are those of leaves; the totals that frameworks put on parents are kept apart, and compared."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_bench import make_span, trace_of

import store.model.totals as totals_module
from store.model.dialect import UNKNOWN
from store.model.span import Particulars, Span
from store.model.totals import Totals, totals_of
from store.model.trace import usage_leaves


def _of(*spans: Span) -> Totals:
    return totals_of([trace_of(*spans)])


def _call(span_id: str, parent: str | None, tokens: int, **given: Any) -> Span:
    return make_span(span_id, parent, kind="llm", input_tokens=tokens, **given)


def _said(tokens: int) -> Particulars:
    return Particulars(reported_input_tokens=tokens)


@pytest.mark.parametrize(
    ("spans", "used", "reported", "agrees"),
    [
        ([_call("a", None, 5)], 5, None, None),
        # Under the names of usage: whatever has usage below it is a total.
        ([_call("a", None, 7), _call("b", "a", 3), _call("c", "a", 4)], 7, 7, True),
        ([_call("a", None, 9), _call("b", "a", 3), _call("c", "a", 4)], 7, 9, False),
        # Under names of its own.
        ([make_span("a", None, particulars=_said(7)), _call("b", "a", 3), _call("c", "a", 4)], 7, 7, True),
        ([make_span("a", None, particulars=_said(1)), _call("b", "a", 3)], 3, 1, False),
        ([make_span("a", None, particulars=_said(1))], None, 1, False),
        # A total below a total repeats it; two side by side are two.
        ([make_span("a", None, particulars=_said(7)), _call("t", "a", 7), _call("b", "t", 7)], 7, 7, True),
        (
            [make_span("r", None), _call("a", "r", 3), _call("b", "a", 3), _call("c", "r", 4), _call("d", "c", 4)],
            7,
            7,
            True,
        ),
        # A leaf that stands below no total is not compared with any.
        ([make_span("r", None), _call("a", "r", 3), _call("b", "a", 3), _call("c", "r", 4)], 7, 3, True),
        # Both names on one span: its own name wins.
        ([_call("a", None, 99, particulars=_said(3)), _call("b", "a", 3)], 3, 3, True),
        ([make_span("a", None)], None, None, None),
    ],
)
def test_totals_are_kept_apart_from_what_the_leaves_add_up_to(
    spans: list[Span], used: int | None, reported: int | None, agrees: bool | None
) -> None:
    totals = _of(*(replace(span) for span in spans))
    assert totals.used["input_tokens"] == used
    assert (totals.reported or {}).get("input_tokens") == reported
    assert totals.agrees is agrees


def test_the_totals_of_segments_are_summed_and_those_that_grow_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def traces() -> list[Any]:
        return [
            trace_of(make_span("a", None, agent_name="x", particulars=_said(3)), _call("b", "a", 3)),
            trace_of(make_span("c", None, at=9, agent_name="x", particulars=_said(7)), _call("d", "c", 4), trace_id="2" * 32),
        ]  # fmt: skip

    summed = totals_of(traces())
    assert (summed.reported, summed.agrees) == ({"input_tokens": 10}, False)
    growing = replace(UNKNOWN, totals_grow=True)
    monkeypatch.setattr(totals_module, "dialect_of_scope", lambda _scope: growing)
    last = totals_of(traces())
    assert (last.reported, last.agrees) == ({"input_tokens": 7}, True)


@pytest.mark.parametrize(
    ("costs", "usd", "source", "unpriced"),
    [
        ([(0.5, "reported"), (0.25, "reported")], 0.75, "reported", 0),
        ([(0.5, "priced")], 0.5, "priced", 0),
        ([(0.5, "reported"), (0.25, "priced")], 0.75, "priced", 0),
        ([(0.5, "priced"), (None, None)], 0.5, "priced", 1),
        ([(None, None), (None, None)], None, None, 2),
    ],
)
def test_a_cost_says_where_it_is_from_and_how_many_calls_are_not_in_it(
    costs: list[tuple[float | None, str | None]], usd: float | None, source: str | None, unpriced: int
) -> None:
    calls = [_call(f"c{n}", "a", 1, cost_usd=cost, cost_source=named) for n, (cost, named) in enumerate(costs)]
    totals = _of(make_span("a", None), *calls)
    assert (totals.cost_usd, totals.cost_source, totals.unpriced_calls) == (usd, source, unpriced)


# Any parents, also in circles and not recorded.
SHAPES = st.lists(st.tuples(st.integers(0, 11), st.sampled_from([None, 0, 1, 5])), min_size=1, max_size=10)


@given(SHAPES, st.randoms())
def test_totals_do_not_depend_on_what_came_first_and_leaves_are_the_leaves(shape: list[Any], random: Any) -> None:
    spans = [make_span(str(n), str(parent), at=n, input_tokens=said) for n, (parent, said) in enumerate(shape)]
    shuffled = [replace(span) for span in spans]
    random.shuffle(shuffled)
    trace = trace_of(*spans)
    totals = totals_of([trace])
    assert totals == totals_of([trace_of(*shuffled)])
    leaves = [span.input_tokens for span in usage_leaves(trace.spans.values(), trace)]
    assert totals.used["input_tokens"] == (sum(said or 0 for said in leaves) if leaves else None)
