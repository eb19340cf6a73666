"""The projector: follows the journal and keeps the view up to date, in three threads of its own.

    journal -> read ahead: frames normalised -> place them among what the view holds -> write, with the position

Each step is a thread's, so that the next frames are normalised and placed (Python) while a batch is being written (the
engine, which holds no interpreter lock). Batches are written in order, one at a time. What was read or placed ahead is only
ever used if all before it has come into the view; where it has not, it is thrown away and done again.

A crash at any moment costs nothing: the position is written with the rows, so the next start goes on from there. What a
frame causes is quarantined and never stops those behind it; what the engine causes is tried again until it works, while
the journal goes on accepting.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog

from store.errors import BadQuery, JournalError, RowRefused, ViewError
from store.journal.journal import Journal
from store.model.prices import Prices
from store.projection import Projection, Reading
from store.record import Frame, Position
from store.view import Quarantined, ViewBatch, Writer

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024  # Decoded and normalised at once: some 200 MB of memory at most.
BATCH_FRAMES_MAX: Final = 512
_IDLE_WAIT_SECONDS: Final = 0.1  # A stop waits no longer than this for an idle projector.
_CLOSED_WAIT_SECONDS: Final = 0.005  # A journal that closes no longer makes anybody wait.
_RETRY_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
_PANIC: Final = "PanicException"  # A panic in Rust is no Exception, and its class cannot be imported.

_log = structlog.get_logger("projector")


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Frames that were read ahead. `reading` is None where it failed; without frames it is why there are none."""

    generation: int
    frames: list[Frame]
    reading: Reading | JournalError | None


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch that is being written."""

    frames: list[Frame]
    batch: ViewBatch
    done: "Future[None]"


class Projector:
    """Keeps one view at the end of one journal. `start`, then `stop`."""

    def __init__(
        self,
        journal: Journal,
        writer: Writer,
        *,
        prices: Prices | None = None,
        quarantined_frames: int = 0,
        on_batch: Callable[[ViewBatch, float], None] = lambda _batch, _seconds: None,
    ) -> None:
        """Begin the view if it is new. `quarantined_frames` is how many it holds. Raises ViewError."""
        self._journal = journal
        self._writer = writer
        self._quarantined_frames = quarantined_frames
        self._on_batch = on_batch
        self._projection = Projection(writer, prices)
        position = writer.position()
        if position is None:
            writer.begin(journal.journal_id)
        self._reached = position.sequence if position else 0
        self._caught_up_ns = time.time_ns()
        self._moved = threading.Condition()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._ahead: queue.Queue[_Ahead] = queue.Queue(maxsize=1)
        self._generation = 0  # Counts how often what was read ahead had to be thrown away.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="projector-writer")
        self._flight: _Flight | None = None
        self._reading = threading.RLock()  # Whoever reads frames, or deals with trouble, does it alone.
        self._reader = threading.Thread(target=self._read_ahead, name="projector-reader", daemon=True)
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    @property
    def sequence(self) -> int:
        """The last sequence that the view holds."""
        return self._reached

    @property
    def problem(self) -> str | None:
        """Why the view does not move on, if it does not."""
        return self._problem

    @property
    def running(self) -> bool:
        """Whether its thread is at work."""
        return self._thread.is_alive()

    @property
    def lag_seconds(self) -> float:
        """For how long the view has been behind the journal; 0 when it is not."""
        if self._reached >= self._journal.durable_sequence:
            return 0.0
        return max(time.time_ns() - self._caught_up_ns, 0) / 1e9

    def start(self) -> None:
        self._reader.start()
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Finish the batch at hand and what else is durable, as far as the time allows. True if the view is complete."""
        deadline = time.monotonic() + timeout_seconds
        if self.running and self._problem is None:
            self._wait(self._journal.durable_sequence, timeout_seconds * 0.8)
        self._stopping.set()
        if self.running:
            self._thread.join(max(deadline - time.monotonic(), 0.1))
        if self._reader.is_alive():
            self._reader.join(max(deadline - time.monotonic(), 0.1))
        return self._reached >= self._journal.durable_sequence

    def wait_for(self, position: Position, timeout_seconds: float) -> bool:
        """See `store.contract.Waiter`."""
        if position.journal_id != self._journal.journal_id:
            raise BadQuery("min_position", f"{position} is a position of another record than this one")
        if position.sequence > self._journal.durable_sequence:
            raise BadQuery("min_position", f"{position} is behind the end of the record: no receipt can name it yet")
        return self._wait(position.sequence, timeout_seconds)

    def moved(self, sequence: int, timeout_seconds: float) -> Position:
        """See `store.contract.Waiter`."""
        self._wait(sequence + 1, timeout_seconds)
        return Position(self._journal.journal_id, self._reached)

    def readiness(self) -> dict[str, Any]:
        """See `store.contract.Waiter`."""
        reasons: list[str] = []
        if self._journal.failure is not None:
            reasons.append(str(self._journal.failure))
        if self._problem is not None:
            reasons.append(self._problem)
        return {
            "ready": not reasons,
            "reasons": reasons,
            "journal_position": str(self._journal.durable_position),
            "view_position": str(Position(self._journal.journal_id, self._reached)),
            "lag_ms": round(self.lag_seconds * 1000),
            "quarantined_frames": self._quarantined_frames,
        }

    def catch_up(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Project everything that is durable now, in the calling thread. `progress` hears (sequence, last sequence).

        Raises ViewError and JournalCorrupt: the caller is there to hear of them.
        """
        while frames := self._next_frames(self._reached):
            self._project_once(frames)
            progress(self._reached, self._journal.durable_sequence)
        self._settle(at_once=True)

    def _settle(self, *, at_once: bool = False) -> None:
        batch = self._projection.settle(self._reached, at_once=at_once)
        if batch is not None:
            begun = time.perf_counter()
            self._writer.write(batch)
            self._projection.placed(batch)
            self._projection.written()
            self._on_batch(batch, time.perf_counter() - begun)

    def _settle_or_say(self, *, idle: bool) -> None:
        try:
            if self._projection.has_due() and self._land([]):
                self._settle()
            if idle:
                self._writer.tidy()
        except ViewError as error:
            with self._reading:
                self._retry(self._stranded(), error)
        else:
            self._problem = None

    def _wait(self, sequence: int, timeout_seconds: float) -> bool:
        with self._moved:
            return self._moved.wait_for(lambda: self._reached >= sequence, timeout_seconds)

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._writing.shutdown(wait=True)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            ahead = self._next_ahead()
            try:
                if ahead is None:
                    self._project([], None)
                    if self._reached >= self._journal.durable_sequence:
                        self._caught_up_ns = time.time_ns()
                elif isinstance(ahead.reading, JournalError):
                    self._stop_for(ahead.reading)
                    return
                else:
                    self._project(ahead.frames, ahead.reading)
                self._settle_or_say(idle=ahead is None)
            except JournalError as error:
                self._stop_for(error)
                return
            except Exception as error:  # noqa: BLE001 - a projector that dies unheard looks like one that is ready
                self._problem = f"the projector failed ({type(error).__name__}: {error}): restart Spanledger"
                _log.error("projection_stopped", exc_info=error)
                return

    def _stop_for(self, error: JournalError) -> None:
        self._problem = f"the journal cannot be read: {error}"
        _log.error("projection_stopped", cause=str(error))

    def _next_ahead(self) -> "_Ahead | None":
        """What was read ahead and is the next to be projected; None when there is nothing for a while."""
        try:
            ahead = self._ahead.get(timeout=_IDLE_WAIT_SECONDS)
        except queue.Empty:
            return None
        fits = ahead.generation == self._generation
        return ahead if fits else None  # It was read before something went wrong, and will be read again.

    def _read_ahead(self) -> None:
        generation, after = self._generation, self._reached
        while not self._stopping.is_set():
            if not self._journal.wait_for_more(after, _IDLE_WAIT_SECONDS):
                self._stopping.wait(_CLOSED_WAIT_SECONDS)
            with self._reading:
                if generation != self._generation:
                    generation, after = self._generation, self._reached
                if self._journal.durable_sequence <= after:
                    continue
                ahead = self._ahead_of(generation, after)
            while not self._stopping.is_set() and generation == self._generation:
                try:
                    self._ahead.put(ahead, timeout=_IDLE_WAIT_SECONDS)
                    break
                except queue.Full:
                    continue
            if not ahead.frames:
                return
            after = ahead.frames[-1].sequence

    def _ahead_of(self, generation: int, after: int) -> "_Ahead":
        frames: list[Frame] = []
        try:
            frames = self._next_frames(after)
            return _Ahead(generation, frames, self._projection.read(frames))
        except JournalError as error:
            return _Ahead(generation, [], error)
        except BaseException as error:
            if not _is_of_a_frame(error):
                raise
            return _Ahead(generation, frames, None)  # The other thread meets it again, and deals with it.

    def _forget(self) -> None:
        """Nothing that is remembered or was read ahead holds any more."""
        with self._reading:
            self._projection.forget()
            self._generation += 1

    def _next_frames(self, after: int) -> list[Frame]:
        frames: list[Frame] = []
        total_bytes = 0
        for frame in self._journal.frames_after(after):
            if frames and (total_bytes + len(frame.body) > BATCH_BYTES_MAX or len(frames) >= BATCH_FRAMES_MAX):
                break
            frames.append(frame)
            total_bytes += len(frame.body)
        return frames

    def _project(self, frames: list[Frame], reading: Reading | None) -> None:
        """Place frames while those before are being written, then have them written; without frames, only wait for that."""
        try:
            if frames:
                self._project_behind(frames, reading)
            else:
                self._land([])
        except ViewError as error:
            with self._reading:  # Nothing is read ahead meanwhile: what it would build on is not in the view.
                self._retry(self._stranded() + frames, error)
        else:
            self._problem = None

    def _project_behind(self, frames: list[Frame], reading: Reading | None) -> None:
        begun = time.perf_counter()
        try:
            if reading is None:
                with self._reading:
                    reading = self._projection.read(frames)
            batch = self._projection.place(reading)
            prepared = self._writer.prepare(batch)
        except BaseException as error:
            if not _is_of_a_frame(error):
                raise
            self._land([])
            self._one_by_one(frames, error)
            return
        if not self._land(frames):
            return
        self._projection.placed(batch)
        self._flight = _Flight(frames, batch, self._writing.submit(self._commit, frames, batch, prepared, begun))

    def _commit(self, frames: list[Frame], batch: ViewBatch, prepared: Any, begun: float) -> None:
        self._writer.commit(prepared)
        self._arrived(frames, batch, begun)

    def _land(self, behind: list[Frame]) -> bool:
        """Wait until what is being written is in the view.

        False where it was refused: then it was dealt with frame by frame, and so were the frames `behind` it, for what they
        were placed on is not what the view holds. Raises ViewError where it could not be written: then it is stranded.
        """
        flight = self._flight
        if flight is None:
            return True
        error = flight.done.exception()
        if error is None:
            self._flight = None
            self._projection.written()
            return True
        if not _is_of_a_frame(error) or self._reached >= flight.frames[-1].sequence:
            raise error  # The engine's; or one that nobody foresaw, for the batch itself has come in.
        with self._reading:  # Until all are done: who reads ahead goes on from what the view has reached.
            self._one_by_one(flight.frames, error)
            self._flight = None
            if behind:
                self._project_once(behind)
        return False

    def _stranded(self) -> list[Frame]:
        """The frames of a batch that could not be written, which nobody then waits for any more."""
        flight, self._flight = self._flight, None
        return flight.frames if flight is not None and flight.done.exception() is not None else []

    def _retry(self, frames: list[Frame], error: ViewError) -> None:
        """Project frames, if there are any, until the view answers and takes them, or the projector is to stop."""
        attempt = 0
        while not self._stopping.is_set():
            self._problem = f"the view cannot be written: {error}"
            _log.error("projection_failed", cause=str(error), sequence=self._reached + 1, attempt=attempt)
            self._stopping.wait(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1
            try:
                self._forget()
                self._look_at_view()
                left = [frame for frame in frames if frame.sequence > self._reached]
                if left:
                    self._project_once(left)
                self._forget()
            except ViewError as again:
                error = again
            else:
                self._problem = None
                return

    def _look_at_view(self) -> None:
        """Go on from where the view is: a commit may have reached the disk although it failed. Raises ViewError."""
        position = self._writer.position()
        if position is not None and position.sequence > self._reached:
            with self._moved:
                self._reached = position.sequence
                self._moved.notify_all()

    def _project_once(self, frames: list[Frame]) -> None:
        """Read, place and write, with nothing else on its way."""
        begun = time.perf_counter()
        try:
            with self._reading:
                reading = self._projection.read(frames)
            batch = self._projection.place(reading)
            self._writer.write(batch)
        except BaseException as error:
            if not _is_of_a_frame(error):
                raise
            self._one_by_one(frames, error)
            return
        self._projection.placed(batch)
        self._projection.written()
        self._arrived(frames, batch, begun)

    def _one_by_one(self, frames: list[Frame], error: BaseException) -> None:
        """Whatever a frame causes must not stop those behind it: the others go on, it is quarantined."""
        with self._reading:
            self._forget()
            if len(frames) > 1:
                for frame in frames:
                    self._project_once([frame])
                self._forget()
                return
            # Still alone: who reads ahead goes on from what the view has reached, and would read this frame once more.
            begun = time.perf_counter()
            batch = _quarantine(frames[0], error)
            self._writer.write(batch)
            self._arrived(frames, batch, begun)

    def _arrived(self, frames: list[Frame], batch: ViewBatch, begun: float) -> None:
        """The batch is in the view."""
        self._quarantined_frames += len(batch.quarantined)
        with self._moved:
            self._reached = frames[-1].sequence
            self._caught_up_ns = frames[-1].received_ns
            self._moved.notify_all()
        self._on_batch(batch, time.perf_counter() - begun)


def _is_of_a_frame(error: BaseException) -> bool:
    """Whether a frame, not the engine or the end of the process, is to blame."""
    if isinstance(error, ViewError):
        return isinstance(error, RowRefused)
    return isinstance(error, Exception) or type(error).__name__ == _PANIC


def _quarantine(frame: Frame, error: BaseException) -> ViewBatch:
    reason = f"{type(error).__name__}: {error}"
    _log.error("frame_quarantined", sequence=frame.sequence, signal=frame.label, cause=reason)
    batch = ViewBatch(frame.sequence)
    batch.quarantined.append(Quarantined(frame.sequence, frame.label, frame.tenant, reason))
    return batch
