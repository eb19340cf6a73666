"""Steps on the live stream while their run is still in progress, and over a server that is killed and started again."""

import json
import time
from collections.abc import Generator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_bodies import add_span, trace_id_of
from running_server import RunningServer

from spanledger.following import ServerSentEvent, events_in
from tests.patience import BUSY_SECONDS


def body_of(trace: int, *numbers: int, **fields: Any) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in numbers:
        add_span(scope, trace, number, parent=0 if number == 1 else 1, **fields)
    return request.SerializeToString()


def live(server: RunningServer, last: str | None = None, **asked: str) -> Generator[ServerSentEvent]:
    headers = {"Last-Event-ID": last} if last else {}
    with server.api.stream("GET", "/v1/live", params=asked, headers=headers, timeout=BUSY_SECONDS) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield from events_in(answer.iter_lines())


def test_steps_appear_while_their_run_goes_on_and_none_is_lost_over_a_crash(make_server):
    server = make_server().start()
    now = {"start_time_unix_nano": time.time_ns()}
    stream = live(server)
    begun = next(stream)
    assert begun.data == ""
    server.record("traces", body_of(1, 2, 3, end_time_unix_nano=time.time_ns(), **now))
    seen = [next(stream) for _ in range(2)]
    trace_id = trace_id_of(1).hex()
    assert [json.loads(one.data)["name"] for one in seen] == ["step 2", "step 3"]
    run = server.get(f"/v1/runs/{trace_id}")
    assert run["status"] == "running", "its root has not come yet"
    assert {json.loads(one.data)["run_id"] for one in seen} == {run["run_id"]}

    server.record("traces", body_of(1, 4, end_time_unix_nano=time.time_ns(), **now))
    server.kill()
    server.start()
    server.record("traces", body_of(1, 1, end_time_unix_nano=time.time_ns(), **now))
    again = live(server, seen[0].id)  # The second had not been read when the connection broke.
    rest = []
    while len(rest) < 3:
        event = next(again)
        if event.data:
            rest.append(json.loads(event.data))
    assert [step["name"] for step in rest] == ["step 3", "step 4", "step 1"]
    again.close()
    ended = [one for one in live(server, seen[1].id, follow="false", run=trace_id) if one.data]
    assert [json.loads(one.data)["name"] for one in ended] == ["step 4", "step 1"]

    last = live(server)
    next(last)
    assert server.process is not None
    server.process.terminate()
    goodbye = list(last)[-1]
    assert goodbye.name == "dropped"
    assert json.loads(goodbye.data)["reason"] == "the server is stopping"
    assert server.ended() == 0, server.log()
