"""A hot backup: the record copied to another folder while a server goes on writing it.

    segments listed -> each read, every frame checked -> written beside its final name and synced -> named

No lock is needed, because the journal only ever grows: a segment that has a successor does not change, and of the last one a
prefix is as good as any other. So the copy is the record up to some position, whatever is appended or rotated meanwhile.
It is a complete data folder: a server that starts on it makes the view again from the journal.

What is in the copy must also be in the original for ever, or two different records would carry one name: the last segment
is synced after it was read, so that a crash of the original cannot take back a frame that was copied.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.errors import BackupFailed, DataFolderUnusable, JournalCorrupt
from store.folder import JOURNAL, UNFINISHED
from store.journal.format import HEADER_BYTES, locate_frame, unpack_frame
from store.journal.segments import SEGMENT_SUFFIX, Segment, Tail, later_commit, list_segments, sync_folder
from store.journal.stream import StreamReader
from store.record import Position


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was copied: every frame up to and including `position`, in `segments` files of `copied_bytes` together."""

    position: Position
    frames: int
    segments: int
    copied_bytes: int


def back_up(
    data: Path, destination: Path, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> BackedUp:
    """Copy the record of a data folder to `destination`, which must be absent or empty; a server may be at work on it.

    Everything is durable when it returns. `progress` hears (segments copied, segments listed). Raises BackupFailed,
    DataFolderUnusable, JournalCorrupt, JournalVersionUnknown, and then leaves the destination as it was.
    """
    segments = _segments_of(data)
    made = _prepare(destination)
    try:
        unfinished = destination / UNFINISHED
        unfinished.mkdir(mode=0o700)
        done = _copy(segments, unfinished, progress)
        sync_folder(unfinished)
        unfinished.rename(destination / JOURNAL)
        sync_folder(destination)
        sync_folder(destination.parent)
    except BaseException as error:
        _take_back(destination, made=made)
        if isinstance(error, OSError):
            raise BackupFailed(f"the backup to {destination} cannot be written: {error.strerror or error}") from error
        raise
    return done


def _segments_of(data: Path) -> list[Segment]:
    try:
        found = any((data / JOURNAL).iterdir())
        segments = list_segments(data / JOURNAL) if found else []
    except OSError as error:
        raise DataFolderUnusable(f"the journal in {data} cannot be read: {error.strerror}") from error
    if not segments:
        raise BackupFailed(f"the journal in {data} has no segment yet: there is nothing to back up")
    return segments


def _prepare(destination: Path) -> bool:
    """Make the destination if it is not there, and say whether. Raises BackupFailed where it is something else."""
    try:
        destination.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        if not destination.is_dir():
            raise BackupFailed(f"{destination} is a file: name a folder that does not exist") from error
    except OSError as error:
        raise BackupFailed(f"{destination} cannot be made: {error.strerror}") from error
    else:
        return True
    try:
        found = next(destination.iterdir(), None)
    except OSError as error:
        raise BackupFailed(f"{destination} cannot be read: {error.strerror}") from error
    if found is not None:
        raise BackupFailed(
            f"{destination} is not empty (it holds {found.name}): a backup never writes over anything, so name a folder "
            "that does not exist"
        )
    return False


def _take_back(destination: Path, *, made: bool) -> None:
    for name in (UNFINISHED, JOURNAL):
        shutil.rmtree(destination / name, ignore_errors=True)
    if made:
        with contextlib.suppress(OSError):
            destination.rmdir()


def _copy(segments: Sequence[Segment], folder: Path, progress: Callable[[int, int], None]) -> BackedUp:
    """Follow the record from its first frame to what the last segment listed holds when its turn comes."""
    last = segments[-1]
    listed = {segment.header.first_sequence: segment for segment in segments}
    segment = listed.get(1) or _missed(last.path.parent, 0, "it is the first")
    sequence = copied = copied_bytes = 0
    while True:
        try:
            whole, tail, cause = _read_whole(segment, sequence)
        except OSError as error:
            raise DataFolderUnusable(f"{segment.path} cannot be read: {error.strerror}") from error
        if tail.sequence == sequence and segment.path != last.path:
            raise JournalCorrupt(
                f"{segment.path.name} has no whole frame ({cause}) though the record goes on behind it: nothing was backed "
                "up. Put back a copy of this file first"
            )
        _write(folder / segment.path.name, whole)
        sequence, copied, copied_bytes = tail.sequence, copied + 1, copied_bytes + len(whole)
        progress(copied, max(copied, len(segments)))
        if segment.path == last.path:
            return BackedUp(Position(segment.header.journal_id, sequence), sequence, copied, copied_bytes)
        segment = listed.get(sequence + 1) or _missed(last.path.parent, sequence, cause)


def _missed(journal: Path, sequence: int, cause: str) -> Segment:
    """The segment behind `sequence`, which the list does not have: one that was made while the folder was listed may be
    in the list or not. Raises JournalCorrupt where there is none.
    """
    name = f"{sequence + 1:020d}{SEGMENT_SUFFIX}"
    found = next((segment for segment in list_segments(journal) if segment.path.name == name), None)
    if found is None:
        raise JournalCorrupt(
            f"the record goes on behind frame {sequence}, but no segment begins there: {name} is absent, or the one before "
            f"it is damaged at its end ({cause}). Nothing was backed up; put back that file first"
        )
    return found


def _read_whole(segment: Segment, before: int) -> tuple[bytes, Tail, str]:
    """A segment's bytes up to its last whole frame, durable and checked, where that is, and what stands behind it.

    Raises JournalCorrupt where a frame does not match its checksum or does not follow the one before it.
    """
    if segment.header.first_sequence != before + 1:
        raise JournalCorrupt(
            f"{segment.path.name} begins with frame {segment.header.first_sequence} instead of {before + 1}: nothing was "
            "backed up. A segment's name is that of its first frame; put back the file that belongs there"
        )
    broken_at = -1
    with segment.path.open("rb") as file:
        while True:
            file.seek(0)
            data = file.read()
            tail, cause = _whole_frames(data, segment)
            with memoryview(data) as view:
                later = later_commit(data, view, tail, segment)
            if later is None:
                os.fdatasync(file.fileno())
                return data[: tail.end], tail, cause
            # A later frame is there, so this one was written before it: if it was only read too early, it is whole now.
            if broken_at == tail.end:
                raise JournalCorrupt(
                    f"{segment.path.name} is damaged behind frame {tail.sequence} ({cause}) and frame {later} follows: "
                    "nothing was backed up. Put back a copy of this file first"
                )
            broken_at = tail.end


def _whole_frames(data: bytes, segment: Segment) -> tuple[Tail, str]:
    """Where the whole frames that follow one another from the segment's first end, and what stands there.

    Raises JournalCorrupt where the checksum of a frame is right and its body cannot be read: no copy would be better.
    """
    source = segment.path.name
    tail = Tail(HEADER_BYTES, segment.header.first_sequence - 1, segment.header.created_ns)
    bodies = StreamReader()
    with memoryview(data) as view:
        while True:
            try:
                place = locate_frame(view, tail.end, source)
                frame = unpack_frame(view, place, source) if place else None
            except JournalCorrupt as error:
                return tail, str(error)
            if place is None or frame is None:
                break
            if frame.sequence != tail.sequence + 1:
                return tail, f"frame {frame.sequence} stands there"
            bodies.body(frame.stored, f"{source}, frame {frame.sequence} at byte {tail.end},")
            tail = Tail(place.end, frame.sequence, frame.received_ns)
    return tail, f"{source} has no frame at byte {tail.end}"


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
