"""Any history of appends, refusals, restarts and crashes keeps every acknowledged frame once, in order, and readable.

Bodies repeat one another, streams and segments are short and nothing is kept in memory, so that most frames continue one
before them and every read goes through the files.
"""

import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.backup import back_up
from store.errors import JournalFull
from store.folder import JOURNAL
from store.journal import journal as journal_module
from store.journal import stream as stream_module
from store.journal.format import pack_frame
from store.journal.journal import Journal
from store.journal.stream import StreamWriter
from store.record import Frame, FrameType, Signal
from tests.store.journal.journal_bench import draft

SEGMENT = 8_192
STREAM_BYTES = 20_000
NOISE = Random(7).randbytes(3 * SEGMENT)

sizes = st.one_of(st.integers(0, 3_000), st.integers(0, 3_000), st.integers(SEGMENT, 3 * SEGMENT))
some = st.lists(st.integers(0, 2_000), min_size=2, max_size=6)
histories = st.lists(
    st.one_of(
        st.tuples(st.just("append"), sizes),
        st.tuples(st.just("append"), sizes),
        st.tuples(st.just("append_together"), some),
        st.tuples(st.just("no_room"), some),
        st.tuples(st.just("no_room"), st.lists(sizes, min_size=1, max_size=3)),
        st.tuples(st.just("no_handles"), st.lists(sizes, min_size=1, max_size=3)),
        st.tuples(st.just("no_memory"), sizes),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("crash"), st.tuples(st.integers(1, 3), st.integers(0, 2_000), st.booleans())),
        st.tuples(st.just("follow"), st.integers(1, 5)),
        st.tuples(st.just("read_one"), st.integers(0, 2**16)),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True, scope="module")
def short_streams():
    with (
        patch.object(stream_module, "STREAM_BYTES_MAX", STREAM_BYTES),
        patch.object(journal_module, "TAIL_BYTES_MAX", 0),
    ):
        yield


class Starved:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def compress(self, body: bytes) -> None:
        self.stream.compress(body)
        raise MemoryError


class History:
    """A journal with the client's own list of what was acknowledged."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.data = folder
        self.folder = folder / JOURNAL
        self.dice = Random(seed)
        self.acked: dict[int, bytes] = {}
        self.bodies = 0
        self.followed = 0
        self.journal = Journal(self.folder, segment_bytes=SEGMENT)

    def _body(self, size: int) -> bytes:
        """Another one each time, of which most was said before: also by one that was refused."""
        self.bodies += 1
        new = self.dice.randbytes(self.dice.randint(0, min(size, 400)))
        return b"%d " % self.bodies + new + NOISE[: max(size - len(new), 0)]

    def _acknowledged(self, sequence: int, body: bytes) -> None:
        assert sequence not in self.acked
        self.acked[sequence] = body

    def append(self, size: int) -> None:
        body = self._body(size)
        self._acknowledged(self.journal.append(draft(body)).sequence, body)

    def append_together(self, sizes: list[int]) -> None:
        bodies = [self._body(size) for size in sizes]

        def one(body: bytes) -> int | None:
            try:
                return self.journal.append(draft(body)).sequence
            except JournalFull:
                return None

        with ThreadPoolExecutor(len(bodies)) as threads:
            for sequence, body in zip(threads.map(one, bodies), bodies, strict=True):
                if sequence is not None:
                    self._acknowledged(sequence, body)

    def _while_failing(self, call: str, code: int, sizes: list[int]) -> None:
        def fail(*_: Any) -> None:
            raise OSError(code, os.strerror(code))

        with patch.object(os, call, fail):
            self.append_together(sizes)
        assert self.journal.failure is None

    def no_room(self, sizes: list[int]) -> None:
        self._while_failing("posix_fallocate", self.dice.choice([errno.ENOSPC, errno.EDQUOT]), sizes)

    def no_handles(self, sizes: list[int]) -> None:
        self._while_failing("open", self.dice.choice([errno.EMFILE, errno.ENFILE]), sizes)

    def no_memory(self, size: int) -> None:
        """The compressor has taken the body in when it finds that it cannot go on."""
        writer = self.journal._files._stream
        if writer._stream is not None:
            writer._stream = Starved(writer._stream)
            self.append_together([size])
            assert not isinstance(writer._stream, Starved)

    def restart(self, _: None) -> None:
        self.journal.close()
        self.journal = Journal(self.folder, segment_bytes=SEGMENT)
        # What was cut at a restart was never acknowledged, so nobody has read it.
        self.followed = min(self.followed, self.journal.durable_sequence)

    def crash(self, torn: tuple[int, int, bool]) -> None:
        """Frames that nobody was told of, written as one commit of which the last bytes or a middle piece are missing."""
        count, missing, in_the_middle = torn
        self.journal.close()
        files = self.journal._files
        path, end = files.segments[-1].path, files._offset
        stream = StreamWriter()
        data = b"".join(self._frame(stream, files.sequence + 1 + i, begins=i == 0) for i in range(count))
        at = self.dice.randrange(len(data)) if in_the_middle else len(data)
        lost = data[: max(at - missing, 0)] + bytes(min(missing, at)) + data[at:]
        if lost != data:
            whole = path.read_bytes()
            path.write_bytes((whole[:end] + lost).ljust(len(whole), b"\x00"))
        self.journal = Journal(self.folder, segment_bytes=SEGMENT)

    def _frame(self, stream: StreamWriter, sequence: int, *, begins: bool) -> bytes:
        body = self._body(self.dice.randint(0, 1_500))
        frame = Frame(sequence, FrameType.OTLP, "default", Signal.LOGS, 2**62, 1, bytes(32), body)
        return pack_frame(frame, stream.store(body), begins_commit=begins)

    def follow(self, most: int) -> None:
        """As the projector: some frames, and the rest another time."""
        for frame in self.journal.frames_after(self.followed):
            assert frame.sequence == self.followed + 1
            assert frame.body == self.acked.get(frame.sequence, frame.body)
            self.followed += 1
            most -= 1
            if not most:
                break

    def read_one(self, number: int) -> None:
        durable = self.journal.durable_sequence
        frame = self.journal.frame(number % (durable + 1))
        assert (frame.body if frame else None) == self.acked.get(number % (durable + 1), frame and frame.body)
        assert (frame is None) == (number % (durable + 1) == 0)

    def check(self) -> None:
        frames = list(self.journal._frames(0, follows=False))
        assert [frame.sequence for frame in frames] == list(range(1, self.journal.durable_sequence + 1))
        assert all(frames[sequence - 1].body == body for sequence, body in self.acked.items())
        times = [frame.received_ns for frame in frames]
        assert times == sorted(times)

    def check_backup(self) -> None:
        done = back_up(self.data, self.data / "backup")
        assert done.frames == self.journal.durable_sequence
        copy = Journal(self.data / "backup" / JOURNAL, segment_bytes=SEGMENT)
        try:
            assert list(copy.frames_after(0)) == list(self.journal.frames_after(0))
        finally:
            copy.close()


@settings(max_examples=100, deadline=None)
@given(steps=histories, seed=st.integers(0, 2**32))
def test_every_acknowledged_frame_is_there_once_and_in_order(steps, seed):
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder), seed)
        try:
            for name, argument in steps:
                getattr(history, name)(argument)
                history.check()
            history.restart(None)
            history.check()
            history.check_backup()
            assert history.journal.durable_sequence >= len(history.acked)
        finally:
            history.journal.close()
