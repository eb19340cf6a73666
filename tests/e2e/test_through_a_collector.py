"""Through rotel, an OTLP collector that nobody here wrote: the same requests give the same record.

rotel takes each request apart, holds it as its own structures and writes it anew, batched or not, with its own gRPC and
HTTP clients and with gzip. On SIGTERM it sends what it still holds, so its exit is the moment at which all has arrived.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import rotel
from otlp_bodies import Captured, captured
from running_server import PROTOBUF, RunningServer

from tests.patience import BUSY_SECONDS

AGENT = Path(rotel.__file__).parent / "rotel-agent"
# All three signals, approvals, MCP over several spans, content in attributes, in events and in log records. Not dbos-3.4,
# which sends every log request twice: in two requests a log record is one event, and in one batch it is two.
SENT = (
    "agent-framework-1.23",
    "claude-agent-sdk-0.2.184",
    "dbos-3.4-semconv",
    "google-adk-2.13",
    "mcp-native-2.3-modern",
    "openai-genai-1.3b0-eventonly",
    "openai-v2-2.4b0-default",
    "pydantic-ai-2.68-openai-mcp",
    "pydantic-ai-2.68-v5",
    "spanledger-demo",
    "strands-1.62-default",
    "vercel-ai-7-legacy",
)
# They say how and when a row came, which is what differs; `revision` counts versions and does not.
ARRIVAL = ("position", "received_at")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def collector(protocol: str, endpoint: str, log: Path, *options: str) -> Generator[str]:
    """A running rotel that sends on to `endpoint`; yields where it takes OTLP/HTTP. It has sent all at the end."""
    grpc_port, http_port = free_port(), free_port()
    command = [str(AGENT), "start", "--exporter", "otlp", "--otlp-exporter-endpoint", endpoint]
    command += ["--otlp-exporter-protocol", protocol, *options]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}", "--otlp-http-endpoint", f"127.0.0.1:{http_port}"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent) as agent:
        try:
            deadline = time.monotonic() + BUSY_SECONDS
            while not listens(http_port):
                assert agent.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield f"http://127.0.0.1:{http_port}"
            agent.terminate()
            assert agent.wait(BUSY_SECONDS) == 0, log.read_text()
        finally:
            agent.kill()


def send(requests: list[Captured], url: str) -> None:
    with httpx.Client(base_url=url, timeout=BUSY_SECONDS, trust_env=False) as client:
        for request in requests:
            answer = client.post(f"/v1/{request.signal}", content=request.body, headers={"content-type": PROTOBUF})
            assert answer.status_code == 200, answer.text


def without_arrival(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_arrival(item) for key, item in value.items() if key not in ARRIVAL}
    return [without_arrival(item) for item in value] if isinstance(value, list) else value


def recorded(server: RunningServer) -> dict[str, Any]:
    told = without_arrival(server.everything())
    # Records of one moment stand in the order they came, and a collector may turn that round.
    told["events"].sort(key=lambda row: row["event_id"])
    told["metric_points"].sort(key=repr)
    return told


@pytest.fixture(scope="module")
def sent_directly(folder: Path) -> Iterator[dict[str, Any]]:
    server = RunningServer(folder / "direct").start()
    try:
        send(captured(*SENT), server.ready["otlp_http"])
        yield recorded(server)
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.mark.parametrize("batching", ["batched", "one by one"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_requests_that_came_through_another_collector_give_the_same_record(
    sent_directly: dict[str, Any],
    make_server: Callable[..., RunningServer],
    folder: Path,
    protocol: str,
    batching: str,
) -> None:
    requests = captured(*SENT)
    server = make_server().start()
    endpoint = f"http://{server.grpc_address}" if protocol == "grpc" else server.ready["otlp_http"]
    options = ["--disable-batching"] if batching == "one by one" else []
    deadline = time.monotonic() + BUSY_SECONDS
    with collector(protocol, endpoint, folder / f"rotel-{protocol}-{batching}.log", *options) as url:
        send(requests, url)
        # A collector that is ended gives what waits to be sent again a moment only, and a busy server lets some wait.
        while options and sequence(server) < len(requests):
            assert time.monotonic() < deadline, f"{sequence(server)} of {len(requests)} requests came through"
            time.sleep(0.05)
    frames = sequence(server)  # Before anything is read, which is recorded, too.
    told = recorded(server)
    for kind, rows in sent_directly.items():
        assert told[kind] == rows, kind
    assert frames == len(requests) if options else frames < len(requests)


def sequence(server: RunningServer) -> int:
    """Of the last request that is in the view."""
    return int(server.caught_up().rpartition(":")[2])


def test_what_was_sent_through_the_collectors_has_something_of_everything(sent_directly: dict[str, Any]) -> None:
    assert {request.signal for request in captured(*SENT)} == {"traces", "logs", "metrics"}
    for kind, rows in sent_directly.items():
        assert any(rows.values()) if isinstance(rows, dict) else rows, kind
