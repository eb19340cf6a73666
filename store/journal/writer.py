"""The writing end of the journal's files: room, write, sync. One thread's; what may be seen by others is the journal's.

The order of steps is the promise: room is allocated before a frame is written, a segment is synced before the next one
is begun, and nothing counts as durable before `sync` has returned.
"""

import os
from pathlib import Path

from store.errors import JournalFull
from store.journal.format import HEADER_BYTES, SegmentHeader, StoredBody, frame_bytes, pack_frame
from store.journal.segments import NO_ROOM, Segment, create_segment, list_segments, mend_tail, remove_leftovers
from store.record import Frame


class SegmentWriter:
    """Appends frames to the last segment of a folder and rotates to new ones.

    `segments` is replaced, never changed, so that readers may keep a reference. `sequence` is the last one written,
    `last_received_ns` its time.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, now_ns: int) -> None:
        """Open the folder's journal, cutting a torn tail, or begin one. Raises JournalCorrupt, JournalVersionUnknown,
        JournalFull.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        self.segments: tuple[Segment, ...] = tuple(list_segments(folder))
        self.last_received_ns = 0
        if not self.segments:
            self.journal_id = os.urandom(16).hex()
            self.sequence = 0
            self._begin_segment(0, now_ns)
            return
        last = self.segments[-1]
        self.journal_id = last.header.journal_id
        tail = mend_tail(last)
        self._offset, self.sequence, self.last_received_ns = tail.end, tail.sequence, tail.received_ns
        self._descriptor = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
        self._allocated = os.fstat(self._descriptor).st_size

    @property
    def bytes_on_disk(self) -> int:
        """What the segments take, without the preallocated rest of the last one."""
        return sum(segment.path.stat().st_size for segment in self.segments[:-1]) + self._offset

    def fits(self, tenant: str, stored: StoredBody) -> bool:
        """Whether the frame fits into the segment as it is."""
        return self._offset + frame_bytes(tenant, stored) <= self._allocated

    def make_room(self, tenant: str, stored: StoredBody, now_ns: int) -> None:
        """Take room for a frame that does not fit. Everything written must be synced. Raises JournalFull."""
        needed = frame_bytes(tenant, stored)
        if self.segments[-1].header.first_sequence == self.sequence + 1:
            self._grow(HEADER_BYTES + needed)
        else:
            self._begin_segment(needed, now_ns)

    def write(self, frame: Frame, stored: StoredBody, *, begins_commit: bool) -> None:
        """Write a frame for which there is room. It is not durable yet. `begins_commit`: everything before it is."""
        data = pack_frame(frame, stored, begins_commit=begins_commit)
        written = 0
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], self._offset + written)
        self._offset += len(data)
        self.sequence = frame.sequence
        self.last_received_ns = frame.received_ns

    def sync(self) -> None:
        """Make everything written durable. The size does not change, so the data alone need syncing."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _begin_segment(self, needed_bytes: int, now_ns: int) -> None:
        # A crash may leave this segment without a frame: then its header is all that keeps time from going backwards.
        header = SegmentHeader(self.journal_id, self.sequence + 1, max(now_ns, self.last_received_ns))
        size = max(self._segment_bytes, HEADER_BYTES + needed_bytes)
        segment, descriptor = create_segment(self._folder, header, size)
        if self.segments:
            # The zeros behind the last frame go back to the disk. A crash before this leaves them: readers stop there.
            os.ftruncate(self._descriptor, self._offset)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
        self.segments = (*self.segments, segment)
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
