"""What senders really use, over real sockets: OpenTelemetry's exporters and an HTTP client against a running server."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from collector_bench import Bench
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from collector.grpc import OtlpGrpcServer
from collector.http import OtlpHttpApp
from collector.limits import MIB
from store.record import Signal
from tests.gates import open_gate
from tests.patience import BUSY_SECONDS


class UvicornInThread:
    """The HTTP door as the front door runs it."""

    def __init__(self, app: OtlpHttpApp) -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False)
        self.server = uvicorn.Server(config)
        self.socket = config.bind_socket()
        self.socket.listen(16)  # before the thread runs, so that nobody who connects now is turned away
        self.port: int = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(BUSY_SECONDS)
        self.socket.close()


@pytest.fixture
def http_port(bench: Bench) -> Iterator[int]:
    server = UvicornInThread(OtlpHttpApp(bench.intake, gate=open_gate()))
    yield server.port
    server.close()


@pytest.fixture
def grpc_port(bench: Bench) -> Iterator[int]:
    server = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=0)
    yield server.start()
    server.stop(1)


def emit(spans: Any, logs: Any, metrics: Any) -> None:
    """Two spans, a log record and a counter through the SDK."""
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)])
    tracer = tracers.get_tracer("agent")
    with tracer.start_as_current_span("invoke_agent"), tracer.start_as_current_span("execute_tool"):
        loggers.get_logger("agent").emit(LogRecord(body="asked", severity_text="INFO"))
    meters.get_meter("agent").create_counter("gen_ai.tool.calls").add(3)
    for provider in (tracers, loggers, meters):
        assert provider.force_flush()
        provider.shutdown()


def check_stored(bench: Bench) -> None:
    assert {draft.signal for draft in bench.journal.drafts} == set(Signal)
    [traces] = [draft for draft in bench.journal.drafts if draft.signal is Signal.TRACES]
    request = ExportTraceServiceRequest.FromString(traces.body)
    assert {span.name for span in request.resource_spans[0].scope_spans[0].spans} == {"invoke_agent", "execute_tool"}
    malformed = {"signal": "traces", "reason": "malformed"}
    assert bench.registry.get_sample_value("spanledger_ingest_refused_requests_total", malformed) is None


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_http_exporters_deliver_all_three_signals(
    bench: Bench, http_port: int, compression: Compression, caplog: pytest.LogCaptureFixture
) -> None:
    base = f"http://127.0.0.1:{http_port}/v1"
    with caplog.at_level(logging.WARNING):
        emit(
            HttpSpans(f"{base}/traces", compression=compression),
            HttpLogs(f"{base}/logs", compression=compression),
            HttpMetrics(f"{base}/metrics", compression=compression),
        )
    check_stored(bench)
    assert caplog.records == []


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_the_grpc_exporters_deliver_all_three_signals(
    bench: Bench, grpc_port: int, compression: str, caplog: pytest.LogCaptureFixture
) -> None:
    import grpc

    chosen = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
    given: Any = {"insecure": True, "compression": chosen.get(compression, grpc.Compression.Deflate)}
    address = f"127.0.0.1:{grpc_port}"
    with caplog.at_level(logging.WARNING):
        emit(GrpcSpans(address, **given), GrpcLogs(address, **given), GrpcMetrics(address, **given))
    check_stored(bench)
    assert caplog.records == []


def test_a_sender_of_far_too_much_still_reads_its_413_and_can_go_on(
    bench: Bench, http_port: int, traces: Callable[..., bytes]
) -> None:
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    with httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=BUSY_SECONDS) as client:
        known = client.post("/v1/traces", content=bytes(20 * MIB), headers=headers)
        unknown = client.post("/v1/traces", content=(bytes(MIB) for _ in range(20)), headers=headers)
        after = client.post("/v1/traces", content=traces(), headers=headers | {"content-encoding": "identity"})
    assert [answer.status_code for answer in (known, unknown, after)] == [413, 413, 200]
    assert "20971520 bytes on the wire and 16,777,216 are the limit" in Status.FromString(known.content).message
    assert after.headers["spanledger-position"] == "remembered:1"


def test_a_sender_that_hangs_up_in_the_middle_of_a_body_leaves_the_server_serving(
    bench: Bench, http_port: int, traces: Callable[..., bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection(("127.0.0.1", http_port)) as sender:
        sender.sendall(head + traces())
    url = f"http://127.0.0.1:{http_port}/v1/traces"
    answer = httpx.post(url, content=traces(), headers={"content-type": "application/x-protobuf"})
    assert answer.status_code == 200
    assert len(bench.journal.drafts) == 1
    assert "Traceback" not in capfd.readouterr().err
