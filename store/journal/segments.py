"""The journal's files: make, list, seal and mend segments. What each step leaves behind after a crash is said beside it."""

import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from store.errors import JournalCorrupt, JournalFull
from store.journal.format import HEADER_BYTES, SegmentHeader, pack_header, unpack_frame, unpack_header
from store.record import Frame

SEGMENT_SUFFIX: Final = ".segment"
_NEW_SUFFIX: Final = ".new"
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

_log = structlog.get_logger("journal")


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file and what its header says."""

    path: Path
    header: SegmentHeader


def list_segments(folder: Path) -> list[Segment]:
    """Every segment in order. A `.new` file is one whose making a crash interrupted: it holds nothing and goes."""
    for leftover in folder.glob(f"*{SEGMENT_SUFFIX}{_NEW_SUFFIX}"):
        leftover.unlink()
    segments: list[Segment] = []
    for path in sorted(folder.glob(f"*{SEGMENT_SUFFIX}")):
        with path.open("rb") as file:
            segments.append(Segment(path, unpack_header(file.read(HEADER_BYTES), path.name)))
    if len({segment.header.journal_id for segment in segments}) > 1:
        raise JournalCorrupt(f"{folder} holds segments of more than one journal")
    return segments


def create_segment(folder: Path, header: SegmentHeader, size_bytes: int) -> tuple[Segment, int]:
    """Make a segment of `size_bytes`, preallocated, and return it with an open descriptor.

    The room is taken here, so that a full disk shows before a frame is written: JournalFull, and nothing is left behind.
    The name appears by rename only when header and size are durable.
    """
    path = folder / f"{header.first_sequence:020d}{SEGMENT_SUFFIX}"
    new = path.with_name(path.name + _NEW_SUFFIX)
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
        os.pwrite(descriptor, pack_header(header), 0)
        os.fsync(descriptor)
        new.rename(path)
        sync_folder(folder)
    except OSError as error:
        os.close(descriptor)
        new.unlink(missing_ok=True)
        if error.errno in NO_ROOM:
            raise JournalFull(
                f"no room for another journal segment of {size_bytes} bytes in {folder}: free disk space, "
                "Spanledger goes on by itself"
            ) from error
        raise
    return Segment(path, header), descriptor


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def frames_in(segment: Segment, offset: int = HEADER_BYTES) -> Iterator[tuple[Frame, int]]:
    """The frames of a segment from `offset` on, each with the offset behind it. Raises JournalCorrupt."""
    with segment.path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= offset:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            while found := unpack_frame(view, offset, segment.path.name):
                yield found
                offset = found[1]


def mend_tail(segment: Segment) -> tuple[int, int]:
    """Find the end of the last segment and cut what a crash tore. Returns (end offset, last sequence).

    What is behind the last whole frame was never acknowledged: the fsync that an ack waits for had not returned.
    """
    end, last_sequence = HEADER_BYTES, segment.header.first_sequence - 1
    try:
        for frame, behind in frames_in(segment):
            end, last_sequence = behind, frame.sequence
    except JournalCorrupt as error:
        with segment.path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(end)
            torn = file.read().rstrip(b"\x00")
            os.ftruncate(file.fileno(), end)
            os.posix_fallocate(file.fileno(), 0, size)
            os.fsync(file.fileno())
        _log.warning(
            "journal_torn_tail_cut", segment=segment.path.name, bytes=len(torn), at_byte=end, cause=str(error),
            last_sequence=last_sequence,
        )  # fmt: skip
    return end, last_sequence
