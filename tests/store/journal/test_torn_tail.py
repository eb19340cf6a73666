"""What a crash leaves behind the last acknowledged frame is cut, and nothing else ever is."""

import os
import random

import pytest
from structlog.testing import capture_logs

from store.errors import JournalCorrupt
from store.journal.format import HEADER_BYTES
from tests.store.journal.journal_bench import SEGMENT_BYTES, bodies_of, draft, hand_made

BODIES = [b"first " * 10, b"second " * 20, b"third", b"fourth and last"]


def cuts_logged(logs):
    return [entry for entry in logs if entry["event"] == "journal_torn_tail_cut"]


@pytest.mark.parametrize("size_bytes", [0, SEGMENT_BYTES], ids=["the file ends there", "zeros follow"])
def test_a_tail_torn_at_any_byte_is_cut_behind_the_last_whole_frame(open_journal, folder, size_bytes):
    made = hand_made(BODIES)
    for cut_at in range(made.offsets[2], made.offsets[4]):
        whole = sum(1 for end in made.offsets[1:] if end <= cut_at)
        torn = len(made.data[made.offsets[whole] : cut_at].rstrip(b"\x00"))
        path = hand_made(BODIES).write(folder, size_bytes=0)
        path.write_bytes(made.data[:cut_at].ljust(size_bytes, b"\x00"))
        with capture_logs() as logs:
            journal = open_journal()
        assert [(e["bytes"], e["at_byte"], e["last_sequence"]) for e in cuts_logged(logs)] == (
            [(torn, made.offsets[whole], whole)] if torn else []
        )
        assert bodies_of(journal) == BODIES[:whole]
        if cut_at % 10 == 0:
            assert journal.append(draft(b"next")).sequence == whole + 1
            journal.close()
            assert bodies_of(open_journal()) == [*BODIES[:whole], b"next"]
        journal.close()
        for segment in folder.iterdir():
            segment.unlink()


def test_a_last_frame_with_flipped_bits_is_cut(open_journal, folder):
    made = hand_made(BODIES)
    dice = random.Random(4)
    for _ in range(60):
        data = bytearray(made.data)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(made.offsets[3], made.offsets[4])
            data[at] ^= 1 << dice.randrange(8)
        if bytes(data) == made.data:
            continue
        made.write(folder).write_bytes(bytes(data).ljust(SEGMENT_BYTES, b"\x00"))
        with capture_logs() as logs:
            journal = open_journal()
        assert bodies_of(journal) == BODIES[:3]
        assert [entry["last_sequence"] for entry in cuts_logged(logs)] == [3]
        journal.close()


def test_a_torn_commit_is_cut_whole_though_a_later_frame_of_it_reached_the_disk(open_journal, folder):
    made = hand_made(BODIES, begins=[True, True, False, False])
    data = bytearray(made.data)
    data[made.offsets[1] + 100 : made.offsets[2]] = bytes(made.offsets[2] - made.offsets[1] - 100)
    made.write(folder).write_bytes(bytes(data).ljust(SEGMENT_BYTES, b"\x00"))
    with capture_logs() as logs:
        journal = open_journal()
    assert bodies_of(journal) == BODIES[:1]
    assert len(cuts_logged(logs)) == 1
    assert journal.append(draft(b"again")).sequence == 2


def test_pages_of_a_torn_commit_that_lie_behind_a_hole_do_not_come_back_to_life(open_journal, folder):
    made = hand_made(BODIES, begins=[True, True, False, False])
    data = bytearray(made.data)
    data[made.offsets[1] : made.offsets[2]] = bytes(made.offsets[2] - made.offsets[1])
    made.write(folder).write_bytes(bytes(data).ljust(SEGMENT_BYTES, b"\x00"))
    journal = open_journal()
    assert bodies_of(journal) == BODIES[:1]
    # As long as the lost frame was: without the cut, the frames behind it would be read again.
    journal.append(draft(BODIES[1]))
    journal.close()
    assert bodies_of(open_journal()) == BODIES[:2]


@pytest.mark.parametrize("damaged", [0, 1, 2])
@pytest.mark.parametrize("place", ["magic", "body", "checksum"])
def test_damage_to_a_frame_that_was_durable_costs_no_other_frame(open_journal, folder, damaged, place):
    made = hand_made(BODIES)
    data = bytearray(made.data)
    at = {"magic": made.offsets[damaged], "body": made.offsets[damaged] + 85, "checksum": made.offsets[damaged + 1] - 1}
    data[at[place]] ^= 0x40
    path = made.write(folder)
    path.write_bytes(bytes(data).ljust(SEGMENT_BYTES, b"\x00"))
    with capture_logs() as logs:
        journal = open_journal()
    assert not cuts_logged(logs)
    assert [entry["behind_sequence"] for entry in logs if entry["event"] == "journal_frame_damaged"] == [damaged]
    assert journal.append(draft(b"next")).sequence == 5
    with pytest.raises(JournalCorrupt, match=f"at byte {made.offsets[damaged]}"):
        bodies_of(journal)
    if place != "magic":
        journal.close()
        assert bodies_of(open_journal(), damaged + 1) == [*BODIES[damaged + 1 :], b"next"]


def test_damage_that_hides_how_far_the_record_goes_is_refused_and_nothing_is_changed(open_journal, folder):
    made = hand_made(BODIES)
    data = bytearray(made.data.ljust(SEGMENT_BYTES, b"\x00"))
    data[made.offsets[1] : made.offsets[1] + 90] = bytes(90)
    path = made.write(folder)
    path.write_bytes(bytes(data))
    with pytest.raises(JournalCorrupt, match="behind frame 1, and frame 3 behind the damage was durable: nothing was"):
        open_journal()
    assert path.read_bytes() == bytes(data)


def test_a_frame_inside_a_torn_body_is_not_taken_for_a_frame_of_the_record(open_journal, folder):
    inner = hand_made([b"forged"], first_sequence=2).data[HEADER_BYTES:]
    # Noise around it keeps zstd from packing it, so that it stands in the segment byte for byte.
    made = hand_made([b"first", os.urandom(2_000) + inner + os.urandom(2_000)])
    assert inner in made.data
    made.write(folder).write_bytes(made.data[:-300].ljust(SEGMENT_BYTES, b"\x00"))
    journal = open_journal()
    assert bodies_of(journal) == [b"first"]


def test_zeros_behind_the_last_frame_are_room_and_not_worth_a_word(open_journal, folder):
    hand_made(BODIES).write(folder)
    with capture_logs() as logs:
        journal = open_journal()
    assert logs == []
    assert bodies_of(journal) == BODIES


def test_a_segment_without_a_frame_is_begun_anew(open_journal, folder):
    hand_made([]).write(folder)
    journal = open_journal()
    assert bodies_of(journal) == []
    assert journal.append(draft(b"one")).sequence == 1


def test_a_full_disk_does_not_keep_a_torn_tail_from_being_cut(open_journal, folder, monkeypatch):
    made = hand_made(BODIES)
    made.write(folder).write_bytes(made.data[:-3])

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    journal = open_journal()
    assert bodies_of(journal) == BODIES[:3]
    assert (folder / "00000000000000000001.segment").stat().st_size == made.offsets[3]
