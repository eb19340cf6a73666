"""What is measured of Spanledger, one round each, always with a fresh server and data folder.

*Saturated*: four connections send as fast as they are acknowledged; the figure counts until the last span is visible.
*Paced*: an open loop at a given rate; the figures are latencies. Every round ends by asking the API how many steps
there are: a round that lost or doubled a span raises instead of giving a figure.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.bodies import BodyFile
from bench.load import Sent, send
from bench.server import POLL_SECONDS, Server, ServerFailed, Watcher, running_server, sequence_of
from bench.workloads import Workload, bodies

VISIBLE_SECONDS_MAX: Final = 600.0
WARM_UP_SEED: Final = 0
_WARM_UP_REQUESTS: Final = 8
# Polling costs the server about 0.5 ms; at saturation that must not show, and 50 ms of some seconds do not.
_SATURATED_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Saturated:
    """One round at full speed. Rates are spans a second from the first send; bytes are those of the data folder."""

    visible_spans_per_second: float
    acked_spans_per_second: float
    otlp_mb_per_second: float
    ack_ms_p50: float
    ack_ms_p99: float
    view_lag_ms_max: float
    refusals_retried: int
    server_memory_peak_mb: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    journal_bytes: int
    journal_bytes_allocated: int
    view_bytes: int
    otlp_bytes_per_stored_byte: float


@dataclass(frozen=True, slots=True)
class Paced:
    """One round at a given rate. `visible` counts from the acknowledgement, seen every 10 ms."""

    requests_per_second: float
    spans_per_second: float
    requests: int
    ack_ms_p50: float
    ack_ms_p99: float
    ack_ms_max: float
    visible_ms_p50: float
    visible_ms_p99: float
    visible_ms_max: float
    sent_late_ms_p99: float
    refusals_retried: int
    server_memory_peak_mb: float


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def saturated(workload: Workload, file: BodyFile, folder: Path, *options: str) -> Saturated:
    """Send everything as fast as it is acknowledged. `folder` must be empty, `options` are the server's.

    Raises LoadFailed, ServerFailed.
    """
    with running_server(folder, *options) as server:
        warm = _warm_up(server, workload)
        cpu_before = server.cpu_seconds()
        with Watcher(server, poll_seconds=_SATURATED_POLL_SECONDS) as watcher:
            sent = send(server.otlp, file)
            visible = watcher.wait_for(_last_sequence(sent), seconds_max=VISIBLE_SECONDS_MAX)
        cpu_seconds = server.cpu_seconds() - cpu_before
        _count(server, file.spans + warm.spans)
        journal_bytes = server.journal_bytes()
        memory = server.memory_peak_bytes()
        server.stop()
        disk = server.disk()
    acks = [ack.seconds * 1000 for ack in sent.acks]
    seconds = visible - sent.started
    return Saturated(
        visible_spans_per_second=file.spans / seconds,
        acked_spans_per_second=file.spans / (sent.last_ack - sent.started),
        otlp_mb_per_second=file.total_bytes / seconds / 1e6,
        ack_ms_p50=percentile(acks, 0.5),
        ack_ms_p99=percentile(acks, 0.99),
        view_lag_ms_max=watcher.lag_ms_max,
        refusals_retried=sent.refusals,
        server_memory_peak_mb=memory / 1e6,
        server_cpu_seconds=cpu_seconds,
        client_cpu_seconds=sent.cpu_seconds,
        journal_bytes=journal_bytes,
        journal_bytes_allocated=disk.journal,
        view_bytes=disk.view,
        otlp_bytes_per_stored_byte=(file.total_bytes + warm.otlp_bytes) / (journal_bytes + disk.view),
    )


def paced(workload: Workload, file: BodyFile, folder: Path, *, requests_per_second: float) -> Paced:
    """Send everything at a steady rate. `folder` must be empty. Raises LoadFailed, ServerFailed."""
    with running_server(folder) as server:
        warm = _warm_up(server, workload)
        with Watcher(server, poll_seconds=POLL_SECONDS) as watcher:
            sent = send(server.otlp, file, rate=requests_per_second)
            watcher.wait_for(_last_sequence(sent), seconds_max=VISIBLE_SECONDS_MAX)
        _count(server, file.spans + warm.spans)
        memory = server.memory_peak_bytes()
    acks = [ack.seconds * 1000 for ack in sent.acks]
    visible = [max(0.0, watcher.time_of(sequence_of(ack.position)) - ack.acked) * 1000 for ack in sent.acks]
    return Paced(
        requests_per_second=requests_per_second,
        spans_per_second=requests_per_second * file.spans / len(file),
        requests=len(file),
        ack_ms_p50=percentile(acks, 0.5),
        ack_ms_p99=percentile(acks, 0.99),
        ack_ms_max=max(acks),
        visible_ms_p50=percentile(visible, 0.5),
        visible_ms_p99=percentile(visible, 0.99),
        visible_ms_max=max(visible),
        sent_late_ms_p99=percentile([(ack.sent - ack.due) * 1000 for ack in sent.acks], 0.99),
        refusals_retried=sent.refusals,
        server_memory_peak_mb=memory / 1e6,
    )


@dataclass(frozen=True, slots=True)
class _WarmUp:
    spans: int
    otlp_bytes: int


def _warm_up(server: Server, workload: Workload) -> _WarmUp:
    """A few requests of another seed, so that no round measures imports and first connections."""
    spans = workload.spans_a_request * _WARM_UP_REQUESTS // 4
    made = bodies(
        workload, seed=WARM_UP_SEED, spans=spans, end_ns=time.time_ns(), spans_a_request=spans // _WARM_UP_REQUESTS
    )
    with BodyFile.write(server.data.parent / "warm-up.bodies", made) as file, Watcher(server) as watcher:
        sent = send(server.otlp, file)
        watcher.wait_for(_last_sequence(sent), seconds_max=VISIBLE_SECONDS_MAX)
        return _WarmUp(file.spans, file.total_bytes)


def _last_sequence(sent: Sent) -> int:
    return max(sequence_of(ack.position) for ack in sent.acks)


def _count(server: Server, spans: int) -> None:
    steps = server.steps_stored()
    if steps != spans:
        raise ServerFailed(f"{spans:,} spans were acknowledged and the view is past them, but it has {steps:,} steps")
