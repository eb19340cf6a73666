"""A backup is a whole prefix of the record, taken while it grows, and a server starts on it as on any folder."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store import backup as backup_module
from store.backup import BackedUp, back_up
from store.errors import BackupFailed, DataFolderUnusable, JournalCorrupt, JournalVersionUnknown
from store.folder import JOURNAL, UNFINISHED
from store.journal.format import HEADER_BYTES
from store.journal.journal import Journal
from store.ledger import Ledger, rebuild
from tests.store.journal.journal_bench import SEGMENT_BYTES, draft, hand_made, segments_in
from tests.store.ledger_bench import Body, draft_of, every_body, split

HURRY_SECONDS = 60


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def open_journal(data: Path) -> Iterator[Callable[..., Journal]]:
    opened: list[Journal] = []

    def open_one(folder: Path = data, *, segment_bytes: int = SEGMENT_BYTES) -> Journal:
        (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
        opened.append(Journal(folder / JOURNAL, segment_bytes=segment_bytes))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


def frames_of(journal: Journal, up_to: int) -> list[tuple[int, int, bytes, bytes]]:
    return [
        (frame.sequence, frame.received_ns, frame.root, frame.body)
        for frame in journal.frames_after(0)
        if frame.sequence <= up_to
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(data: Path, destination: Path, error: type[Exception], match: str) -> None:
    """The backup fails with these words, and the destination is as it was."""
    before = files_below(destination) if destination.is_dir() else None
    with pytest.raises(error, match=match):
        back_up(data, destination)
    assert (files_below(destination) if destination.is_dir() else None) == before
    assert not (destination / UNFINISHED).exists()


def test_a_backup_of_a_journal_that_grows_and_rotates_is_every_frame_up_to_its_position(open_journal, data, tmp_path):
    journal = open_journal()
    stop = threading.Event()

    def append() -> int:
        appended = 0
        while not stop.is_set():
            journal.append(draft(os.urandom(3_000) * (1 + appended % 4)))
            appended += 1
        return appended

    taken: list[tuple[Path, BackedUp, int, int]] = []
    with ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(append) for _ in range(3)]
        try:
            for number in range(12):
                assert journal.wait_for_more(number * 20, HURRY_SECONDS)
                before = journal.durable_sequence
                to = tmp_path / f"backup-{number}"
                done = back_up(data, to)
                taken.append((to, done, before, journal.durable_sequence))
        finally:
            stop.set()
        assert sum(writer.result() for writer in writers) == journal.durable_sequence
    assert len(segments_in(data / JOURNAL)) > len(segments_in(taken[0][0] / JOURNAL)), "it rotated meanwhile"
    for to, done, before, after in taken:
        # A frame that was written when its segment was read is in the copy, whether its sender had heard of it or not.
        assert before <= done.position.sequence == done.frames <= after + 3
        assert done.position.journal_id == journal.journal_id
        assert len(segments_in(to / JOURNAL)) == done.segments
        assert sum(path.stat().st_size for path in segments_in(to / JOURNAL)) == done.copied_bytes
        restored = open_journal(to)
        assert restored.durable_position == done.position
        assert frames_of(restored, done.frames) == frames_of(journal, done.frames)


def test_a_restored_folder_has_the_tables_of_the_original_up_to_the_backup_and_goes_on(data, destination, tmp_path):
    drafts = [draft_of(one) for body in every_body(["spanledger-demo", "dbos-3.4"]) for one in split(body)]
    half = len(drafts) // 2
    ledger = Ledger.open(data)
    try:
        for one in drafts[:half]:
            ledger.journal.append(one)
        done = back_up(data, destination)
        for one in drafts[half:]:
            ledger.journal.append(one)
    finally:
        ledger.close()
    assert done.frames == half
    assert sorted(path.name for path in destination.iterdir()) == [JOURNAL]
    # The original up to there: its own segments with the frames behind the position cut off.
    until = tmp_path / "until"
    shutil.copytree(data, until)
    [segment] = segments_in(until / JOURNAL)
    os.truncate(segment, done.copied_bytes)
    expected = rebuild(until)
    assert expected.frames == half
    restored = Ledger.open(destination)
    try:
        assert restored.waiter.wait_for(done.position, HURRY_SECONDS)
        assert restored.digests() == expected.digests
        for one in drafts[half:]:
            position = restored.journal.append(one)
        assert restored.waiter.wait_for(position, HURRY_SECONDS)
    finally:
        restored.close()
    assert rebuild(destination).frames == len(drafts)


def test_a_journal_that_nobody_writes_is_copied_whole(open_journal, data, destination):
    journal = open_journal()
    bodies = [os.urandom(30_000) for _ in range(6)]
    for body in bodies:
        journal.append(draft(body))
    journal.close()
    heard: list[tuple[int, int]] = []
    destination.mkdir()
    done = back_up(data, destination, progress=lambda copied, of: heard.append((copied, of)))
    assert heard[-1] == (done.segments, done.segments)
    restored = open_journal(destination)
    assert [frame.body for frame in restored.frames_after(0)] == bodies
    assert restored.append(draft(b"goes on")).sequence == 7
    mode = stat.S_IMODE
    assert mode((destination / JOURNAL).stat().st_mode) == 0o700
    assert {mode(path.stat().st_mode) for path in segments_in(destination / JOURNAL)} == {0o600}


def test_an_empty_record_can_be_backed_up(open_journal, data, destination):
    journal = open_journal()
    done = back_up(data, destination)
    assert (done.frames, done.position) == (0, journal.durable_position)
    assert open_journal(destination).append(draft(b"first")).sequence == 1


def test_a_segment_that_is_being_made_is_left_alone(open_journal, data, destination):
    open_journal().append(draft(b"one"))
    new = data / JOURNAL / "00000000000000000002.segment.new"
    new.write_bytes(b"the server is at work on it")
    back_up(data, destination)
    assert new.exists()
    assert len(list((destination / JOURNAL).iterdir())) == 1


def test_a_commit_that_is_half_written_when_it_is_read_is_not_copied(data, destination):
    made = hand_made([b"one" * 100, b"two" * 100])
    (data / JOURNAL).mkdir(parents=True)
    whole = made.data
    path = hand_made([]).write(data / JOURNAL)
    path.write_bytes(whole[: made.offsets[-1] - 7].ljust(SEGMENT_BYTES, b"\x00"))
    done = back_up(data, destination)
    assert (done.frames, done.copied_bytes) == (1, made.offsets[1])


def test_a_frame_that_was_read_too_early_is_read_again(data, destination, monkeypatch):
    made = hand_made([b"one" * 100, b"two" * 100, b"three" * 100])
    (data / JOURNAL).mkdir(parents=True)
    path = made.write(data / JOURNAL)
    early = bytearray(path.read_bytes())
    early[made.offsets[1] : made.offsets[2]] = bytes(made.offsets[2] - made.offsets[1])
    path.write_bytes(bytes(early))
    locate = backup_module.later_commit

    def written_meanwhile(*arguments):
        found = locate(*arguments)
        path.write_bytes(made.data.ljust(SEGMENT_BYTES, b"\x00"))
        return found

    monkeypatch.setattr(backup_module, "later_commit", written_meanwhile)
    assert back_up(data, destination).frames == 3


def test_the_segment_is_synced_before_the_copy_counts(open_journal, data, destination, monkeypatch):
    open_journal().append(draft(b"one"))

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    refused(data, destination, DataFolderUnusable, r"\.segment cannot be read: Input/output error")
    assert not destination.exists()


@pytest.fixture
def three_segments(data: Path) -> list[Path]:
    folder = data / JOURNAL
    folder.mkdir(parents=True)
    return [
        hand_made([b"x" * 500] * 3, first_sequence=first).write(folder, size_bytes=size, first_sequence=first)
        for first, size in ((1, 0), (4, 0), (7, SEGMENT_BYTES))
    ]


def test_a_damaged_frame_is_refused_by_place(three_segments, data, destination):
    for path, behind in zip(three_segments, (0, 3, 6), strict=True):
        before = path.read_bytes()
        damaged = bytearray(before)
        damaged[HEADER_BYTES + 80] ^= 1
        path.write_bytes(bytes(damaged))
        refused(data, destination, JournalCorrupt, rf"{path.name} is damaged behind frame {behind} .*wrong checksum")
        path.write_bytes(before)
    assert back_up(data, destination).frames == 9


@pytest.mark.parametrize(("cut", "cause"), [(10, "ends in the middle"), (150, "ends in")])
def test_a_sealed_segment_that_is_cut_short_is_refused(three_segments, data, destination, cut, cause):
    os.truncate(three_segments[1], three_segments[1].stat().st_size - cut)
    refused(data, destination, JournalCorrupt, rf"behind frame \d, but no segment begins there.*{cause}")


@pytest.mark.parametrize("gone", [0, 1])
def test_a_segment_that_is_absent_is_refused(three_segments, data, destination, gone):
    three_segments[gone].unlink()
    refused(data, destination, JournalCorrupt, f"{three_segments[gone].name} is absent")


def test_a_segment_without_a_frame_in_the_middle_is_refused(three_segments, data, destination):
    os.truncate(three_segments[1], HEADER_BYTES)
    refused(data, destination, JournalCorrupt, "has no whole frame")


def test_a_segment_under_a_wrong_name_is_refused(three_segments, data, destination):
    three_segments[2].rename(three_segments[1])
    refused(data, destination, JournalCorrupt, r"no segment begins there|begins with frame 7 instead of 4")


def test_a_journal_of_a_newer_release_is_refused(three_segments, data, destination):
    whole = bytearray(three_segments[2].read_bytes())
    whole[8] = 9
    three_segments[2].write_bytes(bytes(whole))
    refused(data, destination, JournalVersionUnknown, "open the data folder with the release that wrote it")


def test_a_destination_that_holds_anything_is_refused_and_not_touched(three_segments, data, destination):
    destination.mkdir()
    (destination / "notes").write_text("mine")
    refused(data, destination, BackupFailed, r"is not empty \(it holds notes\)")
    refused(data, destination / "notes", BackupFailed, "is a file")
    refused(data, destination / "notes" / "below", BackupFailed, "cannot be made")
    refused(data, data, BackupFailed, "is not empty")


def test_a_full_disk_leaves_nothing_behind(three_segments, data, destination, monkeypatch):
    calls: list[int] = []

    def fail_at_the_second(descriptor: int, sync=os.fsync) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_at_the_second)
    refused(data, destination, BackupFailed, "cannot be written: No space left on device")
    assert not destination.exists()


@pytest.mark.parametrize("made", [False, True], ids=["no folder", "an empty folder"])
def test_without_a_record_there_is_nothing_to_back_up(data, destination, made):
    if made:
        (data / JOURNAL).mkdir(parents=True)
        refused(data, destination, BackupFailed, "has no segment yet")
    else:
        refused(data, destination, DataFolderUnusable, "cannot be read: No such file")
    assert not destination.exists()


def test_a_folder_with_a_hole_is_refused_at_the_start_even_where_the_view_is_whole(open_journal, data):
    bodies = [Body(one.signal, one.data) for one in every_body(["spanledger-demo"])]
    journal = open_journal(segment_bytes=HEADER_BYTES + 200)
    for body in bodies:
        journal.append(draft_of(body))
    journal.close()
    rebuild(data)
    before = files_below(data / JOURNAL)
    held = segments_in(data / JOURNAL)[1]
    hidden = held.rename(data / "aside")
    for opens in (Ledger.open, rebuild):
        with pytest.raises(JournalCorrupt, match=f"missing from the record, between .*{held.name}"):
            opens(data)
    hidden.rename(held)
    assert files_below(data / JOURNAL) == before
    assert rebuild(data).frames == len(bodies)


def test_no_server_starts_on_a_backup_that_was_not_finished(open_journal, data, destination):
    open_journal().append(draft(b"one"))
    back_up(data, destination)
    (destination / JOURNAL).rename(destination / UNFINISHED)
    with pytest.raises(DataFolderUnusable, match="a backup that was not finished"):
        Ledger.open(destination)
    assert not (destination / JOURNAL).exists()
