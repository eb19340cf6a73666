"""A server that is treated badly: started, killed, filled up, and started again on the same data folder.

Everything is learned from outside: the ready line, the API, the log, /proc. These figures need Linux.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

from bench.load import connect
from bench.server import ServerFailed, processes_of, sequence_of

START_SECONDS_MAX: Final = (
    120.0  # A view that was far behind is opened first, on a machine that is busy with other things.
)
STOP_SECONDS_MAX: Final = 30.0
CATCH_UP_SECONDS_MAX: Final = 900.0
_POLL_SECONDS: Final = 0.05
_PAGE_ROWS: Final = 1000
_SAMPLE_SECONDS: Final = 0.1
_LOG_CHARS: Final = 3000
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class HostileServer:
    """`spanledger serve` on one data folder. `start` again after `kill` or `stop`: the ports change, the folder does not."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.log = data.with_name(data.name + ".log")
        self._options: Sequence[str] = options
        self._process: subprocess.Popen[bytes] | None = None
        self._api_connection: HTTPConnection | None = None
        self.otlp: tuple[str, int] = ("", 0)
        self.api: tuple[str, int] = ("", 0)
        self.grpc = ""
        self.key = ""
        """What `ask` presents; needed where there are keys."""
        self.said = b""
        """What it has written to stdout, all its lives together, up to the end of the last one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        command = [sys.executable, "-m", "spanledger", "serve", "--data", str(self.data)]
        ports = ["--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPANLEDGER_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *ports, *self._options], stdout=subprocess.PIPE, stderr=log, env=environment
            )

    def start(self) -> float:
        """Start it and return when it is ready: the seconds that took. Raises ServerFailed."""
        begun = time.perf_counter()
        self.launch()
        out = self._running().stdout
        assert out is not None
        readable, _, _ = select.select([out], [], [], START_SECONDS_MAX)
        line = out.readline() if readable else b""
        if not line:
            self.kill()
            raise ServerFailed(f"the server did not become ready; its log ends:\n{self.log_end()}")
        self.said += line
        ready = json.loads(line)
        self.otlp, self.api = _address(ready["otlp_http"]), _address(ready["api"])
        self.grpc = ready["otlp_grpc"]
        return time.perf_counter() - begun

    def kill(self) -> None:
        """End it with SIGKILL. Safe when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._gone()

    def stop(self) -> tuple[int, float]:
        """SIGTERM: the exit status, and the seconds until it was there. Raises ServerFailed where it does not end."""
        process = self._running()
        begun = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerFailed(f"no end {STOP_SECONDS_MAX:g} s after SIGTERM:\n{self.log_end()}") from error
        seconds = time.perf_counter() - begun
        self._gone()
        return status, seconds

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_end(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_CHARS:]

    def _state(self) -> str:
        """Whether it lives, and if not how it ended: a refused connection says neither."""
        status = self._running().poll()
        how = "the server runs" if status is None else f"the server has ended with status {status}"
        return f"{how}; its log ends:\n{self.log_end()}"

    def log_events(self, event: str) -> int:
        """How often the server has logged an event, all its lives together."""
        lines = self.log.read_text(errors="replace").splitlines()
        return sum(f'"event": "{event}"' in line or f'"event":"{event}"' in line for line in lines)

    def ask(self, path: str, **query: str | int) -> tuple[int, Any]:
        """Status and JSON of an answer of the API, over a connection that is kept. Raises ServerFailed."""
        for attempt in (1, 2):
            try:
                if self._api_connection is None:
                    self._api_connection = connect(self.api)
                headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
                self._api_connection.request("GET", path + ("?" + urlencode(query) if query else ""), headers=headers)
                answer = self._api_connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (OSError, HTTPException) as error:
                # The server closes a connection that was idle for some seconds.
                if self._api_connection is not None:
                    self._api_connection.close()
                    self._api_connection = None
                if attempt == 2:
                    raise ServerFailed(f"GET {path}: {error}; {self._state()}") from error
        raise AssertionError("unreachable")

    def rows(self, path: str, key: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """All rows of a list, page by page; none where there is nothing of that name. Raises ServerFailed."""
        cursor: dict[str, str] = {}
        while True:
            status, page = self.ask(path, limit=_PAGE_ROWS, **query, **cursor)
            if status == 404:
                return
            if status != 200:
                raise ServerFailed(f"GET {path} answered {status}: {page}")
            yield from page[key]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def steps_of(self, trace_id: str) -> list[str]:
        """The span id of every step of the run that a trace belongs to."""
        path = f"/v1/runs/{quote(trace_id, safe='')}/steps"
        return [row["span_id"] for row in self.rows(path, "steps") if row["trace_id"] == trace_id]

    def readiness(self) -> dict[str, Any]:
        return self.ask("/readyz")[1]

    def wait_until(self, holds: Callable[[dict[str, Any]], bool], seconds_max: float) -> float | None:
        """Seconds until readiness is as wanted; None where it did not come to that in time."""
        begun = time.perf_counter()
        while True:
            if holds(self.readiness()):
                return time.perf_counter() - begun
            if time.perf_counter() - begun > seconds_max:
                return None
            time.sleep(_POLL_SECONDS)

    def caught_up(self, seconds_max: float = CATCH_UP_SECONDS_MAX) -> float:
        """Seconds until the view held all that was durable when asked. Raises ServerFailed where it does not come."""
        last = sequence_of(self.readiness()["journal_position"])
        seconds = self.wait_until(lambda now: sequence_of(now["view_position"]) >= last, seconds_max)
        if seconds is None:
            raise ServerFailed(f"the view did not reach {last} within {seconds_max:g} s: {self.readiness()}")
        return seconds

    def memory_bytes(self, name: str = "VmRSS") -> int:
        """Resident memory now (VmRSS), or the most there was (VmHWM), of the server and its receivers added up."""
        # One that has just died has no memory and says nothing of it.
        said = [text.partition(f"{name}:")[2].split() for text in self._proc("status")]
        return sum(int(words[0]) for words in said if words) * 1024

    def cpu_seconds(self) -> float:
        """Processor time of both processes so far, all threads: the figure that a busy machine distorts least."""
        stats = [text.rpartition(")")[2].split() for text in self._proc("stat")]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / _TICKS

    def open_files(self) -> int:
        """Descriptors that the server and its receivers have open."""
        return sum(1 for pid in processes_of(self._running().pid) for _ in Path(f"/proc/{pid}/fd").iterdir())

    def _proc(self, name: str) -> list[str]:
        """What the system says of each of the server's processes."""
        return [Path(f"/proc/{pid}/{name}").read_text() for pid in processes_of(self._running().pid)]

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _gone(self) -> None:
        if self._api_connection is not None:
            self._api_connection.close()
            self._api_connection = None
        process = self._running()
        if process.stdout is not None:
            self.said += process.stdout.read()
            process.stdout.close()
        self._process = None


class MemoryWatch:
    """Samples a server's resident memory on a thread of its own: `peak_bytes` of the time inside the context."""

    def __init__(self, server: HostileServer) -> None:
        self._server = server
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="memory")
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            try:
                self.peak_bytes = max(self.peak_bytes, self._server.memory_bytes())
            except (OSError, AssertionError, StopIteration):
                return  # It has ended.


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ServerFailed(f"the ready line says {url!r}, which names no host and port")
    return parts.hostname, parts.port
