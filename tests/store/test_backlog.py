"""How far the view is behind in bytes: counted, estimated after a start, and never drifting."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from store.backlog import SAMPLE_BYTES_MAX, Backlog, Load, estimated_load
from store.duckdb.writer import DuckDbWriter
from store.errors import JournalCorrupt
from store.ledger import Ledger
from store.pace import RECORD_WORK_BYTES
from store.projector import Projector
from store.record import Frame
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of, frames_of

DRAFTS = [draft_of(body) for body in captures()["spanledger-demo"]]
SIZES = [len(draft.body) for draft in DRAFTS]


def empty(*, durable: int = 0) -> Backlog:
    return Backlog(reached=durable, durable=durable, inherited=Load())


def test_what_is_appended_counts_until_it_is_projected():
    backlog = empty()
    for sequence, size in enumerate((10, 20, 30), 1):
        backlog.appended(sequence, size, 1)
    assert backlog.total_bytes == backlog.charged_bytes(1) == 60
    backlog.projected(2)
    assert backlog.total_bytes == 30
    backlog.projected(3)
    backlog.appended(4, 5, 1)
    assert backlog.total_bytes == 5


def test_a_projector_that_is_faster_than_the_thread_that_appended_leaves_no_trace():
    backlog = empty(durable=7)
    backlog.projected(8)
    backlog.appended(8, 100, 1)
    assert backlog.total_bytes == 0
    backlog.appended(9, 1, 1)
    assert backlog.total_bytes == 1


def test_any_order_of_appends_and_projections_comes_to_the_same():
    generator = random.Random(3)
    sizes = {sequence: generator.randrange(1, 1000) for sequence in range(1, 200)}
    for _ in range(20):
        backlog, reached = empty(), 0
        order = sorted(sizes, key=lambda sequence: sequence + generator.randrange(20))
        for count, sequence in enumerate(order):
            backlog.appended(sequence, sizes[sequence], 1)
            if generator.random() < 0.2:
                reached = max(reached, min(count, generator.randrange(200)))
                backlog.projected(reached)
            known = order[: count + 1]
            assert backlog.total_bytes == sum(sizes[one] for one in known if one > reached)
        backlog.projected(199)
        assert backlog.total_bytes == 0


def test_what_was_there_at_the_start_shrinks_with_the_sequence():
    backlog = Backlog(reached=10, durable=20, inherited=Load(1000, 1000))
    backlog.appended(21, 7, 1)
    assert backlog.total_bytes == backlog.charged_bytes(1000) == 1007
    backlog.projected(15)
    assert backlog.total_bytes == 507
    backlog.projected(20)
    assert backlog.total_bytes == 7
    backlog.projected(21)
    assert backlog.total_bytes == 0


def test_the_past_of_a_view_that_is_made_again_does_not_count_against_the_bound():
    backlog = Backlog(reached=0, durable=100, inherited=Load(10_000, 10_000))
    backlog.appended(101, 7, 1)
    assert backlog.charged_bytes(5_000) == 10_007, "twice the bound can be the senders' doing"
    assert backlog.charged_bytes(4_999) == 7
    assert backlog.total_bytes == 10_007


def test_few_frames_are_counted_exactly_and_many_are_estimated_from_the_first():
    frames = frames_of(DRAFTS)
    work = sum(SIZES) + RECORD_WORK_BYTES * sum(frame.records for frame in frames)
    assert estimated_load(frames, len(frames)) == Load(sum(SIZES), work)
    assert estimated_load([], 0) == Load()
    large = replace(frames[0], body=bytes(SAMPLE_BYTES_MAX // 4))
    read: list[Frame] = []

    def reading() -> Iterator[Frame]:
        for _ in range(1000):
            read.append(large)
            yield large

    assert estimated_load(reading(), 1000).size == 1000 * len(large.body)
    assert len(read) == 4


def test_a_frame_that_cannot_be_read_does_not_keep_the_folder_from_opening():
    def broken() -> Iterator[Frame]:
        yield from frames_of(DRAFTS)[:1]
        raise JournalCorrupt("a wrong checksum")

    assert estimated_load(broken(), 3).size == 3 * SIZES[0]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The view is written only once this is set."""
    release = threading.Event()
    commit = DuckDbWriter.commit

    def wait(self, prepared) -> None:
        assert release.wait(BUSY_SECONDS)
        commit(self, prepared)

    monkeypatch.setattr(DuckDbWriter, "commit", wait)
    return release


def test_a_ledger_knows_its_lag_in_bytes_while_the_engine_hangs_and_after(tmp_path: Path, held: threading.Event):
    registry = CollectorRegistry()
    ledger = Ledger.open(tmp_path / "data", registry=registry)
    try:
        with ThreadPoolExecutor(4) as pool:
            last = max(pool.map(ledger.append, DRAFTS))
        assert ledger.lag_bytes(1) == sum(SIZES)
        assert registry.get_sample_value("spanledger_projection_lag_bytes") == sum(SIZES)
        held.set()
        assert ledger.waiter.wait_for(last, BUSY_SECONDS)
        ledger.close()
        assert ledger.lag_bytes(1) == 0
    finally:
        held.set()
        ledger.close()


def test_a_restart_finds_the_lag_that_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Projector, "start", lambda self: None)
    ledger = Ledger.open(tmp_path / "data")
    for draft in DRAFTS:
        ledger.append(draft)
    ledger.close()
    monkeypatch.undo()
    again = Ledger.open(tmp_path / "data")
    try:
        assert again.waiter.wait_for(again.journal.durable_position, BUSY_SECONDS)
    finally:
        again.close()
    assert again.lag_bytes(1) == 0


def test_a_restart_counts_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Projector, "start", lambda self: None)
    for _ in range(2):
        ledger = Ledger.open(tmp_path / "data")
        found = ledger.lag_bytes(sum(SIZES))
        for draft in DRAFTS if not found else ():
            ledger.append(draft)
        ledger.close()
    assert found == sum(SIZES)


def test_the_queue_before_the_disk_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    registry = CollectorRegistry()
    ledger = Ledger.open(tmp_path / "data", registry=registry)
    entered, leave = threading.Event(), threading.Event()
    submit = ledger.journal.submit

    def slow(draft):
        entered.set()
        assert leave.wait(BUSY_SECONDS)
        return submit(draft)

    monkeypatch.setattr(ledger.journal, "submit", slow)
    try:
        with ThreadPoolExecutor(1) as pool:
            request = pool.submit(ledger.append, DRAFTS[0])
            assert entered.wait(BUSY_SECONDS)
            assert registry.get_sample_value("spanledger_journal_queue_depth") == 1
            leave.set()
            request.result(BUSY_SECONDS)
        assert registry.get_sample_value("spanledger_journal_queue_depth") == 0
        free, total = ledger.disk()
        assert 0 < free < total
        assert registry.get_sample_value("spanledger_disk_free_bytes") == pytest.approx(free, rel=0.1)
    finally:
        leave.set()
        ledger.close()
