"""A data folder through its life: killed, reopened, closed in haste, opened by another release."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from store import ledger as ledger_module
from store.contract import RunFilter
from store.duckdb.engine import Engine
from store.duckdb.writer import DuckDbWriter
from store.errors import DataFolderUnusable, JournalClosed, JournalCorrupt, ViewError
from store.folder import JOURNAL, VIEW, FolderLock, running_server
from store.ledger import Ledger, rebuild
from store.record import DEFAULT_TENANT, Position
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of, settled_digests

BODIES = captures()["spanledger-demo"]
DRAFTS = [draft_of(body) for body in BODIES]

# Acknowledges every demo body and says so, then waits to be killed. `held`: nothing is projected; `projected`: each is
# in the view before it is said; `running`: whatever the moment has brought.
CHILD = """
import sys
from pathlib import Path
from store.ledger import Ledger
from store.projector import Projector
from tests.store.ledger_bench import captures, draft_of
if sys.argv[2] == "held":
    Projector.start = lambda self: None
ledger = Ledger.open(Path(sys.argv[1]))
for body in captures()["spanledger-demo"]:
    position = ledger.journal.append(draft_of(body))
    assert sys.argv[2] != "projected" or ledger.waiter.wait_for(position, 20)
    print(position, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def open_ledger(data: Path) -> Iterator[Callable[..., Ledger]]:
    opened: list[Ledger] = []

    def open_one(**arguments: Any) -> Ledger:
        ledger = Ledger.open(data, **arguments)
        opened.append(ledger)
        return ledger

    yield open_one
    for ledger in opened:
        ledger.close()


def filled(ledger: Ledger) -> Position:
    position = [ledger.journal.append(draft) for draft in DRAFTS][-1]
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    return position


def runs_of(ledger: Ledger) -> list[str]:
    return [row.run_id for row in ledger.reader.runs(DEFAULT_TENANT, RunFilter(), limit=100, cursor=None).rows]


def killed_after_acks(data: Path, projection: str) -> list[Position]:
    """What a process acknowledged before it was killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(data), projection], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acked = [Position.parse(child.stdout.readline().strip()) for _ in BODIES]
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    return acked


def test_what_was_acknowledged_before_a_kill_is_in_the_view_after_the_restart_once(open_ledger, data):
    acked = killed_after_acks(data, "held")
    ledger = open_ledger()
    assert ledger.waiter.wait_for(acked[-1], BUSY_SECONDS)
    expected = len(runs_of(ledger))
    assert expected > 0
    assert len(set(runs_of(ledger))) == expected
    assert [frame.body for frame in ledger.journal.frames_after(0)] == [draft.body for draft in DRAFTS]
    digests = settled_digests(ledger._engine)
    ledger.close()
    assert rebuild(data).digests == digests


def test_a_kill_at_any_moment_of_projecting_loses_and_doubles_nothing(open_ledger, data):
    acked = killed_after_acks(data, "running")
    ledger = open_ledger()
    assert ledger.waiter.wait_for(acked[-1], BUSY_SECONDS)
    digests = settled_digests(ledger._engine)
    ledger.close()
    assert rebuild(data).digests == digests


def test_a_reopened_folder_goes_on_where_it_was(open_ledger):
    ledger = open_ledger()
    last = filled(ledger)
    digests = settled_digests(ledger._engine)
    ledger.close()
    again = open_ledger()
    assert again.waiter.wait_for(last, 0), "nothing is projected again"
    assert settled_digests(again._engine) == digests
    assert again.journal.append(DRAFTS[0]).sequence == last.sequence + 1


def test_the_same_bodies_sent_after_a_restart_change_no_count(open_ledger):
    ledger = open_ledger()
    filled(ledger)
    digests = settled_digests(ledger._engine)
    ledger.close()
    again = open_ledger()
    filled(again)
    assert settled_digests(again._engine) == digests


def test_closing_projects_what_was_acknowledged(open_ledger, data):
    ledger = open_ledger()
    for draft in DRAFTS:
        ledger.journal.append(draft)
    ledger.close()
    with pytest.raises(JournalClosed):
        ledger.journal.append(DRAFTS[0])
    again = open_ledger()
    assert again.waiter.wait_for(again.journal.durable_position, 0)


def test_closing_does_not_wait_for_ever_for_a_batch_that_hangs(data, monkeypatch):
    entered, release = threading.Event(), threading.Event()
    commit = DuckDbWriter.commit

    def hang(self, prepared) -> None:
        entered.set()
        assert release.wait(BUSY_SECONDS)
        commit(self, prepared)

    monkeypatch.setattr(DuckDbWriter, "commit", hang)
    ledger = Ledger.open(data)
    last = ledger.journal.append(DRAFTS[0])
    assert entered.wait(BUSY_SECONDS)
    with capture_logs() as logs:
        ledger.close(timeout_seconds=0.1)
    assert [entry["event"] for entry in logs] == ["view_behind_at_close"]
    assert running_server(data) is not None, "the folder is not given away while a batch is being written"
    release.set()
    ledger._projector._thread.join(BUSY_SECONDS)
    ledger.close()
    again = Ledger.open(data)
    assert again.waiter.wait_for(last, BUSY_SECONDS)
    assert len(runs_of(again)) == 1
    again.close()


def change_meta(data: Path, change: str) -> None:
    engine = Engine(data / VIEW)
    engine.rows(change)
    engine.close()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("UPDATE meta SET schema_version = schema_version + 1", "another release"),
        ("UPDATE meta SET normaliser_version = normaliser_version - 1", "another release"),
        ("UPDATE meta SET journal_id = 'f'", "another journal"),
        ("UPDATE meta SET sequence = sequence + 1000", "ahead of the journal"),
        ("DELETE FROM meta", "never begun"),
        ("ALTER TABLE meta RENAME COLUMN sequence TO position", "sequence"),
        ("ALTER TABLE superseded RENAME COLUMN revision TO version", "cannot be opened"),
    ],
)
def test_a_view_that_does_not_fit_is_made_again_from_the_record(open_ledger, data, change, cause):
    ledger = open_ledger()
    last = filled(ledger)
    digests = settled_digests(ledger._engine)
    ledger.close()
    change_meta(data, change)
    with capture_logs() as logs:
        again = open_ledger()
    assert [cause in entry["cause"] for entry in logs if entry["event"] == "view_made_again"] == [True]
    assert again.waiter.wait_for(last, BUSY_SECONDS)
    assert settled_digests(again._engine) == digests


@pytest.mark.parametrize("found", [b"", b"this is no database" * 1000, None], ids=["empty", "garbage", "gone"])
def test_a_view_that_is_broken_or_gone_is_made_again(open_ledger, data, found):
    ledger = open_ledger()
    last = filled(ledger)
    digests = settled_digests(ledger._engine)
    ledger.close()
    (data / VIEW).unlink()
    if found is not None:
        (data / VIEW).write_bytes(found)
    again = open_ledger()
    assert again.waiter.wait_for(last, BUSY_SECONDS)
    assert settled_digests(again._engine) == digests


def test_the_log_of_a_view_that_was_deleted_does_not_enter_the_next_one(open_ledger, data):
    ledger = open_ledger()
    for body in captures()["dbos-3.4"]:
        ledger.journal.append(draft_of(body))
    ledger.close()  # What comes now is in the log alone, and means nothing without this.
    acked = killed_after_acks(data, "projected")
    assert (data / (VIEW + ".wal")).stat().st_size > 0
    (data / VIEW).unlink()
    ledger = open_ledger()
    assert ledger.waiter.wait_for(acked[-1], BUSY_SECONDS)
    digests = settled_digests(ledger._engine)
    ledger.close()
    assert rebuild(data).digests == digests


def test_a_folder_that_does_not_open_is_not_left_locked(data, monkeypatch):
    ledger = Ledger.open(data)
    filled(ledger)
    ledger.close()

    def fail(*_: object, **__: object) -> Engine:
        raise ViewError("no memory")

    with monkeypatch.context() as broken:
        broken.setattr(ledger_module, "Engine", fail)
        with pytest.raises(ViewError, match="no memory"):
            Ledger.open(data)
    assert running_server(data) is None
    (data / JOURNAL / "00000000000000000001.segment").write_bytes(b"")
    with pytest.raises(JournalCorrupt):
        Ledger.open(data)
    assert running_server(data) is None


def test_a_file_in_the_place_of_the_journal_is_refused_with_the_folder_unlocked(data):
    data.mkdir()
    (data / JOURNAL).write_text("mine")
    with pytest.raises(DataFolderUnusable, match=r"the journal in .* cannot be opened"):
        Ledger.open(data)
    assert (data / JOURNAL).read_text() == "mine"
    FolderLock(data).release()


def test_metrics_say_how_far_journal_and_view_are(open_ledger):
    registry = CollectorRegistry()
    ledger = open_ledger(registry=registry)
    last = filled(ledger)

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert sample("spanledger_journal_sequence") == sample("spanledger_view_sequence") == last.sequence
    assert sample("spanledger_quarantined_frames") == 0
    assert sample("spanledger_projection_lag_seconds") == 0
    assert sample("spanledger_journal_fsync_seconds_count") == len(DRAFTS)
    assert sum(sample("spanledger_runs", status=status) or 0 for status in ("ok", "error", "running", "interrupted",
               "incomplete", "abandoned", "denied", "cancelled")) == len(runs_of(ledger))  # fmt: skip


def test_readiness_survives_a_restart(open_ledger):
    ledger = open_ledger()
    last = filled(ledger)
    expected = {
        "ready": True, "reasons": [], "journal_position": str(last), "view_position": str(last), "lag_ms": 0,
        "quarantined_frames": 0,
    }  # fmt: skip
    assert ledger.waiter.readiness() == expected
    json.dumps(expected)
    ledger.close()
    assert open_ledger().waiter.readiness() == expected
