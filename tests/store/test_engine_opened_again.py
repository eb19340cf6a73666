"""An engine that gave up for want of disk space is opened again, with everything that was committed."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest
from structlog.testing import capture_logs

from store.duckdb import engine as engine_module
from store.duckdb.engine import Engine
from store.errors import ViewError
from store.ledger import Ledger, rebuild
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of

DISK_MB = 24
DRAFTS = [draft_of(body) for body in captures()["spanledger-demo"]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def no_pause(monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "_REOPEN_SECONDS", 0.0)


def add_noise(engine: Engine, rows: int) -> None:
    with engine.transaction() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS noise (text VARCHAR)")
        for _ in range(rows):
            cursor.execute("INSERT INTO noise VALUES (?)", [os.urandom(20_000).hex()])


def noise_in(engine: Engine) -> int:
    return engine.rows("SELECT count(*) AS n FROM noise")[0]["n"]


def answered(engine: Engine) -> int:
    """The rows, once the engine answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return noise_in(engine)
        except ViewError:
            assert time.monotonic() < deadline


def fill(disk: Path) -> Path:
    rest = disk / "rest"
    with rest.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return rest


def test_a_checkpoint_without_room_is_survived(small_disk, no_pause, monkeypatch):
    engine = Engine(small_disk / "view.duckdb")
    add_noise(engine, 100)
    rest = fill(small_disk)
    monkeypatch.setattr(engine_module, "_TIDY_ROOM", 0)
    with pytest.raises(ViewError, match="No space left on device"):
        engine.tidy()
    assert noise_in(engine) == 100, "it is opened again, and reading needs no room"
    with pytest.raises(ViewError, match="No space left on device"):
        engine.tidy()
    rest.unlink()
    engine.tidy()
    add_noise(engine, 10)
    assert noise_in(engine) == 110
    engine.close()
    again = Engine(small_disk / "view.duckdb")
    assert noise_in(again) == 110
    again.close()


def test_no_checkpoint_is_begun_on_a_disk_that_is_nearly_full(small_disk):
    engine = Engine(small_disk / "view.duckdb")
    add_noise(engine, 100)
    log = small_disk / "view.duckdb.wal"
    before = log.stat().st_size
    rest = fill(small_disk)
    engine.tidy()
    assert log.stat().st_size == before
    rest.unlink()
    engine.tidy()
    assert not log.exists() or log.stat().st_size < before
    engine.close()


def test_every_thread_has_a_connection_to_the_new_instance(tmp_path, no_pause):
    engine = Engine(tmp_path / "view.duckdb")
    add_noise(engine, 3)
    stop, counted, failed = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                counted.append(noise_in(engine))
            except ViewError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    with capture_logs() as logs:
        for _ in range(20):
            answered(engine)
            engine._note(duckdb.FatalException("FATAL Error: a checkpoint failed"))
        assert answered(engine) == 3
    stop.set()
    for thread in threads:
        thread.join(BUSY_SECONDS)
        assert not thread.is_alive()
    events = [entry["event"] for entry in logs]
    assert events.count("view_engine_gave_up") == events.count("view_opened_again") > 0
    assert set(counted) == {3}
    assert all("the view" in words for words in failed)
    engine.close()


def test_it_is_opened_again_at_most_once_in_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "_REOPEN_SECONDS", 3600.0)
    engine = Engine(tmp_path / "view.duckdb")
    for _ in range(2):
        engine.rows("SELECT 1")
        engine._note(duckdb.FatalException("FATAL Error: a checkpoint failed"))
        with suppress(ViewError):
            engine.rows("SELECT 1")
    with pytest.raises(ViewError, match="opened again in a moment: FATAL Error: a checkpoint failed"):
        engine.rows("SELECT 1")
    engine.close()


def test_a_projector_whose_engine_gave_up_goes_on_by_itself(tmp_path, no_pause):
    ledger = Ledger.open(tmp_path)
    try:
        for draft in DRAFTS[:2]:
            position = ledger.journal.append(draft)
        assert ledger.waiter.wait_for(position, BUSY_SECONDS)
        engine = ledger._engine
        engine.rows("SELECT 1")
        engine._note(duckdb.FatalException("FATAL Error: a checkpoint failed"))
        # As the instance itself would: it refuses everything until it is opened again.
        engine._connection.close()
        for draft in DRAFTS[2:]:
            position = ledger.journal.append(draft)
        assert ledger.waiter.wait_for(position, BUSY_SECONDS)
        digests = ledger.digests()
    finally:
        ledger.close()
    assert rebuild(tmp_path).digests == digests


def test_a_file_that_cannot_be_opened_is_let_go(tmp_path):
    path = tmp_path / "view.duckdb"
    engine = Engine(path)
    engine.rows("ALTER TABLE superseded RENAME COLUMN revision TO version")
    engine.close()
    with pytest.raises(ViewError, match="cannot be opened") as refused:
        Engine(path)
    with duckdb.connect(str(path)) as other:  # While the error, and all that hangs off it, is still at hand.
        assert other.execute("SELECT count(version) FROM superseded").fetchall() == [(0,)]
    assert refused.value is not None


def test_what_memory_does_not_hold_goes_beside_the_view_and_not_where_the_process_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    engine = Engine(tmp_path / "data" / "view.duckdb", memory_mb=64)
    rows = engine.rows(
        "SELECT count(*) AS n FROM (SELECT range AS i, md5(range::VARCHAR) AS m FROM range(2000000) ORDER BY m)"
    )
    assert rows == [{"n": 2_000_000}]
    used = engine.rows("SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'")
    engine.close()
    assert used == [{"value": str(tmp_path / "data" / "view.duckdb.spill")}]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
