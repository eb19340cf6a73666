"""The peers a Python user would pick, under the same bodies from the same client: Arize Phoenix and MLflow.

They live in an environment of their own (`make bench-peers`), run with their defaults on SQLite and a folder of their
own, one after the other and never beside Spanledger. A span counts when their database holds it, read from outside: both
or one of them acknowledge from memory. They are given few requests and bounded time, for they need seconds for each.
"""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Final

from bench.load import OTLP_HEADERS, Bodies, connect, send

PEERS_VENV: Final = Path(".venv-peers")
START_SECONDS_MAX: Final = 180.0  # Importing them for the first time takes half a minute.
STORE_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 20.0


class PeerFailed(Exception):
    """A peer did not start or did not take the load."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How to run one. `command` takes {port}, {grpc_port} and {folder}; the database lies below the folder."""

    name: str
    package: str
    program: str
    command: tuple[str, ...]
    environment: tuple[str, ...]
    health: str
    database: str
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class PeerRound:
    """One round. `stored_spans_per_second` counts from the first send until the database has the last span, or until the
    time was over: then `complete` is false and the rate is that of the spans stored so far.
    """

    spans: int
    stored: int
    complete: bool
    stored_spans_per_second: float
    acked_spans_per_second: float
    database_bytes_a_span: float


PHOENIX: Final = Peer(
    name="phoenix",
    package="arize-phoenix",
    program="phoenix",
    command=("serve",),
    environment=(
        "PHOENIX_WORKING_DIR={folder}",
        "PHOENIX_HOST=127.0.0.1",
        "PHOENIX_PORT={port}",
        "PHOENIX_GRPC_PORT={grpc_port}",
        "PHOENIX_TELEMETRY_ENABLED=false",
    ),
    health="/healthz",
    database="phoenix.db",
)
MLFLOW: Final = Peer(
    name="mlflow",
    package="mlflow",
    program="mlflow",
    command=(
        "server", "--backend-store-uri", "sqlite:///{folder}/mlflow.db", "--default-artifact-root", "{folder}/artifacts",
        "--workers", "1", "--host", "127.0.0.1", "--port", "{port}",
    ),
    environment=("MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true"),
    health="/health",
    database="mlflow.db",
    headers={"x-mlflow-experiment-id": "0"},
)  # fmt: skip
PEERS: Final = (MLFLOW, PHOENIX)


def missing(peer: Peer, venv: Path = PEERS_VENV) -> str | None:
    """Why a peer cannot run here, or None where it can."""
    if (venv / "bin" / peer.program).exists():
        return None
    return f"{peer.package} is not installed in {venv}: run `make bench-peers`"


def version(peer: Peer, venv: Path = PEERS_VENV) -> str:
    """The installed version. Raises PeerFailed."""
    command = [venv / "bin" / "python", "-c", f"import importlib.metadata as m; print(m.version({peer.package!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerFailed(f"{peer.package} in {venv} does not tell its version: {done.stderr[-500:]}")
    return done.stdout.strip()


def stored_by(peer: Peer, bodies: Bodies, folder: Path, venv: Path = PEERS_VENV) -> PeerRound:
    """Start the peer with its data in the empty `folder`, send, and wait until it has stored.

    Raises PeerFailed, LoadFailed.
    """
    with _running(peer, folder, venv) as address:
        database = folder / peer.database
        sent = send(address, bodies, headers=OTLP_HEADERS | peer.headers, seconds_max=STORE_SECONDS_MAX)
        spans = sum(bodies.spans_of(ack.index) for ack in sent.acks)
        deadline = time.perf_counter() + STORE_SECONDS_MAX
        while (stored := _spans_in(database)) < spans and time.perf_counter() < deadline:
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - sent.started
    size = sum(path.stat().st_size for path in folder.glob(f"{peer.database}*"))
    return PeerRound(
        spans=spans,
        stored=stored,
        complete=stored >= spans,
        stored_spans_per_second=stored / seconds,
        acked_spans_per_second=spans / (sent.last_ack - sent.started),
        database_bytes_a_span=size / max(stored, 1),
    )


@contextlib.contextmanager
def _running(peer: Peer, folder: Path, venv: Path) -> Generator[tuple[str, int]]:
    port, grpc_port = _free_ports()
    values = {"port": port, "grpc_port": grpc_port, "folder": folder}
    environment = [setting.format(**values) for setting in peer.environment]
    program = str((venv / "bin" / peer.program).absolute())
    arguments = [argument.format(**values) for argument in peer.command]
    log = folder / "peer.log"
    with log.open("wb") as output:
        # A session of its own, so that the workers it starts can be ended with it.
        process = subprocess.Popen(
            ["env", *environment, program, *arguments],
            cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_healthy(peer, process, port, log)
        yield "127.0.0.1", port
    finally:
        _end(process)


def _wait_until_healthy(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, HTTPException):
            connection = connect(("127.0.0.1", port))
            with contextlib.closing(connection):
                connection.request("GET", peer.health)
                if connection.getresponse().status == 200:
                    return
        time.sleep(_POLL_SECONDS)
    raise PeerFailed(f"{peer.name} did not become healthy; its log ends:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            # Workers may outlive their parent by a moment; the next signal reaches those that stay.
    process.wait()


def _spans_in(database: Path) -> int:
    uri = f"file:{database}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            return connection.execute("SELECT count(*) FROM spans").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # Locked for longer than the timeout by the peer's own writing: asked again.


def _free_ports() -> tuple[int, int]:
    """Two ports that are free now. The peers cannot choose for themselves, so another process may be faster."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
