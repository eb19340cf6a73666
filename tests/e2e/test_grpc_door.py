"""The gRPC door as its users find it: health checks, raw Export calls, and OpenTelemetry's own exporters beside HTTP's."""

import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode
from otlp_bodies import MESSAGES, captured, trace_body, trace_id_of
from running_server import RunningServer, ended_well
from senders import TRACES_EXPORT, position_of

from tests.patience import BUSY_SECONDS

MIB = 1024 * 1024
BOUND_MIB = 6  # Above gRPC's own default of 4 MB, which is below what the HTTP door takes.
SERVICES = {signal: f"opentelemetry.proto.collector.{signal}.v1" for signal in ("trace", "logs", "metrics")}

_traces = itertools.count(1)


@pytest.fixture(scope="module")
def server(folder: Any) -> Iterator[RunningServer]:
    yield from ended_well(RunningServer(folder / "bounded", "--request-max-mb", str(BOUND_MIB)))


@pytest.fixture
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    unbounded = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc_address, options=unbounded) as opened:
        yield opened


def body_of_size(trace: int, size: int) -> bytes:
    """A request of one span that is exactly `size` bytes: its padding is bytes that do not compress."""
    padding = size
    while True:
        body = trace_body(trace, 1, padding=os.urandom(padding // 2 + 1).hex()[:padding])
        if len(body) <= size:
            return body
        padding -= len(body) - size


def check_health(channel: grpc.Channel, service: str) -> health_pb2.HealthCheckResponse:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=BUSY_SECONDS)


def check_one_run(server: RunningServer, trace: int, position: str) -> None:
    [run] = server.rows("/v1/runs", "runs", trace_id=trace_id_of(trace).hex(), min_position=position)
    assert run["steps"] == 1


@pytest.mark.parametrize("service", ["", *(f"{name}.{signal.title()}Service" for signal, name in SERVICES.items())])
def test_the_health_check_says_serving_for_the_server_and_each_service(channel: grpc.Channel, service: str) -> None:
    answer = check_health(channel, service)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_check_does_not_know_a_service_that_is_not_there(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        check_health(channel, "no.such")
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_an_export_is_acknowledged_with_its_position_in_every_compression(
    server: RunningServer, channel: grpc.Channel, compression: grpc.Compression
) -> None:
    trace = next(_traces)
    export = channel.unary_unary(TRACES_EXPORT)
    answer, call = export.with_call(trace_body(trace), timeout=BUSY_SECONDS, compression=compression)
    assert ExportTraceServiceResponse.FromString(answer) == ExportTraceServiceResponse()
    check_one_run(server, trace, position_of(call))


def test_a_message_of_the_bound_is_taken_at_both_doors_and_one_byte_more_at_neither(
    server: RunningServer, channel: grpc.Channel
) -> None:
    export = channel.unary_unary(TRACES_EXPORT)
    over_grpc, over_http = next(_traces), next(_traces)
    fits = body_of_size(over_grpc, BOUND_MIB * MIB)
    assert len(fits) == BOUND_MIB * MIB
    _, call = export.with_call(fits, timeout=BUSY_SECONDS)
    check_one_run(server, over_grpc, position_of(call))
    check_one_run(server, over_http, server.record("traces", body_of_size(over_http, BOUND_MIB * MIB)))

    trace = next(_traces)
    too_large = body_of_size(trace, BOUND_MIB * MIB + 1)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as refused:
            export(too_large, timeout=BUSY_SECONDS, compression=compression)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(BOUND_MIB * MIB) in error.details()
        # Without it the specification makes the code final: sending it again would never help.
        assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata() or ())
    assert server.post("traces", too_large).status_code == 413
    server.caught_up()
    assert server.rows("/v1/runs", "runs", trace_id=trace_id_of(trace).hex()) == []


def test_every_captured_request_gets_the_answer_of_its_own_signal(channel: grpc.Channel) -> None:
    for request in captured("claude-agent-sdk-0.2.184", "agent-framework-1.23"):
        signal = request.signal.replace("traces", "trace")
        method = f"/{SERVICES[signal]}.{signal.title()}Service/Export"
        assert channel.unary_unary(method)(request.body, timeout=BUSY_SECONDS) == b""
    assert set(MESSAGES) == {request.signal for request in captured("claude-agent-sdk-0.2.184", "agent-framework-1.23")}


def exporters(server: RunningServer, protocol: str) -> tuple[Any, Any, Any]:
    if protocol == "http":
        base, gzip = server.ready["otlp_http"] + "/v1", Compression.Gzip
        return (
            HttpSpans(f"{base}/traces", compression=gzip),
            HttpLogs(f"{base}/logs", compression=gzip),
            HttpMetrics(f"{base}/metrics", compression=gzip),
        )
    given: dict[str, Any] = {"insecure": True, "compression": grpc.Compression.Gzip}
    return tuple(kind(server.grpc_address, **given) for kind in (GrpcSpans, GrpcLogs, GrpcMetrics))  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_standard_exporters_deliver_a_run_its_log_and_its_metrics(
    server: RunningServer, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    service = f"sdk-over-{protocol}"
    resource = Resource.create({"service.name": service, "service.version": "3.1"})
    spans, logs, metrics = exporters(server, protocol)
    with caplog.at_level(logging.WARNING):
        tracers, loggers = TracerProvider(resource=resource), LoggerProvider(resource=resource)
        tracers.add_span_processor(BatchSpanProcessor(spans))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
        meters = MeterProvider([PeriodicExportingMetricReader(metrics)], resource=resource)
        tracer = tracers.get_tracer("agent", "0.9")
        with tracer.start_as_current_span(
            "invoke_agent planner", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
        ):
            with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as chat:
                chat.set_attributes({"gen_ai.usage.input_tokens": 70, "gen_ai.usage.output_tokens": 9})
            with tracer.start_as_current_span(
                "execute_tool search",
                attributes={
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "search",
                    "error.type": "timeout",
                },
            ) as tool:
                tool.set_status(Status(StatusCode.ERROR, "no answer in 5 s"))
                loggers.get_logger("agent").emit(LogRecord(body="the search timed out", severity_text="WARN"))
        meters.get_meter("agent").create_counter("gen_ai.tool.calls", unit="{call}").add(1, {"tool": "search"})
        for provider in (tracers, loggers, meters):  # Ending them sends what they hold; a flush would collect twice.
            provider.shutdown()
    assert caplog.records == []
    server.caught_up()
    [run] = server.rows("/v1/runs", "runs", service=service)
    assert (run["agent_name"], run["service_version"], run["steps"]) == ("planner", "3.1", 3)
    assert (run["llm_calls"], run["tool_calls"], run["tool_errors"]) == (1, 1, 1)
    assert (run["input_tokens"], run["output_tokens"], run["tools"]) == (70, 9, ["search"])
    [event] = server.rows("/v1/events", "events", service=service)
    assert (event["body"], event["run_id"]) == ("the search timed out", run["run_id"])
    points = server.rows("/v1/metric-points", "metric_points", service=service, metric="gen_ai.tool.calls")
    assert [(point["value"], point["unit"], point["attributes"]) for point in points] == [
        (1, "{call}", {"tool": "search"})
    ]
