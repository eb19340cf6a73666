"""`/v1/runs/{run_id}/replay`."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from query.playing import CHUNK_BYTES
from store.model.rows import ReplayEvent
from tests.builders import make_replay_event, make_run


def test_replay_is_one_event_a_line(api, reader):
    reader.run_rows = [make_run()]
    reader.replay_events = [
        make_replay_event(0, type="run_started"),
        make_replay_event(1, data={"role": "user", "text": "line one\nline two"}),
        make_replay_event(2, type="run_ended"),
    ]
    response = api.get("/v1/runs/run-1/replay")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    lines = response.text.splitlines()
    assert [json.loads(line) for line in lines] == msgspec.to_builtins(reader.replay_events)


def test_a_replay_of_many_chunks_loses_no_event(api, reader):
    reader.run_rows = [make_run()]
    reader.replay_events = [make_replay_event(n, data={"text": "x" * 1000}) for n in range(3 * CHUNK_BYTES // 1000)]
    with api.stream("GET", "/v1/runs/run-1/replay") as response:
        positions = [json.loads(line)["position"] for line in response.iter_lines()]
    assert positions == list(range(len(reader.replay_events)))


def test_a_run_without_events_replays_as_nothing(api, reader):
    reader.run_rows = [make_run()]
    response = api.get("/v1/runs/run-1/replay")
    assert response.status_code == 200
    assert response.content == b""


def test_a_failure_in_the_middle_breaks_the_stream_instead_of_ending_it(api, reader, monkeypatch):
    def failing(tenant: str, run_id: str, **_: object) -> Iterator[ReplayEvent]:
        yield make_replay_event(0)
        raise OSError("disk gone")

    monkeypatch.setattr(reader, "replay", failing)
    api._transport.raise_server_exceptions = True
    with pytest.raises(OSError, match="disk gone"):
        api.get("/v1/runs/run-1/replay")
