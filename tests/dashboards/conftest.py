"""A live server with data, and Debian's Prometheus scraping it.

Everything is sent twice, once before Prometheus's first scrape and once after: a counter that is born at its final value
has no rate. The second time the trace ids differ, for the same span sent again is the same step and is not counted.
"""

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from collector.limits import Limits
from tests.patience import BUSY_SECONDS

REPOSITORY = Path(__file__).parents[2]
DASHBOARDS = REPOSITORY / "dashboards"
CAPTURES = REPOSITORY / "tests" / "fixtures" / "captures"

# Model calls, tool calls that succeed and fail, logs and metrics, old names and new.
CAPTURES_SENT = (
    "agent-framework-1.23",
    "langgraph-genai-1.3b0",
    "mcp-native-2.3-modern",
    "openai-genai-1.3b0-latest",
    "pydantic-ai-2.68-openai-mcp",
    "pydantic-ai-2.68-v5",
    "strands-1.62-default",
)
PROTOBUF = {"Content-Type": "application/x-protobuf"}
POLL_SECONDS = 0.1


def wait_until(true: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Prometheus and /readyz tell their state only when asked."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {BUSY_SECONDS:.0f} s: {otherwise()}")
        time.sleep(POLL_SECONDS)


class Process:
    """A child process whose lines can be awaited; what it says elsewhere is kept for the failure message."""

    def __init__(self, command: list[str], folder: Path, *, lines_from: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._other = folder / "other.log"
        self._lines: queue.Queue[str | None] = queue.Queue()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPANLEDGER_")}
        with self._other.open("wb") as other:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE if lines_from == "stdout" else other,
                stderr=subprocess.PIPE if lines_from == "stderr" else other,
            )
        self._pipe = self._process.stdout or self._process.stderr
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._pipe is not None
        for line in self._pipe:
            self._lines.put(line.decode(errors="replace"))
        self._lines.put(None)

    def line_matching(self, pattern: str) -> re.Match[str]:
        seen: list[str] = []
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                said = "".join(seen) + self._other.read_text(errors="replace")[-4000:]
                pytest.fail(f"{self._process.args} never said {pattern!r}. It said:\n{said}")
            seen.append(line)
            if found := re.search(pattern, line):
                return found

    def stop(self) -> int:
        self._process.terminate()
        try:
            status = self._process.wait(BUSY_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(BUSY_SECONDS)
        assert self._pipe is not None
        self._pipe.close()
        return status


def capture_bodies() -> list[tuple[str, bytes]]:
    """(signal, OTLP protobuf) of every request of the captures sent."""
    bodies: list[tuple[str, bytes]] = []
    for name in CAPTURES_SENT:
        entries = json.loads((CAPTURES / name / "index.json").read_text())
        bodies += [(entry["signal"], (CAPTURES / name / entry["file"]).read_bytes()) for entry in entries]
    return bodies


def with_other_trace_ids(signal: str, body: bytes) -> bytes:
    """The same request of other traces: the first byte of each trace id is inverted."""

    def other(trace_id: bytes) -> bytes:
        return bytes([trace_id[0] ^ 0xFF]) + trace_id[1:] if trace_id else trace_id

    if signal == "traces":
        traces = ExportTraceServiceRequest.FromString(body)
        for span in (span for group in traces.resource_spans for scope in group.scope_spans for span in scope.spans):
            span.trace_id = other(span.trace_id)
            for link in span.links:
                link.trace_id = other(link.trace_id)
        return traces.SerializeToString()
    if signal == "logs":
        logs = ExportLogsServiceRequest.FromString(body)
        for record in (
            record for group in logs.resource_logs for scope in group.scope_logs for record in scope.log_records
        ):
            record.trace_id = other(record.trace_id)
        return logs.SerializeToString()
    return body


def body_without_trace_id() -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.name, span.trace_id, span.span_id = "no trace", bytes(16), b"\x01" * 8
    return request.SerializeToString()


def body_past_a_bound() -> bytes:
    """Metrics, of which one data point has an attribute more than may be."""
    request = ExportMetricsServiceRequest()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add(name="crowded").gauge.data_points.add()
    for number in range(Limits().attributes_max + 1):
        point.attributes.add(key=f"k{number}")
    return request.SerializeToString()


def body_with_an_address() -> bytes:
    """A span that says what is taken out."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.name, span.trace_id, span.span_id = "letter", b"\x02" * 16, b"\x02" * 8
    span.attributes.add(key="to").value.string_value = "Jane Doe <jane.doe@acme-letters.io>"
    return request.SerializeToString()


@dataclass(frozen=True, slots=True)
class LiveServer:
    """`python -m spanledger serve` on free ports of the loopback address."""

    api: str
    otlp_http: str
    client: httpx.Client

    def send(self, signal: str, body: bytes) -> int:
        return self.client.post(f"{self.otlp_http}/v1/{signal}", content=body, headers=PROTOBUF).status_code

    def send_all(self, change: Callable[[str, bytes], bytes] = lambda _, body: body) -> None:
        """Every capture, a record refused, one cut, one redacted, a request refused; returns when seen."""
        for signal, body in capture_bodies():
            assert self.send(signal, change(signal, body)) == 200
        assert self.send("traces", body_without_trace_id()) == 200
        assert self.send("metrics", body_past_a_bound()) == 200
        assert self.send("traces", body_with_an_address()) == 200
        assert self.send("traces", b"\x0a\xff\x01truncated") == 400
        self.wait_until_projected()

    def readiness(self) -> dict[str, Any]:
        return self.client.get(f"{self.api}/readyz").json()

    def wait_until_projected(self) -> None:
        def projected() -> bool:
            now = self.readiness()
            return now["lag_ms"] == 0 and now["view_position"] == now["journal_position"]

        wait_until(projected, lambda: f"the view reached the journal: {self.readiness()}")

    def metric_labels(self) -> dict[str, set[str]]:
        """The sample names that /metrics can show, each with its labels; empty where there is no sample yet."""
        text = self.client.get(f"{self.api}/metrics", headers={"Accept": "text/plain"}).text
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
        labels: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(text):
            for suffix in suffixes.get(family.type, ()):
                labels.setdefault(family.name + suffix, set())
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
        return labels


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Debian's Prometheus with the repository's own configuration but for the target and the intervals."""

    address: str
    client: httpx.Client
    at: float
    """When everything had been scraped: expressions are evaluated there, so the order of the tests does not matter."""

    def ask(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"{self.address}/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        return [float(series["value"][1]) for series in self.ask("query", query=expression, time=self.at)["result"]]


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=BUSY_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory, client: httpx.Client) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("live")
    ports = [argument for port in ("otlp-grpc", "otlp-http", "api") for argument in (f"--{port}-port", "0")]
    command = [
        sys.executable,
        "-m",
        "spanledger",
        "serve",
        "--data",
        str(folder / "data"),
        "--host",
        "127.0.0.1",
        *ports,
    ]
    process = Process(command, folder / "server", lines_from="stdout")
    try:
        ready = json.loads(process.line_matching(r'\{.*"ready".*\}')[0])
        server = LiveServer(ready["api"], ready["otlp_http"], client)
        server.send_all()
        yield server
    finally:
        status = process.stop()
    assert status == 0


@pytest.fixture(scope="session")
def prometheus(
    live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory, client: httpx.Client
) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip(
            "prometheus is not installed (Debian: apt-get install --no-install-recommends prometheus): expressions were "
            "parsed and their metrics and labels matched against /metrics, but not run"
        )
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = (DASHBOARDS / "prometheus.yml").read_text()
    target = live_server.api.removeprefix("http://")
    key = folder / "metrics_key"
    key.write_text("a server without keys asks for none")
    for old, new in (
        ("/run/secrets/metrics_key", str(key)),
        ("spanledger:8321", target),
        ("scrape_interval: 5s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ):
        assert configuration.count(old) == 1, f"prometheus.yml no longer says {old!r} once"
        configuration = configuration.replace(old, new)
    (folder / "prometheus.yml").write_text(configuration)
    shutil.copy(DASHBOARDS / "alerts.yml", folder)
    process = Process(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        folder / "process",
        lines_from="stderr",
    )
    try:
        listening = process.line_matching(r'msg="Listening on".* address=(\S+)')
        address = f"http://{listening[1]}"
        process.line_matching("Server is ready to receive web requests")

        def scrapes() -> int:
            now = Prometheus(address, client, time.time())
            return sum(int(count) for count in now.values('sum_over_time(up{job="spanledger"}[5m])'))

        def targets() -> str:
            return str(Prometheus(address, client, time.time()).ask("targets"))

        wait_until(lambda: scrapes() >= 2, targets)
        live_server.send_all(with_other_trace_ids)
        before = scrapes()
        wait_until(lambda: scrapes() >= before + 2, targets)
        yield Prometheus(address, client, time.time())
    finally:
        process.stop()
