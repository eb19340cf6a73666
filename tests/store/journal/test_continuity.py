"""A record with a hole is seen at the start, and one without is never suspected."""

import os
import shutil

import pytest

from store.errors import JournalCorrupt
from store.journal.continuity import check_continuous
from store.journal.format import FRAME_MAGIC
from store.journal.segments import list_segments
from tests.store.journal.journal_bench import draft, hand_made, segments_in


@pytest.fixture
def written(open_journal, folder):
    """A journal of four segments or more, closed."""
    journal = open_journal()
    for size in (40_000, 300, 40_000, 20_000, 50_000, 10, 60_000):
        # The magic inside a body must not be taken for a frame.
        journal.append(draft(FRAME_MAGIC * 20 + os.urandom(size) + FRAME_MAGIC * 20))
    journal.close()
    assert len(segments_in(folder)) >= 4
    return segments_in(folder)


def check(folder) -> None:
    check_continuous(list_segments(folder))


def test_a_record_that_is_whole_passes(written, folder):
    check(folder)
    check(folder / "absent")


def test_zeros_that_a_crash_left_behind_a_sealed_segment_pass(written, folder):
    with written[0].open("ab") as file:
        file.write(bytes(10_000))
    check(folder)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_segment_that_is_absent_is_named_by_its_frames(written, folder, gone):
    segments = list_segments(folder)
    first = segments[gone].header.first_sequence
    last = segments[gone + 1].header.first_sequence - 1
    written[gone].unlink()
    frames = f"frame {first} is" if first == last else f"frames {first} to {last} are"
    with pytest.raises(JournalCorrupt, match=rf"{frames} missing.*{written[gone].name}"):
        check(folder)


def test_a_sealed_segment_that_was_copied_before_its_end_is_named(written, folder):
    held = {path.name: path.stat().st_size for path in written}
    os.truncate(written[1], held[written[1].name] - 30_000)
    with pytest.raises(JournalCorrupt, match=rf"missing.*between {written[1].name} and {written[2].name}"):
        check(folder)


def test_frames_that_are_there_twice_are_refused(written, folder):
    other = hand_made([b"one"] * 3)
    shutil.rmtree(folder)
    other.write(folder, size_bytes=0)
    hand_made([b"two"], first_sequence=3).write(folder, first_sequence=3)
    with pytest.raises(JournalCorrupt, match=r"goes on to frame 3 though .* begins with frame 3"):
        check(folder)
