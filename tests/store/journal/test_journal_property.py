"""Any history of appends, restarts and crashes keeps every acknowledged frame once, in order."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from store.journal.format import pack_frame, store_body
from store.journal.journal import Journal
from store.record import Frame, FrameType, Signal
from tests.store.journal.journal_bench import bodies_of, draft

SEGMENT = 8_192

append = st.tuples(st.just("append"), st.integers(0, 3_000))
append_large = st.tuples(st.just("append"), st.integers(SEGMENT, 3 * SEGMENT))
append_together = st.tuples(st.just("append_together"), st.lists(st.integers(0, 2_000), min_size=2, max_size=6))
restart = st.tuples(st.just("restart"), st.none())
crash = st.tuples(st.just("crash"), st.tuples(st.integers(1, 3), st.integers(0, 2_000), st.booleans()))
histories = st.lists(st.one_of(append, append, append_large, append_together, restart, crash), max_size=20)


class History:
    """A journal with the client's own list of what was acknowledged."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.dice = Random(seed)
        self.acked: dict[int, bytes] = {}
        self.journal = Journal(folder, segment_bytes=SEGMENT)

    def append(self, size: int) -> None:
        body = self.dice.randbytes(size)
        sequence = self.journal.append(draft(body)).sequence
        assert sequence not in self.acked
        self.acked[sequence] = body

    def append_together(self, sizes: list[int]) -> None:
        bodies = [self.dice.randbytes(size) for size in sizes]
        with ThreadPoolExecutor(len(bodies)) as threads:
            positions = list(threads.map(lambda body: self.journal.append(draft(body)), bodies))
        self.acked |= {position.sequence: body for position, body in zip(positions, bodies, strict=True)}

    def restart(self, _: None) -> None:
        self.journal.close()
        self.journal = Journal(self.folder, segment_bytes=SEGMENT)

    def crash(self, torn: tuple[int, int, bool]) -> None:
        """Frames that nobody was told of, written as one commit of which the last bytes or a middle piece are missing."""
        count, missing, in_the_middle = torn
        self.journal.close()
        files = self.journal._files
        path, end = files.segments[-1].path, files._offset
        data = b"".join(self._frame(files.sequence + 1 + i, begins=i == 0) for i in range(count))
        at = self.dice.randrange(len(data)) if in_the_middle else len(data)
        lost = data[: max(at - missing, 0)] + bytes(min(missing, at)) + data[at:]
        if lost != data:
            whole = path.read_bytes()
            path.write_bytes((whole[:end] + lost).ljust(len(whole), b"\x00"))
        self.journal = Journal(self.folder, segment_bytes=SEGMENT)

    def _frame(self, sequence: int, *, begins: bool) -> bytes:
        body = self.dice.randbytes(self.dice.randint(0, 1_500))
        frame = Frame(sequence, FrameType.OTLP, "default", Signal.LOGS, 2**62, 1, bytes(32), body)
        return pack_frame(frame, store_body(body), begins_commit=begins)

    def check(self) -> None:
        frames = list(self.journal.frames_after(0))
        assert [frame.sequence for frame in frames] == list(range(1, self.journal.durable_sequence + 1))
        assert all(frames[sequence - 1].body == body for sequence, body in self.acked.items())
        times = [frame.received_ns for frame in frames]
        assert times == sorted(times)


@settings(max_examples=80, deadline=None)
@given(steps=histories, seed=st.integers(0, 2**32))
def test_every_acknowledged_frame_is_there_once_and_in_order(steps, seed):
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "journal", seed)
        try:
            for name, argument in steps:
                getattr(history, name)(argument)
                history.check()
            history.restart(None)
            history.check()
            assert len(bodies_of(history.journal)) >= len(history.acked)
        finally:
            history.journal.close()
