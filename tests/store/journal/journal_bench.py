"""What the journal's tests share: drafts, segment files made by hand, and a sync that can be held or made to fail."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event

from store.journal.format import HEADER_BYTES, SegmentHeader, pack_frame, pack_header
from store.journal.journal import Journal
from store.journal.stream import StreamWriter
from store.otlp.leaves import root_of
from store.record import Frame, FrameDraft, FrameType, Signal
from tests.patience import BUSY_SECONDS

JOURNAL_ID = "0123456789abcdef0123456789abcdef"
SEGMENT_BYTES = 64 * 1024
NOON_NS = 1_780_000_000_000_000_000


def draft(body: bytes, *, tenant: str = "default", signal: Signal = Signal.TRACES) -> FrameDraft:
    return FrameDraft(tenant, signal, body, (sha256(body).digest(),))


def bodies_of(journal: Journal, after: int = 0) -> list[bytes]:
    return [frame.body for frame in journal.frames_after(after)]


def segments_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


@dataclass
class HandMade:
    """A segment as bytes, with where each of its frames begins and the end of the last."""

    data: bytes
    offsets: list[int] = field(default_factory=list)

    def write(self, folder: Path, *, size_bytes: int = SEGMENT_BYTES, first_sequence: int = 1) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{first_sequence:020d}.segment"
        path.write_bytes(self.data.ljust(size_bytes, b"\x00"))
        return path


def hand_made(
    bodies: Sequence[bytes],
    *,
    begins: Sequence[bool] | None = None,
    streams: Sequence[bool] | None = None,
    first_sequence: int = 1,
) -> HandMade:
    """Frames with these bodies; `begins` says which of them began a commit, `streams` which a stream (each its own when
    left out).
    """
    writer = StreamWriter()
    made = HandMade(pack_header(SegmentHeader(JOURNAL_ID, first_sequence, NOON_NS)), [HEADER_BYTES])
    for index, body in enumerate(bodies):
        frame = Frame(
            first_sequence + index, FrameType.OTLP, "default", Signal.TRACES, NOON_NS + index, 1,
            root_of((sha256(body).digest(),)), body,
        )  # fmt: skip
        if streams is None or streams[index]:
            writer.begin_anew()
        made.data += pack_frame(frame, writer.store(body), begins_commit=begins is None or begins[index])
        made.offsets.append(len(made.data))
    return made


class HeldSync:
    """Stands in for os.fdatasync: counts, waits while held, fails when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = Event()
        self.let_go = Event()
        self.let_go.set()
        self.failure: OSError | None = None
        self._sync = os.fdatasync

    def hold(self) -> None:
        self.entered.clear()
        self.let_go.clear()

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        self.entered.set()
        assert self.let_go.wait(BUSY_SECONDS)
        if self.failure is not None:
            raise self.failure
        self._sync(descriptor)
