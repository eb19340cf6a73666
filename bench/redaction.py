"""Redaction measured: recall of each rule, false hits of each rule, and what it costs. Writes bench/REDACTION.md.

    python -m bench.redaction [--values N] [--bodies N] [--print]

Values are planted in requests in turns of all places, and looked for in what came out. Look-alikes are sent the same way.
Throughput is that of the receivers' whole path but for the journal (decoded, refused, redacted, cut, digested), with
redaction and without in turns, in processor time of one thread.
"""

import argparse
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from bench.boundary_cost import written_into
from bench.planted import LOOK_ALIKES, MAKERS, look_alike, planted
from bench.results import RESULTS, read
from bench.workloads import WORKLOADS, Body, bodies
from collector.boundary import Boundary, PassThrough
from collector.intake import Intake
from collector.metrics import IngestMetrics
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.policy import TenantPolicy, built_in_policy
from store.otlp.decode import decode
from store.record import FrameDraft, Position, Signal

PAGE: Final = Path(__file__).parent / "REDACTION.md"
SEED: Final = 20_261_120
FALSE_HITS_MAX: Final = 0.001
_END_NS: Final = 1_795_000_000_000_000_000
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """Of each rule: values planted and values that were still there; of each kind of look-alike: texts, and hits by rule."""

    planted: Counter[str]
    missed: Counter[str]
    look_alikes: Counter[str]
    false_hits: Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a workload: bytes a span, and µs of processor time a span without redaction and with it; GB/s of the scan."""

    workload: str
    span_bytes: float
    off_us: float
    on_us: float
    scan_gb_s: float


def rates(values: int, seed: int = SEED) -> Rates:
    """Plant so many values, of all rules in turns, and as many look-alikes."""
    policy = built_in_policy()
    boundary = RedactingBoundary(lambda: policy)
    rng = Random(seed)
    found = Rates(Counter(), Counter(), Counter(), Counter())
    rules, kinds = list(MAKERS), list(LOOK_ALIKES)
    for number in range(values):
        one = planted(rng, rules[number % len(rules)])
        body = _through(boundary, one.text, number // len(rules))
        found.planted[one.rule] += 1
        found.missed[one.rule] += one.secret.encode() in body
        kind = kinds[number % len(kinds)]
        found.look_alikes[kind] += 1
        found.false_hits.update((kind, rule) for rule in set(_rules_in(policy.others, look_alike(rng, kind).text)))
    return found


def cost(workload: str, count: int) -> Cost:
    """The cost over `count` bodies of a workload."""
    policy = built_in_policy()
    finder = policy.others.finder
    taken: dict[str, list[float]] = {"off": [], "on": [], "scan": []}
    off, on = _intake(PassThrough()), _intake(RedactingBoundary(lambda: policy))
    span_bytes = 0.0
    for seed in range(_ROUNDS):
        # Other bodies each time: what was found in a text that comes again is remembered.
        sent = [body.content for body in _sent(workload, seed, count)]
        spans, size = count * WORKLOADS[workload].spans_a_request, sum(map(len, sent))
        span_bytes += size / spans / _ROUNDS
        for name, run, units in (
            ("off", lambda body: off.accept(Signal.TRACES, body), spans),
            ("on", lambda body: on.accept(Signal.TRACES, body), spans),
            ("scan", finder.candidates, size),
        ):
            taken[name].append(_seconds(run, sent) / units)
    middle = {name: median(seconds) for name, seconds in taken.items()}
    return Cost(workload, span_bytes, middle["off"] * 1e6, middle["on"] * 1e6, 1e-9 / middle["scan"])


def _sent(workload: str, seed: int, count: int) -> Iterator[Body]:
    spans = count * WORKLOADS[workload].spans_a_request
    return bodies(WORKLOADS[workload], seed=seed, spans=spans, end_ns=_END_NS)


def _seconds(run: Callable[[bytes], object], sent: list[bytes]) -> float:
    began = time.thread_time()
    for body in sent:
        run(body)
    return time.thread_time() - began


class _Nowhere:
    """A journal that keeps nothing."""

    def append(self, draft: FrameDraft) -> Position:
        return Position("nowhere", len(draft.leaves))


def _intake(boundary: Boundary) -> Intake:
    return Intake(_Nowhere(), metrics=IngestMetrics(CollectorRegistry()), boundary=boundary)


def _rules_in(policy: TenantPolicy, text: str) -> list[str]:
    data = text.encode()
    finder = policy.finder
    return [one.rule.name for one in finder.found_in(data, finder.candidates(data), policy.general.rules)]


def _through(boundary: Boundary, text: str, turn: int) -> bytes:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    span = outer.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    places: list[Callable[[], Any]] = [
        lambda: outer.resource.attributes.add(key="k").value,
        lambda: span.attributes.add(key="k").value,
        lambda: span.events.add(name="e").attributes.add(key="k").value,
        lambda: span.attributes.add(key="k").value.kvlist_value.values.add(key="a").value,
    ]
    match turn % (len(places) + 2):
        case place if place < len(places):
            places[place]().string_value = text
        case 4:
            span.name = text
        case _:
            span.status.message = f'{{"nested": "line\\n{text}"}}'
    return boundary.apply("default", decode(Signal.TRACES, request.SerializeToString())).decoded.body


def page(found: Rates, costs: list[Cost]) -> str:
    """The whole page."""
    by_rule: Counter[str] = Counter()
    for (_, rule), count in found.false_hits.items():
        by_rule[rule] += count
    texts = found.look_alikes.total()
    lines = [
        "# Redaction: what it finds, what it takes for a find, what it costs",
        "",
        f"Made by `python -m bench.redaction` on Python {platform.python_version()}, {platform.machine()}; seed {SEED}.",
        f"{found.planted.total():,} values were planted by `bench/planted.py`, in turns in resources, spans, events,",
        f"nested values, names and status messages; {texts:,} look-alikes of {len(found.look_alikes)} kinds were looked at:",
        f"{', '.join(found.look_alikes)}. False hits are per look-alike text, over all kinds. The",
        "generator knows the forms that issuers document: a recall of 100 %",
        "is of these forms, and says nothing of a secret that looks like no other.",
        "",
        "| rule | planted | recall | false hits |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{rule}` | {count:,} | {1 - found.missed[rule] / count:.2%} | {by_rule[rule] / max(texts, 1):.3%} |"
        for rule, count in found.planted.items()
    ]
    lines += [
        "",
        f"Processor time of the receivers' path without the journal, the middle of {_ROUNDS} rounds in turns,",
        "each with bodies of its own, on a machine that others used too:",
        "",
        "| workload | bytes a span | off, µs a span | on, µs a span | the scan alone, GB/s |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| *{one.workload}* | {one.span_bytes:,.0f} | {one.off_us:.1f} | {one.on_us:.1f} | {one.scan_gb_s:.2f} |"
        for one in costs
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page or print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--bodies", type=int, default=8)
    parser.add_argument("--print", action="store_true", dest="shown", help="print the page instead of writing it")
    given = parser.parse_args()
    text = page(rates(given.values), [cost(name, given.bodies) for name in WORKLOADS])
    if given.shown:
        print(text)
    else:
        PAGE.write_text(written_into(text, [one for one in read(RESULTS) if not one["quick"]]))


if __name__ == "__main__":
    main()
