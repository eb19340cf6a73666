"""A server that cannot start says why and what to do, in two lines, and leaves what is there as it was."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from otlp_bodies import trace_body, trace_id_of
from running_server import ANY_PORTS, RunningServer, environment, spanledger

# Root may write everywhere. Without these two capabilities (override and search) the permission bits hold for it, too.
AS_ANYBODY = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2):
        if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
            sys.exit("cannot drop a capability")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def refused(ended: "subprocess.CompletedProcess[str]", status: int = 1) -> tuple[str, str]:
    """The two lines: what failed with its cause, and what to do."""
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == "", "stdout is for the ready line"
    error, hint = ended.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error, hint


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest; the lock is the holder's."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture
def used(make_server: Callable[..., RunningServer]) -> RunningServer:
    """A server that has recorded one run and ended well."""
    server = make_server().start()
    server.record("traces", trace_body(1, 3))
    server.caught_up()
    assert server.stop() == 0
    return server


def check_unharmed(server: RunningServer) -> None:
    server.start()
    server.caught_up()
    [run] = server.rows("/v1/runs", "runs")
    assert (run["trace_ids"], run["steps"]) == ([trace_id_of(1).hex()], 3)
    assert server.stop() == 0


@pytest.mark.parametrize(("below", "cause"), [("a-file", "File exists"), (None, "No such file or directory")])
def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path, below: str | None, cause: str) -> None:
    (tmp_path / "a-file").write_text("somebody's notes")
    data = tmp_path / below if below else Path("/proc/spanledger-data")
    error, hint = refused(spanledger("serve", "--data", data, *ANY_PORTS))
    assert f"the data folder {data} cannot be used: {cause}" in error
    assert "--data" in hint
    assert (tmp_path / "a-file").read_text() == "somebody's notes"


def test_a_data_folder_that_may_not_be_written_is_refused_and_unharmed(used: RunningServer) -> None:
    before = fingerprint(used.data)
    command = [sys.executable, "-c", AS_ANYBODY, "-m", "spanledger", "serve", "--data", str(used.data), *ANY_PORTS]
    for folder in (used.data, used.data / "journal"):
        paths = [path for path in folder.iterdir() if path.is_file()]
        for path in paths:
            path.chmod(0o400)
        folder.chmod(0o500)
        try:
            ended = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
        finally:
            folder.chmod(0o700)
            for path in paths:
                path.chmod(0o600)
        if "cannot drop a capability" in ended.stderr:
            pytest.skip("this root may not give up its right to write everywhere")
        error, hint = refused(ended)
        assert "Permission denied" in error
        assert str(used.data) in error
        assert "--data" in hint
        assert fingerprint(used.data) == before
    check_unharmed(used)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("option", ["--otlp-grpc-port", "--otlp-http-port", "--api-port"])
def test_a_port_in_use_is_refused_and_the_data_folder_not_touched(tmp_path: Path, taken_port: int, option: str) -> None:
    data = tmp_path / "data"
    error, hint = refused(spanledger("serve", "--data", data, *ANY_PORTS, option, str(taken_port)))
    assert f"cannot listen on 127.0.0.1:{taken_port}: the port is in use" in error
    assert f"{option}; 0 picks a free one" in hint
    assert not data.exists()


def test_a_second_process_on_the_same_folder_is_refused_and_the_first_serves_on(
    make_server: Callable[..., RunningServer],
) -> None:
    first = make_server().start()
    first.record("traces", trace_body(1, 3))
    first.caught_up()
    told = first.everything()
    error, hint = refused(spanledger("serve", "--data", first.data, *ANY_PORTS))
    assert f"{first.data} is open in process {first.pid}" in error
    assert "stop the process" in hint
    assert first.everything() == told
    first.record("traces", trace_body(2, 2))
    assert first.stop() == 0
    first.start()
    first.caught_up()
    assert sorted(run["steps"] for run in first.rows("/v1/runs", "runs")) == [2, 3]


@pytest.mark.parametrize(
    ("name", "value", "source", "allowed"),
    [
        ("api_port", "http", "option", "a port number from 0 to 65535"),
        ("log_level", "loud", "environment", "debug, info, warning, error"),
        ("request_max_mb", "0", "file", "from 1 to"),
    ],
)
def test_an_unknown_value_is_refused_with_where_it_came_from_and_what_is_allowed(
    tmp_path: Path, name: str, value: str, source: str, allowed: str
) -> None:
    data, config = tmp_path / "data", tmp_path / "spanledger.toml"
    option, variable = "--" + name.replace("_", "-"), "SPANLEDGER_" + name.upper()
    config.write_text(f"{name} = '{value}'\n" if source == "file" else "")
    given = (option, value) if source == "option" else ()
    changed = {variable: value} if source == "environment" else {}
    error, hint = refused(spanledger("serve", "--data", data, "--config", config, *given, **changed), status=2)
    named = {"option": option, "environment": variable, "file": str(config)}[source]
    assert f"setting {name}: {value!r} (from {named}) cannot be used" in error
    assert allowed in hint
    assert not data.exists()


@pytest.mark.parametrize(
    ("content", "cause"), [("journal_days = 3", "'journal_days' is not a setting"), ("api_port = ", "Invalid value")]
)
def test_a_configuration_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, cause: str) -> None:
    config = tmp_path / "spanledger.toml"
    config.write_text(content)
    error, _ = refused(spanledger("serve", "--data", tmp_path / "data", "--config", config), status=2)
    assert cause in error
    assert str(config) in error
    assert not (tmp_path / "data").exists()
