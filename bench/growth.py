"""Does a full recorder still keep up: the ingest rate with few spans stored against the rate with ten times as many.

One server, the *small* workload, chunk after chunk of fresh spans, each made before its clock starts and waited for until
it is visible. The rate at a size is the median of the three chunks that bring the store past it.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.bodies import BodyFile
from bench.load import send
from bench.measure import VISIBLE_SECONDS_MAX
from bench.server import Server, Watcher, running_server, sequence_of
from bench.texts import texts
from bench.workloads import WORKLOADS, Workload, bodies

SPANS: Final = 1_000_000
GROWTH: Final = 10  # The rates are compared at SPANS / GROWTH and at SPANS.
_CHUNKS: Final = 100
_SEED: Final = 1000  # One a chunk from here on.
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Grown:
    """`rate_kept` is late over early; rates are visible spans a second; `chunk_rates` has every chunk in order."""

    spans: int
    early_spans: int
    early_spans_per_second: float
    late_spans_per_second: float
    rate_kept: float
    server_memory_peak_mb: float
    view_bytes: int
    journal_bytes: int
    chunk_rates: list[float]


def grow(folder: Path, *, spans: int) -> tuple[Grown, dict[str, Any]]:
    """Fill a fresh server with `spans` spans; returns the figures and what was sent. Raises LoadFailed, ServerFailed."""
    workload = WORKLOADS["small"]
    chunk_spans = max(workload.spans_a_request, spans // _CHUNKS)
    chunks = -(-spans // chunk_spans)
    rates: list[float] = []
    total_bytes = 0
    (folder / "server").mkdir()
    with running_server(folder / "server") as server:
        for chunk in range(chunks):
            made = bodies(workload, seed=_SEED + chunk, spans=chunk_spans, end_ns=time.time_ns())
            with BodyFile.write(folder / "chunk.bodies", made) as file:
                rates.append(_rate(server, file))
                total_bytes += file.total_bytes
        memory, journal_bytes = server.memory_peak_bytes(), server.journal_bytes()
        server.stop()
        view_bytes = server.disk().view
    early_end = max(1, chunks // GROWTH)
    early = statistics.median(rates[max(0, early_end - 3) : early_end])
    late = statistics.median(rates[-3:])
    grown = Grown(
        spans=chunks * chunk_spans,
        early_spans=early_end * chunk_spans,
        early_spans_per_second=early,
        late_spans_per_second=late,
        rate_kept=late / early,
        server_memory_peak_mb=memory / 1e6,
        view_bytes=view_bytes,
        journal_bytes=journal_bytes,
        chunk_rates=rates,
    )
    return grown, _described(workload, grown.spans, total_bytes)


def _rate(server: Server, file: BodyFile) -> float:
    with Watcher(server, poll_seconds=_POLL_SECONDS) as watcher:
        sent = send(server.otlp, file)
        last = max(sequence_of(ack.position) for ack in sent.acks)
        return file.spans / (watcher.wait_for(last, seconds_max=VISIBLE_SECONDS_MAX) - sent.started)


def _described(workload: Workload, spans: int, total_bytes: int) -> dict[str, Any]:
    return {
        "name": workload.name,
        "spans": spans,
        "bytes_a_span": total_bytes / spans,
        "runs_at_once": workload.runs_at_once,
        "text_digest": texts().digest,
    }
