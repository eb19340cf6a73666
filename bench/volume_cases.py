"""Hostile cases about numbers: a trace of a million spans, thousands of tiny requests a second, ten thousand connections."""

import resource
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.acks import Request, compare_counts, new_trace
from bench.crash_cases import loss_checks
from bench.hostile_server import HostileServer, MemoryWatch
from bench.keepalive import Answers, drive, http_post
from bench.load import send
from bench.measure import percentile
from bench.outcomes import CannotRun, Check, Outcome, at_most, nothing
from bench.server import sequence_of
from bench.span_stamp import CHAT, ROOT, BigTrace, Requests

ACK_MS_MAX: Final = 100.0  # Of issue 3: p99 at half load. The hostile cases are held to the same.
MEMORY_MB_MAX: Final = 1500.0
_WARM_UP_SECONDS: Final = 1.0
USUAL_FILES: Final = 1024  # The soft limit of open files that a process has unless somebody changed it.
_FILES_BESIDE: Final = 200  # Descriptors that this process needs for itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class BigTraceCase:
    """One trace of very many spans, children before parents, over four connections."""

    spans: int
    spans_a_request: int = 512
    visible_seconds_max: float = 900.0

    READ_SECONDS_MAX = 2.0
    LIST_SECONDS_MAX = 300.0  # A thousand pages of a million steps.
    SETTLE_SECONDS_MAX = 10.0  # A run that grows all the time is summed up when it rests.

    def run(self, folder: Path) -> Outcome:
        trace = BigTrace(self.spans, self.spans_a_request, new_trace())
        name = trace.trace_id.hex()
        with HostileServer(folder / "data") as server:
            server.start()
            cpu_before = server.cpu_seconds()
            sent = send(server.otlp, trace)
            last = max(sequence_of(ack.position) for ack in sent.acks)
            memory_acked = server.memory_bytes()
            waited = server.wait_until(lambda now: sequence_of(now["view_position"]) >= last, self.visible_seconds_max)
            reached = sequence_of(server.readiness()["view_position"])
            visible = None if waited is None else time.perf_counter() - sent.started
            settled = _until_counted(server, name, self.spans, self.visible_seconds_max) if waited is not None else None
            cpu_seconds = server.cpu_seconds() - cpu_before
            run_seconds, status, run = _timed(server, f"/v1/runs/{name}")
            page_seconds, _, page = _timed(server, f"/v1/runs/{name}/steps", limit=100)
            first_rows = len(page.get("steps", ()))
            steps: int = run["steps"] if status == 200 else 0
            distinct = len(_listed(server, name, self.LIST_SECONDS_MAX)) if waited is not None else 0
            peak = server.memory_bytes("VmHWM") / 1e6
            exit_status, exit_seconds = server.stop()
        acks = [ack.seconds * 1000 for ack in sent.acks]
        return Outcome(
            f"one trace of {self.spans:,} spans in {len(trace):,} requests of {self.spans_a_request}, children first",
            {
                "spans": self.spans,
                "acked_spans_per_second": self.spans / (sent.last_ack - sent.started),
                "ack_ms_p99": percentile(acks, 0.99),
                "visible_spans_per_second": 0.0 if visible is None else self.spans / visible,
                "visible_after_seconds": -1.0 if visible is None else visible,
                "run_whole_after_visible_seconds": -1.0 if settled is None else settled,
                "view_reached_share": reached / last,
                "refusals_retried": sent.refusals,
                "server_memory_acked_mb": memory_acked / 1e6,
                "server_memory_peak_mb": peak,
                "server_cpu_us_per_span": cpu_seconds / self.spans * 1e6,
                "get_run_seconds": run_seconds,
                "get_first_steps_seconds": page_seconds,
                "exit_seconds": exit_seconds,
            },
            (
                at_most("visible after the first send", visible, self.visible_seconds_max, "s"),
                at_most("the run counts all of them, after they are visible", settled, self.SETTLE_SECONDS_MAX, "s"),
                Check(f"{self.spans:,} steps in its run", f"{steps:,}", steps == self.spans),
                Check(
                    f"{self.spans:,} distinct spans listed page by page within {self.LIST_SECONDS_MAX:g} s",
                    f"{distinct:,}",
                    distinct == self.spans,
                ),
                Check("100 steps on the first page", str(first_rows), first_rows == min(100, self.spans)),
                at_most("GET the run", run_seconds, self.READ_SECONDS_MAX, "s"),
                at_most("GET the first steps", page_seconds, self.READ_SECONDS_MAX, "s"),
                at_most("server memory", peak, MEMORY_MB_MAX, "MB"),
                Check("exit status 0 at the end", str(exit_status), exit_status == 0),
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """Requests of one span each, by the clock."""

    requests_per_second: float
    seconds: float
    connections: int = 48

    KEPT_SHARE = 0.99

    def run(self, folder: Path) -> Outcome:
        with HostileServer(folder / "data") as server:
            server.start()
            warm, warmed = _one_span_each(server, self.requests_per_second / 10, _WARM_UP_SECONDS, self.connections)
            cpu_before = server.cpu_seconds()
            with MemoryWatch(server) as memory:
                requests, answers = _one_span_each(server, self.requests_per_second, self.seconds, self.connections)
            caught_up = server.caught_up()
            cpu_seconds = server.cpu_seconds() - cpu_before
            found = compare_counts(server, [*warm, *requests])
            server.stop()
        latencies = [seconds * 1000 for seconds in answers.latencies]
        achieved = answers.statuses[200] / answers.seconds
        refused = sum(count for status, count in answers.statuses.items() if status in (429, 503))
        errors = sum(answers.statuses.values()) - refused - answers.statuses[200]
        return Outcome(
            f"{self.requests_per_second:,.0f} requests of one span a second for {self.seconds:g} s over {self.connections} "
            "keep-alive connections",
            {
                "acked_requests_per_second": achieved,
                "ack_ms_p50": percentile(latencies, 0.5),
                "ack_ms_p99": percentile(latencies, 0.99),
                "ack_ms_max": max(latencies),
                "server_cpu_us_per_request": cpu_seconds / max(answers.statuses[200], 1) * 1e6,
                "refusals": refused,
                "not_sent_in_time": round(self.requests_per_second * self.seconds) - answers.sent,
                "view_caught_up_after_seconds": caught_up,
                "server_memory_peak_mb": memory.peak_bytes / 1e6,
            },
            (
                Check(
                    f"{self.requests_per_second:,.0f} acks a second",
                    f"{achieved:,.0f}",
                    achieved >= self.requests_per_second * self.KEPT_SHARE,
                ),
                at_most("ack p99", percentile(latencies, 0.99), ACK_MS_MAX, "ms"),
                nothing("errors and broken connections", errors + answers.broken + warmed.broken),
                *loss_checks(found),
                at_most("server memory", memory.peak_bytes / 1e6, MEMORY_MB_MAX, "MB"),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Connections to OTLP/HTTP that say nothing, while others go on as ever."""

    connections: int
    seconds: float
    requests_per_second: float = 200.0

    GROWTH_MB_MAX = 500.0  # 50 KB a connection would be a defect.
    USED_AFTERWARDS = 100

    def run(self, folder: Path) -> Outcome:
        with HostileServer(folder / "data") as server, ExitStack() as opened:
            _allow_files(self.connections + _FILES_BESIDE)
            with _usual_file_limit():
                server.start()
            _one_span_each(server, self.requests_per_second, _WARM_UP_SECONDS, 8)
            _, before = _one_span_each(server, self.requests_per_second, self.seconds, 8)
            memory_before, begun = server.memory_bytes(), time.perf_counter()
            idle: list[socket.socket] = []
            for _ in range(self.connections):
                idle.append(opened.enter_context(socket.create_connection(server.otlp, timeout=30)))
            connected = time.perf_counter() - begun
            taken = _wait_for_files(server, self.connections)
            requests, during = _one_span_each(server, self.requests_per_second, self.seconds, 8)
            growth = (server.memory_bytes() - memory_before) / 1e6
            used = _used(idle[:: max(1, len(idle) // self.USED_AFTERWARDS)])
            server.caught_up()
            found = compare_counts(server, requests)
            status, exit_seconds = server.stop()
        quiet, busy = (percentile([s * 1000 for s in one.latencies], 0.99) for one in (before, during))
        errors = sum(during.statuses.values()) - during.statuses[200] + during.broken
        return Outcome(
            f"{self.connections:,} idle connections, {self.requests_per_second:g} requests a second beside them for "
            f"{self.seconds:g} s",
            {
                "ack_ms_p99_before": quiet,
                "ack_ms_p99": busy,
                "connect_seconds": connected,
                "memory_growth_mb": growth,
                "server_descriptors": taken,
                "exit_seconds": exit_seconds,
            },
            (
                Check(
                    f"{self.connections:,} connections held by the server",
                    f"{taken:,} files",
                    taken >= self.connections,
                ),
                at_most("ack p99 beside them", busy, ACK_MS_MAX, "ms"),
                nothing("errors and broken connections beside them", errors),
                nothing("acknowledged spans missing", found.missing),
                Check("an idle connection can still be used", f"{used[0]} of {used[1]}", used[0] == used[1]),
                at_most("memory grows by", growth, self.GROWTH_MB_MAX, "MB"),
                Check("exit status 0 with them open", str(status), status == 0),
            ),
        )


def _until_counted(server: HostileServer, trace_id: str, steps: int, seconds_max: float) -> float | None:
    """Seconds until the row of the trace's run has that many steps; None where it never has."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds_max:
        status, run = server.ask(f"/v1/runs/{trace_id}")
        if status == 200 and run["steps"] == steps:
            return time.perf_counter() - begun
        time.sleep(0.1)
    return None


def _listed(server: HostileServer, trace_id: str, seconds_max: float) -> set[str]:
    """The span ids that paging through a run's steps gives, as far as the time allows."""
    deadline = time.perf_counter() + seconds_max
    found: set[str] = set()
    for row in server.rows(f"/v1/runs/{trace_id}/steps", "steps"):
        found.add(row["span_id"])
        if time.perf_counter() > deadline:
            break
    return found


def _timed(server: HostileServer, path: str, **query: int) -> tuple[float, int, dict[str, Any]]:
    begun = time.perf_counter()
    status, answer = server.ask(path, **query)
    return time.perf_counter() - begun, status, answer


def _one_span_each(
    server: HostileServer, rate: float, seconds: float, connections: int
) -> tuple[list[Request], Answers]:
    """Open loop of requests with one span, each a trace of its own; what was sent and acknowledged, and the answers."""
    made = Requests("tiny")
    traces: list[str] = []
    span = (1).to_bytes(8, "big")

    def make(number: int) -> bytes:
        trace = new_trace()
        traces.append(trace.hex())
        kind = ROOT if number % 2 else CHAT
        return http_post(made.body([kind.stamp(trace, span, b"parent--", time.time_ns())]))

    answers = drive(server.otlp, make, rate=rate, seconds=seconds, connections=connections)
    acked = set(answers.acked)
    return [Request(trace, (span.hex(),), number in acked) for number, trace in enumerate(traces)], answers


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise CannotRun(f"this user may open {hard:,} files, and {wanted:,} are needed (`ulimit -Hn`)")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _usual_file_limit() -> Generator[None]:
    """What is started inside has the soft limit that most systems give, and must ask for more itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, USUAL_FILES), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _wait_for_files(server: HostileServer, wanted: int, seconds_max: float = 30.0) -> int:
    """Descriptors of the server once it has accepted what waits in its backlog."""
    deadline = time.perf_counter() + seconds_max
    while (found := server.open_files()) < wanted and time.perf_counter() < deadline:
        time.sleep(0.1)
    return found


def _used(sockets: list[socket.socket]) -> tuple[int, int]:
    """How many of these can still send a request and get it acknowledged, and how many were tried."""
    made, good = Requests("idle"), 0
    for one in sockets:
        body = made.body([ROOT.stamp(new_trace(), b"idle-now", b"", time.time_ns())])
        try:
            one.sendall(http_post(body))
            good += one.recv(4096).startswith(b"HTTP/1.1 200 ")
        except OSError:
            continue
    return good, len(sockets)
