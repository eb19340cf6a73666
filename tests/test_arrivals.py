"""One model of what happened, however it arrived: any split into bodies, any order, any repetition, any restart.

Through the intake, the journal and the projector of a real ledger, for every capture and every question that a reader
answers. What a batch holds is then the projector's choice; `store/test_batches_and_order.py` chooses it by hand.
"""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.contract import Reader
from tests.arrivals import Arrival, arrivals, as_sent, difference, expected, records_of, shuffled, told_of
from tests.captured import NAMES

in_any_order = pytest.mark.parametrize("name", NAMES)
# Both captures of DBOS run the workflow wf-run-001, so beside each other they are two attempts of one run.
THE_SAME_WORKFLOW = "dbos-3.4-semconv"
ARRIVALS_MANY = 40  # Of each capture, in `make test-slow`; `make test` has three.
# The reader's questions that `answers` asks; those that are about the view itself or depend on the order of the record; and
# those that conformance tests hold to the answers of the first (`as_of` has a property test of its own).
ASKED = {"runs", "run", "steps", "step", "tool_calls", "decisions", "messages", "replay", "events", "metric_points",
         "content", "new_steps", "evaluations", "agents", "tools", "prompts"}  # fmt: skip
NOT_OF_THE_MODEL = {"status", "accesses", "steps_behind"}
HELD_TO_OTHERS = {"state", "as_of", "sql_views", "ask", "figures"}
OF_A_RUN = ("steps of ", "tool_calls of ", "decisions of ", "messages of ", "replay of ")


def holds(name: str, how: Arrival) -> None:
    found = difference(expected(name), told_of(records_of(name), how))
    assert found is None, f"{found}\n{how}"


def test_every_question_of_the_contract_is_compared() -> None:
    assert {name for name in vars(Reader) if name[0] != "_"} == ASKED | NOT_OF_THE_MODEL | HELD_TO_OTHERS


@in_any_order
def test_another_arrival_gives_the_same_model(name: str) -> None:
    holds(name, shuffled(len(records_of(name)), Random(name)))


@pytest.mark.slow
@in_any_order
@settings(max_examples=ARRIVALS_MANY, deadline=None, database=None)
@given(data=st.data())
def test_many_arrivals_give_the_same_model(name: str, data: st.DataObject) -> None:
    holds(name, data.draw(arrivals(len(records_of(name)))))


@in_any_order
def test_every_record_alone_from_the_last_to_the_first_twice_and_all_again_after_a_restart(name: str) -> None:
    numbers = [*range(len(records_of(name)))]
    at_once = [[number] for number in reversed(numbers) for _ in range(2)]
    holds(name, Arrival([*at_once, numbers], restarts=frozenset({len(at_once)})))


def test_a_run_is_told_the_same_beside_all_others_as_alone() -> None:
    names = [name for name in NAMES if name != THE_SAME_WORKFLOW]
    records = [record for name in names for record in records_of(name)]
    together = told_of(tuple(records), as_sent(records))
    runs = {run["run_id"]: run for run in together["runs"]}
    for name in names:
        alone = expected(name)
        for run in alone["runs"]:
            assert difference(run, runs.pop(run["run_id"])) is None, name
        questions = [key for key in alone if key.startswith(OF_A_RUN)]
        found = difference({key: alone[key] for key in questions}, {key: together[key] for key in questions})
        assert found is None, f"{name}: {found}"
    assert runs == {}


def test_messages_of_log_records_that_have_only_an_observed_time_are_told_in_its_order() -> None:
    name = "openai-v2-2.4b0-default"
    order = [*range(len(records_of(name)))]
    user, tool = 4, 6  # Of one model call.
    order[user], order[tool] = tool, user
    holds(name, Arrival([order]))


# That the comparison sees what differs


@pytest.mark.parametrize("name", ["dbos-3.4", "pydantic-ai-2.68-v5", "strands-1.62-default"])
def test_a_record_that_does_not_arrive_is_seen(name: str) -> None:
    numbers = [*range(len(records_of(name)))]
    for lost in (numbers[0], numbers[len(numbers) // 2], numbers[-1]):
        with pytest.raises(AssertionError, match=r"rows|only one of them has|: .* and "):
            holds(name, Arrival([[number for number in numbers if number != lost]]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": {"b": None}}, {"a": {"b": 0}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_two_answers_that_differ_are_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert difference(one, other) is not None
    assert difference(one, one) is None
