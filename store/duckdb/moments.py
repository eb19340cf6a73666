"""Moments of a run by the number of a step: where a step stands, and the events between two steps.

A step begins a moment, and the moment lasts until the next step begins: so the moments of all steps, one after the other,
are the whole run, and what happened "at step N" is what happened before the next one began.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from store.duckdb.run_steps import Placed, RunSteps
from store.duckdb.trace_keys import END_OF_TIME
from store.errors import BadQuery
from store.model.rows import ReplayEvent
from store.model.times import rfc3339

_MODEL_CALL: Final = "llm"


@dataclass(frozen=True, slots=True)
class Moment:
    """A step by its number. `model_call` is the last one not behind it; `until_ns`: when the next step begins, None at the
    end of the run.
    """

    step: Placed
    model_call: Placed | None
    until_ns: int | None


def moment(steps: RunSteps, seq: int, parameter: str) -> Moment:
    """The moment of a step. Raises BadQuery where the run has no such step."""
    latest: Placed | None = None
    number = 0
    for one, following in pairwise(_and_none(_in_order(steps))):
        if one is None:
            break
        if one.key.kind == _MODEL_CALL:
            latest = one
        if number == seq:
            return Moment(one, latest, None if following is None else following.key.start_ns)
        number += 1
    raise BadQuery(parameter, f"{seq} is not a step of this run: it has {number}, counted from 0")


def windowed(events: Iterator[ReplayEvent], from_ns: int | None, until_ns: int | None) -> Iterator[ReplayEvent]:
    """Events from a time on and before another, numbered as in the whole. What has no time comes before all that has."""
    first, last = rfc3339(from_ns), rfc3339(until_ns)
    for event in events:
        if last is not None and event.at is not None and event.at >= last:
            return
        if first is None or (event.at is not None and event.at >= first):
            yield event


def last_not_later(events: Iterator[ReplayEvent], until_ns: int) -> ReplayEvent | None:
    """The last event that is not later than a time."""
    limit = rfc3339(until_ns)
    found: ReplayEvent | None = None
    for event in events:
        if limit is not None and event.at is not None and event.at > limit:
            break
        found = event
    return found


def _in_order(steps: RunSteps) -> Iterator[Placed]:
    for number in range(len(steps.traces)):
        for batch in steps.batches(number, 0, END_OF_TIME):
            yield from batch


def _and_none(placed: Iterator[Placed]) -> Iterator[Placed | None]:
    yield from placed
    yield None
