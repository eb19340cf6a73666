"""A Spanledger server of the benchmark's own: started, watched, weighed and stopped.

It is the installed command in its own process with a data folder of its own, as a user starts it. Memory and processor
time come from /proc, so these figures need Linux.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from bench.load import connect

STOP_SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.01
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_ROWS: Final = 1000


class ServerFailed(Exception):
    """The server did not start, or did not do what it must."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a data folder takes, as allocated on the file system."""

    journal: int
    view: int
    other: int

    @property
    def total(self) -> int:
        return self.journal + self.view + self.other


@dataclass(slots=True)
class Server:
    """A running server. `otlp` and `api` are (host, port)."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    otlp: tuple[str, int]
    api: tuple[str, int]

    def get(self, path: str, connection: HTTPConnection | None = None, query: dict[str, str] | None = None) -> Any:
        """A JSON answer of the API, whatever its status."""
        own = connection or connect(self.api)
        try:
            own.request("GET", path + ("?" + urlencode(query) if query else ""))
            return json.loads(own.getresponse().read())
        finally:
            if connection is None:
                own.close()

    def memory_peak_bytes(self) -> int:
        """The most resident memory so far (VmHWM), of the server and its receiver process added up."""
        pids = processes_of(self.process.pid)
        peaks = [Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0] for pid in pids]
        return sum(map(int, peaks)) * 1024

    def cpu_seconds(self) -> float:
        """Processor time so far, of the server and its receiver process, all threads."""
        stats = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes_of(self.process.pid)
        ]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / _TICKS

    def disk(self) -> Disk:
        """What the data folder takes now."""
        sizes = {"journal": 0, "view": 0, "other": 0}
        for path in self.data.rglob("*"):
            if path.is_file():
                top = path.relative_to(self.data).parts[0]
                name = "journal" if top.startswith("journal") else "view" if top.startswith("view") else "other"
                sizes[name] += path.stat().st_blocks * 512
        return Disk(**sizes)

    def journal_bytes(self) -> int:
        """What the journal has written: without the preallocated rest of its last segment, which is at most 32 MB."""
        connection = connect(self.api)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return int(float(next(line for line in lines if line.startswith("spanledger_journal_bytes ")).split()[1]))

    def steps_stored(self) -> int:
        """Steps of all runs, counted through the API."""
        steps, cursor = 0, None
        while True:
            page = self.get("/v1/runs", query={"limit": str(_PAGE_ROWS)} | ({"cursor": cursor} if cursor else {}))
            if "runs" not in page:
                raise ServerFailed(f"GET /v1/runs answered {page}")
            steps += sum(run["steps"] for run in page["runs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return steps

    def stop(self) -> None:
        """SIGTERM, and wait. Raises ServerFailed where the end is not exit status 0 in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"no end {STOP_SECONDS_MAX:g} s after SIGTERM: see {self.log}") from error
        if status != 0:
            raise ServerFailed(f"exit status {status}; its log ends:\n{self.log.read_text()[-2000:]}")


@contextlib.contextmanager
def running_server(folder: Path, *options: str) -> Generator[Server]:
    """Start a server with its data in `folder`/data, and see that it has ended afterwards. `options` are `serve`'s.

    Raises ServerFailed.
    """
    data, log = folder / "data", folder / "server.log"
    ports = ("--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0")
    command = [sys.executable, "-m", "spanledger", "serve", "--data", str(data), *ports, *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServerFailed(f"{' '.join(command)} did not start:\n{log.read_text()[-2000:]}")
        ready = json.loads(line)
        server = Server(process, data, log, _address(ready["otlp_http"]), _address(ready["api"]))
        yield server
        server.stop()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def processes_of(pid: int) -> list[int]:
    """A server's processes: the one that was started, and its receivers, whichever thread started them."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # A thread that has ended meanwhile has none.
            found += map(int, path.read_text().split())
    return found


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ServerFailed(f"the ready line says {url!r}, which names no host and port")
    return parts.hostname, parts.port


def sequence_of(position: str | None) -> int:
    """The place of a receipt in the order of the record; 0 is before the first.

    Clients must not look inside a position. The benchmark does, because comparing with `view_position` costs the server
    far less than a read that waits, a hundred times a second.
    """
    return int(position.rpartition(":")[2]) if position else 0


class Watcher:
    """Sees, on a thread of its own, when the view passes each position: `reached` is (time, sequence), growing."""

    def __init__(self, server: Server, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._server = server
        self._poll_seconds = poll_seconds
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="watcher")
        self.reached: list[tuple[float, int]] = []
        self.lag_ms_max = 0.0
        self._error: Exception | None = None

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, sequence: int, *, seconds_max: float) -> float:
        """When the view had `sequence`. Raises ServerFailed when it does not come in time."""
        deadline = time.perf_counter() + seconds_max
        while True:
            if self._error is not None:
                raise ServerFailed(f"/readyz stopped answering: {self._error}") from self._error
            if self.reached and self.reached[-1][1] >= sequence:
                return self.time_of(sequence)
            if time.perf_counter() > deadline:
                at = self.reached[-1][1] if self.reached else 0
                raise ServerFailed(f"the view is at {at} and did not reach {sequence} within {seconds_max:g} s")
            time.sleep(self._poll_seconds)

    def time_of(self, sequence: int) -> float:
        """The first time that the view was seen at or past `sequence`."""
        return next(at for at, reached in self.reached if reached >= sequence)

    def _watch(self) -> None:
        try:
            connection = connect(self._server.api)
            try:
                while not self._stop.is_set():
                    answer = self._server.get("/readyz", connection)
                    now, sequence = time.perf_counter(), sequence_of(answer["view_position"])
                    self.lag_ms_max = max(self.lag_ms_max, answer["lag_ms"] or 0)
                    if not self.reached or sequence > self.reached[-1][1]:
                        self.reached.append((now, sequence))
                    self._stop.wait(self._poll_seconds)
            finally:
                connection.close()
        except Exception as error:  # noqa: BLE001  # Told by wait_for, on the thread that can fail.
            self._error = error
