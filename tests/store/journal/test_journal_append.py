"""An append is a promise: what it says must hold for every caller at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from store.errors import JournalClosed
from store.journal import journal as journal_module
from store.journal.format import HEADER_BYTES
from store.otlp.leaves import root_of
from store.record import FrameDraft, FrameType, Position, Signal
from tests.patience import BUSY_SECONDS
from tests.store.journal.journal_bench import NOON_NS, SEGMENT_BYTES, bodies_of, draft, segments_in

TOGETHER = 20


def test_an_append_returns_only_after_its_sync_has_returned(open_journal, held_sync):
    journal = open_journal()
    held_sync.hold()
    with ThreadPoolExecutor(1) as thread:
        appended = thread.submit(journal.append, draft(b"one"))
        assert held_sync.entered.wait(BUSY_SECONDS)
        assert not wait([appended], timeout=0.2).done
        assert journal.durable_sequence == 0
        assert bodies_of(journal) == []
        held_sync.let_go.set()
        assert appended.result(BUSY_SECONDS) == Position(journal.journal_id, 1)
    assert journal.durable_sequence == 1


def test_appends_that_wait_together_share_one_sync(open_journal, held_sync):
    journal = open_journal()
    held_sync.hold()
    with ThreadPoolExecutor(TOGETHER + 1) as threads:
        first = threads.submit(journal.append, draft(b"first"))
        assert held_sync.entered.wait(BUSY_SECONDS)
        others = [threads.submit(journal.append, draft(f"other {i}".encode())) for i in range(TOGETHER)]
        deadline = time.monotonic() + 10
        while journal._queue.qsize() < TOGETHER and time.monotonic() < deadline:
            time.sleep(0.001)
        held_sync.let_go.set()
        positions = {appended.result(BUSY_SECONDS).sequence for appended in (first, *others)}
    assert positions == set(range(1, TOGETHER + 2))
    assert held_sync.calls == 2


def test_what_a_draft_says_comes_back_after_reopening(open_journal):
    journal = open_journal()
    drafts = [
        FrameDraft("default", Signal.TRACES, b"spans" * 100, (b"a" * 32, b"b" * 32)),
        FrameDraft("ten\u00e4nt", Signal.LOGS, bytes(range(256)), (b"c" * 32,)),
        FrameDraft("x" * 255, Signal.METRICS, b"", ()),
    ]
    for one in drafts:
        journal.append(one)
    journal.close()
    frames = list(open_journal().frames_after(0))
    assert [(f.tenant, f.signal, f.body, f.records, f.root, f.type) for f in frames] == [
        (d.tenant, d.signal, d.body, len(d.leaves), root_of(d.leaves), FrameType.OTLP) for d in drafts
    ]
    assert [frame.sequence for frame in frames] == [1, 2, 3]


def test_the_same_frames_come_from_memory_and_from_disk(open_journal):
    journal = open_journal()
    for i in range(30):
        journal.append(draft(os.urandom(i * 100)))
    from_memory = list(journal.frames_after(7))
    journal.close()
    assert from_memory == list(open_journal().frames_after(7))
    assert [frame.sequence for frame in from_memory] == list(range(8, 31))


@pytest.mark.parametrize("together", [1, 256], ids=["each by itself", "what stands close together in one go"])
def test_some_frames_come_in_their_order_wherever_they_stand(open_journal, monkeypatch, together):
    monkeypatch.setattr(journal_module, "_TOGETHER", together)
    journal = open_journal()
    bodies = [os.urandom(10_000) for _ in range(40)]
    for body in bodies:
        journal.append(draft(body))
    journal.close()
    again = open_journal()
    assert [frame.sequence for frame in again.frames([40, 2, 3, 17, 2, 99, 0])] == [2, 3, 17, 40]
    assert [frame.body for frame in again.frames([40, 17])] == [bodies[16], bodies[39]]
    assert list(again.frames([])) == []


def test_frames_stay_in_order_over_several_segments(open_journal, folder):
    journal = open_journal()
    bodies = [os.urandom(10_000) for _ in range(40)]
    for body in bodies:
        journal.append(draft(body))
    assert len(segments_in(folder)) > 5
    journal.close()
    again = open_journal()
    assert bodies_of(again) == bodies
    for after in (0, 5, 6, 7, 20, 39, 40):
        assert bodies_of(again, after) == bodies[after:]
    assert again.frame(17).body == bodies[16]
    assert again.frame(41) is None
    assert again.append(draft(b"next")).sequence == 41


def test_a_sealed_segment_gives_its_unused_room_back(open_journal, folder):
    journal = open_journal()
    for _ in range(10):
        journal.append(draft(os.urandom(20_000)))
    sizes = [path.stat().st_size for path in segments_in(folder)]
    assert all(size < SEGMENT_BYTES for size in sizes[:-1])
    assert sizes[-1] == SEGMENT_BYTES
    assert journal.bytes_on_disk < sum(sizes)


@pytest.mark.parametrize("before", [0, 1])
def test_a_frame_larger_than_a_segment_is_kept_whole(open_journal, folder, before):
    journal = open_journal()
    large = os.urandom(3 * SEGMENT_BYTES)
    bodies = [b"small"] * before + [large, b"after"]
    for body in bodies:
        journal.append(draft(body))
    journal.close()
    assert bodies_of(open_journal()) == bodies
    assert len(segments_in(folder)) == before + 2


def test_receive_times_never_go_backwards_though_the_clock_does(open_journal):
    ticks = iter([NOON_NS, NOON_NS + 5, NOON_NS + 3, *(NOON_NS - second for second in range(1, 100))])
    journal = open_journal(clock_ns=lambda: next(ticks))
    for _ in range(12):
        journal.append(draft(os.urandom(20_000)))
    journal.close()
    again = open_journal(clock_ns=lambda: 1)
    again.append(draft(b"x"))
    times = [frame.received_ns for frame in again.frames_after(0)]
    assert times == sorted(times)
    assert times[-1] == NOON_NS + 5


def test_receive_times_hold_when_a_crash_leaves_the_last_segment_empty(open_journal, folder):
    ticks = iter([NOON_NS, NOON_NS + 9])
    journal = open_journal(clock_ns=lambda: next(ticks, 7))
    while len(segments_in(folder)) == 1:
        journal.append(draft(os.urandom(20_000)))
    journal.close()
    last = segments_in(folder)[-1]
    last.write_bytes(last.read_bytes()[:HEADER_BYTES].ljust(SEGMENT_BYTES, b"\x00"))
    again = open_journal(clock_ns=lambda: 7)
    again.append(draft(b"x"))
    assert [frame.received_ns for frame in again.frames_after(0)][-1] == NOON_NS + 9


def test_a_reader_never_meets_a_frame_that_is_being_written(open_journal, monkeypatch, held_sync):
    monkeypatch.setattr(journal_module, "TAIL_BYTES_MAX", 0)
    journal = open_journal()
    bodies = [os.urandom(500) for _ in range(3)]
    for body in bodies:
        journal.append(draft(body))
    held_sync.hold()
    with ThreadPoolExecutor(1) as thread:
        appended = thread.submit(journal.append, draft(os.urandom(30_000)))
        assert held_sync.entered.wait(BUSY_SECONDS)
        # The header is there and the rest is not: what a reader may find at any moment before the sync.
        path = journal._files.segments[-1].path
        whole = path.read_bytes()
        half = whole[: journal._files._offset - 20_000].ljust(len(whole), b"\x00")
        path.write_bytes(half)
        assert bodies_of(journal) == bodies
        path.write_bytes(whole)
        held_sync.let_go.set()
        appended.result(BUSY_SECONDS)
    assert len(bodies_of(journal)) == 4


def test_a_follower_sees_every_frame_once_while_segments_come_and_go(open_journal, monkeypatch):
    monkeypatch.setattr(journal_module, "TAIL_BYTES_MAX", 0)
    journal = open_journal()
    bodies = [os.urandom(4_000) for _ in range(150)]

    def follow() -> list[bytes]:
        seen: list[bytes] = []
        while len(seen) < len(bodies) and journal.wait_for_more(len(seen), 10):
            for frame in journal.frames_after(len(seen)):
                assert frame.sequence == len(seen) + 1
                seen.append(frame.body)
                if len(seen) % 7 == 0:
                    break
        return seen

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(follow)
        for body in bodies:
            journal.append(draft(body))
        assert following.result(BUSY_SECONDS) == bodies


def test_waiting_for_more_ends_when_there_is_more_or_time_is_over(open_journal):
    journal = open_journal()
    assert not journal.wait_for_more(0, 0.01)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(journal.wait_for_more, 0, 30)
        journal.append(draft(b"one"))
        assert waiting.result(BUSY_SECONDS)


def test_closing_finishes_what_is_queued(open_journal, held_sync):
    journal = open_journal()
    held_sync.hold()
    with ThreadPoolExecutor(TOGETHER + 1) as threads:
        appended = [threads.submit(journal.append, draft(bytes([i]))) for i in range(TOGETHER)]
        deadline = time.monotonic() + 10
        while (held_sync.calls == 0 or journal._queue.qsize() < TOGETHER - 1) and time.monotonic() < deadline:
            time.sleep(0.001)
        closing = threads.submit(journal.close)
        held_sync.let_go.set()
        closing.result(BUSY_SECONDS)
        assert {one.result(BUSY_SECONDS).sequence for one in appended} == set(range(1, TOGETHER + 1))
    assert len(bodies_of(open_journal())) == TOGETHER


def test_an_append_after_closing_is_refused_and_can_be_sent_again(open_journal):
    journal = open_journal()
    journal.close()
    journal.close()
    with pytest.raises(JournalClosed) as refused:
        journal.append(draft(b"late"))
    assert refused.value.retryable


def test_an_append_that_was_still_being_prepared_when_the_journal_closed_is_refused(open_journal, monkeypatch):
    journal = open_journal()

    def close_meanwhile(leaves: tuple[bytes, ...]) -> bytes:
        journal.close()
        return root_of(leaves)

    monkeypatch.setattr(journal_module, "root_of", close_meanwhile)
    with ThreadPoolExecutor(1) as thread, pytest.raises(JournalClosed):
        thread.submit(journal.append, draft(b"late")).result(BUSY_SECONDS)


def test_a_tenant_that_no_frame_can_hold_is_refused_and_others_go_on(open_journal):
    journal = open_journal()
    with pytest.raises(ValueError, match="at most 255 bytes"):
        journal.append(draft(b"x", tenant="\u00e4" * 128))
    assert journal.append(draft(b"y")).sequence == 1


def test_the_time_of_every_sync_is_told(open_journal):
    heard: list[float] = []
    journal = open_journal(on_fsync=heard.append)
    journal.append(draft(b"one"))
    journal.append(draft(b"two"))
    assert len(heard) == 2
    assert all(0 <= seconds < 10 for seconds in heard)


def test_who_stops_waiting_cannot_take_an_append_back_nor_the_commit_down(open_journal):
    journal = open_journal()
    waiting = journal.submit(draft(b"one"))
    assert not waiting.cancel()
    assert waiting.result(BUSY_SECONDS).sequence == 1
    assert journal.append(draft(b"two")).sequence == 2
    assert journal.failure is None
