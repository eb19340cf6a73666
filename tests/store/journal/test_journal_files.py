"""The segment files as a start finds them: leftovers go, what is foreign or newer is refused, nothing is guessed."""

import struct
import zlib

import pytest

from store.errors import JournalCorrupt, JournalVersionUnknown
from store.journal.format import HEADER_BYTES, SEGMENT_VERSION
from tests.store.journal.journal_bench import SEGMENT_BYTES, bodies_of, draft, hand_made, segments_in

MANY = [bytes([i]) * 15_000 for i in range(6)]


def with_checksum(data: bytes) -> bytes:
    return data + struct.pack("<I", zlib.crc32(data))


def two_segments(folder):
    first, second = hand_made(MANY[:3]), hand_made(MANY[3:], first_sequence=4)
    return first, first.write(folder, size_bytes=0), second, second.write(folder, first_sequence=4)


def test_a_segment_whose_making_was_interrupted_is_removed(open_journal, folder):
    hand_made([b"one"]).write(folder)
    leftover = folder / "00000000000000000002.segment.new"
    leftover.write_bytes(b"half a header")
    journal = open_journal()
    assert not leftover.exists()
    assert bodies_of(journal) == [b"one"]


def test_a_damaged_frame_in_an_older_segment_is_an_error_on_reading_and_harms_nothing(open_journal, folder):
    first, path, _, _ = two_segments(folder)
    data = bytearray(first.data)
    data[first.offsets[1] + 80] ^= 1
    path.write_bytes(bytes(data))
    journal = open_journal()
    with pytest.raises(
        JournalCorrupt, match=rf"{path.name} has a frame with a wrong checksum at byte {first.offsets[1]}"
    ):
        bodies_of(journal)
    assert bodies_of(journal, 2) == MANY[2:]
    assert journal.append(draft(b"next")).sequence == 7
    assert path.read_bytes() == bytes(data)


def test_a_hole_in_an_older_segment_is_an_error_and_not_an_end(open_journal, folder):
    first, path, _, _ = two_segments(folder)
    path.write_bytes(first.data[: first.offsets[1]].ljust(len(first.data), b"\x00"))
    journal = open_journal()
    with pytest.raises(JournalCorrupt, match="does not hold frame 2, though it is of the record"):
        bodies_of(journal)


def test_a_missing_segment_is_an_error_and_not_a_gap(open_journal, folder):
    two_segments(folder)
    hand_made([b"later"], first_sequence=7).write(folder, first_sequence=7)
    (folder / "00000000000000000004.segment").unlink()
    journal = open_journal()
    with pytest.raises(JournalCorrupt, match="does not hold frame 4"):
        bodies_of(journal)
    assert bodies_of(journal, 6) == [b"later"]


def test_a_segment_of_a_newer_release_is_refused_with_what_to_do(open_journal, folder):
    made = hand_made([b"one"])
    header = bytearray(made.data[: HEADER_BYTES - 4])
    header[8] = SEGMENT_VERSION + 1
    path = made.write(folder)
    path.write_bytes(with_checksum(bytes(header)) + made.data[HEADER_BYTES:])
    with pytest.raises(JournalVersionUnknown, match="journal version 3, this Spanledger reads up to 2: open the data"):
        open_journal()


@pytest.mark.parametrize(("at", "value"), [(4, 9), (5, 3), (6, 7), (7, 3)], ids=["version", "type", "signal", "codec"])
def test_a_frame_of_a_newer_release_is_refused_and_not_cut(open_journal, folder, at, value):
    made = hand_made([b"one"])
    frame = bytearray(made.data[HEADER_BYTES:-4])
    frame[at] = value
    path = made.write(folder)
    path.write_bytes((made.data[:HEADER_BYTES] + with_checksum(bytes(frame))).ljust(SEGMENT_BYTES, b"\x00"))
    before = path.read_bytes()
    with pytest.raises(JournalVersionUnknown, match="which this Spanledger does not know"):
        open_journal()
    assert path.read_bytes() == before


def test_segments_of_two_journals_in_one_folder_are_refused(open_journal, folder, tmp_path):
    hand_made([b"one"]).write(folder)
    other = open_journal(tmp_path / "other")
    other.append(draft(b"foreign"))
    segments_in(tmp_path / "other")[0].rename(folder / "00000000000000000009.segment")
    with pytest.raises(JournalCorrupt, match="more than one journal"):
        open_journal()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin with a segment header"),
        (b"x" * 100, "does not begin"),
        (b"SPANLDGR" + bytes(92), "damaged"),
    ],
)
def test_a_file_that_is_no_segment_is_refused_by_name(open_journal, folder, data, why):
    folder.mkdir()
    (folder / "00000000000000000001.segment").write_bytes(data)
    with pytest.raises(JournalCorrupt, match=f"00000000000000000001.segment .*{why}"):
        open_journal()
