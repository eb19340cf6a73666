"""`/v1/runs` and what belongs to a run."""

from typing import Any

import msgspec
import pytest

from store.contract import Moment, RunFilter
from store.errors import PastBusy, PastNotReached
from store.model.rows import Completeness
from store.record import Position
from tests.builders import JOURNAL_ID, TRACE_ID, make_decision, make_message, make_run, make_step, make_tool_call


def _problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:spanledger:problem:")
    assert document["title"]
    assert document["detail"]
    return document


def test_runs_come_as_an_object_with_every_field_of_the_row(api, reader):
    row = make_run(completeness=Completeness(state="partial", missing_parents=2))
    reader.run_rows = [row]
    body = api.get("/v1/runs").json()
    assert body == {"runs": [msgspec.to_builtins(row)], "next_cursor": None}


def test_runs_are_paged_until_the_cursor_is_null(api, reader):
    reader.run_rows = [make_run(f"run-{number}") for number in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        body = api.get("/v1/runs", params=parameters).json()
        seen += [row["run_id"] for row in body["runs"]]
        cursor = body["next_cursor"]
    assert seen == [f"run-{number}" for number in range(5)]
    assert cursor is None


def test_every_condition_reaches_the_reader(api, reader):
    conditions = {
        "agent": "release-manager",
        "status": "interrupted",
        "conversation": "c-1",
        "trace_id": TRACE_ID.upper(),
        "service": "deploys",
        "tool": "deploy",
        "model": "scripted-1",
        "since": "2026-07-01T12:00:00.000000001Z",
        "until": "1782907200000000002",
        "q": "billing",
    }
    assert api.get("/v1/runs", params=conditions).status_code == 200
    assert reader.asked == RunFilter(
        agent="release-manager",
        status="interrupted",
        conversation="c-1",
        trace_id=TRACE_ID,
        service="deploys",
        tool="deploy",
        model="scripted-1",
        since_ns=1782907200000000001,
        until_ns=1782907200000000002,
        q="billing",
    )


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("agnet=x", "agnet"),
        ("agent=a&agent=b", "agent"),
        ("agent=", "agent"),
        ("status=finished", "status"),
        ("trace_id=xyz", "trace_id"),
        ("since=yesterday", "since"),
        ("until=2026-02-30T00:00:00Z", "until"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("cursor=nonsense", "cursor"),
        ("min_position=nonsense", "min_position"),
        ("min_position=another:1", "min_position"),
    ],
)
def test_a_bad_parameter_is_refused_with_422_that_names_it(api, parameters, named):
    document = _problem(api.get(f"/v1/runs?{parameters}"), 422)
    assert document["parameter"] == named
    assert document["errors"][0]["parameter"] == named
    assert named in document["detail"]


def test_an_unknown_parameter_is_answered_with_those_that_exist(api):
    document = _problem(api.get("/v1/runs/run-1?contents=inline"), 422)
    assert "it takes as_of, min_position" in document["detail"]


def test_all_bad_parameters_are_named_at_once(api):
    document = _problem(api.get("/v1/runs?limit=0&since=x"), 422)
    assert {error["parameter"] for error in document["errors"]} == {"limit", "since"}


def test_one_run_is_the_row_itself(api, reader):
    reader.run_rows = [make_run()]
    assert api.get("/v1/runs/run-1").json() == msgspec.to_builtins(make_run())


@pytest.mark.parametrize("below", ["", "/steps", "/tool-calls", "/decisions", "/messages", "/replay"])
def test_an_unknown_run_is_404_wherever_it_is_asked_for(api, below):
    document = _problem(api.get(f"/v1/runs/nobody{below}"), 404)
    assert "nobody" in document["detail"]


def test_steps_are_paged_and_by_reference_unless_inline_is_asked_for(api, reader):
    reader.run_rows = [make_run()]
    reader.step_rows = [make_step("step-1"), make_step("step-2")]
    body = api.get("/v1/runs/run-1/steps?limit=1").json()
    assert [row["step_id"] for row in body["steps"]] == ["step-1"]
    assert reader.asked is False
    body = api.get(f"/v1/runs/run-1/steps?limit=1&content=inline&cursor={body['next_cursor']}").json()
    assert [row["step_id"] for row in body["steps"]] == ["step-2"]
    assert body["next_cursor"] is None
    assert reader.asked is True


def test_content_is_inline_or_reference_and_nothing_else(api, reader):
    reader.run_rows = [make_run()]
    assert _problem(api.get("/v1/runs/run-1/steps?content=full"), 422)["parameter"] == "content"


@pytest.mark.parametrize(
    ("key", "attribute", "rows"),
    [
        ("tool_calls", "tool_call_rows", [make_tool_call(f"call-{n}") for n in range(3)]),
        ("decisions", "decision_rows", [make_decision(f"decision-{n}") for n in range(3)]),
        ("messages", "message_rows", [make_message(n) for n in range(3)]),
    ],
)
def test_what_belongs_to_a_run_is_listed_and_paged(api, reader, key, attribute, rows):
    reader.run_rows = [make_run()]
    setattr(reader, attribute, rows)
    path = key.replace("_", "-")
    expected = msgspec.to_builtins(rows)
    assert api.get(f"/v1/runs/run-1/{path}").json() == {key: expected, "next_cursor": None}
    first = api.get(f"/v1/runs/run-1/{path}?limit=2").json()
    assert first[key] == expected[:2]
    second = api.get(f"/v1/runs/run-1/{path}", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert second == {key: expected[2:], "next_cursor": None}
    refused = _problem(api.get(f"/v1/runs/run-1/{path}?cursor=nonsense"), 422)
    assert refused["parameter"] == "cursor"


def test_a_page_that_ends_exactly_at_the_end_has_no_cursor(api, reader):
    reader.run_rows = [make_run()]
    reader.message_rows = [make_message(n) for n in range(2)]
    assert api.get("/v1/runs/run-1/messages?limit=2").json()["next_cursor"] is None


AS_OF_CALLS = ("", "/steps", "/tool-calls", "/decisions", "/messages", "/replay")


@pytest.mark.parametrize("call", AS_OF_CALLS)
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-01T12:00:00.000000001Z", Moment(time_ns=1_782_907_200_000_000_001)),
        (f"{JOURNAL_ID}:17", Moment(position=Position(JOURNAL_ID, 17))),
    ],
)
def test_a_run_is_asked_for_as_of_a_time_or_a_position(api, reader, call, text, moment):
    reader.run_rows = [make_run()]
    assert api.get(f"/v1/runs/run-1{call}", params={"as_of": text}).status_code == 200
    assert reader.moment == moment


def test_without_as_of_it_is_asked_for_as_it_is(api, reader):
    reader.run_rows = [make_run()]
    assert api.get("/v1/runs/run-1").status_code == 200
    assert reader.moment is None


@pytest.mark.parametrize("text", ["yesterday", "2026-07-01", "a:b", ":1"])
def test_a_moment_that_is_none_is_refused_with_what_would_be_one(api, reader, text):
    answer = api.get("/v1/runs/run-1", params={"as_of": text})
    assert (answer.status_code, answer.json()["parameter"]) == (422, "as_of")
    assert "position that a receipt gave" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [(PastBusy("busy"), (503, "cannot-wait")), (PastNotReached("behind"), (504, "not-yet-visible"))],
)
def test_a_past_that_cannot_be_had_now_is_retryable(api, reader, monkeypatch, error, problem):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(reader, "as_of", refuse)
    answer = api.get("/v1/runs/run-1/replay", params={"as_of": f"{JOURNAL_ID}:1"})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == problem
