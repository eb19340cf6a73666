"""The two workloads as request bodies: a fleet of agents at work, and a collector that batches what they export.

Some runs are under way at once; each span enters the batch when it ends, and a full batch is one request, grouped by
process. So a run's spans spread over consecutive requests among those of others, children before parents. For a seed
and one Python version the bytes are always the same, but for the times, which `end_ns` shifts; ids never repeat between
seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from random import Random
from typing import Final, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.agents import Agent, make_fleet
from bench.history_run import history_run
from bench.small_run import small_run
from bench.spans import NS_PER_SECOND, Ended, Service
from bench.texts import Texts, texts

_FIRST_START_SECONDS_MAX: Final = 30  # Runs do not begin all at once.


class MakeRun(Protocol):
    """Makes one run's spans in the order of their ends."""

    def __call__(self, agent: Agent, rng: Random, words: Texts, start_ns: int) -> Iterator[Ended]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A kind of traffic. `spans_per_second` is what one run makes in its own time: it tells how far back to begin.

    `name` is what results are filed under; `kind` seeds the bodies and is what a variant of the workload keeps.
    """

    name: str
    kind: str
    make_run: MakeRun
    spans_a_request: int
    runs_at_once: int
    spans_per_second: float


@dataclass(frozen=True, slots=True)
class Body:
    """One request: OTLP protobuf, and how many spans it carries."""

    content: bytes
    spans: int


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        Workload(
            name="history",
            kind="history",
            make_run=history_run,
            spans_a_request=256,
            runs_at_once=8,
            spans_per_second=0.42,
        ),
        Workload(
            name="small", kind="small", make_run=small_run, spans_a_request=512, runs_at_once=32, spans_per_second=1.4
        ),
    )
}


def bodies(workload: Workload, *, seed: int, spans: int, end_ns: int, spans_a_request: int = 0) -> Iterator[Body]:
    """Request bodies with `spans` spans in all, of runs that are at work up to about `end_ns` (Unix nanoseconds).

    The last body may be smaller, and runs that are under way then stay unfinished, as they do when a recorder is looked at.
    `spans_a_request` overrides the workload's.
    """
    rng = Random(f"{workload.kind}:{seed}")  # Python's own hash of a string is salted; Random's is not.
    fleet = make_fleet(rng, texts())
    seconds = _FIRST_START_SECONDS_MAX + spans / (workload.spans_per_second * workload.runs_at_once)
    start_ns = end_ns - int(seconds * NS_PER_SECOND)
    slots = [_slot(workload, fleet, Random(rng.getrandbits(64)), start_ns) for _ in range(workload.runs_at_once)]
    ended = islice(merge(*slots, key=lambda item: item.end_ns), spans)
    size = spans_a_request or workload.spans_a_request
    while batch := list(islice(ended, size)):
        yield Body(_request(batch), len(batch))


def _slot(workload: Workload, fleet: list[Agent], rng: Random, start_ns: int) -> Iterator[Ended]:
    """One run after another, for ever."""
    now_ns = start_ns + int(rng.random() * _FIRST_START_SECONDS_MAX * NS_PER_SECOND)
    while True:
        agent = fleet[int(rng.random() * len(fleet))]
        for ended in workload.make_run(agent, rng, texts(), now_ns):
            now_ns = ended.end_ns
            yield ended
        now_ns += int(rng.random() * NS_PER_SECOND)


def _request(batch: list[Ended]) -> bytes:
    by_service: dict[int, list[Ended]] = {}
    services: dict[int, Service] = {}
    for ended in batch:
        by_service.setdefault(ended.service.key, []).append(ended)
        services[ended.service.key] = ended.service
    request = ExportTraceServiceRequest()
    for key, ends in by_service.items():
        resource_spans = request.resource_spans.add(resource=services[key].resource)
        scope_spans = resource_spans.scope_spans.add(scope=services[key].scope)
        scope_spans.spans.extend(ended.span for ended in ends)
    return request.SerializeToString()
