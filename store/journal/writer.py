"""The writing end of the journal's files: compress, room, write, sync. One thread's; what may be seen by others is the
journal's.

The order of steps is the promise: room is allocated before a frame is written, a segment is synced before the next one
is begun, and nothing counts as durable before `sync` has returned.

A compression stream stays within a segment and holds what was written and nothing else: a new process, a new segment and a
frame that was refused each begin a new one.
"""

import os
from pathlib import Path
from typing import Final

from store.errors import JournalFull
from store.journal.format import HEADER_BYTES, SEGMENT_VERSION, Part, SegmentHeader, StoredBody, frame_bytes, pack_frame
from store.journal.segments import NO_ROOM, Segment, create_segment, list_segments, mend_tail, remove_leftovers
from store.journal.stream import StreamWriter
from store.record import Frame

SMALL_SEGMENT_BYTES: Final = 1024 * 1024
"""What is asked for where there is no room for a whole segment, for a frame that says who read what: thousands of them."""


class SegmentWriter:
    """Appends frames to the last segment of a folder and rotates to new ones.

    `segments` is replaced, never changed, so that readers may keep a reference. `sequence` is the last one added,
    `last_received_ns` its time.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, now_ns: int) -> None:
        """Open the folder's journal, cutting a torn tail, or begin one. Raises JournalCorrupt, JournalVersionUnknown,
        JournalFull.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._stream = StreamWriter()
        # Written together: after each call into the system a thread that computes may keep this one waiting for its turn.
        self._unwritten: list[bytes] = []
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        self.segments: tuple[Segment, ...] = tuple(list_segments(folder))
        self.last_received_ns = 0
        if not self.segments:
            self.journal_id = os.urandom(16).hex()
            self.sequence = 0
            self._begin_segment(0, now_ns, makes_do=False)
            return
        last = self.segments[-1]
        self.journal_id = last.header.journal_id
        tail = mend_tail(last)
        self._offset, self.sequence, self.last_received_ns = tail.end, tail.sequence, tail.received_ns
        self._descriptor = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
        # A segment of an older version stays what its header says that it is: it has no room for anything new.
        older = last.header.version < SEGMENT_VERSION
        self._allocated = self._offset if older else os.fstat(self._descriptor).st_size

    @property
    def bytes_on_disk(self) -> int:
        """What the segments take, without the preallocated rest of the last one."""
        return sum(segment.path.stat().st_size for segment in self.segments[:-1]) + self._offset

    def store(self, body: bytes) -> StoredBody:
        """The body of the next frame, compressed. It must be added next, or given to `make_room`."""
        return self._stream.store(body)

    def fits(self, tenant: str, stored: StoredBody) -> bool:
        """Whether the frame fits into the segment as it is."""
        return self._offset + frame_bytes(tenant, stored) <= self._allocated

    def make_room(
        self, tenant: str, body: bytes, stored: StoredBody, now_ns: int, *, makes_do: bool = False
    ) -> StoredBody:
        """Take room for a frame that does not fit, and return its body as it must be stored there: it begins a stream.

        `makes_do`: a small segment will do where a whole one does not fit on the disk. Everything added must be synced.
        Raises JournalFull: then the frame is as if it had never been.
        """
        if stored.part is Part.CONTINUES:
            self._stream.begin_anew()
            stored = self._stream.store(body)
        needed = frame_bytes(tenant, stored)
        try:
            if self._is_empty and self.segments[-1].header.version == SEGMENT_VERSION:
                self._grow(HEADER_BYTES + needed)
            else:
                self._begin_segment(needed, now_ns, makes_do=makes_do)
        except JournalFull:
            self._stream.begin_anew()
            raise
        return stored

    def add(self, frame: Frame, stored: StoredBody, *, begins_commit: bool) -> None:
        """Put a frame for which there is room behind the last. `begins_commit`: everything before it is durable."""
        data = pack_frame(frame, stored, begins_commit=begins_commit)
        self._unwritten.append(data)
        self._offset += len(data)
        self.sequence = frame.sequence
        self.last_received_ns = frame.received_ns

    def write(self) -> None:
        """Write what was added. It is not durable yet."""
        data = memoryview(b"".join(self._unwritten))
        self._unwritten.clear()
        at = self._offset - len(data)
        while data:
            written = os.pwrite(self._descriptor, data, at)
            data, at = data[written:], at + written

    def sync(self) -> None:
        """Make everything written durable. The size does not change, so the data alone need syncing."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def _is_empty(self) -> bool:
        """Whether the last segment holds no frame."""
        return bool(self.segments) and self.segments[-1].header.first_sequence == self.sequence + 1

    def _begin_segment(self, needed_bytes: int, now_ns: int, *, makes_do: bool) -> None:
        # A crash may leave this segment without a frame: then its header is all that keeps time from going backwards.
        header = SegmentHeader(self.journal_id, self.sequence + 1, max(now_ns, self.last_received_ns))
        size = max(self._segment_bytes, HEADER_BYTES + needed_bytes)
        small = max(SMALL_SEGMENT_BYTES, HEADER_BYTES + needed_bytes)
        try:
            segment, descriptor = create_segment(self._folder, header, size)
        except JournalFull:
            if not makes_do or small >= size:
                raise
            size = small
            segment, descriptor = create_segment(self._folder, header, size)
        sealed = self.segments
        if sealed:
            # The zeros behind the last frame go back to the disk. A crash before this leaves them: readers stop there.
            os.ftruncate(self._descriptor, self._offset)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            # One of an older version that held no frame yet had the same name, and is gone.
            sealed = sealed[:-1] if self._is_empty else sealed
        self.segments = (*sealed, segment)
        self._descriptor = descriptor
        self._offset, self._allocated = HEADER_BYTES, size

    def _grow(self, size_bytes: int) -> None:
        # The last segment holds no frame yet and the frame to come is larger than a segment.
        try:
            os.posix_fallocate(self._descriptor, 0, size_bytes)
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise JournalFull(
                    f"no room to grow a journal segment to {size_bytes} bytes in {self._folder}: free disk space"
                ) from error
            raise
        self._allocated = size_bytes
