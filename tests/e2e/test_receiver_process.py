"""The receivers are a process of their own: whatever happens to it or to the one that started it, no acknowledgement
is lost, no span counts twice, and nothing is left behind.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags
from otlp_bodies import BEGUN_NS, trace_body
from running_server import ANY_PORTS, STOP_SECONDS, RunningServer, environment
from senders import Senders, Sent, check_recorded

from tests.patience import BUSY_SECONDS, Stopwatch

SEED = 20_261_120
DEATHS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)  # From outside, and two ways in which native code dies.
LEFT_SECONDS = 20.0  # At once, by the kernel: a sign of life would be missed after 30.


def until(holds: Callable[[], object], seconds: float = BUSY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def ready(server: RunningServer) -> bool:
    return server.api.get("/readyz").json()["ready"]


def gone(pid: int) -> bool:
    """Whether a process has ended. One that nobody has waited for yet is only a name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextmanager
def exporting(server: RunningServer, *, service: str) -> Iterator[Sent]:
    """The standard exporters, one of each protocol, each span a trace of its own; what they call a success is noted."""
    sent, stop, lock = Sent(), threading.Event(), threading.Lock()
    numbers = itertools.count(9_000_000)
    resource = Resource({"service.name": service})

    def export(exporter: HttpSpans | GrpcSpans) -> None:
        while not stop.is_set():
            trace = next(numbers)
            trace_id = f"{trace:032x}"
            context = SpanContext(trace, 1, is_remote=False, trace_flags=TraceFlags(1))
            with lock:
                sent.tried[trace_id] = 1
            span = ReadableSpan("chat", context, resource=resource, start_time=BEGUN_NS, end_time=BEGUN_NS + 1)
            if exporter.export([span]) is SpanExportResult.SUCCESS:
                with lock:
                    sent.acknowledged[trace_id] = 1
        exporter.shutdown()

    exporters = (
        HttpSpans(endpoint=server.ready["otlp_http"] + "/v1/traces"),
        GrpcSpans(endpoint="http://" + server.grpc_address, insecure=True),
    )
    threads = [threading.Thread(target=export, args=(exporter,)) for exporter in exporters]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join(BUSY_SECONDS)
            assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_killed_under_load_it_is_started_again_and_nothing_acknowledged_is_missing_or_doubled(
    make_server: Callable[..., RunningServer],
) -> None:
    server = make_server().start()
    descriptors = Path(f"/proc/{server.pid}/fd")
    with (
        Senders(server, senders=4, service="load", first_trace=1, seed=SEED, persistent=True) as senders,
        exporting(server, service="standard") as exported,
    ):
        senders.wait_for(50, BUSY_SECONDS)
        open_before = len(list(descriptors.iterdir()))
        for number in DEATHS:
            died, before = server.receiver_pid, len(senders.sent.acknowledged)
            exported_before = len(exported.acknowledged)
            os.kill(died, number)
            until(lambda died=died: server.receiver_pid not in (0, died) and ready(server))
            senders.wait_for(before + 50, BUSY_SECONDS)
            until(lambda before=exported_before: len(exported.acknowledged) >= before + 3)
        open_after = len(list(descriptors.iterdir()))
    # Connections of the API come and go; a leak would be two or more of each death.
    assert open_after < open_before + len(DEATHS)
    assert len(senders.breaks) >= len(DEATHS)
    check_recorded(server, senders.sent, service="load")
    check_recorded(server, exported, service="standard")
    log = server.log()
    for number in DEATHS:
        assert f'"cause": "killed by {number.name}"' in log
    assert log.count("receiver_started_again") == len(DEATHS)
    assert f"\nspanledger_receiver_deaths_total {len(DEATHS)}.0\n" in server.api.get("/metrics").text
    assert server.stop() == 0
    assert "Traceback" not in log


def test_a_process_that_always_dies_ends_the_server_with_a_reason(make_server: Callable[..., RunningServer]) -> None:
    server = make_server().start()
    position = server.record("traces", trace_body(1, 3))
    killed = {0}
    deadline = time.monotonic() + BUSY_SECONDS
    while server.running and time.monotonic() < deadline:
        pid = server.receiver_pid if server.running else 0
        if pid not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.005)
    assert server.ended() == 1
    assert len(killed) == 1 + 5
    error, hint = server.log().splitlines()[-2:]
    assert error == "error: the receiver process died 5 times within 60 s, at last: killed by SIGKILL"
    assert "receiver_died" in hint
    assert "Traceback" not in server.log()
    server.start()  # What it had acknowledged is there.
    assert server.caught_up() == position
    assert server.stop() == 0


@pytest.mark.parametrize("again", [False, True], ids=["the first", "one that was started again"])
def test_it_does_not_outlive_the_server(make_server: Callable[..., RunningServer], again: bool) -> None:
    server = make_server().start()
    if again:
        died = server.receiver_pid
        os.kill(died, signal.SIGKILL)
        until(lambda: server.receiver_pid not in (0, died) and ready(server))
    with Senders(server, senders=4, service="load", first_trace=1, seed=SEED) as senders:
        senders.wait_for(20, BUSY_SECONDS)
        receiver = server.receiver_pid
        server.kill()
        until(lambda: gone(receiver), LEFT_SECONDS)
    server.start()
    check_recorded(server, senders.sent, service="load")
    assert server.stop() == 0


def test_it_does_not_outlive_a_server_that_dies_while_it_starts(folder: Path) -> None:
    command = [sys.executable, "-m", "spanledger", "serve", "--data", str(folder / "young"), *ANY_PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        until(lambda: children.read_text().strip())
        receiver = int(children.read_text())
        server.kill()
        _, err = server.communicate()
    until(lambda: gone(receiver), BUSY_SECONDS)  # It imports to its end before it looks.
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_at_full_load_ends_it_in_time_with_everything_acknowledged_kept(
    make_server: Callable[..., RunningServer], number: int
) -> None:
    server = make_server().start(own_group=True)
    with Senders(server, senders=16, service="load", first_trace=1, seed=SEED) as senders:
        senders.wait_for(300, BUSY_SECONDS)
        receiver = server.receiver_pid
        taken = Stopwatch()
        assert server.stop(number, group=True) == 0, server.log()
        assert taken.seconds < STOP_SECONDS
        assert gone(receiver)
    assert "receiver_died" not in server.log()
    assert "Traceback" not in server.log(), server.log()
    server.start()
    check_recorded(server, senders.sent, service="load")
    assert server.stop() == 0


def test_a_process_that_hangs_does_not_hold_up_the_end(make_server: Callable[..., RunningServer]) -> None:
    server = make_server().start()
    server.record("traces", trace_body(1, 3))
    os.kill(server.receiver_pid, signal.SIGSTOP)
    taken = Stopwatch()
    assert server.stop() == 0
    assert taken.seconds < STOP_SECONDS
    assert "receiver_killed" in server.log()


def test_settings_from_a_file_reach_it_and_it_looks_for_none_itself(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "spanledger.toml").write_text("request_max_mb = 1\nlog_level = 'warning'\n")
    command = [sys.executable, "-m", "spanledger", "serve", "--data", str(folder / "settings"), *ANY_PORTS]
    settings = {"SPANLEDGER_CONFIG": str(tmp_path / "spanledger.toml"), "SPANLEDGER_ATTRIBUTE_MAX_KB": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**settings)
    ) as process:
        try:
            server = RunningServer(folder / "settings")
            assert process.stdout is not None
            import json

            server.ready = json.loads(process.stdout.readline())
            with httpx.Client(base_url=server.ready["otlp_http"], trust_env=False) as client:
                headers = {"content-type": "application/x-protobuf"}
                large = trace_body(1, 1, padding="x" * 1_100_000)
                assert client.post("/v1/traces", content=large, headers=headers).status_code == 413
                cut = client.post("/v1/traces", content=trace_body(1, 1, padding="x" * 2000), headers=headers)
                assert b"attribute" in cut.content
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                assert b"SPANLEDGER_" not in Path(f"/proc/{child}/environ").read_bytes()
        finally:
            process.terminate()
            _, err = process.communicate(timeout=BUSY_SECONDS)
    assert (process.returncode, err) == (0, b"")  # Nothing it has to say is a warning.


def test_files_in_the_folder_it_is_started_in_are_not_taken_for_modules(tmp_path: Path) -> None:
    for name in ("collector", "store", "socket", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not it')\n")
    command = [sys.executable, "-P", "-m", "spanledger", "serve", "--data", str(tmp_path / "data"), *ANY_PORTS]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b'{"event":"ready"')
        finally:
            process.terminate()
            process.communicate(timeout=BUSY_SECONDS)
    assert process.returncode == 0
