"""The command line as people run it: processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.patience import BUSY_SECONDS

FREE_PORTS = ("--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLEDGER_", "COLUMNS"))}
    return kept | {"PYTHONWARNINGS": "error"}


@dataclass
class Server:
    """A running `spanledger serve` and what its ready line said."""

    process: subprocess.Popen[bytes]
    ready: dict[str, str]
    api: httpx.Client

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """Exit status, the rest of stdout, stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=BUSY_SECONDS)
        return self.process.returncode, out, err


def start(data: Path) -> Server:
    command = [sys.executable, "-m", "spanledger", "serve", "--data", str(data), *FREE_PORTS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment())
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, err = process.communicate(timeout=BUSY_SECONDS)
        raise AssertionError(err.decode())
    ready = json.loads(line)
    return Server(process, ready, httpx.Client(base_url=ready["api"], trust_env=False, timeout=BUSY_SECONDS))


def end(server: Server) -> None:
    server.api.close()
    if server.process.poll() is None:
        server.process.kill()
    server.process.communicate(timeout=BUSY_SECONDS)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Start servers that are gone when the test is over."""
    servers: list[Server] = []

    def started(data: Path) -> Server:
        servers.append(start(data))
        return servers[-1]

    yield started
    for server in servers:
        end(server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module that only read, or write without minding the others."""
    running = start(tmp_path_factory.mktemp("served") / "data")
    yield running
    end(running)


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def command() -> Callable[..., Ended]:
    """Run a command to its end; stdout is a pipe."""

    def run(*arguments: object, **environment: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "spanledger", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=_environment() | environment,
            timeout=BUSY_SECONDS,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run
