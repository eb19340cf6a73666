"""What a release before wrote is read as it is and never added to. The code of segment version 1 wrote the fixture."""

import itertools
import shutil
import struct
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from store.backup import back_up
from store.errors import JournalCorrupt, JournalFull
from store.folder import JOURNAL
from store.journal.format import HEADER_BYTES, SegmentHeader, pack_header
from store.journal.segments import list_segments
from store.otlp.leaves import root_of
from store.record import Frame, FrameType, Signal
from tests.store.journal.journal_bench import JOURNAL_ID, NOON_NS, bodies_of, draft, segments_in
from tests.store.journal.test_journal_failures import raising

FIXTURE = Path(__file__).parents[2] / "fixtures" / "journal_v1"
FIRST_SEQUENCES = [1, 11, 20]


def written() -> list[Frame]:
    """What the fixture holds. Its clock went on by a microsecond a reading: one at the start, one a segment, one a frame."""
    dice, frames = Random(1), list[Frame]()
    ticks = itertools.count(1_780_000_000_000_000_000, 1_000)
    next(ticks)
    for n in range(20):
        body = dice.randbytes(1000) if n % 3 == 1 else b"" if n == 5 else b"frame %d " % n * (40 * n + 1)
        if n + 1 in FIRST_SEQUENCES[1:]:
            next(ticks)
        frames.append(
            Frame(
                n + 1, FrameType.OTLP, "t\u00e9nant" if n % 4 == 2 else "default", Signal(n % 3 + 1), next(ticks), n % 3,
                root_of((sha256(body).digest(),) * (n % 3)), body,
            )
        )  # fmt: skip
    return frames


def versions(folder: Path) -> list[int]:
    return [segment.header.version for segment in list_segments(folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "data" / JOURNAL)
    return tmp_path / "data" / JOURNAL


def test_frames_of_version_1_are_what_was_written(open_journal, folder):
    with capture_logs() as logs:
        journal = open_journal()
    assert logs == []
    assert list(journal.frames_after(0)) == written()
    assert [journal.frame(sequence) for sequence in range(1, 21)] == written()
    assert list(journal.frames_after(13)) == written()[13:]
    journal.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in FIXTURE.iterdir()
    }


def test_what_comes_after_an_upgrade_goes_into_segments_of_its_own(open_journal, folder):
    journal = open_journal()
    assert versions(folder) == [1, 1, 1]
    assert [journal.append(draft(body)).sequence for body in (b"new", b"and newer")] == [21, 22]
    assert versions(folder) == [1, 1, 1, 2]
    journal.close()
    for path in FIXTURE.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes().rstrip(b"\0")
    again = open_journal()
    assert list(again.frames_after(0))[:20] == written()
    assert bodies_of(again, 20) == [b"new", b"and newer"]
    assert again.append(draft(b"newest")).sequence == 23
    assert versions(folder) == [1, 1, 1, 2]


def test_a_folder_with_both_versions_can_be_backed_up(open_journal, folder, tmp_path):
    journal = open_journal()
    journal.append(draft(b"new"))
    assert back_up(folder.parent, tmp_path / "backup").frames == 21
    restored = open_journal(tmp_path / "backup" / JOURNAL)
    assert list(restored.frames_after(0)) == list(journal.frames_after(0))


def test_a_torn_tail_of_version_1_is_cut(open_journal, folder):
    last = segments_in(folder)[-1]
    end = len(last.read_bytes().rstrip(b"\0"))
    with last.open("r+b") as file:
        file.seek(end - 9)
        file.write(bytes(9))
    with capture_logs() as logs:
        journal = open_journal()
    assert [entry["event"] for entry in logs] == ["journal_torn_tail_cut"]
    assert journal.append(draft(b"in its place")).sequence == 20
    assert versions(folder) == [1, 1, 2]
    assert list(journal.frames_after(0))[:19] == written()[:19]
    assert bodies_of(journal, 19) == [b"in its place"]
    journal.close()
    assert bodies_of(open_journal(), 19) == [b"in its place"]


def test_damage_in_version_1_costs_one_frame(open_journal, folder):
    first = segments_in(folder)[0]
    data = bytearray(first.read_bytes())
    data[HEADER_BYTES + 80] ^= 1
    first.write_bytes(data)
    journal = open_journal()
    with pytest.raises(JournalCorrupt, match="wrong checksum at byte 64"):
        bodies_of(journal)
    assert list(journal.frames_after(1)) == written()[1:]


def test_an_empty_segment_of_version_1_makes_way_for_one_of_today(open_journal, tmp_path, monkeypatch):
    header = pack_header(SegmentHeader(JOURNAL_ID, 1, NOON_NS, version=1))
    assert struct.unpack_from("<H", header, 8) == (1,)
    place = tmp_path / "empty"
    place.mkdir()
    (place / "00000000000000000001.segment").write_bytes(header.ljust(8_192, b"\0"))
    journal = open_journal(place)
    assert bodies_of(journal) == []
    with monkeypatch.context() as broken:
        broken.setattr("os.posix_fallocate", raising(28))
        with pytest.raises(JournalFull):
            journal.append(draft(b"one"))
    assert versions(place) == [1]
    assert journal.append(draft(b"one")).sequence == 1
    assert versions(place) == [2]
    assert journal.journal_id == JOURNAL_ID
    assert journal.append(draft(b"two")).sequence == 2
    assert next(journal.frames_after(0)).received_ns >= NOON_NS
    assert journal.bytes_on_disk < 1_000
    journal.close()
    assert bodies_of(open_journal(place)) == [b"one", b"two"]
