"""An incident on a full disk: ingest stops first, then content, and metadata is there to look at to the end."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from access.permissions import Role
from collector.admission import Admission
from collector.errors import DiskNearlyFull
from collector.headroom import Headroom
from collector.limits import MIB, Limits
from query.app import create_app
from query.trail import WITHHOLD_HEADER, Trail
from store.access_records import AccessRecord
from store.contract import AccessFilter
from store.errors import JournalFull
from store.folder import JOURNAL
from store.ledger import Ledger
from store.record import DEFAULT_TENANT
from tests.gates import KeyedGate, bearing
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of

DISK_MIB = (
    80  # A segment of 32 MiB, a reserve of an eighth, and no room for another segment beside what fills the rest.
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose journal has a small disk of its own."""
    journal = tmp_path / "data" / JOURNAL
    journal.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", journal]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root: tests/query/test_trail.py has a journal that is full")
    try:
        opened = Ledger.open(tmp_path / "data")
        try:
            yield opened
        finally:
            opened.close()
    finally:
        subprocess.run(["umount", "-l", journal], check=True)


def fill(folder: Path, *, leave_mib: float) -> Path:
    """Take what is free on a disk, but for so much."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - int(leave_mib * MIB)
    with filler.open("ab") as file:
        os.posix_fallocate(file.fileno(), file.tell(), size)
    return filler


def exhaust(ledger: Ledger) -> None:
    """Record until not even a small record has room."""
    for size in (1_000_000, 100_000, 10_000, 1_000, 100, 1):
        with pytest.raises(JournalFull):
            record_until_refused(ledger, size)


def record_until_refused(ledger: Ledger, size: int) -> None:
    for _ in range(1_000):
        detail = {"filler": os.urandom(size).hex()}
        record = AccessRecord(at_ns=1, who="test", action="read", outcome="allowed", door="test", detail=detail)
        ledger.record("filler", [record]).result(BUSY_SECONDS)


def test_ingest_stops_first_then_content_and_metadata_goes_on(ledger: Ledger) -> None:
    for body in captures()["spanledger-demo"]:
        position = ledger.append(draft_of(body))
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    folder = ledger._engine.path.parent / JOURNAL
    admission = Admission(Limits(), Headroom(Limits(), ledger, clock=iter(range(0, 10_000, 10)).__next__))
    keyed = KeyedGate()
    auditor, operator = bearing(keyed.make(Role.AUDITOR)), bearing(keyed.make(Role.OPERATOR))
    trail = Trail(ledger.record, keyed.gate.refusals, redact=lambda _, text: text)
    app = create_app(
        reader=ledger.reader, waiter=ledger.waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail
    )  # fmt: skip
    with TestClient(app) as client:
        [run] = client.get("/v1/runs", params={"agent": "support-agent"}, headers=operator).json()["runs"]
        messages = f"/v1/runs/{run['run_id']}/messages"
        with admission.admit("http"):
            pass

        fill(folder, leave_mib=3)
        with pytest.raises(DiskNearlyFull):
            admission.admit("http")
        assert client.get(messages, headers=auditor).json()["messages"]
        last = ledger.journal.durable_position
        assert ledger.waiter.wait_for(last, BUSY_SECONDS)
        found = ledger.reader.accesses(DEFAULT_TENANT, AccessFilter(run=run["run_id"]), limit=1, cursor=None).rows
        assert [(row.action, row.call) for row in found] == [("read", "GET /v1/runs/{run_id}/messages")]

        exhaust(ledger)
        assert len(list(folder.glob("*.segment"))) > 1, "a small one was made behind the first"
        filler = fill(folder, leave_mib=0)
        refused = client.get(messages, headers=auditor)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("access-unrecordable")
        assert "free disk space" in refused.json()["detail"]
        steps = f"/v1/runs/{run['run_id']}/steps"
        assert client.get(steps, headers=operator).status_code == 200
        whole = client.get(f"/v1/runs/{run['run_id']}/replay", headers=operator)
        assert whole.status_code == 200
        assert client.get(steps, headers=auditor | {WITHHOLD_HEADER: "content"}).status_code == 200

        filler.unlink()
        assert client.get(messages, headers=auditor).status_code == 200
