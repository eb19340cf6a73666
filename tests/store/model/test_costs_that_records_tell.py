"""A call that its span and a log record tell of costs once, whatever came first and however often."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from model_bench import make_event, make_span, trace_of

from store.model.paid import Paid
from store.model.span import Event, Span
from store.model.totals import totals_of
from store.model.trace import Trace

RESPONSE = "req_1"


def _call(span_id: str = "a", **given: Any) -> Span:
    said = {"kind": "llm", "response_id": RESPONSE, "input_tokens": 5, "cost_usd": 0.25, "cost_source": "priced"}
    return make_span(span_id, "turn", **(said | given))


def _bill(event_id: str = "e1", usd: float = 0.5, **given: Any) -> Event:
    return make_event(event_id, **({"span_id": "turn", "response_id": RESPONSE, "cost_usd": usd} | given))


def _trace(spans: list[Span], bills: list[Event]) -> Trace:
    trace = trace_of(*(replace(span) for span in spans))
    for bill in bills:
        trace.hear(bill)
    return trace


@pytest.mark.parametrize(
    ("spans", "bills", "usd", "source", "unpriced"),
    [
        ([_call()], [_bill()], 0.5, "reported", 0),
        ([_call(cost_usd=None, cost_source=None)], [_bill()], 0.5, "reported", 0),
        # What the span reports itself stands, and is not added to.
        ([_call(cost_source="reported")], [_bill()], 0.25, "reported", 0),
        # Several records of one call are one report: the first in order of time.
        ([_call()], [_bill("e1", 0.5, at=2), _bill("e2", 0.75, at=1)], 0.75, "reported", 0),
        # One call of two has a record.
        ([_call(), _call("b", response_id="req_2")], [_bill()], 0.75, "priced", 0),
        ([_call(), _call("b", response_id="req_2", cost_usd=None, cost_source=None)], [_bill()], 0.5, "reported", 1),
        # Two calls that name one response: the record is about the last.
        ([_call(), _call("b", at=9)], [_bill()], 0.75, "priced", 0),
        # A record that names no response speaks for the span that it names; the turn is not paid for.
        ([_call()], [_bill(span_id="a", response_id=None)], 0.5, "reported", 0),
        ([_call()], [_bill(response_id=None)], 0.25, "priced", 0),
        ([_call()], [_bill(response_id="req_9")], 0.25, "priced", 0),
        # A free call costs nothing, which is a cost.
        ([_call()], [_bill(usd=0.0)], 0.0, "reported", 0),
        # What was spent on a call that tells no tokens is not of a leaf, as where a span reports it.
        ([_call(input_tokens=None)], [_bill()], None, None, 0),
    ],
)
def test_a_record_says_what_a_call_cost_where_its_span_does_not(
    spans: list[Span], bills: list[Event], usd: float | None, source: str | None, unpriced: int
) -> None:
    turn = make_span("turn", kind="agent", until=50)
    for first in permutations([turn, *spans]):
        for order in (bills, bills[::-1]):
            totals = totals_of([_trace(list(first), order)])
            assert (totals.cost_usd, totals.cost_source, totals.unpriced_calls) == (usd, source, unpriced)


def test_the_turn_around_a_call_is_not_paid_for() -> None:
    turn = make_span("turn", kind="agent", until=50)
    trace = _trace([turn, _call()], [_bill(response_id=None)])
    assert [trace.paid(span) for span in trace.ordered()] == [Paid(None, None), Paid(0.25, "priced")]


def test_a_later_version_of_a_call_may_name_its_response() -> None:
    first, last = _call(response_id=None, digest="1"), _call(digest="2", end_ns=10**19)
    for versions in permutations([first, last]):
        for heard in (0, 1, 2):
            trace = trace_of()
            for number, version in enumerate(versions):
                if number == heard:
                    trace.hear(_bill())
                trace.admit(replace(version))
            if heard == 2:
                trace.hear(_bill())
            assert trace.paid(trace.spans["a"]) == Paid(0.5, "reported")


def test_a_later_version_of_a_call_may_name_its_response_no_more() -> None:
    trace = _trace([_call(digest="1")], [_bill()])
    trace.admit(_call(digest="2", end_ns=10**19, response_id="req_2"))
    assert trace.step_of(_bill()) == "turn"
    assert trace.paid(trace.spans["a"]) == Paid(0.25, "priced")
