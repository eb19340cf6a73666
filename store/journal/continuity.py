"""Whether a folder's segments are one record without a hole: a file that was lost, or that a copy missed, shows here.

Reading finds a hole too, but only when it gets there, and a view that is up to date never reads that far back. So it is
looked for at every start, at the price of one look at the end of each segment: a sealed one ends with its last frame,
and the next one's name says which frame that must be.
"""

import mmap
from collections.abc import Sequence
from itertools import pairwise

from store.errors import JournalCorrupt
from store.journal.format import FRAME_MAGIC, HEADER_BYTES, locate_frame, stated_place
from store.journal.segments import SEGMENT_SUFFIX, Segment


def check_continuous(segments: Sequence[Segment]) -> None:
    """See that the record begins with frame 1 and that every segment begins where the one before it ends.

    What stands inside a segment is not looked at: damage there is found by reading. Raises JournalCorrupt that names the
    frames that are missing, or that are there twice.
    """
    if not segments:
        return
    first = segments[0]
    if first.header.first_sequence != 1:
        raise _missing(1, first.header.first_sequence - 1, f"before {first.path.name}")
    for segment, following in pairwise(segments):
        wanted = following.header.first_sequence - 1
        if _ends_with(segment, wanted):
            continue
        last = _last_sequence(segment)
        if last < wanted:
            raise _missing(last + 1, wanted, f"between {segment.path.name} and {following.path.name}")
        if last > wanted:
            raise JournalCorrupt(
                f"{segment.path.name} goes on to frame {last} though {following.path.name} begins with frame "
                f"{wanted + 1}: two copies of a record are mixed in this folder. Nothing was changed; restore one backup "
                "into an empty folder"
            )


def _missing(first: int, last: int, where: str) -> JournalCorrupt:
    frames = f"frame {first} is" if first == last else f"frames {first} to {last} are"
    return JournalCorrupt(
        f"{frames} missing from the record, {where}: a segment file is absent or cut short. Nothing was changed; put back "
        f"that file (a segment is named by its first frame, as {first:020d}{SEGMENT_SUFFIX}), or restore a backup"
    )


def _ends_with(segment: Segment, sequence: int) -> bool:
    """Whether the file's last bytes are this frame. False also where zeros follow it, as a crash may leave them."""
    with (
        segment.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        offset = len(data)
        # A body may hold the magic too; that its lengths end where the file does and its number fits is no accident.
        while (offset := data.rfind(FRAME_MAGIC, HEADER_BYTES, offset)) >= 0:
            place = stated_place(view, offset)
            if place is not None and (place.end, place.sequence) == (len(data), sequence):
                return True
    return False


def _last_sequence(segment: Segment) -> int:
    """The last frame that can be reached from the first by the frames' own lengths."""
    last, offset = segment.header.first_sequence - 1, HEADER_BYTES
    with (
        segment.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        try:
            while place := locate_frame(view, offset, segment.path.name):
                last, offset = place.sequence, place.end
        except JournalCorrupt:
            # Torn or damaged: what is missing begins here.
            return last
    return last
