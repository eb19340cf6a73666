"""Disks fill up and break: a full one is waited for, a broken one ends the journal, and every caller is told which."""

import errno
import os
import subprocess
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from store.errors import JournalFailed, JournalFull
from store.journal import segments
from tests.patience import BUSY_SECONDS
from tests.store.journal.journal_bench import SEGMENT_BYTES, bodies_of, draft, segments_in


def raising(code: int):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def append_until_refused(journal, stored: list[bytes]) -> None:
    """What was acknowledged goes to `stored`."""
    for _ in range(100):
        body = os.urandom(20_000)
        journal.append(draft(body))
        stored.append(body)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for three segments."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={3 * SEGMENT_BYTES + 16_384}", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root: the same is tested with a fallocate that fails")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_retryable_and_forgotten_when_there_is_room(open_journal, small_disk):
    journal = open_journal(small_disk / "journal")
    stored: list[bytes] = []
    with pytest.raises(JournalFull, match="free disk space") as full:
        append_until_refused(journal, stored)
    assert full.value.retryable
    assert journal.failure is None
    with pytest.raises(JournalFull):
        journal.append(draft(os.urandom(20_000)))
    assert len(segments_in(small_disk / "journal")) == 3
    assert not list((small_disk / "journal").glob("*.new"))
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    for _ in range(10):
        stored.append(os.urandom(20_000))
        journal.append(draft(stored[-1]))
    journal.close()
    assert bodies_of(open_journal(small_disk / "journal")) == stored


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["posix_fallocate", "open"])
def test_no_room_for_a_segment_refuses_what_needs_one_and_nothing_else(open_journal, monkeypatch, code, call):
    journal = open_journal()
    stored = [os.urandom(40_000)]
    journal.append(draft(stored[0]))
    with monkeypatch.context() as broken:
        broken.setattr(segments.os, call, raising(code))
        with pytest.raises(JournalFull):
            journal.append(draft(os.urandom(40_000)))
        stored.append(b"this one still fits")
        assert journal.append(draft(stored[-1])).sequence == 2
    stored.append(os.urandom(40_000))
    assert journal.append(draft(stored[-1])).sequence == 3
    journal.close()
    assert bodies_of(open_journal()) == stored


def test_no_room_to_grow_an_empty_segment_is_retryable(open_journal, monkeypatch):
    journal = open_journal()
    large = os.urandom(2 * SEGMENT_BYTES)
    with monkeypatch.context() as broken:
        broken.setattr(os, "posix_fallocate", raising(errno.ENOSPC))
        with pytest.raises(JournalFull, match="no room to grow"):
            journal.append(draft(large))
    assert journal.append(draft(large)).sequence == 1


def test_a_failed_sync_ends_the_journal_for_all_who_wait_and_all_who_come(open_journal, held_sync):
    journal = open_journal()
    kept = [journal.append(draft(b"kept")).sequence]
    held_sync.hold()
    with capture_logs() as logs, ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(journal.append, draft(bytes([i]) * 50)) for i in range(5)]
        assert held_sync.entered.wait(BUSY_SECONDS)
        held_sync.failure = OSError(errno.EIO, "Input/output error")
        held_sync.let_go.set()
        for one in waiting:
            with pytest.raises(JournalFailed, match=r"Input/output error.*restart Spanledger; it keeps every frame"):
                one.result(BUSY_SECONDS)
        assert [entry["event"] for entry in logs] == ["journal_failed"]
    held_sync.failure = None
    syncs = held_sync.calls
    with pytest.raises(JournalFailed):
        journal.append(draft(b"later"))
    assert held_sync.calls == syncs, "an fsync that failed is never tried again"
    assert isinstance(journal.failure, JournalFailed)
    assert journal.durable_sequence == 1
    assert bodies_of(journal) == [b"kept"]
    journal.close()
    again = open_journal()
    assert [frame.sequence for frame in again.frames_after(0)][: len(kept)] == kept
    assert again.append(draft(b"after the restart")).sequence == again.durable_sequence


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fsync", "posix_fallocate", "rename"])
def test_any_other_failure_of_the_disk_ends_the_journal_and_loses_nothing(open_journal, folder, monkeypatch, call):
    journal = open_journal()
    stored: list[bytes] = []
    monkeypatch.setattr(os, call, raising(errno.EIO))
    with pytest.raises(JournalFailed):
        append_until_refused(journal, stored)
    with pytest.raises(JournalFailed):
        journal.append(draft(b"small"))
    monkeypatch.undo()
    journal.close()
    again = open_journal()
    assert bodies_of(again)[: len(stored)] == stored
    again.append(draft(b"goes on"))


def test_a_failure_nobody_foresaw_is_told_and_leaves_nobody_waiting(open_journal):
    def broken(_seconds: float) -> None:
        raise RuntimeError("a metric without a registry")

    journal = open_journal(on_fsync=broken)
    with ThreadPoolExecutor(1) as thread, pytest.raises(JournalFailed, match="a metric without a registry"):
        thread.submit(journal.append, draft(b"one")).result(BUSY_SECONDS)


def test_a_journal_that_has_failed_does_not_grow_with_every_refusal(open_journal, held_sync):
    journal = open_journal()
    held_sync.failure = OSError(errno.EIO, "Input/output error")
    lengths: set[int] = set()
    for _ in range(10):
        with pytest.raises(JournalFailed):
            journal.append(draft(b"x"))
        assert journal.failure is not None
        lengths.add(len(traceback.extract_tb(journal.failure.__traceback__)))
    assert lengths == {0}


def test_a_write_that_the_system_cuts_short_is_finished(open_journal, monkeypatch):
    journal = open_journal()
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at, write=os.pwrite: write(fd, data[:7], at))
    bodies = [os.urandom(300), b"short"]
    for body in bodies:
        journal.append(draft(body))
    monkeypatch.undo()
    journal.close()
    assert bodies_of(open_journal()) == bodies
