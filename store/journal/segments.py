"""The journal's files: make, list, seal and mend segments. What each step leaves behind after a crash is said beside it."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from store.errors import JournalCorrupt, JournalFull
from store.journal.format import (
    FRAME_MAGIC,
    FRAME_OVERHEAD_BYTES,
    HEADER_BYTES,
    FramePlace,
    SegmentHeader,
    StoredFrame,
    locate_frame,
    pack_header,
    stated_place,
    unpack_frame,
    unpack_header,
)

SEGMENT_SUFFIX: Final = ".segment"
_NEW_SUFFIX: Final = ".new"
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_HANDLE: Final = (errno.EMFILE, errno.ENFILE)

_log = structlog.get_logger("journal")


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file and what its header says."""

    path: Path
    header: SegmentHeader


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the next frame goes (byte offset), and the sequence and receive time of the one before it."""

    end: int
    sequence: int
    received_ns: int


def list_segments(folder: Path) -> list[Segment]:
    """Every segment in order. Changes nothing, so any process may look. Raises JournalCorrupt, JournalVersionUnknown."""
    segments: list[Segment] = []
    for path in sorted(folder.glob(f"*{SEGMENT_SUFFIX}")):
        with path.open("rb") as file:
            segments.append(Segment(path, unpack_header(file.read(HEADER_BYTES), path.name)))
    if len({segment.header.journal_id for segment in segments}) > 1:
        raise JournalCorrupt(f"{folder} holds segments of more than one journal")
    return segments


def remove_leftovers(folder: Path) -> None:
    """Remove segments whose making a crash interrupted: they hold nothing. Only for who holds the folder."""
    for leftover in folder.glob(f"*{SEGMENT_SUFFIX}{_NEW_SUFFIX}"):
        leftover.unlink()


def create_segment(folder: Path, header: SegmentHeader, size_bytes: int) -> tuple[Segment, int]:
    """Make a segment of `size_bytes`, preallocated, and return it with an open descriptor.

    The room is taken here, so that a full disk shows before a frame is written: JournalFull, and nothing is left behind.
    The name appears by rename only when header and size are durable. Every file is open by then: a name that is there and not
    known to be durable must end the journal, because the next segment could be given another name beside it.
    """
    path = folder / f"{header.first_sequence:020d}{SEGMENT_SUFFIX}"
    new = path.with_name(path.name + _NEW_SUFFIX)
    opened: list[int] = []
    try:
        opened.append(_open_folder(folder))
        opened.append(os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        os.posix_fallocate(opened[-1], 0, size_bytes)
        os.pwrite(opened[-1], pack_header(header), 0)
        os.fsync(opened[-1])
        new.rename(path)
    except OSError as error:
        for descriptor in opened:
            os.close(descriptor)
        new.unlink(missing_ok=True)
        if error.errno in NO_ROOM:
            raise JournalFull(
                f"no room for another journal segment of {size_bytes} bytes in {folder}: free disk space, "
                "Spanledger goes on by itself"
            ) from error
        if error.errno in _NO_HANDLE:
            raise JournalFull(
                f"another journal segment cannot be opened in {folder}: {error.strerror}. Raise the limit of open files "
                f"({'ulimit -n' if error.errno == errno.EMFILE else 'sysctl fs.file-max'}) or close connections, "
                "Spanledger goes on by itself"
            ) from error
        raise
    folder_descriptor, descriptor = opened
    try:
        os.fsync(folder_descriptor)
    except OSError:
        os.close(descriptor)
        raise
    finally:
        os.close(folder_descriptor)
    return Segment(path, header), descriptor


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = _open_folder(folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mend_tail(segment: Segment) -> Tail:
    """Find the end of the last segment and cut what a crash tore.

    Cut is only what no fsync had covered, so nobody was ever told of it. A frame that was damaged later stays as it is:
    reading it raises, and those behind it are kept. Raises JournalCorrupt where the damage hides how far the record goes.
    """
    with segment.path.open("r+b") as file:
        data = file.read()
        with memoryview(data) as view:
            tail, cause = _walk(view, segment)
            torn = data[tail.end :].rstrip(b"\x00")
            if not torn:
                return tail
            later = later_commit(data, view, tail, segment)
        if later is not None:
            raise JournalCorrupt(
                f"{segment.path.name} is damaged at byte {tail.end}, behind frame {tail.sequence}, and frame {later} behind "
                "the damage was durable: nothing was changed. Put back a copy of this file, or move it away to go on "
                "without its frames"
            )
        _cut(file.fileno(), tail.end, len(data))
    _log.warning(
        "journal_torn_tail_cut", segment=segment.path.name, bytes=len(torn), at_byte=tail.end, cause=cause,
        last_sequence=tail.sequence,
    )  # fmt: skip
    return tail


def _walk(view: memoryview, segment: Segment) -> tuple[Tail, str]:
    """The end of what was durable, and what stands there."""
    source = segment.path.name
    tail = Tail(HEADER_BYTES, segment.header.first_sequence - 1, segment.header.created_ns)
    offset, sequence = tail.end, tail.sequence
    damage: JournalCorrupt | None = None
    while True:
        try:
            place = locate_frame(view, offset, source)
            if place is None:
                break
            frame = _next_frame(view, place, source, sequence)
        except JournalCorrupt as error:
            # Whether it is torn or damaged shows behind it, and its own lengths say where that is.
            damage = damage or error
            stated = stated_place(view, offset)
            if stated is None:
                break
            offset, sequence = stated.end, sequence + 1
            continue
        offset, sequence = place.end, frame.sequence
        if damage is not None and place.begins_commit:
            _log.error("journal_frame_damaged", segment=source, behind_sequence=tail.sequence, cause=str(damage))
            damage = None
        if damage is None:
            tail = Tail(place.end, frame.sequence, frame.received_ns)
    return tail, str(damage or f"{source} has bytes but no frame at byte {tail.end}")


def _next_frame(view: memoryview, place: FramePlace, source: str, sequence: int) -> StoredFrame:
    frame = unpack_frame(view, place, source)
    if frame.sequence != sequence + 1:
        raise JournalCorrupt(f"{source} has frame {frame.sequence} behind frame {sequence} at byte {place.offset}")
    return frame


def later_commit(data: bytes, view: memoryview, tail: Tail, segment: Segment) -> int | None:
    """The sequence of a frame somewhere behind the tail that begins a commit: then what is before it was durable."""
    offset = tail.end
    while (offset := data.find(FRAME_MAGIC, offset + 1)) >= 0:
        place = stated_place(view, offset)
        most = tail.sequence + 1 + (offset - tail.end) // FRAME_OVERHEAD_BYTES
        if place is None or not place.begins_commit or not tail.sequence + 1 < place.sequence <= most:
            continue
        try:
            unpack_frame(view, place, segment.path.name)
        except JournalCorrupt:
            continue
        return place.sequence
    return None


def _cut(descriptor: int, end: int, size_bytes: int) -> None:
    os.ftruncate(descriptor, end)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        # The segment stays short: the next append asks for a new one, and says that there is no room for it.
    os.fsync(descriptor)
