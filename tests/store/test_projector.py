"""The projector follows the journal whatever frames, engine and disk do; nothing is lost and nothing is silent."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from store import projector as projector_module
from store.duckdb.engine import Engine
from store.errors import BadQuery, RowRefused, ViewError
from store.journal.journal import Journal
from store.projection import Projection
from store.projector import Projector
from store.record import FrameDraft, Position, Signal
from store.view import ViewBatch
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import FailingWriter, View, captures, draft_of, every_body, settled_digests

DRAFTS = [draft_of(body) for body in captures()["spanledger-demo"]]
GARBAGE = FrameDraft("default", Signal.TRACES, b"\xff\xff not OTLP", (b"\x00" * 32,))


class Follower:
    """A journal, a view in memory and what projects one into the other; `before_write` sees every batch first."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal", segment_bytes=1 << 20)
        self.engine = Engine(Path(":memory:"))
        self.before_write: Callable[[ViewBatch], None] = lambda _: None
        self.writer = FailingWriter(self.engine, self._before_write)
        self.projector = Projector(self.journal, self.writer)
        self.started = False

    def _before_write(self, batch: ViewBatch) -> None:
        self.before_write(batch)  # Looked up at each write: a test sets it after this is made.

    def append(self, *drafts: FrameDraft) -> Position:
        return [self.journal.append(draft) for draft in drafts][-1]

    def start(self) -> None:
        self.started = True
        self.projector.start()

    def reach(self, position: Position) -> None:
        if not self.started:
            self.start()
        assert self.projector.wait_for(position, BUSY_SECONDS), self.projector.problem

    def table(self, name: str) -> list[dict]:
        return self.engine.rows(f"FROM {name}")

    def quarantined(self) -> list[int]:
        return [row["sequence"] for row in self.engine.rows("SELECT sequence FROM quarantine ORDER BY sequence")]

    def close(self) -> None:
        self.journal.close()
        self.projector.stop(5)
        self.engine.close()


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    made = Follower(tmp_path)
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(projector_module, "_RETRY_SECONDS", (0.001,))


def test_a_reader_of_its_own_writes_waits_for_their_position(follower):
    release = threading.Event()
    follower.before_write = lambda _: release.wait(BUSY_SECONDS)
    follower.start()
    position = follower.append(*DRAFTS)
    assert not follower.projector.wait_for(position, 0.05)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(follower.projector.wait_for, position, 20)
        release.set()
        assert waiting.result(BUSY_SECONDS)
    assert follower.projector.sequence == position.sequence
    assert follower.projector.wait_for(position, 0)
    assert len(follower.table("runs")) > 0


def test_a_position_that_no_receipt_can_name_is_refused(follower):
    follower.reach(follower.append(DRAFTS[0]))
    with pytest.raises(BadQuery, match="another record") as other:
        follower.projector.wait_for(Position("f" * 32, 1), 1)
    assert other.value.parameter == "min_position"
    with pytest.raises(BadQuery, match="no receipt can name it yet"):
        follower.projector.wait_for(Position(follower.journal.journal_id, 2), 1)


def test_frames_that_wait_are_projected_in_bounded_batches_in_order(follower, monkeypatch):
    monkeypatch.setattr(projector_module, "BATCH_FRAMES_MAX", 3)
    follower.reach(follower.append(*DRAFTS))
    assert [batch.sequence for batch in follower.writer.written] == [3, 6, 9, 12]


def test_a_batch_has_a_bound_in_bytes_but_always_takes_one_frame(follower, monkeypatch):
    monkeypatch.setattr(projector_module, "BATCH_BYTES_MAX", 1)
    follower.reach(follower.append(*DRAFTS[:3]))
    assert [batch.sequence for batch in follower.writer.written] == [1, 2, 3]


def test_a_frame_of_garbage_is_quarantined_and_those_around_it_are_in_the_view(follower):
    with capture_logs() as logs:
        follower.reach(follower.append(*DRAFTS[:6], GARBAGE, *DRAFTS[6:]))
    whole = View()
    whole.project([frame for frame in follower.journal.frames_after(0) if frame.sequence != 7])
    assert follower.quarantined() == [7]
    row = follower.table("quarantine")[0]
    assert (row["signal"], row["tenant"]) == ("traces", "default")
    assert "MalformedOtlp" in row["error"]
    assert [entry["sequence"] for entry in logs if entry["event"] == "frame_quarantined"] == [7]
    assert follower.projector.readiness()["quarantined_frames"] == 1
    assert follower.projector.readiness()["ready"]
    found, expected = settled_digests(follower.engine), whole.digests()
    assert {name: found[name] for name in found if name != "quarantine"} == {
        name: expected[name] for name in expected if name != "quarantine"
    }
    whole.close()


@pytest.mark.parametrize("error", [KeyError("a defect of ours"), RecursionError("too deep"), UnicodeError("no text")])
def test_a_frame_on_which_the_normaliser_fails_is_quarantined_alone(follower, monkeypatch, error):
    project = Projection.read

    def fail_on_the_fourth(self, frames):
        if any(frame.sequence == 4 for frame in frames):
            raise error
        return project(self, frames)

    monkeypatch.setattr(Projection, "read", fail_on_the_fourth)
    follower.reach(follower.append(*DRAFTS))
    assert follower.quarantined() == [4]
    assert type(error).__name__ in follower.table("quarantine")[0]["error"]
    assert {row["sequence"] for row in follower.table("step_versions")} <= set(range(1, 13)) - {4}
    assert len({row["sequence"] for row in follower.table("step_versions")}) > 3


def test_a_panic_of_the_decoder_is_quarantined_like_any_other_failure(follower, monkeypatch):
    class PanicException(BaseException):
        pass

    project = Projection.read

    def panic_on_the_second(self, frames):
        if any(frame.sequence == 2 for frame in frames):
            raise PanicException("index out of bounds")
        return project(self, frames)

    monkeypatch.setattr(Projection, "read", panic_on_the_second)
    follower.reach(follower.append(*DRAFTS[:3]))
    assert follower.quarantined() == [2]


def test_a_frame_whose_rows_the_engine_cannot_hold_is_quarantined_alone(follower):
    def refuse(batch: ViewBatch) -> None:
        if any(span.sequence == 3 for span, _ in batch.steps):
            raise OverflowError("int too big to convert")

    follower.before_write = refuse
    follower.reach(follower.append(*DRAFTS[:5]))
    assert follower.quarantined() == [3]


@pytest.mark.usefixtures("impatient")
def test_a_write_that_fails_is_tried_again_until_it_works_and_loses_nothing(follower):
    failures = iter(range(7))
    failed_twice = threading.Event()

    def fail_seven_times(_: ViewBatch) -> None:
        for count in failures:
            if count == 2:
                failed_twice.set()
            raise ViewError(f"disk full, time {count}")

    follower.before_write = fail_seven_times
    follower.start()
    with capture_logs() as logs:
        follower.append(*DRAFTS[:6])
        assert failed_twice.wait(BUSY_SECONDS)
        position = follower.append(*DRAFTS[6:])
        follower.reach(position)
    assert [entry["attempt"] for entry in logs if entry["event"] == "projection_failed"][:3] == [0, 1, 2]
    assert follower.projector.problem is None
    assert follower.projector.readiness()["ready"]
    whole = View()
    whole.project(list(follower.journal.frames_after(0)))
    assert settled_digests(follower.engine) == whole.digests()
    whole.close()


def test_while_the_view_cannot_be_written_appends_go_on_and_readiness_says_why(follower):
    failed = threading.Event()

    def fail(_: ViewBatch) -> None:
        failed.set()
        raise ViewError("the disk is full")

    follower.before_write = fail
    follower.start()
    follower.append(DRAFTS[0])
    assert failed.wait(BUSY_SECONDS)
    assert follower.append(*DRAFTS[1:]).sequence == len(DRAFTS)
    with follower.projector._moved:
        assert follower.projector._moved.wait_for(lambda: follower.projector.problem, BUSY_SECONDS)
    readiness = follower.projector.readiness()
    assert not readiness["ready"]
    assert readiness["reasons"] == ["the view cannot be written: the disk is full"]
    assert readiness["journal_position"] == f"{follower.journal.journal_id}:{len(DRAFTS)}"
    assert readiness["view_position"] == f"{follower.journal.journal_id}:0"
    assert follower.projector.lag_seconds > 0
    assert follower.projector.stop(0.2) is False


@pytest.mark.usefixtures("impatient")
def test_a_quarantined_frame_stands_once_though_the_write_behind_it_failed(follower, monkeypatch):
    # One batch with garbage is projected frame by frame; the write of a later one fails, and the rest is tried again.
    fails = iter([True])

    def fail_once_at_the_fifth(batch: ViewBatch) -> None:
        if batch.sequence == 5 and next(fails, False):
            raise ViewError("for a moment")

    follower.before_write = fail_once_at_the_fifth
    position = follower.append(GARBAGE, *DRAFTS[:4], GARBAGE, *DRAFTS[4:])
    reached: list[int] = []
    follower.projector._on_batch = lambda batch, _: reached.append(batch.sequence)
    follower.reach(position)
    assert follower.quarantined() == [1, 6]
    assert follower.projector.readiness()["quarantined_frames"] == 2
    assert reached == sorted(reached)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outcomes=st.lists(st.sampled_from(["written", "written", "engine", "rows"]), max_size=14), frames=st.integers(1, 4)
)
@pytest.mark.usefixtures("impatient")
def test_whatever_fails_while_the_next_batch_is_placed_nothing_is_lost_or_twice(
    tmp_path, monkeypatch, outcomes, frames
):
    monkeypatch.setattr(projector_module, "BATCH_FRAMES_MAX", frames)
    left = iter(outcomes)

    def fail(_: ViewBatch) -> None:
        match next(left, "written"):
            case "engine":
                raise ViewError("for a moment")
            case "rows":
                raise RowRefused("a row that does not fit")

    with TemporaryDirectory(dir=tmp_path) as folder:
        follower = Follower(Path(folder))
        try:
            follower.before_write = fail
            reached: list[int] = []
            follower.projector._on_batch = lambda batch, _: reached.append(batch.sequence)
            follower.reach(follower.append(*DRAFTS))
            refused = follower.quarantined()
            assert len(refused) <= outcomes.count("rows")
            assert reached == sorted(reached)
            whole = View()
            # At once: that batches change nothing is tested in test_batches_and_order.py.
            if kept := [frame for frame in follower.journal.frames_after(0) if frame.sequence not in refused]:
                whole.project(kept)
            found = settled_digests(follower.engine)
            for name, digest in whole.digests().items():
                if name != "quarantine":
                    assert found[name] == digest, name
            whole.close()
        finally:
            follower.close()


def test_a_failure_nobody_foresaw_is_a_reason_not_to_be_ready(follower):
    def broken(*_: object) -> None:
        raise RuntimeError("a metric without a registry")

    follower.projector._on_batch = broken
    follower.start()
    follower.append(DRAFTS[0])
    follower.projector._thread.join(BUSY_SECONDS)
    assert not follower.projector._thread.is_alive()
    readiness = follower.projector.readiness()
    assert not readiness["ready"]
    assert "a metric without a registry" in readiness["reasons"][0]
    assert "restart" in readiness["reasons"][0]


def test_a_journal_that_cannot_be_read_is_a_reason_not_to_be_ready_and_harms_nothing(tmp_path, monkeypatch):
    follower = Follower(tmp_path)
    follower.append(*DRAFTS)
    follower.close()
    path = next((tmp_path / "journal").glob("*.segment"))
    data = bytearray(path.read_bytes())
    data[64 + 74 + 40] ^= 1
    path.write_bytes(bytes(data))
    follower = Follower(tmp_path)
    follower.start()
    follower.projector._thread.join(BUSY_SECONDS)
    readiness = follower.projector.readiness()
    assert not readiness["ready"]
    assert "wrong checksum" in readiness["reasons"][0]
    assert follower.append(DRAFTS[0]).sequence == len(DRAFTS) + 1
    follower.close()


def test_a_failed_journal_is_a_reason_not_to_be_ready(follower, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(Exception, match="Input/output error"):
        follower.append(DRAFTS[0])
    readiness = follower.projector.readiness()
    assert not readiness["ready"]
    assert "restart Spanledger" in readiness["reasons"][0]


def test_stopping_projects_what_is_durable(follower):
    follower.append(*DRAFTS)
    follower.start()
    assert follower.projector.stop(20)
    assert follower.projector.sequence == len(DRAFTS)
    assert follower.projector.lag_seconds == 0


def test_stopping_does_not_wait_for_ever_for_a_batch_that_hangs(follower):
    release, entered = threading.Event(), threading.Event()

    def hang(_: ViewBatch) -> None:
        entered.set()
        release.wait(BUSY_SECONDS)

    follower.before_write = hang
    follower.append(*DRAFTS)
    follower.start()
    assert entered.wait(BUSY_SECONDS)
    assert follower.projector.stop(0.1) is False
    release.set()


def test_catching_up_hands_a_broken_engine_to_its_caller(follower):
    def fail(_: ViewBatch) -> None:
        raise ViewError("the disk is full")

    follower.before_write = fail
    follower.append(*DRAFTS)
    with pytest.raises(ViewError, match="the disk is full"):
        follower.projector.catch_up()


def test_catching_up_tells_its_progress(follower, monkeypatch):
    monkeypatch.setattr(projector_module, "BATCH_FRAMES_MAX", 5)
    follower.append(*DRAFTS)
    heard: list[tuple[int, int]] = []
    follower.projector.catch_up(lambda done, of: heard.append((done, of)))
    assert heard == [(5, 12), (10, 12), (12, 12)]


def test_appends_from_many_threads_are_all_in_the_view_once(follower):
    drafts = [draft_of(body, tenant) for body in every_body() for tenant in ("a", "b")]
    follower.start()
    with ThreadPoolExecutor(8) as threads:
        positions = list(threads.map(follower.journal.append, drafts))
    follower.reach(max(positions))
    whole = View()
    whole.project(list(follower.journal.frames_after(0)))
    assert settled_digests(follower.engine) == whole.digests()
    assert follower.quarantined() == []
    whole.close()
