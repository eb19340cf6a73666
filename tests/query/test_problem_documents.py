"""Errors that belong to no route."""

import pytest

from store.errors import ViewError


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/runs/", "/", "/docs", "/redoc"])
def test_an_unknown_path_is_a_404_problem(api, path):
    response = api.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:spanledger:problem:not-found"
    assert path in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/runs", "/healthz"])
def test_another_method_is_a_405_problem_that_says_which_is_allowed(api, path):
    response = api.post(path)
    assert response.status_code == 405
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["allow"] == "GET"


def test_a_failing_view_is_503_and_says_that_the_record_is_safe(api, reader):
    reader.failure = ViewError("the engine is out of memory")
    response = api.get("/v1/runs")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "5"
    assert "out of memory" in response.json()["detail"]
    assert "record is not affected" in response.json()["detail"]


def test_a_bug_is_500_and_tells_nothing_of_our_insides(api, reader):
    reader.failure = RuntimeError("secret in a stack trace")
    response = api.get("/v1/runs")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_no_other_origin_is_invited(api):
    response = api.get("/v1/runs", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_api_describes_its_rows_and_its_errors(api):
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    listed = document["paths"]["/v1/runs"]["get"]
    assert listed["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/RunList")
    assert "application/problem+json" in listed["responses"]["422"]["content"]
    assert {parameter["name"] for parameter in listed["parameters"]} >= {"agent", "since", "limit", "min_position"}
    step = document["components"]["schemas"]["StepDocument"]["properties"]
    assert {"step_id", "attributes", "links"} <= set(step)
