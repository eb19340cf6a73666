"""Nothing acknowledged is ever lost or counted twice: killed at any moment, ended under load, sent again."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from otlp_bodies import captured, trace_body, trace_id_of
from running_server import STOP_SECONDS, RunningServer
from senders import Senders, check_recorded

from tests.patience import BUSY_SECONDS, Stopwatch

LONG_RUN_SPANS = (
    15_000  # Seconds of projecting: however late a busy machine lets the kill come, it comes before the end.
)
# How much a round acknowledges before the kill, and how far the kill is from the last of it: together they hit anything
# from the first append to a busy projector.
KILL_AFTER_REQUESTS_MAX = 60
KILL_AFTER_SECONDS_MAX = 0.02
SEED = 20_261_120


def projected(data: Path, scratch: Path) -> int:
    """The last sequence that the view of a server that is gone holds, read from a copy: opening it may change it."""
    copy = shutil.copytree(data, scratch / "copy", ignore=shutil.ignore_patterns("journal"))
    with duckdb.connect(str(copy / "view.duckdb")) as view:
        rows: list[Any] = view.execute("SELECT sequence FROM meta").fetchall()
    return rows[0][0] if rows else 0


def test_a_run_that_was_acknowledged_and_not_yet_projected_is_there_once_after_a_kill(
    make_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    server = make_server().start()
    server.record("traces", trace_body(1, 3))
    server.caught_up()
    position = server.record("traces", trace_body(2, LONG_RUN_SPANS, padding="a step of a long run"))
    server.kill()
    assert projected(server.data, tmp_path) < int(position.rpartition(":")[2])
    server.start()
    server.caught_up()
    assert {run["trace_ids"][0]: run["steps"] for run in server.rows("/v1/runs", "runs")} == {
        trace_id_of(1).hex(): 3,
        trace_id_of(2).hex(): LONG_RUN_SPANS,
    }
    steps = server.rows(f"/v1/runs/{trace_id_of(2).hex()}/steps", "steps")
    assert len({step["step_id"] for step in steps}) == len(steps) == LONG_RUN_SPANS
    assert server.stop() == 0


@pytest.mark.parametrize("kills", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_misses_nothing_and_doubles_nothing(
    make_server: Callable[..., RunningServer], kills: int
) -> None:
    server = make_server()
    chance = random.Random(SEED + kills)
    rounds: list[tuple[str, Senders]] = []
    for number in range(1, kills + 1):
        server.start()
        if rounds:
            service, before = rounds[-1]
            check_recorded(server, before.sent, service=service)
        service = f"round-{number}"
        with Senders(server, senders=4, service=service, first_trace=number * 1_000_000, seed=number) as senders:
            senders.wait_for(chance.randint(1, KILL_AFTER_REQUESTS_MAX), BUSY_SECONDS)
            time.sleep(chance.uniform(0, KILL_AFTER_SECONDS_MAX))
            server.kill()
        rounds.append((service, senders))
    server.start()
    for service, senders in rounds:
        check_recorded(server, senders.sent, service=service)
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def test_ended_under_load_it_exits_with_0_in_time_and_keeps_all_it_acknowledged(
    make_server: Callable[..., RunningServer],
) -> None:
    server = make_server().start()
    with Senders(server, senders=8, service="load", first_trace=1, seed=SEED) as senders:
        senders.wait_for(200, BUSY_SECONDS)
        taken = Stopwatch()
        assert server.stop() == 0, server.log()
        assert taken.seconds < STOP_SECONDS
    assert "Traceback" not in server.log(), server.log()
    server.start()
    check_recorded(server, senders.sent, service="load")


def test_the_same_requests_again_change_nothing_at_once_and_after_a_restart(
    make_server: Callable[..., RunningServer],
) -> None:
    requests = captured("pydantic-ai-2.68-v5", "openai-genai-1.3b0-latest", "claude-agent-sdk-0.2.184")
    assert {request.signal for request in requests} == {"traces", "logs", "metrics"}
    server = make_server().start()

    def send() -> None:
        for request in requests:
            server.record(request.signal, request.body)

    send()
    first = server.everything()
    assert all(first.values())
    send()
    assert server.everything() == first
    assert server.stop() == 0
    server.start()
    assert server.everything() == first
    send()
    assert server.everything() == first
    metrics = server.api.get("/metrics").text
    assert "\nspanledger_quarantined_frames 0.0\n" in metrics


def test_the_same_spans_twice_in_one_request_are_one_run(make_server: Callable[..., RunningServer]) -> None:
    server = make_server().start()
    body = trace_body(1, 3)
    server.record("traces", body + body)  # Two protobuf messages one after the other are their concatenation.
    server.caught_up()
    [run] = server.rows("/v1/runs", "runs")
    assert run["steps"] == 3
