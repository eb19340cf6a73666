"""Frames that continue one another: read once by who follows, from their stream's beginning by who jumps in."""

import contextlib
import errno
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.errors import JournalCorrupt, JournalFull
from store.journal import journal as journal_module
from store.journal import segments
from store.journal import stream as stream_module
from store.journal.format import Part, StoredBody, locate_frame
from store.journal.journal import Journal
from store.journal.segments import list_segments
from store.journal.stream import StreamReader, StreamWriter
from tests.patience import BUSY_SECONDS
from tests.store.journal.journal_bench import HandMade, bodies_of, draft, hand_made, segments_in

HISTORY = os.urandom(20_000)
TALK = [HISTORY[: 2_000 * turn] + b"turn %d" % turn for turn in range(1, 10)]
# Frames 1 to 3 are a stream, 4 to 7 are one, 8 and 9 are one.
STREAMS = [True, False, False, True, False, False, False, True, False]


@pytest.fixture(autouse=True)
def nothing_in_memory(monkeypatch):
    monkeypatch.setattr(journal_module, "TAIL_BYTES_MAX", 0)


@pytest.fixture
def read(monkeypatch):
    """The raw lengths of the bodies that were decompressed."""
    lengths: list[int] = []
    body = StreamReader.body

    def counted(self: StreamReader, stored: StoredBody, source: str) -> bytes:
        lengths.append(stored.raw_bytes)
        return body(self, stored, source)

    monkeypatch.setattr(StreamReader, "body", counted)
    return lengths


def continuing(path: Path) -> list[bool]:
    """Of each frame of a segment, whether it continues a stream."""
    found: list[bool] = []
    with memoryview(path.read_bytes()) as view:
        offset = 64
        while place := locate_frame(view, offset, path.name):
            found.append(place.continues)
            offset = place.end
    return found


def damaged(made: HandMade, sequence: int) -> bytes:
    data = bytearray(made.data)
    data[made.offsets[sequence - 1] + 90] ^= 1
    return bytes(data)


def lengths(first: int, last: int) -> list[int]:
    return [len(body) for body in TALK[first - 1 : last]]


def test_frames_of_a_segment_are_one_stream_and_every_segment_and_process_begins_one(open_journal, folder):
    journal = open_journal()
    bodies = [HISTORY + os.urandom(9_000) for _ in range(12)]
    for body in bodies:
        journal.append(draft(body))
    journal.close()
    shapes = [continuing(path) for path in segments_in(folder)]
    assert len(shapes) > 1
    assert all(shape == [False] + [True] * (len(shape) - 1) for shape in shapes)
    again = open_journal()
    bodies += [b"another process", b"and its second"]
    for body in bodies[-2:]:
        again.append(draft(body))
    assert continuing(segments_in(folder)[-1]) == [*shapes[-1], False, True]
    assert bodies_of(again) == bodies


def test_a_history_that_is_sent_again_is_stored_once_a_stream(open_journal, monkeypatch):
    monkeypatch.setattr(stream_module, "STREAM_BYTES_MAX", 10 * len(HISTORY))
    journal = open_journal(segment_bytes=1024 * 1024)
    for turn in range(40):
        journal.append(draft(HISTORY + b"turn %d" % turn))
    assert 4 * len(HISTORY) < journal.bytes_on_disk < 6 * len(HISTORY)


def test_who_follows_decompresses_every_frame_once_however_often_it_goes_away(open_journal, read):
    journal = open_journal()
    seen: list[bytes] = []
    for number, body in enumerate(TALK):
        journal.append(draft(body))
        if number % 3 == 2:
            for frame in journal.frames_after(len(seen)):
                seen.append(frame.body)
                if len(seen) in (2, 5):
                    break
    seen += bodies_of(journal, len(seen))
    assert seen == TALK
    assert read == [len(body) for body in TALK]


@pytest.mark.parametrize("sequence", range(1, 10))
def test_a_frame_is_read_from_the_beginning_of_its_stream_and_no_further_back(open_journal, folder, read, sequence):
    hand_made(TALK, streams=STREAMS).write(folder)
    frame = open_journal().frame(sequence)
    assert frame is not None
    assert (frame.sequence, frame.body) == (sequence, TALK[sequence - 1])
    begins = max(number for number in range(1, sequence + 1) if STREAMS[number - 1])
    assert read == lengths(begins, sequence)


def test_who_jumps_ahead_leaves_out_what_is_not_needed(open_journal, folder, read):
    hand_made(TALK, streams=STREAMS).write(folder)
    journal = open_journal()
    steps = [(0, 1), (2, 3), (4, 6), (6, 7), (8, 9), (1, 2)]
    for after, last in steps:
        frames = journal.frames_after(after)
        assert [next(frames).body for _ in range(last - after)] == TALK[after:last]
        del frames
    # From the mark where it is of the same stream, from the stream's beginning where it is not.
    assert read == [*lengths(1, 1), *lengths(2, 3), *lengths(4, 6), *lengths(7, 7), *lengths(8, 9), *lengths(1, 2)]


def test_a_read_at_random_does_not_move_the_mark_of_who_follows(open_journal, folder, read):
    hand_made(TALK, streams=STREAMS).write(folder)
    journal = open_journal()
    frames = journal.frames_after(0)
    for _ in range(6):
        next(frames)
    del frames
    read.clear()
    assert journal.frame(2) is not None
    assert journal.frame(0) is journal.frame(10) is None
    assert bodies_of(journal, 6) == TALK[6:]
    assert read == [*lengths(1, 2), *lengths(7, 9)]


def test_two_who_follow_at_once_do_not_share_a_decompressor(open_journal, folder):
    hand_made(TALK, streams=STREAMS).write(folder)
    journal = open_journal()
    one, other = journal.frames_after(0), journal.frames_after(0)
    for body in TALK:
        assert next(one).body == body
        assert next(other).body == body
    with ThreadPoolExecutor(4) as threads:
        for read_again in threads.map(lambda after: bodies_of(journal, after), [0, 3, 5, 8] * 25):
            assert read_again == TALK[-len(read_again) :]


def test_a_mark_is_let_go_when_memory_has_what_follows(open_journal, monkeypatch):
    journal = open_journal()
    journal.append(draft(b"one"))
    assert bodies_of(journal) == [b"one"]
    assert journal._mark is not None
    monkeypatch.setattr(journal_module, "TAIL_BYTES_MAX", 1024)
    journal.append(draft(b"two"))
    assert bodies_of(journal, 1) == [b"two"]
    assert journal._mark is None


def test_a_reader_that_had_no_memory_for_a_frame_reads_it_the_next_time(open_journal, folder, monkeypatch):
    hand_made(TALK, streams=STREAMS).write(folder)
    journal = open_journal()
    body = StreamReader.body
    calls = 0

    def starved(self: StreamReader, stored: StoredBody, source: str) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 3:
            body(self, stored, source)
            raise MemoryError
        return body(self, stored, source)

    monkeypatch.setattr(StreamReader, "body", starved)
    seen: list[bytes] = []
    with pytest.raises(MemoryError):
        seen += (frame.body for frame in journal.frames_after(0))
    assert bodies_of(journal, 2) == TALK[2:]


def test_a_damaged_frame_costs_those_behind_it_in_its_stream_and_no_other(open_journal, folder):
    made = hand_made(TALK, streams=STREAMS)
    path = made.write(folder)
    path.write_bytes(damaged(made, 5))
    journal = open_journal()
    wrong = rf"{path.name} has a frame with a wrong checksum at byte {made.offsets[4]}"
    before: list[bytes] = []
    with pytest.raises(JournalCorrupt, match=f"^{wrong}$"):
        before += (frame.body for frame in journal.frames_after(0))
    assert [journal.frame(sequence).body for sequence in (1, 2, 3, 4)] == TALK[:4]
    with pytest.raises(JournalCorrupt, match=f"^{wrong}$"):
        journal.frame(5)
    for sequence in (6, 7):
        because = f"frame {sequence} cannot be read, because one before it in its compression stream cannot: {wrong}"
        with pytest.raises(JournalCorrupt, match=because):
            journal.frame(sequence)
        with pytest.raises(JournalCorrupt, match=because):
            bodies_of(journal, sequence - 1)
    assert bodies_of(journal, 7) == TALK[7:]
    assert journal.append(draft(b"next")).sequence == 10
    assert bodies_of(journal, 7) == [*TALK[7:], b"next"]


@pytest.mark.parametrize("sequence", [1, 4])
def test_a_frame_that_continues_nothing_is_corrupt_and_is_not_cut(open_journal, folder, monkeypatch, sequence):
    store = StreamWriter.store

    def lying(self: StreamWriter, body: bytes) -> StoredBody:
        stored = store(self, body)
        if body == TALK[sequence - 1]:
            return StoredBody(stored.raw_bytes, stored.data, Part.CONTINUES)
        return stored

    with monkeypatch.context() as patched:
        patched.setattr(StreamWriter, "store", lying)
        made = hand_made(TALK, streams=STREAMS)
    path = made.write(folder)
    whole = path.read_bytes()
    journal = open_journal()
    assert path.read_bytes() == whole
    with pytest.raises(JournalCorrupt, match=f"{path.name}, frame {sequence} at byte {made.offsets[sequence - 1]}, "):
        bodies_of(journal)
    assert journal.append(draft(b"next")).sequence == 10
    assert bodies_of(journal, 7) == [*TALK[7:], b"next"]


def test_a_bomb_in_a_segment_is_corrupt_and_costs_nothing(open_journal, folder, monkeypatch):
    store = StreamWriter.store
    monkeypatch.setattr(StreamWriter, "store", lambda self, body: StoredBody(9, store(self, body).data, Part.BEGINS))
    hand_made([bytes(50_000_000)]).write(folder)
    journal = open_journal()
    with pytest.raises(JournalCorrupt, match="frame 1 at byte 64, holds more than the 9 bytes that it says"):
        bodies_of(journal)


def raising(code: int):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def handles_open() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()}


def test_frames_behind_one_that_was_refused_do_not_point_at_it(open_journal, folder, monkeypatch, held_sync):
    journal = open_journal()
    new = os.urandom(30_000)
    bodies = [HISTORY, new + HISTORY, b"small", new]
    journal.append(draft(bodies[0]))
    held_sync.hold()
    with ThreadPoolExecutor(4) as threads, monkeypatch.context() as broken:
        waiting = [threads.submit(journal.append, draft(b"held"))]
        assert held_sync.entered.wait(BUSY_SECONDS)
        broken.setattr(segments.os, "posix_fallocate", raising(errno.ENOSPC))
        # All in one group: what does not fit, and then what does.
        waiting += [journal_append(threads, journal, body) for body in (os.urandom(40_000) + new, b"small" + HISTORY)]
        held_sync.let_go.set()
        assert waiting[0].result(BUSY_SECONDS).sequence == 2
        with pytest.raises(JournalFull):
            waiting[1].result(BUSY_SECONDS)
        assert waiting[2].result(BUSY_SECONDS).sequence == 3
    assert continuing(segments_in(folder)[0]) == [False, True, False]
    assert journal.append(draft(new)).sequence == 4
    assert bodies_of(journal) == [HISTORY, b"held", b"small" + HISTORY, new]
    journal.close()
    assert bodies_of(open_journal()) == [HISTORY, b"held", b"small" + HISTORY, new]


def journal_append(threads: ThreadPoolExecutor, journal: Journal, body: bytes):
    """Queued when this returns, so that the order is known."""
    before = journal._queue.qsize()
    waiting = threads.submit(journal.append, draft(body))
    while journal._queue.qsize() == before and not waiting.done():
        pass
    return waiting


def test_a_frame_that_moves_to_the_next_segment_is_compressed_for_it(open_journal, folder):
    journal = open_journal()
    noise = os.urandom(40_000)
    bodies = [noise, b"a" + noise, os.urandom(25_600) + noise[:20_000], b"b" + noise[:20_000]]
    for body in bodies:
        journal.append(draft(body))
    assert [continuing(path) for path in segments_in(folder)] == [[False, True], [False, True]]
    assert bodies_of(journal) == bodies
    assert [frame.body for frame in [journal.frame(3)] if frame] == bodies[2:3]


WHAT_TO_DO = {errno.EMFILE: r"ulimit -n", errno.ENFILE: r"sysctl fs\.file-max"}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("free", [0, 1])
def test_no_file_handle_for_a_segment_is_retryable_and_says_what_to_do(open_journal, folder, monkeypatch, code, free):
    journal = open_journal()
    bodies = [os.urandom(50_000)]
    journal.append(draft(bodies[0]))
    calls, handles = 0, handles_open()

    def last_handle_is_taken(*arguments, really=os.open):
        nonlocal calls
        calls += 1
        return really(*arguments) if calls <= free else raising(code)()

    with monkeypatch.context() as broken:
        broken.setattr(segments.os, "open", last_handle_is_taken)
        with pytest.raises(
            JournalFull, match=rf"Raise the limit of open files \({WHAT_TO_DO[code]}\).*goes on by itself"
        ) as full:
            journal.append(draft(os.urandom(50_000)))
    assert full.value.retryable
    assert journal.failure is None
    assert handles_open() == handles
    assert [path.name for path in folder.iterdir()] == ["00000000000000000001.segment"]
    bodies += [b"fits", os.urandom(50_000)]
    assert [journal.append(draft(body)).sequence for body in bodies[1:]] == [2, 3]
    journal.close()
    assert bodies_of(open_journal()) == bodies


def test_a_process_out_of_file_handles_refuses_and_goes_on_when_it_has_some(open_journal):
    journal = open_journal()
    bodies = [os.urandom(50_000), os.urandom(50_000)]
    journal.append(draft(bodies[0]))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(handles_open()) + 8, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(JournalFull, match="Too many open files"):
            journal.append(draft(bodies[1]))
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert journal.append(draft(bodies[1])).sequence == 2
    assert bodies_of(journal) == bodies


def test_a_name_that_may_not_be_durable_ends_the_journal_and_a_restart_goes_on(open_journal, folder, monkeypatch):
    journal = open_journal()
    bodies = [os.urandom(50_000)]
    journal.append(draft(bodies[0]))
    folder_inode, sync = folder.stat().st_ino, os.fsync

    def full_for_the_folder(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == folder_inode:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as broken:
        broken.setattr(segments.os, "fsync", full_for_the_folder)
        with pytest.raises(journal_module.JournalFailed):
            journal.append(draft(os.urandom(50_000)))
    with pytest.raises(journal_module.JournalFailed):
        journal.append(draft(b"would have fitted, and had the name of the next segment"))
    journal.close()
    again = open_journal()
    assert again.append(draft(b"goes on")).sequence == 2
    assert bodies_of(again) == [*bodies, b"goes on"]
    assert [one.header.first_sequence for one in list_segments(folder)] == [1, 2]
