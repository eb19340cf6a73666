"""`/v1/runs/{run_id}/diff/{other_run_id}`, over what real agents sent."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from access.permissions import Role
from query.app import create_app
from store.duckdb.reader import DuckDbReader
from store.model.alignment import ALIGNED_MAX
from store.model.diff import DiffInput, Heard, diff
from tests.builders import make_message, make_run, make_step, make_tool_call
from tests.gates import KeyedGate, bearing
from tests.query.conftest import FakeWaiter
from tests.store.ledger_bench import View, captures, draft_of, frames_of
from tests.trails import KeptRecords, trail_of

CAPTURES = ("pydantic-ai-2.68-v5", "pydantic-ai-2.68-v2")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[TestClient, KeyedGate, Any]]:
    view = View()
    view.project(frames_of(draft_of(body) for name in CAPTURES for body in captures()[name]))
    view.settle()
    keyed = KeyedGate()
    log = KeptRecords()
    app = create_app(
        reader=DuckDbReader(view.engine), waiter=FakeWaiter(), registry=CollectorRegistry(), gate=keyed.gate,
        trail=trail_of(log),
    )  # fmt: skip
    with TestClient(app) as client:
        yield client, keyed, log
    view.engine.close()


def ask(served: Any, path: str, role: Role = Role.AUDITOR, **parameters: Any) -> Any:
    client, keyed, _ = served
    answer = client.get(path, params=parameters, headers=bearing(keyed.make(role)))
    assert answer.status_code == 200, answer.text
    return answer.json()


def runs_of(served: Any, agent: str) -> list[str]:
    return [run["run_id"] for run in ask(served, "/v1/runs", agent=agent)["runs"]]


@pytest.fixture(scope="module")
def pair(served) -> tuple[str, str]:
    """The run of the support agent and that of the failing agent, of the same scenario (`s_pydantic.py`)."""
    newest_first = [(run["run_id"], run["agent_name"]) for run in ask(served, "/v1/runs")["runs"]]
    of = {agent: run_id for run_id, agent in newest_first}  # The older of the two captures of each.
    return of["support-agent"], of["failing-agent"]


def test_runs_diverge_where_the_scenario_made_one_of_them_fail(served, pair):
    """Both models say the same and ask for the same three calls; then the tool of the second raises "backend down"."""
    found = ask(served, "/v1/runs/{}/diff/{}".format(*pair))
    first = found["steps"][found["first_divergence"]]
    assert (first["kind"], first["label"], first["status"]) == ("tool", "get_weather", "changed")
    assert (first["a"]["outcome"], first["b"]["outcome"]) == ("ok", "error")
    asked = next(step for step in found["steps"] if step["kind"] == "llm")
    assert (asked["changed"], asked["diverges"]) == (["given"], False)
    weather = next(call for call in found["tool_calls"] if call["tool_name"] == "get_weather")
    assert weather["result"]["a"] == {"city": "Paris", "temp_c": 18.0}
    assert "arguments" not in weather["changed"]
    assert found["delta"]["llm_calls"] == -2
    assert found["whole"]


def test_the_same_scenario_told_by_two_versions_of_a_library_does_not_diverge(served):
    run_ids = runs_of(served, "support-agent")
    found = ask(served, "/v1/runs/{}/diff/{}".format(*run_ids))
    assert len(run_ids) == 2
    assert (found["first_divergence"], found["counts"]["only_a"], found["counts"]["only_b"]) == (None, 0, 0)


def test_every_run_beside_itself_has_no_difference(served):
    for run in ask(served, "/v1/runs")["runs"]:
        found = ask(served, f"/v1/runs/{run['run_id']}/diff/{run['run_id']}")
        assert found["counts"] == {"same": run["steps"], "changed": 0, "only_a": 0, "only_b": 0}
        assert (found["first_divergence"], found["first_change"]) == (None, None)
        assert {call["status"] for call in found["tool_calls"]} <= {"same"}


def test_the_other_way_round_is_the_mirror_image(served, pair):
    mirror = {"same": "same", "changed": "changed", "only_a": "only_b", "only_b": "only_a"}
    there, back = (ask(served, "/v1/runs/{}/diff/{}".format(*runs)) for runs in (pair, pair[::-1]))
    shared = [step for step in there["steps"] if step["a"] and step["b"]]
    assert [(step["b"], step["a"]) for step in shared] == [
        (step["a"], step["b"]) for step in back["steps"] if step["a"] and step["b"]
    ]
    assert {mirror[name]: number for name, number in there["counts"].items()} == back["counts"]
    assert there["delta"]["input_tokens"] == -back["delta"]["input_tokens"]


def test_content_is_neither_shown_nor_compared_for_who_may_not_see_it(served, pair):
    found = ask(served, "/v1/runs/{}/diff/{}".format(*pair), Role.OPERATOR)
    assert found["withheld"] == ["arguments", "given", "result", "said"]
    assert "Paris" not in str(found)
    changed = {name for one in (*found["steps"], *found["tool_calls"]) for name in one["changed"]}
    assert changed <= {"outcome", "error_type", "finish_reason", "model"}
    assert found["first_divergence"] is not None


def test_both_runs_stand_in_the_record_of_who_read_them(served, pair):
    log = served[2]
    log.take()
    ask(served, "/v1/runs/{}/diff/{}".format(*pair))
    [record] = log.take()
    assert (record.run_id, record.detail) == (pair[0], {"other_run": pair[1]})


def test_an_unknown_run_on_either_side_is_a_404(served, pair):
    client, keyed, _ = served
    for runs in ((pair[0], "nobody"), ("nobody", pair[0])):
        answer = client.get("/v1/runs/{}/diff/{}".format(*runs), headers=bearing(keyed.make(Role.AUDITOR)))
        assert (answer.status_code, "nobody" in answer.json()["detail"]) == (404, True)


def test_changed_arguments_are_shown_from_both_sides():
    steps = [make_step("step-1", tool_name="deploy", tool_call_id="c")]
    one, other = (
        DiffInput(make_run(steps=1, tool_calls=1), steps, [make_tool_call(arguments=given)], Heard())
        for given in ({"version": "1"}, {"version": "2"})
    )
    found = diff(one, other)
    assert found.steps[0].changed == ["arguments"]
    assert found.tool_calls[0].arguments == {"a": {"version": "1"}, "b": {"version": "2"}}
    assert found.first_divergence == 0


def test_ids_and_reasoning_do_not_make_another_message():
    def heard(call_id: str, thought: str, city: str = "Paris") -> bytes:
        parts = [
            {"type": "reasoning", "content": thought},
            {"type": "tool_call", "id": call_id, "name": "get_weather", "arguments": {"city": city}},
        ]
        return Heard([make_message(direction="output", role="assistant", parts=parts)]).said("step-0")

    assert heard("1", "so") == heard("2", "otherwise")
    assert heard("1", "so") != heard("1", "so", "Oslo")


def test_what_was_not_compared_is_said():
    run = make_run(steps=ALIGNED_MAX + 1, tool_calls=0)
    steps = [make_step(f"step-{n}") for n in range(ALIGNED_MAX)]
    found = diff(DiffInput(run, steps, [], Heard()), DiffInput(run, steps, [], Heard()))
    assert (found.whole, found.a.compared_steps, found.a.steps) == (False, ALIGNED_MAX, ALIGNED_MAX + 1)
    assert len(msgspec.json.encode(found)) < 4_000_000
