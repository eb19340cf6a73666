"""The server as its users have it: a process with three addresses and a data folder, started, asked, ended, started again.

Nothing here imports the product. What a test learns it learns from the ready line, the doors, the API, the exit status
and stderr.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import httpx

from tests.patience import BUSY_SECONDS

PROTOBUF: Final = "application/x-protobuf"
ANY_PORTS: Final = ("--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0")
POSITION_HEADER: Final = "spanledger-position"
PAGE_ROWS: Final = 1000
STOP_SECONDS: Final = 10  # What the server promises.


def environment(**changed: str) -> dict[str, str]:
    """This process's environment without settings of its own; a warning in the server is an error, as in the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPANLEDGER_")}
    return kept | {"PYTHONWARNINGS": "error"} | changed


def spanledger(*arguments: str | Path, **changed: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, its output piped."""
    return subprocess.run(
        [sys.executable, "-m", "spanledger", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**changed),
        timeout=BUSY_SECONDS,
        check=False,
    )


class RunningServer:
    """`spanledger serve` on one data folder. `start` may be called again after `stop` or `kill`: the ports change, the
    folder does not.
    """

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options: Sequence[str] = options
        self.process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, str] = {}
        self._log = data.with_name(data.name + ".log")
        self._clients: list[httpx.Client] = []

    def start(self, *, own_group: bool = False) -> Self:
        """Return when the ready line has been read. In a group of its own, signals can be sent to all of its processes."""
        assert self.process is None, "it runs already"
        command = [sys.executable, "-m", "spanledger", "serve", "--data", str(self.data), *ANY_PORTS, *self.options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment(), start_new_session=own_group
            )
        out = self._stdout()
        readable, _, _ = select.select([out], [], [], BUSY_SECONDS)
        line = out.readline() if readable else b""
        if not line:
            self.kill()
            raise AssertionError(f"the server did not become ready:\n{self.log()}")
        self.ready = json.loads(line)
        assert list(self.ready) == ["event", "otlp_grpc", "otlp_http", "api", "data"]
        self.ingest, self.api = self._client("otlp_http"), self._client("api")
        return self

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Ask it to end; returns the exit status. What it said on stdout after the ready line must be nothing.

        `group` asks each process of a server that was started in a group of its own, as service managers do.
        """
        assert self.process is not None
        if group:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; returns the exit status, as `stop` does."""
        assert self.process is not None
        try:
            status = self.process.wait(BUSY_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {BUSY_SECONDS:g} s:\n{self.log()}") from None
        rest = self._stdout().read()
        self._gone()
        assert rest == b"", "stdout is for the ready line alone"
        return status

    def kill(self) -> None:
        """End it as a power failure would, as far as a process can tell. Safe when it does not run."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._gone()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def receiver_pid(self) -> int:
        """The process that has the OTLP doors. 0 where there is none at the moment."""
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(OSError):  # Its thread has ended meanwhile.
                for pid in path.read_text().split():
                    return int(pid)
        return 0

    @property
    def grpc_address(self) -> str:
        return self.ready["otlp_grpc"]

    def log(self) -> str:
        """All it ever wrote to stderr."""
        return self._log.read_text(errors="replace")

    def post(self, signal_name: str, body: bytes, **headers: str) -> httpx.Response:
        """Send one OTLP request over HTTP. Header names with `_` for `-`."""
        given = {"content-type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ingest.post(f"/v1/{signal_name}", content=body, headers=given)

    def record(self, signal_name: str, body: bytes) -> str:
        """Send one request that must be taken whole; returns its position."""
        answer = self.post(signal_name, body)
        assert (answer.status_code, answer.content) == (200, b""), answer.text
        return answer.headers[POSITION_HEADER]

    def get(self, path: str, **parameters: str | int) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.api.get(path, params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def rows(self, path: str, key: str, **parameters: str | int) -> list[dict[str, Any]]:
        """All rows of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=PAGE_ROWS, **parameters, **cursor)
            found += page[key]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def replay(self, run_id: str) -> list[dict[str, Any]]:
        answer = self.api.get(f"/v1/runs/{run_id}/replay")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.text.splitlines()]

    def caught_up(self) -> str:
        """Wait until the view holds everything that is durable now; returns that position."""
        position = self.api.get("/readyz").json()["journal_position"]
        if position.endswith(":0"):
            return position
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            asked = {"limit": 1, "min_position": position}
            # Without content it leaves no record, which would be one position more.
            answer = self.api.get("/v1/runs", params=asked, headers={"spanledger-withhold": "content"})
            if answer.status_code == 200:
                return position
            assert answer.status_code == 504, answer.text
            assert time.monotonic() < deadline, f"the view did not reach {position}: {self.log()[-4000:]}"

    def everything(self, only: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """All that the API lists, in its order: of every run, or of those given."""
        self.caught_up()
        runs = (
            self.rows("/v1/runs", "runs") if only is None else [self.get(f"/v1/runs/{run['run_id']}") for run in only]
        )
        told: dict[str, Any] = {
            "runs": runs,
            "events": self.rows("/v1/events", "events"),
            "metric_points": self.rows("/v1/metric-points", "metric_points"),
        }
        for path in ("steps", "tool-calls", "decisions", "messages"):
            key = path.replace("-", "_")
            told[key] = {run["run_id"]: self.rows(f"/v1/runs/{run['run_id']}/{path}", key) for run in runs}
        return told

    def _client(self, door: str) -> httpx.Client:
        client = httpx.Client(base_url=self.ready[door], timeout=60, trust_env=False)
        self._clients.append(client)
        return client

    def _stdout(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout

    def _gone(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._stdout().close()
        self.process = None


def ended_well(server: RunningServer) -> Iterator[RunningServer]:
    """A fixture's whole life: started, used, ended with exit status 0 and with a clean log."""
    server.start()
    try:
        yield server
        if server.running:
            assert server.stop() == 0, server.log()
        # Log lines and nothing else: no traceback, and nothing that a library prints past the log.
        for line in server.log().splitlines():
            assert line.startswith('{"'), server.log()
            assert "exception" not in json.loads(line), line
    finally:
        server.kill()
