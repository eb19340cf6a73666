"""What the store says of itself and of the agents, for Prometheus.

Counters move with each batch that is in the view. Labels that come from telemetry (tools, models, agents) are bounded: past
the bound a value is counted under `other`.
"""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.model.span import Span
from store.model.trace import USAGE_KINDS
from store.view import ViewBatch

LABEL_VALUES_MAX: Final = 100  # Per label: a dashboard cannot show more, and a scrape must stay small.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_USAGE: Final = {name: name.removesuffix("_tokens") for name in USAGE_KINDS}


class BoundedLabel:
    """Lets the first values of a label through and calls the rest `other`."""

    def __init__(self, values_max: int = LABEL_VALUES_MAX) -> None:
        self._values: set[str] = set()
        self._values_max = values_max

    def __call__(self, value: str | None) -> str:
        if value is None:
            return "unknown"
        if value not in self._values:
            if len(self._values) >= self._values_max:
                return "other"
            self._values.add(value)
        return value


class StoreMetrics:
    """Counters of the projector and gauges read at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tool, self._model, self._agent = BoundedLabel(), BoundedLabel(), BoundedLabel()
        self.fsync_seconds = Histogram(
            "spanledger_journal_fsync_seconds", "Seconds of one journal commit's sync to disk", registry=registry
        )
        self._batch_seconds = Histogram(
            "spanledger_projection_batch_seconds", "Seconds to project one batch of frames", registry=registry
        )
        self._steps = Counter("spanledger_steps_total", "Steps recorded", ("kind", "outcome"), registry=registry)
        self._tools = Counter(
            "spanledger_tool_calls_total", "Tool steps executed", ("tool", "outcome"), registry=registry
        )
        self._tokens = Counter("spanledger_tokens_total", "Tokens of model calls", ("type", "model"), registry=registry)
        self._llm_seconds = Histogram(
            "spanledger_llm_seconds", "Seconds of model calls", ("model",), buckets=_SECONDS, registry=registry
        )
        self._tool_seconds = Histogram(
            "spanledger_tool_seconds", "Seconds of tool steps", ("tool",), buckets=_SECONDS, registry=registry
        )
        self._started = Counter("spanledger_runs_started_total", "Runs first seen", ("agent",), registry=registry)

    def count(self, batch: ViewBatch, seconds: float) -> None:
        """A batch is in the view. A revision of a span is not counted again."""
        self._batch_seconds.observe(seconds)
        for span, _ in batch.steps:
            if span.revision == 1:
                self._count_step(span)
        for whole in batch.runs:
            if whole.run.run_id not in batch.gone_runs:
                self._started.labels(self._agent(whole.run.agent_name)).inc()

    def _count_step(self, span: Span) -> None:
        self._steps.labels(span.kind, span.outcome).inc()
        seconds = max(span.end_ns - span.start_ns, 0) / 1e9 if span.end_ns and span.start_ns else None
        if span.kind == "tool":
            tool = self._tool(span.tool_name)
            self._tools.labels(tool, span.outcome).inc()
            if seconds is not None:
                self._tool_seconds.labels(tool).observe(seconds)
        elif span.kind in ("llm", "embedding"):
            model = self._model(span.model)
            if seconds is not None:
                self._llm_seconds.labels(model).observe(seconds)
            for name, label in _USAGE.items():
                tokens = getattr(span, name)
                if tokens:
                    self._tokens.labels(label, model).inc(tokens)


class StoreGauges(Collector):
    """Gauges of the moment. `read` gives plain ones by name, `runs` the number of runs by status."""

    def __init__(self, read: Callable[[], dict[str, tuple[float, str]]], runs: Callable[[], dict[str, int]]) -> None:
        self._read = read
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        for name, (value, help_text) in self._read().items():
            yield GaugeMetricFamily(name, help_text, value=value)
        by_status = GaugeMetricFamily("spanledger_runs", "Runs in the record by status", labels=["status"])
        for status, count in sorted(self._runs().items()):
            by_status.add_metric([status], count)
        yield by_status
