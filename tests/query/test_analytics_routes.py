"""`/v1/analytics`: what is counted by what, refused where it cannot be, as JSON and as an Arrow stream."""

import pyarrow as pa
import pytest

from query.routes.analytics import ARROW_MEDIA_TYPE
from store.contract import FIGURES_MAX, FiguresFilter

ARROW = {"accept": ARROW_MEDIA_TYPE}


def test_every_condition_reaches_the_reader(api, reader):
    asked = {"agent": "a", "service": "s", "tool": "t", "since": "5", "until": "9"}
    conditions = {"agent": "a", "service": "s", "tool": "t", "since_ns": 5, "until_ns": 9}
    assert api.get("/v1/analytics/runs", params=asked | {"by": "hour,agent"}).status_code == 200
    assert reader.asked == FiguresFilter(of="runs", by=("hour", "agent"), **conditions)
    assert api.get("/v1/analytics/tools", params=asked | {"by": "mcp_server", "sort": "failing"}).status_code == 200
    assert reader.asked == FiguresFilter(of="tools", by=("mcp_server",), sort="failing", **conditions)
    assert api.get("/v1/analytics/approvals", params=asked).status_code == 200
    assert reader.asked == FiguresFilter(of="approvals", **conditions)


@pytest.mark.parametrize(
    "by", ["nothing", "agent,agent", "agent,hour,service", "agent,", "Agent", "tenant", "agent hour"]
)
@pytest.mark.parametrize("of", ["runs", "tools", "approvals"])
def test_what_cannot_be_counted_by_is_refused_with_what_can(api, of, by):
    answer = api.get(f"/v1/analytics/{of}", params={"by": by})
    assert (answer.status_code, answer.json()["parameter"]) == (422, "by")
    assert "agent, service" in answer.json()["detail"]


def test_more_groups_than_are_given_are_said_to_be(api, reader):
    reader.figure_rows = [{"agent": f"agent-{number}", "runs": 1} for number in range(FIGURES_MAX)]
    assert api.get("/v1/analytics/runs", params={"by": "agent"}).json() == {
        "figures": reader.figure_rows,
        "truncated": False,
    }
    reader.figure_rows.append({"agent": "one more", "runs": 1})
    whole = api.get("/v1/analytics/runs", params={"by": "agent"}).json()
    assert (len(whole["figures"]), whole["truncated"]) == (FIGURES_MAX, True)
    table = pa.ipc.open_stream(api.get("/v1/analytics/runs", params={"by": "agent"}, headers=ARROW).content).read_all()
    assert (table.num_rows, table.schema.metadata) == (FIGURES_MAX, {b"truncated": b"true"})


def test_an_arrow_stream_has_the_same_rows(api, reader):
    reader.figure_rows = [{"tool": "a", "calls": 3, "error_rate": 0.5}, {"tool": None, "calls": 1, "error_rate": None}]
    answer = api.get("/v1/analytics/tools", params={"by": "tool"}, headers=ARROW)
    assert answer.headers["content-type"] == ARROW_MEDIA_TYPE
    assert pa.ipc.open_stream(answer.content).read_all().to_pylist() == reader.figure_rows
