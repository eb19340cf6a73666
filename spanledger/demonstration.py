"""`spanledger demo`: a server of its own, a real agent recorded by it, and the replay of what it did.

Three processes, as it would be anywhere: the server, the agent (`spanledger.demo.agent`, which starts its MCP server),
and this one, which knows of the agent's run only what the API says. The server is in a session of its own, so that
Ctrl-C reaches it once, as an orderly end.
"""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import msgspec
from rich.console import Console

from spanledger.errors import FrontDoorError
from spanledger.reading import RunRecord, ServedRecord
from spanledger.rendering.timeline import Timeline
from spanledger.showing import console
from store.contract import RunFilter
from store.model.rows import RunRow

DEMO_DATA: Final = Path("demo-data")
READY_SECONDS: Final = 60.0  # A cold start with a view to rebuild; the machine may be slow.
AGENT_SECONDS: Final = 180.0  # It takes a few seconds; longer means that something hangs.
STOP_SECONDS: Final = 20.0  # Twice what the server promises.
_NEEDED: Final = ("mcp", "pydantic_ai", "opentelemetry.sdk")
_RUNS_SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class _Told:
    """What the agent says of itself at its end."""

    conversation_id: str
    trace_ids: list[str]


def demo(data: Path, *, once: bool) -> None:
    """Record and replay the agent's run. Serves until interrupted, or with `once` ends after the replay.

    Raises FrontDoorError where a part of it fails.
    """
    _check_installed()
    out = console()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _server(data) as (server, addresses):
            out.print(f"The server is up, and records to {addresses['data']}. The agent:\n", style="bold")
            told = _run_agent(addresses["otlp_http"], out)
            _show(addresses["api"], told, out)
            _show_addresses(addresses, data, out)
            if not once:
                out.print("\nServing until Ctrl-C.", style="bold")
                raise FrontDoorError(
                    f"the server ended with exit status {server.wait()}",
                    "its own message is above; start the demo again",
                )
    except KeyboardInterrupt:
        out.print("\nStopped.")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _check_installed() -> None:
    for name in _NEEDED:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise FrontDoorError(
                f"the demo's agent needs the package {name.replace('_', '-')}, which is not installed",
                "install it with: pip install 'spanledger[demo]'",
            )


@contextmanager
def _server(data: Path) -> Generator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A running server on ports of its own, and what its ready line says. Stopped in order at the end."""
    command = [sys.executable, "-m", "spanledger", "serve", "--data", str(data), "--log-level", "warning"]
    command += ["--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 (our own modules)
    try:
        yield server, _ready(server)
        _stop(server)
        if server.returncode != 0:
            raise FrontDoorError(
                f"the server ended with exit status {server.returncode}", "its own message is above this one"
            )
    finally:
        _stop(server)


def _ready(server: subprocess.Popen[bytes]) -> dict[str, str]:
    lines: list[bytes] = []

    def read() -> None:
        if server.stdout is not None:
            lines.append(server.stdout.readline())

    reader = Thread(target=read, daemon=True)
    reader.start()
    reader.join(READY_SECONDS)
    if not lines or not lines[0]:
        why = "ended" if lines else f"was not ready after {READY_SECONDS:g} s"
        raise FrontDoorError(f"the demo's server did not start: it {why}", "its own message is above this one")
    return msgspec.json.decode(lines[0], type=dict[str, str])


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _run_agent(endpoint: str, out: Console) -> _Told:
    """Run the agent and pass on what it says, line by line; its last line is for us."""
    command = [sys.executable, "-m", "spanledger.demo.agent", "--endpoint", endpoint, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:  # noqa: S603 (our own modules)
        watchdog = Thread(target=_end_after, args=(agent, AGENT_SECONDS), daemon=True)
        watchdog.start()
        last = ""
        try:
            for line in agent.stdout or ():
                if last:
                    out.print(last)
                last = line.rstrip("\n")
            status = agent.wait()
        finally:
            if agent.poll() is None:
                agent.terminate()
    if status != 0:
        raise FrontDoorError(f"the agent ended with exit status {status}", "its own message is above this one")
    try:
        return msgspec.json.decode(last, type=_Told)
    except msgspec.MsgspecError as error:
        raise FrontDoorError(
            f"the agent did not say what it did: {error}", "report this: it must not happen"
        ) from error


def _end_after(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()


def _show(api: str, told: _Told, out: Console) -> None:
    """Replay the agent's run as the API gives it back."""
    record = ServedRecord(api)
    try:
        position = record.journal_position()
        if position is not None:
            record.wait_for(position)
        runs = _runs_of(record, told)
        for run in runs:
            out.print(f"\nThe run as it was recorded: {run.run_id}\n", style="bold")
            for renderable in Timeline().events(record.replay(run.run_id)):
                out.print(renderable)
    finally:
        record.close()


def _runs_of(record: RunRecord, told: _Told) -> list[RunRow]:
    """The runs of the agent's traces, oldest first: one, where its two halves are recognised as one run."""
    found: dict[str, RunRow] = {}
    for trace_id in told.trace_ids:
        page = record.runs(RunFilter(trace_id=trace_id), limit=_RUNS_SHOWN_MAX, cursor=None)
        if not page.rows:
            raise FrontDoorError(f"the agent's trace {trace_id} was not recorded", "look at the messages above")
        found |= {run.run_id: run for run in page.rows}
    return list(found.values())


def _show_addresses(addresses: dict[str, str], data: Path, out: Console) -> None:
    out.print("\nWhere to look further", style="bold")
    out.print(f"  API            {addresses['api']}/v1/runs")
    out.print(f"  OTLP over HTTP {addresses['otlp_http']}")
    out.print(f"  OTLP over gRPC {addresses['otlp_grpc']}")
    out.print(f"  again          spanledger runs --data {data}")
