"""What the store says of itself and of the agents, for Prometheus.

Counters move with each batch that is in the view. Labels that come from telemetry (tools, models, agents) are bounded: past
the bound a value is counted under `other`.
"""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from store.model.paid import REPORTED, paid_for
from store.model.span import Span
from store.model.trace import USAGE_KINDS
from store.view import ViewBatch

LABEL_VALUES_MAX: Final = 100  # Per label: a dashboard cannot show more, and a scrape must stay small.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_MODEL_KINDS: Final = ("llm", "embedding")
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


class Durations(Collector):
    """A histogram with one label that takes a whole batch for what the library's takes for one observation."""

    def __init__(self, name: str, help_text: str, label: str, registry: CollectorRegistry) -> None:
        self._name, self._help, self._label = name, help_text, label
        self._lock = Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def add(self, seconds: dict[str, list[float]]) -> None:
        """Durations of one batch, by the label's value."""
        with self._lock:
            for value, found in seconds.items():
                counts = self._counts.setdefault(value, [0] * (len(_SECONDS) + 1))
                for one in found:
                    counts[bisect_left(_SECONDS, one)] += 1
                self._sums[value] = self._sums.get(value, 0.0) + sum(found)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        bounds = (*map(float, _SECONDS), float("inf"))
        with self._lock:
            for value, counts in sorted(self._counts.items()):
                below = 0
                buckets: list[tuple[str, float]] = []
                for bound, count in zip(bounds, counts, strict=True):
                    below += count
                    buckets.append((floatToGoString(bound), below))
                family.add_metric([value], buckets, self._sums[value])
        yield family


class StoreMetrics:
    """Counters of the projector and gauges read at each scrape. Counted by the batch: the projector has no time to lose."""

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
        self._cost = Counter(
            "spanledger_cost_usd_total", "US dollars of model calls", ("source", "model"), registry=registry
        )
        self._llm_seconds = Durations("spanledger_llm_seconds", "Seconds of model calls", "model", registry)
        self._tool_seconds = Durations("spanledger_tool_seconds", "Seconds of tool steps", "tool", registry)
        self._started = Counter("spanledger_runs_started_total", "Runs first seen", ("agent",), registry=registry)

    def count(self, batch: ViewBatch, seconds: float) -> None:
        """A batch is in the view. A revision of a span is not counted again."""
        self._batch_seconds.observe(seconds)
        new = [span for span, _ in batch.steps if span.revision == 1]
        _add(self._steps, Counts((span.kind, span.outcome) for span in new))
        tools = [(self._tool(span.tool_name), span) for span in new if span.kind == "tool"]
        _add(self._tools, Counts((tool, span.outcome) for tool, span in tools))
        self._tool_seconds.add(_seconds(tools))
        models = [(self._model(span.model), span) for span in new if span.kind in _MODEL_KINDS]
        self._llm_seconds.add(_seconds(models))
        tokens: Counts[tuple[str, str]] = Counts()
        for model, span in models:
            for name, label in _USAGE.items():
                tokens[label, model] += getattr(span, name) or 0
        _add(self._tokens, tokens)
        self._count_costs(models, batch.reported)
        started = (self._agent(whole.run.agent_name) for whole in batch.runs if whole.run.run_id not in batch.gone_runs)
        _add(self._started, Counts((agent,) for agent in started))

    def _count_costs(self, models: list[tuple[str, Span]], reported: list[tuple[Span, float]]) -> None:
        """A call counts once: a record that comes after its call was priced does not change what was counted."""
        bills = {_key(span): usd for span, usd in reported}
        paid = [(model, paid_for(span, bills.pop(_key(span), None) if bills else None)) for model, span in models]
        paid += [
            (self._model(span.model), paid_for(span, bills[_key(span)]))
            for span, _ in reported
            if span.kind in _MODEL_KINDS and _key(span) in bills
        ]
        costs: dict[tuple[str, str], float] = {}
        for model, (usd, source) in paid:
            if usd is not None and usd > 0:  # Telemetry can say anything; a counter takes no less.
                labels = (source or REPORTED, model)
                costs[labels] = costs.get(labels, 0.0) + usd
        for labels, usd in costs.items():
            self._cost.labels(*labels).inc(usd)


def _key(span: Span) -> tuple[str, str, str]:
    return span.tenant, span.trace_id, span.span_id


def _add(counter: Counter, counts: "Counts[tuple[str, ...]]") -> None:
    for labels, count in counts.items():
        if count:
            counter.labels(*labels).inc(count)


def _seconds(named: list[tuple[str, Span]]) -> dict[str, list[float]]:
    """How long the spans took, by the name beside them; those without both ends left out."""
    found: dict[str, list[float]] = {}
    for name, span in named:
        if span.end_ns and span.start_ns:
            found.setdefault(name, []).append(max(span.end_ns - span.start_ns, 0) / 1e9)
    return found


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
