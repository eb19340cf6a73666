"""The journal: the record itself. An append returns when the frame is on disk.

Callers queue; one writer thread takes everything that is queued, compresses it in the order of sequences, writes it and calls
fdatasync once for all of it (group commit). A lone append waits for nobody: the writer starts as soon as it is idle.

A failure to allocate is retryable: nothing was written. A failure to write or sync is final: what reached the disk is
unknown and the kernel may have dropped the pages, so the journal accepts nothing more and says so until a restart has
read back what is there.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from store.errors import JournalClosed, JournalCorrupt, JournalError, JournalFailed, JournalFull
from store.journal.format import TENANT_BYTES_MAX, StoredBody
from store.journal.reader import SegmentReader
from store.journal.segments import Segment
from store.journal.writer import SegmentWriter
from store.otlp.leaves import root_of
from store.record import Frame, FrameDraft, FrameType, Position

SEGMENT_BYTES: Final = 32 * 1024 * 1024  # Large enough that rotation is rare, small enough to allocate in a blink.
GROUP_BYTES_MAX: Final = 16 * 1024 * 1024  # Of bodies: the first in a group waits while the last is compressed, 10 ms.
_TOGETHER: Final = (
    256  # Frames between two that are asked for: finding a place costs about as much as reading over them.
)
TAIL_BYTES_MAX: Final = 64 * 1024 * 1024  # Recent frames kept in memory, so that the projector rarely reads back.

_log = structlog.get_logger("journal")


@dataclass(frozen=True, slots=True)
class _Pending:
    draft: FrameDraft
    root: bytes
    done: "Future[Position]"


class Journal:
    """Append-only frames in segment files. One process, many threads."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock_ns: Callable[[], int] = time.time_ns,
        on_fsync: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Open or create the journal in `folder`; cut a torn tail. `on_fsync` hears the seconds of each commit's sync.

        Raises JournalCorrupt, JournalVersionUnknown, JournalFull.
        """
        self._clock_ns = clock_ns
        self._on_fsync = on_fsync
        self._failure: JournalError | None = None
        self._closed = False
        self._gate = threading.Lock()
        self._mark_lock = threading.Lock()
        self._mark: SegmentReader | None = None
        self._tail: deque[Frame] = deque()
        self._tail_bytes = 0
        self._files = SegmentWriter(folder, segment_bytes=segment_bytes, now_ns=clock_ns())
        self.journal_id = self._files.journal_id
        self._durable = self._files.sequence
        self._committed = threading.Condition()
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def durable_sequence(self) -> int:
        """The last sequence that is on disk; 0 when there is none."""
        return self._durable

    @property
    def durable_position(self) -> Position:
        return Position(self.journal_id, self._durable)

    @property
    def failure(self) -> JournalError | None:
        """Why the journal accepts nothing more, if it does not."""
        return self._failure

    @property
    def bytes_on_disk(self) -> int:
        """What the record takes, without the preallocated rest of its last segment."""
        return self._files.bytes_on_disk

    def append(self, draft: FrameDraft) -> Position:
        """Make one request durable and return its position. Blocks until it is on disk.

        Raises JournalFull (nothing written, try again), JournalFailed (nothing more will be accepted), JournalClosed,
        and ValueError for a tenant that no frame can hold.
        """
        return self.submit(draft).result()

    def submit(self, draft: FrameDraft) -> "Future[Position]":
        """`append` without the wait: the future has the position once the frame is on disk, or why it is not.

        Its callbacks are called on the journal's thread, and must be quick. Raises what is known at once.
        """
        if len(draft.tenant.encode()) > TENANT_BYTES_MAX:
            raise ValueError(f"a tenant's name has at most {TENANT_BYTES_MAX} bytes: {draft.tenant[:40]}...")
        self._refuse_if_over()
        pending = _Pending(draft, root_of(draft.leaves), Future())
        pending.done.set_running_or_notify_cancel()  # Whoever stops waiting must not take the commit down with it.
        # Under the gate nothing is queued behind the mark that ends the writer: it would wait for ever.
        with self._gate:
            self._refuse_if_over()
            self._queue.put(pending)
        return pending.done

    def wait_for_more(self, sequence: int, timeout_seconds: float) -> bool:
        """Whether something behind `sequence` is durable, waiting for it as long as told, or until the journal closes."""
        with self._committed:
            self._committed.wait_for(lambda: self._durable > sequence or self._closed, timeout_seconds)
            return self._durable > sequence

    def frames_after(self, sequence: int) -> Iterator[Frame]:
        """Durable frames behind `sequence`, in order, up to what was durable when the iteration began.

        Raises JournalCorrupt where a frame does not match its checksum. Where the last one who read ended, the next one goes
        on without reading anything twice.
        """
        return self._frames(sequence, follows=True)

    def _frames(self, sequence: int, *, follows: bool) -> Generator[Frame]:
        with self._committed:
            durable = self._durable
            recent = list(self._tail) if self._tail and self._tail[0].sequence <= sequence + 1 else None
            segments = self._files.segments
        if recent is not None:
            self._forget_mark(recent[0].sequence - 1)
            yield from (frame for frame in recent if sequence < frame.sequence <= durable)
            return
        for index, segment in enumerate(segments):
            last = segments[index + 1].header.first_sequence - 1 if index + 1 < len(segments) else durable
            if last > sequence and last >= segment.header.first_sequence:
                yield from self._read(segment, sequence, min(last, durable), follows=follows)

    def _read(self, segment: Segment, after: int, last: int, *, follows: bool) -> Iterator[Frame]:
        """The frames of a segment behind `after` up to `last`, all of which are durable."""
        expected = max(after + 1, segment.header.first_sequence)
        reader = self._take_mark(segment, expected) if follows else SegmentReader(segment)
        try:
            with closing(reader.frames(expected - 1)) as frames:
                for frame in frames:
                    if frame.sequence != expected:
                        break
                    yield frame
                    if expected == last:
                        return
                    expected += 1
        finally:
            if follows:
                self._mark = reader
        raise JournalCorrupt(f"{segment.path.name} does not hold frame {expected}, though it is of the record")

    def _take_mark(self, segment: Segment, expected: int) -> SegmentReader:
        """Where the last who followed stood, if it is before the frame expected. What it decompressed is one reader's."""
        with self._mark_lock:
            mark, self._mark = self._mark, None
        return mark if mark and mark.segment == segment and mark.sequence < expected else SegmentReader(segment)

    def _forget_mark(self, sequence: int) -> None:
        """Let go of a mark behind which everything is in memory: its decompressor takes 34 MB."""
        with self._mark_lock:
            if self._mark is not None and self._mark.sequence >= sequence:
                self._mark = None

    def frame(self, sequence: int) -> Frame | None:
        """One durable frame, or None where the journal does not hold it.

        Where it is not in memory, what its compression stream holds before it is read too. Raises as `frames_after`.
        """
        if not 0 < sequence <= self._durable:
            return None
        return next(self._frames(sequence - 1, follows=False), None)

    def frames(self, sequences: Sequence[int]) -> Iterator[Frame]:
        """Some durable frames, in their order; what the journal does not hold is left out.

        What stands close together is read in one go. Raises as `frames_after`.
        """
        wanted = sorted({one for one in sequences if 0 < one <= self._durable})
        while wanted:
            together = 1
            while together < len(wanted) and wanted[together] - wanted[together - 1] <= _TOGETHER:
                together += 1
            near, wanted = wanted[:together], wanted[together:]
            asked = set(near)
            with closing(self._frames(near[0] - 1, follows=False)) as found:
                for frame in found:
                    if frame.sequence in asked:
                        yield frame
                    if frame.sequence >= near[-1]:
                        break

    def close(self) -> None:
        """Finish what is queued, then stop. Safe to call twice."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        with self._committed:
            self._committed.notify_all()
        self._files.close()

    def _refuse_if_over(self) -> None:
        if self._failure is not None:
            # A new one each time: an exception that is raised again and again keeps every traceback, bodies and all.
            raise JournalFailed(str(self._failure))
        if self._closed:
            raise JournalClosed("the journal is shutting down: send again")

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._next_group()
            if self._failure is not None:
                self._fail(self._failure, group)
            elif group:
                self._commit(group)

    def _next_group(self) -> tuple[list[_Pending], bool]:
        """Wait for one append, then take what else is queued. The flag says that closing was asked for."""
        group: list[_Pending] = []
        group_bytes = 0
        item = self._queue.get()
        while item is not None:
            group.append(item)
            group_bytes += len(item.draft.body)
            if group_bytes >= GROUP_BYTES_MAX:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Pending]) -> None:
        added: list[tuple[_Pending, Frame]] = []
        try:
            for pending in group:
                draft = pending.draft
                try:
                    stored = self._files.store(draft.body)
                    if not self._files.fits(draft.tenant, stored):
                        self._sync(added)
                        stored = self._files.make_room(
                            draft.tenant, draft.body, stored, self._clock_ns(), makes_do=draft.type is FrameType.ACCESS
                        )
                except JournalFull as full:
                    pending.done.set_exception(full)
                    continue
                added.append((pending, self._add(pending, stored, begins_commit=not added)))
            self._sync(added)
        except Exception as error:  # noqa: BLE001 - if this thread died, everybody who appends would wait for ever
            self._fail(error, group)

    def _add(self, pending: _Pending, stored: StoredBody, *, begins_commit: bool) -> Frame:
        draft = pending.draft
        received_ns = max(self._files.last_received_ns, self._clock_ns())
        frame = Frame(
            sequence=self._files.sequence + 1,
            type=draft.type,
            tenant=draft.tenant,
            signal=draft.signal,
            received_ns=received_ns,
            records=len(draft.leaves),
            root=pending.root,
            body=draft.body,
            leaves=draft.leaves,
        )
        self._files.add(frame, stored, begins_commit=begins_commit)
        return frame

    def _sync(self, added: list[tuple[_Pending, Frame]]) -> None:
        """Write and sync what was added, show it to readers, then acknowledge it. Empties `added`."""
        if not added:
            return
        self._files.write()
        begun = time.perf_counter()
        self._files.sync()
        self._on_fsync(time.perf_counter() - begun)
        with self._committed:
            for _, frame in added:
                self._tail.append(frame)
                self._tail_bytes += len(frame.body)
            while self._tail_bytes > TAIL_BYTES_MAX:
                self._tail_bytes -= len(self._tail.popleft().body)
            self._durable = added[-1][1].sequence
            self._committed.notify_all()
        for pending, frame in added:
            pending.done.set_result(Position(self.journal_id, frame.sequence))
        added.clear()

    def _fail(self, error: Exception, group: list[_Pending]) -> None:
        if self._failure is None:
            self._failure = JournalFailed(
                f"the journal could not be written ({error}): what reached the disk is unknown, so nothing more is "
                "accepted. Check the disk, then restart Spanledger; it keeps every frame that it acknowledged"
            )
            _log.error("journal_failed", cause=repr(error))
        for pending in group:
            if not pending.done.done():
                pending.done.set_exception(JournalFailed(str(self._failure)))
