"""OpenTelemetry as an application would set it up: the SDK's providers, the standard OTLP/HTTP exporters, all three signals.

The agent and its MCP server are two processes and each sends its own telemetry, joined only by the trace context that
the MCP SDK puts into `_meta`. Batches leave a few times a second, so that someone who watches sees the run grow, and
`finish` sends the rest. A demo that recorded nothing must not look like one that did: the endpoint is asked before
the agent starts, and a span batch that was not taken is an error at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import requests
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

BATCH_DELAY_MS = 200
EXPORT_TIMEOUT_S = 10.0
ENDPOINT_CHECK_TIMEOUT_S = 5.0
METRIC_INTERVAL_MS = 60_000  # far beyond the demo: metrics leave once, at the end


class DemoError(Exception):
    """The demo cannot go on. The message says what failed, why, and what to do."""


class EndpointUnusable(DemoError):
    """Nothing takes OTLP/HTTP at the address."""


class TelemetryNotDelivered(DemoError):
    """The agent ran, but part of what it emitted was not taken."""


class TracingAlreadySet(DemoError):
    """The process has a tracer provider already, and the MCP SDK can only use that one."""


class _CountingSpanExporter(OTLPSpanExporter):
    """The standard exporter logs a failed batch and goes on; this one also remembers that there was one."""

    failed_spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.failed_spans += len(spans)
        return result


class _AgentRunTraces(SpanProcessor):
    """Notes the trace id of every root span that is an agent's run."""

    def __init__(self) -> None:
        self.trace_ids: list[str] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        is_run = (span.attributes or {}).get("gen_ai.operation.name") == "invoke_agent"
        if span.parent is None and is_run:
            self.trace_ids.append(trace.format_trace_id(span.get_span_context().trace_id))


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The three providers of this process and what became of their spans."""

    endpoint: str
    logs: LoggerProvider
    _traces: TracerProvider
    _metrics: MeterProvider
    _spans: _CountingSpanExporter
    _runs: _AgentRunTraces

    @property
    def run_trace_ids(self) -> tuple[str, ...]:
        """The traces of the agent runs so far: 32 lower-case hexadecimal digits each, in order of their start."""
        return tuple(self._runs.trace_ids)

    def finish(self) -> None:
        """Send what is left and stop. Raises TelemetryNotDelivered when spans were refused or lost on the way."""
        self._traces.shutdown()
        self.logs.shutdown()
        self._metrics.shutdown()
        if self._spans.failed_spans:
            raise TelemetryNotDelivered(
                f"{self._spans.failed_spans} spans were not taken by {self.endpoint}/v1/traces; the lines above say why. "
                "Look at the log of the server behind that address, then run the demo again."
            )


def normalised_endpoint(endpoint: str) -> str:
    """The base address without a trailing slash. Raises EndpointUnusable for anything but http(s)://host."""
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise EndpointUnusable(
            f"{endpoint!r} is not an address: {error}. Give one like http://127.0.0.1:4318"
        ) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise EndpointUnusable(
            f"{endpoint!r} is not an OTLP/HTTP address: it needs a scheme and a host. Give one like http://127.0.0.1:4318"
        )
    return endpoint.rstrip("/")


def check_endpoint(endpoint: str) -> None:
    """Send an empty export request, which OTLP calls valid. Raises EndpointUnusable when it is not taken."""
    address = f"{endpoint}/v1/traces"
    try:
        with httpx.Client(trust_env=False, timeout=ENDPOINT_CHECK_TIMEOUT_S) as client:
            answer = client.post(address, content=b"", headers={"content-type": "application/x-protobuf"})
    except httpx.HTTPError as error:
        raise EndpointUnusable(
            f"cannot reach {address}: {error}. Start a server that takes OTLP/HTTP there (`spanledger serve`), "
            "or give the address of one with --endpoint."
        ) from error
    if not answer.is_success:
        raise EndpointUnusable(
            f"{address} answered {answer.status_code} {answer.reason_phrase} to an empty OTLP request, "
            "so it does not take traces. Is it the OTLP/HTTP port (4318 by default), and does it let you in?"
        )


def record_to(
    endpoint: str, *, service_name: str, service_version: str, timeout_s: float = EXPORT_TIMEOUT_S
) -> Telemetry:
    """Make this process's global OpenTelemetry providers send to `endpoint`, a base address without a signal path.

    `timeout_s` bounds the sending of one batch, retries included.

    Raises TracingAlreadySet when the process has a tracer provider: there can be only one, and the MCP SDK takes the
    global one.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        raise TracingAlreadySet(
            "this process already sends its traces somewhere, so the demo cannot send its own: "
            "run `python -m spanledger.demo.agent` as a process of its own."
        )
    resource = Resource.create(
        {
            "service.name": service_name,
            "service.version": service_version,
            "deployment.environment.name": "demo",
        }
    )
    spans = _CountingSpanExporter(endpoint=f"{endpoint}/v1/traces", session=_direct_session(), timeout=timeout_s)
    runs = _AgentRunTraces()
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(runs)
    traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=BATCH_DELAY_MS))
    logs = LoggerProvider(resource=resource)
    log_exporter = OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", session=_direct_session(), timeout=timeout_s)
    logs.add_log_record_processor(BatchLogRecordProcessor(log_exporter, schedule_delay_millis=BATCH_DELAY_MS))
    metric_exporter = OTLPMetricExporter(
        endpoint=f"{endpoint}/v1/metrics", session=_direct_session(), timeout=timeout_s
    )
    meters = MeterProvider(
        resource=resource,
        metric_readers=[PeriodicExportingMetricReader(metric_exporter, export_interval_millis=METRIC_INTERVAL_MS)],
    )
    trace.set_tracer_provider(traces)
    set_logger_provider(logs)
    metrics.set_meter_provider(meters)
    return Telemetry(endpoint=endpoint, logs=logs, _traces=traces, _metrics=meters, _spans=spans, _runs=runs)


def _direct_session() -> requests.Session:
    # A proxy from the environment cannot reach this machine's loopback address, and requests would ask it to.
    session = requests.Session()
    session.trust_env = False
    return session
