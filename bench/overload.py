"""The hostile case of too much: the standard exporters, in processes of their own, at twice what can be sustained.

First the same exporters run unpaced for a while, and what becomes visible a second is the sustainable rate, with the cores
shared as they will be. Then they export by the clock at a multiple of it. What they call a success must be there, the server
must stay within its memory, and when they end it must be as new in seconds.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.acks import AckJournal, Request, compare, compare_counts
from bench.crash_cases import loss_checks
from bench.hostile_server import HostileServer, MemoryWatch
from bench.keepalive import drive, http_post
from bench.outcomes import Check, Outcome, at_most
from bench.server import ServerFailed
from bench.span_stamp import ROOT, Requests
from bench.volume_cases import ACK_MS_MAX, MEMORY_MB_MAX

RECOVERY_SECONDS_MAX: Final = 10.0
VISIBLE_SECONDS_MAX: Final = 0.5  # After its acknowledgement: what issue 3 asks at half of the sustainable load.
_WATCHED_SECONDS_MAX: Final = 300.0  # How long the recovery is waited for, to say how long it took.
_LINGER_SECONDS_MAX: Final = 120.0  # An export that is under way at the end may still be tried again.
_SAMPLED_TRACES: Final = 300
_PROBES: Final = 5


@dataclass(frozen=True, slots=True)
class _Exported:
    """What all exporters together did in one stretch."""

    requests: list[Request]
    succeeded: int
    failed: int
    cpu_seconds: float
    started: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """`processes` of `threads` exporters each, every other one over gRPC, at `times` the sustainable load."""

    seconds: float
    calibration_seconds: float
    times: float = 2.0
    processes: int = 4
    threads: int = 16
    spans: int = 128

    def run(self, folder: Path) -> Outcome:
        with HostileServer(folder / "data") as server:
            server.start()
            first = self._export(server, folder, "calibration", None, self.calibration_seconds)
            server.caught_up()
            acked = sum(len(request.spans) for request in first.requests if request.acked)
            sustainable = acked / (time.perf_counter() - first.started)
            with MemoryWatch(server) as memory:
                rate = sustainable * self.times / self.spans
                second = self._export(server, folder, "overload", rate, self.seconds)
                lag_at_end: float = server.readiness()["lag_ms"] / 1000
                recovered, probes, known = _recovery(server)
            if recovered is None:
                server.caught_up()
            alive = server.alive
            requests = [*first.requests, *second.requests, *known]
            found = compare_counts(server, requests)
            by_span = compare(server, second.requests, traces_max=_SAMPLED_TRACES)
            peak = server.memory_bytes("VmHWM") / 1e6
            status, _ = server.stop()
        offered = (second.succeeded + second.failed) * self.spans / self.seconds
        taken = sum(len(request.spans) for request in second.requests if request.acked)
        return Outcome(
            f"{self.processes} processes of {self.threads} standard exporters (HTTP and gRPC), {self.spans} spans an export, "
            f"for {self.seconds:g} s at {self.times:g} times the sustainable {sustainable:,.0f} spans/s; {taken:,} spans "
            f"acknowledged, {second.failed:,} exports given up",
            {
                "sustainable_spans_per_second": sustainable,
                "asked_spans_per_second": sustainable * self.times,
                "offered_spans_per_second": offered,
                "acked_spans_per_second": taken / (second.ended - second.started),
                "exports_given_up": second.failed,
                "lag_at_end_seconds": lag_at_end,
                "recovered_after_seconds": -1.0 if recovered is None else recovered,
                "ack_ms_after": max(probes, default=-1.0),
                "server_memory_peak_mb": peak,
                "client_cpu_seconds": second.cpu_seconds,
            },
            (
                at_most("server memory", max(peak, memory.peak_bytes / 1e6), MEMORY_MB_MAX, "MB"),
                *loss_checks(found),
                Check(
                    f"0 spans missing or doubled in {_SAMPLED_TRACES} traces, span by span",
                    f"{by_span.missing + by_span.doubled} of {by_span.acked:,}",
                    by_span.clean,
                ),
                Check("the server lives on", str(alive), alive),
                at_most(
                    "acks below 100 ms, visible within 0.5 s, after the load", recovered, RECOVERY_SECONDS_MAX, "s"
                ),
                Check("exit status 0 at the end", str(status), status == 0),
            ),
        )

    def _export(
        self, server: HostileServer, folder: Path, name: str, requests_per_second: float | None, seconds: float
    ) -> _Exported:
        journals = [folder / f"{name}-{number}.acks" for number in range(self.processes)]
        started = time.perf_counter()
        running = [
            subprocess.Popen(self._command(server, number, path, requests_per_second, seconds), stdout=subprocess.PIPE)
            for number, path in enumerate(journals)
        ]
        try:
            answers = [_answer_of(process, seconds) for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                process.wait()
        ended = time.perf_counter()
        requests: list[Request] = []
        for path in journals:
            with AckJournal(path) as journal:
                requests += journal.requests()
        return _Exported(
            requests,
            sum(answer["succeeded"] for answer in answers),
            sum(answer["failed"] for answer in answers),
            sum(answer["cpu_seconds"] for answer in answers),
            started,
            ended,
        )

    def _command(
        self, server: HostileServer, number: int, acks: Path, requests_per_second: float | None, seconds: float
    ) -> Sequence[str]:
        over_grpc = number % 2 == 1
        endpoint = server.grpc if over_grpc else f"http://{server.otlp[0]}:{server.otlp[1]}"
        rate = [] if requests_per_second is None else ["--rate", str(requests_per_second / self.processes)]
        return [
            sys.executable, "-m", "bench.exporting", "--transport", "grpc" if over_grpc else "http", "--endpoint", endpoint,
            "--seconds", str(seconds), "--threads", str(self.threads), "--spans", str(self.spans), "--acks", str(acks), *rate,
        ]  # fmt: skip


def _answer_of(process: "subprocess.Popen[bytes]", seconds: float) -> dict[str, Any]:
    try:
        out, _ = process.communicate(timeout=seconds + _LINGER_SECONDS_MAX)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"an exporter did not end {_LINGER_SECONDS_MAX:g} s after its time was over") from error
    if process.returncode != 0:
        raise ServerFailed(f"an exporter ended with status {process.returncode}")
    return json.loads(out)


def _recovery(server: HostileServer) -> tuple[float | None, list[float], list[Request]]:
    """Seconds until the view has everything and some acks in a row are quick, their milliseconds, and what was sent."""
    begun = time.perf_counter()
    made, span = Requests("probe"), b"probe---"
    sent: list[Request] = []
    while time.perf_counter() - begun < _WATCHED_SECONDS_MAX:
        traces = [len(sent) + place for place in range(_PROBES)]
        bodies = [
            http_post(made.body([ROOT.stamp(_probe_trace(number), span, b"", time.time_ns())])) for number in traces
        ]
        answers = drive(server.otlp, bodies.__getitem__, rate=_PROBES / 0.25, seconds=0.25, connections=1)
        acked = set(answers.acked)
        sent += [
            Request(_probe_trace(number).hex(), (span.hex(),), place in acked) for place, number in enumerate(traces)
        ]
        slow = [seconds * 1000 for seconds in answers.latencies]
        # The last of them was recorded a moment ago: to look once would be to ask for a view that is never behind.
        caught_up = server.wait_until(lambda now: now["lag_ms"] == 0, VISIBLE_SECONDS_MAX) is not None
        if caught_up and len(acked) == _PROBES and max(slow) < ACK_MS_MAX:
            return time.perf_counter() - begun, slow, sent
    return None, [], sent


def _probe_trace(number: int) -> bytes:
    return b"probe" + (number + 1).to_bytes(11, "big")
