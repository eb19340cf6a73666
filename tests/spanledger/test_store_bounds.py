"""The bounds of the store at the doors of a whole server: refused with the cause, and taken again without a restart."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.boundary import PassThrough
from collector.errors import DiskNearlyFull, ViewBehind
from collector.intake import Intake
from collector.limits import MIB
from collector.metrics import IngestMetrics
from spanledger.receiver.limits import limits_of
from spanledger.settings import resolve
from store.duckdb.writer import DuckDbWriter
from store.errors import ViewError
from store.ledger import Ledger
from store.record import Signal
from tests.patience import BUSY_SECONDS
from tests.spanledger.conftest import FREE_PORTS


def body(trace: int, size: int) -> bytes:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=b"s" * 8,
            name="chat",
            start_time_unix_nano=1,
            end_time_unix_nano=2,
        )
    )
    span.attributes.add(key="note").value.string_value = "x" * size
    return request.SerializeToString()


def intake_of(ledger: Ledger, **options: str) -> Intake:
    """What a server with these settings lets in."""
    settings = resolve(options, {})
    return Intake(
        ledger,
        metrics=IngestMetrics(CollectorRegistry()),
        boundary=PassThrough(),
        limits=limits_of(settings),
        space=ledger,
    )


def send(intake: Intake, trace: int, size: int = MIB // 2) -> Any:
    with intake.admission.admit("http"):
        return intake.accept(Signal.TRACES, body(trace, size)).position


@pytest.mark.parametrize("engine", ["hangs", "fails"])
def test_while_the_view_cannot_be_written_requests_are_taken_up_to_the_bound_and_again_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    well = Event()
    commit = DuckDbWriter.commit

    def hinder(self: Any, prepared: Any) -> None:
        if engine == "hangs":
            assert well.wait(BUSY_SECONDS)
        elif not well.is_set():
            raise ViewError("the engine is down")
        commit(self, prepared)

    monkeypatch.setattr(DuckDbWriter, "commit", hinder)
    ledger = Ledger.open(tmp_path / "data")
    try:
        intake = intake_of(ledger, view_lag_max_mb="1")
        acknowledged = [send(intake, trace) for trace in range(1, 3)]
        with pytest.raises(ViewBehind, match="view_lag_max_mb"):
            send(intake, 3)
        well.set()
        assert ledger.waiter.wait_for(acknowledged[-1], BUSY_SECONDS)
        position = send(intake, 4)
        assert ledger.waiter.wait_for(position, BUSY_SECONDS)
        assert position.sequence == len(acknowledged) + 1, "what was refused was not recorded"
    finally:
        well.set()
        ledger.close()


def test_senders_of_more_than_can_be_projected_in_time_are_refused_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = Event()
    commit = DuckDbWriter.commit

    def slow(self: Any, prepared: Any) -> None:
        assert well.wait(BUSY_SECONDS)
        commit(self, prepared)

    monkeypatch.setattr(DuckDbWriter, "commit", slow)
    registry = CollectorRegistry()
    ledger = Ledger.open(tmp_path / "data", registry=registry)
    try:
        intake = intake_of(ledger, view_lag_max_seconds="4")
        first = send(intake, 1)  # The pace is not known yet.
        # What no test has the time to let it see: batches at half a MiB a second.
        ledger._backlog._pace.learn(work=64 * MIB, size=64 * MIB, frames=64, seconds=128)
        second, third, fourth = send(intake, 2), send(intake, 3), send(intake, 4)
        with pytest.raises(ViewBehind, match=r"than the 4 s that it may be \(view_lag_max_seconds\)") as refused:
            send(intake, 5)
        assert 1 <= (refused.value.retry_after_seconds or 0) <= 3
        assert registry.get_sample_value("spanledger_projection_catch_up_seconds") == pytest.approx(4, abs=0.2)
        well.set()
        assert ledger.waiter.wait_for(fourth, BUSY_SECONDS)
        assert send(intake, 5).sequence == 5, "what was refused was not recorded"
        assert [position.sequence for position in (first, second, third, fourth)] == [1, 2, 3, 4]
    finally:
        well.set()
        ledger.close()


def test_a_disk_that_is_nearly_full_is_refused_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path / "data")
    try:
        monkeypatch.setattr("collector.headroom.DISK_SECONDS", 0)
        intake = intake_of(ledger, disk_reserve_mb="100")
        free = [100 * MIB]
        monkeypatch.setattr(ledger, "disk", lambda: (free[0], 10_000 * MIB))
        send(intake, 1)
        free[0] -= 1
        with pytest.raises(DiskNearlyFull, match="disk_reserve_mb"):
            send(intake, 2)
        free[0] += 1
        assert send(intake, 3).sequence == 2
    finally:
        ledger.close()


def tmpfs_runs() -> bool:
    unshare = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(unshare, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


FULL_DISK = """
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import httpx
sys.path[:0] = sys.argv[1:2]
from tests.spanledger.test_store_bounds import body

data = Path("/mnt/data")
command = [sys.executable, "-m", "spanledger", "serve", "--data", str(data), *sys.argv[2:]]
process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
ready = json.loads(process.stdout.readline())
client = httpx.Client(trust_env=False, timeout=30, headers={"content-type": "application/x-protobuf"})
sent = []

def send(size=2000):
    sent.append(client.post(ready["otlp_http"] + "/v1/traces", content=body(len(sent) + 1, size)))
    return sent[-1].status_code

statuses = [send()]
filler = Path("/mnt/filler")
with filler.open("wb") as file:
    file.write(bytes(shutil.disk_usage("/mnt").free - 1_000_000))
time.sleep(0.3)
statuses.append(send())
ready_when_full = client.get(ready["api"] + "/readyz").json()["ready"]
filler.unlink()
time.sleep(0.3)
statuses.append(send())
position = sent[-1].headers["spanledger-position"]
runs = client.get(ready["api"] + "/v1/runs", params={"min_position": position}).json()["runs"]
process.send_signal(signal.SIGTERM)
print(json.dumps({"statuses": statuses, "retry_after": sent[1].headers["retry-after"], "runs": len(runs),
                  "exit": process.wait(20), "ready_when_full": ready_when_full}))
"""


@pytest.mark.skipif(not tmpfs_runs(), reason="this system lets nobody mount a tmpfs in a namespace of its own")
def test_a_small_disk_that_fills_is_refused_in_time_and_taken_again_when_there_is_room() -> None:
    script = 'mount -t tmpfs -o size=200m none /mnt && exec "$@"'
    root = Path(__file__).parents[2]
    inside = [sys.executable, "-c", FULL_DISK, str(root), *FREE_PORTS]
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *inside],
        capture_output=True, text=True, check=False, timeout=120, cwd=root, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        '{"statuses": [200, 503, 200], "retry_after": "2", "runs": 2, "exit": 0, "ready_when_full": true}'
    )
