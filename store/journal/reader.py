"""Reading a segment's frames in order, each decompressed once, also by a follower that goes away and comes back.

A body continues the stream of the frame before it, so a reader keeps the decompressor with its place. Who wants a frame
further on is taken there by the frames' own lengths; then reading begins with the last frame at or before it that begins a
stream, and what lies between is decompressed and thrown away.
"""

import mmap
import os
from collections.abc import Generator

from store.errors import JournalCorrupt
from store.journal.format import HEADER_BYTES, FramePlace, locate_frame, unpack_frame
from store.journal.segments import Segment
from store.journal.stream import StreamReader
from store.record import Frame


class SegmentReader:
    """A place in a segment. One thread's at a time. `sequence` is the last frame that it read."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._begin()

    def _begin(self) -> None:
        self.sequence = self.segment.header.first_sequence - 1
        self._offset = HEADER_BYTES
        self._stream = StreamReader()

    def frames(self, after: int) -> Generator[Frame, None, None]:
        """The frames behind `after`, which must not be before `sequence`, up to the last one in the file.

        The caller stops at the last durable frame: what stands behind it may be half written at this moment. Raises
        JournalCorrupt, JournalVersionUnknown, and then stands at the segment's beginning again.
        """
        name = self.segment.path.name
        with self.segment.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= self._offset:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                try:
                    self._step_over(view, after)
                    while place := locate_frame(view, self._offset, name):
                        frame = self._read(view, place, after)
                        if frame.sequence > after:
                            yield frame
                except GeneratorExit:
                    raise  # The caller has had enough, and the place is the one behind the last frame it was given.
                except BaseException:
                    self._begin()
                    raise

    def _step_over(self, view: memoryview, after: int) -> None:
        """Go as far as the frame behind `after` can still be read from."""
        offset = self._offset
        while place := locate_frame(view, offset, self.segment.path.name):
            if not place.continues:
                self._offset = place.offset
            if place.sequence > after:
                return
            offset = place.end

    def _read(self, view: memoryview, place: FramePlace, after: int) -> Frame:
        name = self.segment.path.name
        try:
            found = unpack_frame(view, place, name)
            body = self._stream.body(found.stored, f"{name}, frame {found.sequence} at byte {place.offset},")
        except JournalCorrupt as error:
            if place.sequence > after:
                raise
            raise JournalCorrupt(
                f"frame {after + 1} cannot be read, because one before it in its compression stream cannot: {error}"
            ) from error
        self._offset, self.sequence = place.end, found.sequence
        return found.with_body(body)
