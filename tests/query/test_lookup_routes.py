"""Steps, events, metric points and contents."""

import msgspec
import pytest

from store.contract import AgentFilter, EvaluationFilter, EventFilter, MetricFilter, PromptFilter, ToolFilter
from store.record import Position
from tests.builders import (
    JOURNAL_ID,
    TRACE_ID,
    make_agent,
    make_content,
    make_evaluation,
    make_event,
    make_metric_point,
    make_prompt,
    make_step,
    make_step_detail,
    make_tool,
)


def test_a_step_is_flat_with_all_its_span_said(api, reader):
    detail = make_step_detail()
    reader.details = {"step-1": detail}
    said = msgspec.to_builtins(detail)
    assert api.get("/v1/steps/step-1").json() == said.pop("step") | said


@pytest.mark.parametrize("path", ["/v1/steps/nobody", "/v1/contents/nobody"])
def test_an_unknown_step_or_content_is_404(api, path):
    response = api.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "nobody" in response.json()["detail"]


def test_new_steps_are_asked_for_from_the_last_position_seen(api, reader):
    reader.step_rows = [make_step(f"step-{n}", position=f"{JOURNAL_ID}:{n}") for n in (1, 2, 3)]
    body = api.get("/v1/steps?limit=3").json()
    assert [row["step_id"] for row in body["steps"]] == ["step-1", "step-2"]
    assert reader.asked is None
    body = api.get("/v1/steps", params={"after": body["next_position"], "limit": 3}).json()
    assert [row["step_id"] for row in body["steps"]] == ["step-3"]
    assert reader.asked == Position(JOURNAL_ID, 2)
    body = api.get("/v1/steps", params={"after": body["next_position"]}).json()
    assert body == {"steps": [], "next_position": f"{JOURNAL_ID}:3"}


@pytest.mark.parametrize("limit", range(1, 12))
def test_no_page_of_new_steps_ends_within_a_request(api, reader, limit):
    positions = [1, 2, 2, 2, 2, 2, 2, 3, 4, 4]
    reader.step_rows = [make_step(f"step-{n}", position=f"{JOURNAL_ID}:{at}") for n, at in enumerate(positions)]
    seen: list[str] = []
    parameters: dict[str, str] = {"limit": str(limit)}
    while steps := (body := api.get("/v1/steps", params=parameters).json())["steps"]:
        seen += [row["step_id"] for row in steps]
        parameters["after"] = body["next_position"]
    assert seen == [row.step_id for row in reader.step_rows]


def test_a_bad_after_is_refused_by_its_own_name(api):
    response = api.get("/v1/steps?after=nonsense")
    assert response.status_code == 422
    assert response.json()["parameter"] == "after"


def test_events_are_listed_with_every_condition(api, reader):
    reader.event_rows = [make_event("event-1"), make_event("event-2", trace_id=None, span_id=None, run_id=None)]
    conditions = {
        "trace_id": TRACE_ID,
        "span_id": "00F067AA0BA902B7",
        "event_name": "gen_ai.choice",
        "service": "deploys",
        "since": "1",
        "until": "2",
    }
    body = api.get("/v1/events", params=conditions).json()
    assert body == {"events": msgspec.to_builtins(reader.event_rows), "next_cursor": None}
    assert reader.asked == EventFilter(
        trace_id=TRACE_ID,
        span_id="00f067aa0ba902b7",
        event_name="gen_ai.choice",
        service="deploys",
        since_ns=1,
        until_ns=2,
    )


def test_metric_points_are_listed_with_every_condition(api, reader):
    reader.metric_rows = [make_metric_point()]
    conditions = {"metric": "gen_ai.client.token.usage", "service": "deploys", "since": "1", "until": "2"}
    body = api.get("/v1/metric-points", params=conditions).json()
    assert body == {"metric_points": msgspec.to_builtins(reader.metric_rows), "next_cursor": None}
    assert reader.asked == MetricFilter(metric="gen_ai.client.token.usage", service="deploys", since_ns=1, until_ns=2)


def test_content_is_given_as_it_was_sent(api, reader):
    reader.content_rows = {"content-1": make_content(text='{"a":  1}\n')}
    body = api.get("/v1/contents/content-1").json()
    assert body == {"content_id": "content-1", "media_type": "text/plain", "bytes": 10, "text": '{"a":  1}\n'}


LISTED = {
    "evaluations": (
        make_evaluation, "evaluation_rows",
        {"run": "run-1", "trace_id": TRACE_ID, "span_id": "00F067AA0BA902B7", "name": "relevance", "evaluator": "judge",
         "service": "deploys", "since": "1", "until": "2"},
        EvaluationFilter(
            run="run-1", trace_id=TRACE_ID, span_id="00f067aa0ba902b7", name="relevance", evaluator="judge",
            service="deploys", since_ns=1, until_ns=2,
        ),
    ),
    "agents": (
        make_agent, "agent_rows", {"agent": "release-manager", "service": "deploys"},
        AgentFilter(agent="release-manager", service="deploys"),
    ),
    "tools": (
        make_tool, "tool_rows",
        {"tool": "deploy", "agent": "release-manager", "service": "deploys", "mcp_server": "deploys"},
        ToolFilter(tool="deploy", agent="release-manager", service="deploys", mcp_server="deploys"),
    ),
    "prompts": (
        make_prompt, "prompt_rows", {"prompt": "release", "agent": "release-manager", "service": "deploys"},
        PromptFilter(prompt="release", agent="release-manager", service="deploys"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_a_dimension_is_listed_with_every_condition_and_in_pages(api, reader, name):
    make, held, conditions, where = LISTED[name]
    rows = [make(f"{name}-{n}") for n in range(3)]
    setattr(reader, held, rows)
    first = api.get(f"/v1/{name}", params=conditions | {"limit": 2}).json()
    assert reader.asked == where
    second = api.get(f"/v1/{name}", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert first[name] + second[name] == msgspec.to_builtins(rows)
    assert second["next_cursor"] is None


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize(("parameter", "value"), [("agnet", "x"), ("limit", "0"), ("limit", "1001"), ("service", "")])
def test_a_dimension_refuses_what_it_does_not_know(api, name, parameter, value):
    response = api.get(f"/v1/{name}", params={parameter: value})
    assert response.status_code == 422
    assert response.json()["parameter"] == parameter
