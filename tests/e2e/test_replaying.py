"""Replay over a real server: as of a moment, step by step, as events in their own time, and two runs beside each other.

Nothing here imports the product.
"""

import json
import time
from typing import Any

import pytest
from otlp_bodies import captured
from running_server import RunningServer, spanledger


def said(*arguments: Any) -> list[dict[str, Any]]:
    done = spanledger(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def server(make_server) -> RunningServer:
    return make_server().start()


def the_run(server: RunningServer, position: str) -> str:
    return server.rows("/v1/runs", "runs", agent="support-agent", min_position=position)[0]["run_id"]


def test_what_was_seen_then_can_be_seen_again_after_a_kill(server):
    """The replay as somebody saw it in the middle of a run is the one that `as_of` gives when all has come."""
    traces = [one for one in captured("spanledger-demo") if one.signal == "traces"]
    half = len(traces) // 2
    assert half
    for one in traces[:half]:
        position = server.record(one.signal, one.body)
    run_id = the_run(server, position)
    seen = server.replay(run_id)
    for one in traces[half:]:
        server.record(one.signal, one.body)
    server.caught_up()
    now = server.replay(run_id)
    server.kill()
    server.start()
    server.caught_up()
    then = server.api.get(f"/v1/runs/{run_id}/replay", params={"as_of": position})
    assert [json.loads(line) for line in then.text.splitlines()] == seen
    assert server.replay(run_id) == now != seen
    assert said("replay", run_id, "--as-of", position, "--data", server.data) == seen
    server.stop()
    assert said("replay", run_id, "--as-of", position, "--data", server.data) == seen


def test_a_run_is_played_in_its_own_time_from_step_to_step(server):
    for one in captured("spanledger-demo"):
        position = server.record(one.signal, one.body)
    run_id = the_run(server, position)
    run = server.get(f"/v1/runs/{run_id}")
    begun = time.monotonic()
    parameters = {"speed": 2, "min_position": position}
    with server.api.stream(
        "GET", f"/v1/runs/{run_id}/replay", params=parameters, headers={"accept": "text/event-stream"}
    ) as answer:
        lines = list(answer.iter_lines())
    assert time.monotonic() - begun >= run["duration_ns"] / 2e9 * 0.9
    assert lines[-3:] == ["event: end", "data: {}", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"')]
    assert events == server.replay(run_id)
    window = said("replay", run_id, "--from-step", "2", "--until-step", "9", "--data", server.data)
    assert [event["position"] for event in window] == list(range(window[0]["position"], window[-1]["position"] + 1))
    assert 0 < len(window) < len(events)
    state = server.get(f"/v1/runs/{run_id}/state", step=window[0]["position"])
    assert state["fidelity"] == events[0]["data"]["fidelity"]
    [same] = said("diff", run_id, run_id, "--data", server.data)
    assert (same["first_change"], same["counts"]["same"]) == (None, run["steps"])
    table = spanledger("diff", run_id, run_id, "--format", "text", "--data", server.data)
    assert "the agents did the same" in table.stdout
