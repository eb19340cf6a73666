"""`spanledger serve` as a process: the ready line, the doors, the data folder, the end."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.patience import BUSY_SECONDS
from tests.spanledger.conftest import FREE_PORTS

CAPTURE = Path(__file__).parents[1] / "fixtures" / "captures" / "pydantic-ai-2.68-v5"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def _span(trace: int) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add(
        trace_id=trace.to_bytes(16, "big"), span_id=b"s" * 8, name="chat", start_time_unix_nano=1, end_time_unix_nano=2
    )
    return request.SerializeToString()


def _trace_id(trace: int) -> str:
    return trace.to_bytes(16, "big").hex()


def test_the_ready_line_has_every_address_and_all_of_them_answer(server):
    ready = server.ready
    assert list(ready) == ["event", "otlp_grpc", "otlp_http", "api", "data"]
    assert ready["event"] == "ready"
    assert Path(ready["data"]).is_absolute()
    assert server.api.get("/healthz").json() == {"status": "ok"}
    assert httpx.post(ready["otlp_http"] + "/v1/traces", content=_span(1),
                      headers={"Content-Type": "application/x-protobuf"}, trust_env=False).status_code == 200  # fmt: skip
    with grpc.insecure_channel(ready["otlp_grpc"]) as channel:
        answer = channel.unary_unary(EXPORT)(_span(2), timeout=BUSY_SECONDS)
    assert ExportTraceServiceResponse.FromString(answer) == ExportTraceServiceResponse()


def test_what_was_acknowledged_is_read_at_its_position(server):
    acknowledged = httpx.post(server.ready["otlp_http"] + "/v1/traces", content=_span(3),
                              headers={"Content-Type": "application/x-protobuf"}, trust_env=False)  # fmt: skip
    position = acknowledged.headers["spanledger-position"]
    run = server.api.get(f"/v1/runs/{_trace_id(3)}", params={"min_position": position}).json()
    assert run["trace_ids"] == [_trace_id(3)]
    assert run["steps"] == 1


def test_readiness_and_metrics_are_those_of_the_whole_process(server):
    ready = server.api.get("/readyz").json()
    assert ready["ready"] is True
    assert {"journal_position", "view_position", "lag_ms"} <= set(ready)
    metrics = server.api.get("/metrics").text
    for name in ("spanledger_ingest_records_total", "spanledger_api_request_seconds_count",
                 "spanledger_journal_sequence", "process_resident_memory_bytes"):  # fmt: skip
        assert f"\n{name}" in metrics


def test_responses_carry_no_banner(server):
    assert "server" not in server.api.get("/healthz").headers


def test_import_and_the_reading_commands_find_the_server_by_its_folder(server, command):
    data = server.ready["data"]
    ended = command("import", CAPTURE / "001.pb", "--data", data)
    assert (ended.status, ended.err) == (0, "")
    assert "19 spans accepted" in ended.out
    runs = [json.loads(line) for line in command("runs", "--agent", "support-agent", "--data", data).out.splitlines()]
    assert runs
    by_url = command("replay", runs[0]["run_id"], "--url", server.ready["api"])
    assert by_url.out == command("replay", runs[0]["run_id"], "--data", data).out
    assert by_url.out == server.api.get(f"/v1/runs/{runs[0]['run_id']}/replay").text
    unknown = command("replay", "nobody", "--data", data)
    assert unknown.status == 1
    assert "nobody" in unknown.err


def test_every_attribute_of_a_step_is_kept(server, command):
    assert command("import", CAPTURE / "001.pb", "--data", server.ready["data"]).status == 0
    request = ExportTraceServiceRequest.FromString((CAPTURE / "001.pb").read_bytes())
    for span in request.resource_spans[0].scope_spans[0].spans:
        step = server.api.get(f"/v1/steps/{span.trace_id.hex()}-{span.span_id.hex()}").json()
        assert set(step["attributes"]) == {pair.key for pair in span.attributes}
        assert step["name"] == span.name


def test_tail_shows_what_is_recorded_after_it_began(server):
    tail = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "tail", "--after", server.api.get("/readyz").json()["view_position"],
         "--url", server.ready["api"]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        httpx.post(server.ready["otlp_http"] + "/v1/traces", content=_span(4),
                   headers={"Content-Type": "application/x-protobuf"}, trust_env=False)  # fmt: skip
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["trace_id"] == _trace_id(4)
        tail.send_signal(signal.SIGINT)
        assert tail.wait(BUSY_SECONDS) == 0  # Interrupted while it asks, it ends after the answer.
    finally:
        tail.kill()
        tail.communicate()


def test_a_reader_that_leaves_early_is_no_error(server):
    runs = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "tail", "--all", "--no-follow", "--url", server.ready["api"]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert runs.stdout is not None
    runs.stdout.close()
    assert runs.stderr is not None
    err = runs.stderr.read()
    runs.stderr.close()
    assert runs.wait(BUSY_SECONDS) == 0
    assert err == b""


def test_rebuild_beside_a_running_server_is_refused(server, command):
    ended = command("rebuild", "--data", server.ready["data"])
    assert ended.status == 1
    assert server.ready["data"] in ended.err


def test_a_second_process_on_the_same_folder_is_refused_and_harms_nothing(server, command):
    ended = command("serve", "--data", server.ready["data"], *FREE_PORTS)
    assert (ended.status, ended.out) == (1, "")
    assert str(server.process.pid) in ended.err
    assert server.api.get("/readyz").json()["ready"] is True


@pytest.mark.parametrize("name", ["otlp-grpc-port", "otlp-http-port", "api-port"])
def test_a_port_in_use_is_refused_before_the_folder_is_touched(command, tmp_path, name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("serve", "--data", tmp_path / "data", *FREE_PORTS, f"--{name}", port)
    assert (ended.status, ended.out) == (1, "")
    error, hint = ended.err.splitlines()
    assert error == f"error: cannot listen on 127.0.0.1:{port}: the port is in use"
    assert f"--{name}" in hint
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_refused(command):
    ended = command("serve", "--data", "/proc/spanledger", *FREE_PORTS)
    assert (ended.status, ended.out) == (1, "")
    error, hint = ended.err.splitlines()
    assert error.startswith("error: the data folder /proc/spanledger cannot be used")
    assert "--data" in hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(command, tmp_path):
    tmp_path.chmod(0o500)
    try:
        ended = command("serve", "--data", tmp_path / "data", *FREE_PORTS)
    finally:
        tmp_path.chmod(0o700)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_stdout_holds_only_the_ready_line(serve, tmp_path, number):
    server = serve(tmp_path / "data")
    status, out, err = server.stop(number)
    assert (status, out) == (0, b"")
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["ready", "stopping", "stopped"]


def test_a_read_that_waits_does_not_hold_up_the_end(serve, tmp_path):
    server = serve(tmp_path / "data")
    httpx.post(server.ready["otlp_http"] + "/v1/traces", content=_span(1),
               headers={"Content-Type": "application/x-protobuf"}, trust_env=False)  # fmt: skip
    journal_id = server.api.get("/readyz").json()["journal_position"].partition(":")[0]
    host, port = server.ready["api"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as waiting:
        waiting.sendall(f"GET /v1/runs?min_position={journal_id}:99 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert server.api.get("/healthz").status_code == 200
        assert server.stop()[0] == 0


def test_what_was_acknowledged_survives_a_kill_and_is_there_once(serve, tmp_path):
    server = serve(tmp_path / "data")
    for trace in range(1, 6):
        assert httpx.post(server.ready["otlp_http"] + "/v1/traces", content=_span(trace),
                          headers={"Content-Type": "application/x-protobuf"}, trust_env=False).status_code == 200  # fmt: skip
    server.process.kill()
    server.process.wait(BUSY_SECONDS)
    again = serve(tmp_path / "data")
    position = again.api.get("/readyz").json()["journal_position"]
    runs = again.api.get("/v1/runs", params={"min_position": position}).json()["runs"]
    assert sorted(run["trace_ids"][0] for run in runs) == [_trace_id(trace) for trace in range(1, 6)]
    assert [run["steps"] for run in runs] == [1] * 5
