"""`min_position`: read your own writes, and never wait for ever."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from query import view
from query.app import create_app
from query.view import ReadLimits
from tests.builders import JOURNAL_ID, make_run
from tests.gates import open_gate
from tests.trails import kept_trail

READS = [
    "/v1/runs",
    "/v1/runs/run-1",
    "/v1/runs/run-1/steps",
    "/v1/runs/run-1/tool-calls",
    "/v1/runs/run-1/decisions",
    "/v1/runs/run-1/messages",
    "/v1/runs/run-1/diff/run-2",
    "/v1/runs/run-1/state",
    "/v1/runs/run-1/replay",
    "/v1/steps",
    "/v1/steps/step-1",
    "/v1/events",
    "/v1/metric-points",
    "/v1/evaluations",
    "/v1/agents",
    "/v1/tools",
    "/v1/prompts",
    "/v1/contents/content-1",
    "/v1/access",
    "/v1/sql",
    "/v1/live",
    "/v1/analytics/runs",
    "/v1/analytics/tools",
    "/v1/analytics/approvals",
]


def asked(api, path, **parameters):
    if path == "/v1/sql":
        return api.post(path, params=parameters, json={"sql": "SELECT count(*) FROM runs"})
    return api.get(path, params=parameters | ({"step": "0"} if path.endswith("/state") else {}))


@pytest.mark.parametrize("path", READS)
def test_every_read_gives_up_with_504_when_the_view_stays_behind(api, path):
    response = asked(api, path, min_position=f"{JOURNAL_ID}:1")
    assert response.status_code == 504
    assert response.headers["content-type"] == "application/problem+json"
    assert f"{JOURNAL_ID}:1" in response.json()["detail"]


def test_every_documented_read_is_held_to_waiting(api):
    documented = {path for path in api.get("/openapi.json").json()["paths"] if path.startswith("/v1/")}
    ids = {"run_id": "run-1", "other_run_id": "run-2", "step_id": "step-1", "content_id": "content-1"}
    filled = {path.format_map(ids) for path in documented}
    assert filled == set(READS)


def test_a_position_already_in_the_view_costs_no_wait(api, reader, waiter):
    reader.run_rows = [make_run()]
    waiter.advance(5)
    assert api.get("/v1/runs", params={"min_position": f"{JOURNAL_ID}:5"}).status_code == 200
    assert waiter.waits == [0.0]


def test_a_waiting_read_is_answered_when_the_view_arrives(reader, waiter):
    reader.run_rows = [make_run()]
    limits = ReadLimits(wait_seconds_max=30)
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail(), limits=limits
    )
    with TestClient(app) as api, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(api.get, "/v1/runs", params={"min_position": f"{JOURNAL_ID}:3"})
        assert waiter.waiting.wait(10)
        waiter.advance(3)
        assert answer.result(10).status_code == 200


def test_waiting_reads_give_up_when_the_service_stops(reader, waiter):
    app = create_app(
        reader=reader,
        waiter=waiter,
        registry=CollectorRegistry(),
        gate=open_gate(),
        trail=kept_trail(),
        limits=ReadLimits(wait_seconds_max=30),
    )
    with TestClient(app) as api, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(api.get, "/v1/runs", params={"min_position": f"{JOURNAL_ID}:3"})
        assert waiter.waiting.wait(10)
        app.state.view.close()
        response = answer.result(10)
    assert response.status_code == 503
    assert "stopping" in response.json()["detail"]


def test_more_waiting_reads_than_allowed_are_refused_with_a_retry_time(reader, waiter, monkeypatch):
    monkeypatch.setattr(view, "WAITING_READS_MAX", 1)
    limits = ReadLimits(wait_seconds_max=30)
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail(), limits=limits
    )
    with TestClient(app) as api, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(api.get, "/v1/runs", params={"min_position": f"{JOURNAL_ID}:3"})
        assert waiter.waiting.wait(10)
        refused = api.get("/v1/runs", params={"min_position": f"{JOURNAL_ID}:3"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        waiter.advance(3)
        assert answer.result(10).status_code == 200
