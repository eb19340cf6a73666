"""`/healthz`, `/readyz`, `/metrics`."""

from tests.builders import make_run


def test_a_live_process_says_so(api):
    assert api.get("/healthz").json() == {"status": "ok"}


def test_readiness_shows_how_far_the_view_is(api, waiter):
    waiter.advance(7)
    response = api.get("/readyz")
    assert response.status_code == 200
    body = response.json()
    assert body["ready"] is True
    assert (body["journal_position"], body["view_position"], body["lag_ms"]) == ("0190c1d2:7", "0190c1d2:7", 12)


def test_readiness_is_503_with_the_reasons(api, waiter):
    waiter.reasons.append("1 frame is quarantined")
    response = api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == ["1 frame is quarantined"]


def test_metrics_count_requests_by_route_and_status_not_by_path(api, reader):
    reader.run_rows = [make_run()]
    api.get("/v1/runs/run-1")
    api.get("/v1/runs/nobody")
    api.get("/no/such/path")
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    counts = [line for line in response.text.splitlines() if line.startswith("spanledger_api_request_seconds_count")]
    assert sorted(counts) == [
        'spanledger_api_request_seconds_count{route="/v1/runs/{run_id}",status="200"} 1.0',
        'spanledger_api_request_seconds_count{route="/v1/runs/{run_id}",status="404"} 1.0',
        'spanledger_api_request_seconds_count{route="unknown",status="404"} 1.0',
    ]


def test_prometheus_gets_openmetrics_when_it_asks_for_it(api):
    response = api.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_a_probe_may_add_parameters_of_its_own(api):
    assert api.get("/healthz?probe=1").status_code == 200
