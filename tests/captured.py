"""Captures of real agents, taken in as a sender would send them and read as a client would read them.

The official protobuf runtime walks the same bodies here, and turns values into Python by a route of its own, so that
what the store gives back can be compared with what was sent.
"""

import base64
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.boundary import PassThrough
from collector.intake import Intake, Outcome
from collector.metrics import IngestMetrics
from store.contract import LIMIT_MAX, EvaluationFilter, Reader, RunFilter
from store.ledger import Ledger
from store.model.rows import EvaluationRow, RunRow, StepRow
from store.record import DEFAULT_TENANT, Signal

FIXTURES = Path(__file__).parent / "fixtures" / "captures"
NAMES = sorted(index.parent.name for index in FIXTURES.glob("*/index.json"))
PROJECTED_WITHIN_SECONDS = 60.0
REQUESTS: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class Body:
    """One request body, and the same parsed by the official runtime."""

    file: str
    signal: Signal
    data: bytes
    request: Any


@cache
def bodies(name: str) -> list[Body]:
    """The bodies of a capture in the order they were sent."""
    folder = FIXTURES / name
    found: list[Body] = []
    for entry in json.loads((folder / "index.json").read_text()):
        signal, data = Signal[entry["signal"].upper()], (folder / entry["file"]).read_bytes()
        found.append(Body(entry["file"], signal, data, REQUESTS[signal].FromString(data)))
    return found


@dataclass(frozen=True)
class Recorded:
    """A capture in a ledger of its own."""

    name: str
    outcomes: list[Outcome]
    reader: Reader

    def runs(self) -> list[RunRow]:
        """All runs, the earliest first."""
        page = self.reader.runs(DEFAULT_TENANT, RunFilter(), limit=LIMIT_MAX, cursor=None)
        assert page.next_cursor is None
        return page.rows[::-1]

    def steps(self, run: RunRow, *, inline: bool = False) -> list[StepRow]:
        page = self.reader.steps(DEFAULT_TENANT, run.run_id, limit=LIMIT_MAX, cursor=None, inline=inline)
        assert page.next_cursor is None
        return page.rows

    def evaluations(self, run: RunRow) -> list[EvaluationRow]:
        where = EvaluationFilter(run=run.run_id)
        page = self.reader.evaluations(DEFAULT_TENANT, where, limit=LIMIT_MAX, cursor=None)
        assert page.next_cursor is None
        return page.rows


@contextmanager
def recorded(name: str, data: Path) -> Iterator[Recorded]:
    """Send a capture through the intake into a ledger in `data`, and wait until all of it is projected."""
    ledger = Ledger.open(data)
    try:
        intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
        outcomes = [intake.accept(body.signal, body.data) for body in bodies(name)]
        [*_, last] = [outcome.position for outcome in outcomes if outcome.position is not None]
        assert ledger.waiter.wait_for(last, PROJECTED_WITHIN_SECONDS)
        yield Recorded(name, outcomes, ledger.reader)
    finally:
        ledger.close()


def plain(value: Any) -> Any:
    """An AnyValue as Python, by way of its fields: what JSON cannot say is written as OTLP's JSON mapping does."""
    fields = value.ListFields() or [(None, None)]
    if value.WhichOneof("value") is not None and fields == [(None, None)]:
        fields = [
            (value.DESCRIPTOR.fields_by_name[value.WhichOneof("value")], getattr(value, value.WhichOneof("value")))
        ]
    [(field, member)] = fields
    if field is None:
        return None
    if field.name == "array_value":
        return [plain(item) for item in member.values]
    if field.name == "kvlist_value":
        return attributes(member.values)
    if field.name == "bytes_value":
        return {"bytesValue": base64.standard_b64encode(member).decode("ascii")}
    if field.name == "double_value" and not math.isfinite(member):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[str(member)]
    return member


def attributes(pairs: Any) -> dict[str, Any]:
    """A list of KeyValue as a dict, the second of a key as `key#2`."""
    found: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.key] = counts.get(pair.key, 0) + 1
        found[pair.key if counts[pair.key] == 1 else f"{pair.key}#{counts[pair.key]}"] = plain(pair.value)
    return found


def spans(name: str) -> Iterator[tuple[Any, Any, Any]]:
    """Every span that was sent with its enclosing ResourceSpans and ScopeSpans; one that was sent twice comes twice."""
    for body in bodies(name):
        if body.signal == Signal.TRACES:
            for outer in body.request.resource_spans:
                for inner in outer.scope_spans:
                    for span in inner.spans:
                        yield outer, inner, span


def log_records(name: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Every log record that was sent, with its body's file and what encloses it."""
    for body in bodies(name):
        if body.signal == Signal.LOGS:
            for outer in body.request.resource_logs:
                for inner in outer.scope_logs:
                    for record in inner.log_records:
                        yield body.file, outer, inner, record


def metric_points(name: str) -> Iterator[tuple[Any, Any, Any, str, Any]]:
    """Every data point that was sent: what encloses it, its metric, the metric's type, and the point."""
    for body in bodies(name):
        if body.signal == Signal.METRICS:
            for outer in body.request.resource_metrics:
                for inner in outer.scope_metrics:
                    for metric in inner.metrics:
                        kind = metric.WhichOneof("data")
                        for point in getattr(metric, kind).data_points:
                            yield outer, inner, metric, kind, point
