"""Streams of steps as they are recorded: the view is read by position, and a notification only wakes the reader.

    projector moves -> one watching thread -> every stream's event -> a page is read, encoded and sent -> ... the edge, wait

Strategy: nothing is queued for anybody. A stream knows its place in the record (`store.contract.StepPlace`) and reads the
view from there, so a client that comes back with the id of the last event it saw misses none and sees none twice, also of
another process. What waits in memory for a slow client is one page. An idle stream holds no thread: one thread watches the
projector for all of them, and two read for whoever was woken.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from query.problems import too_many_streams_problem
from query.view import TenantReader
from store.contract import PLACE_AT_END, StepFilter, StepPlace, Waiter
from store.errors import BadQuery, StoreError
from store.model.rows import StepRow
from store.record import Position

EVENT_STREAM: Final = "text/event-stream"
START: Final = "start"
_READERS: Final = 2  # Threads that read for all streams: more would only wait for the interpreter.
_SLICE_SECONDS: Final = 0.25  # How soon the streams notice that the service stops.
# Between two wakings: an event comes this much later at most, and a stream reads at most 20 times a second.
_PAUSE_SECONDS: Final = 0.05
_RETRY_MS: Final = 1000
_ENCODER: Final = msgspec.json.Encoder()

_log: Final = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """Bounds on streams."""

    streams_max: int = 64
    """At once, of all tenants: with each woken 20 times a second the readers are busy with about so many."""
    page_rows: int = 500
    """Step rows read at once: about 1 MB."""
    heartbeat_seconds: float = 15.0
    """Between two comments on an idle stream: proxies close what is silent for 30 or 60 s."""
    behind_seconds_max: float = 15.0
    """How long a client that had caught up may hold its stream up, all in all, before it has caught up again."""
    stalled_seconds_max: float = 30.0
    """How long a client may take nothing at all."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a record, as the ids of events name it."""

    journal_id: str
    place: StepPlace
    revision: int = 0

    def __str__(self) -> str:
        """`position:ordinal:revision` of the step before the place; a position, where that is the last of its frame."""
        at = f"{self.journal_id}:{self.place.sequence}"
        return f"{at}:{self.place.ordinal}:{self.revision}" if 0 <= self.place.ordinal < PLACE_AT_END else at

    def behind(self, place: StepPlace, step: StepRow) -> str:
        """The id of a step's event: the place behind it, in the same record."""
        return str(Mark(self.journal_id, place, step.revision))


def parse_mark(text: str, parameter: str) -> Mark:
    """An event's id, or a position: then the place behind all of that frame. Raises BadQuery."""
    parts = text.split(":")
    numbers = [int(one) for one in parts[1:] if one.isascii() and one.isdigit() and len(one) < 19]
    if not parts[0] or len(numbers) != len(parts) - 1 or len(parts) not in (2, 4):
        raise BadQuery(
            parameter, f"{text!r} is neither the id of an event nor a position; send one back as it was given"
        )
    ordinal, revision = numbers[1:] or (PLACE_AT_END, 0)
    return Mark(parts[0], StepPlace(numbers[0], min(ordinal, PLACE_AT_END)), revision)


def check_mark(mark: Mark, waiter: Waiter, parameter: str) -> None:
    """Raises BadQuery where the place is of another record, or behind the end of this one."""
    try:
        waiter.wait_for(Position(mark.journal_id, mark.place.sequence), 0.0)
    except BadQuery as error:
        raise BadQuery(parameter, str(error).removeprefix(f"{error.parameter}: ")) from error


class LiveHub:
    """The streams of one service. Wakes them when the view moves, and ends them when the service stops."""

    def __init__(self, waiter: Waiter, is_closing: Callable[[], bool], limits: LiveLimits | None = None) -> None:
        self.waiter = waiter
        self.limits = limits or LiveLimits()
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="live-reader")
        self.is_closing = is_closing
        self._lock = threading.Lock()
        self._streams: dict[LiveResponse, asyncio.AbstractEventLoop] = {}
        self._watching = False
        self._sequence = -1

    def enter(self, stream: "LiveResponse") -> bool:
        """Wake this stream from now on. False where there are as many as may be."""
        with self._lock:
            if len(self._streams) >= self.limits.streams_max:
                return False
            self._streams[stream] = asyncio.get_running_loop()
            stream.until = max(stream.until, self._sequence)
            if not self._watching:
                self._watching = True
                self._sequence = -1
                threading.Thread(target=self._watch, name="live-watch", daemon=True).start()
        return True

    def leave(self, stream: "LiveResponse") -> None:
        """Wake it no more."""
        with self._lock:
            self._streams.pop(stream, None)

    @property
    def streams(self) -> int:
        """How many there are."""
        return len(self._streams)

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            sequence = self.waiter.moved(self._sequence, _SLICE_SECONDS).sequence
            closing = self.is_closing()
            with self._lock:
                if not self._streams:
                    self._watching = False
                    return
                moved, self._sequence = sequence > self._sequence, sequence
                woken = list(self._streams.items()) if moved or closing else []
            for stream, loop in woken:
                with suppress(RuntimeError):  # Its loop ended with the service.
                    loop.call_soon_threadsafe(stream.wake, sequence)
            pause.wait(_SLICE_SECONDS if closing else _PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A page as it is sent. `at_edge`: there was no more in the view."""

    body: bytes
    at_edge: bool


class LiveResponse(Response):
    """One stream. It begins at `mark`; with `follow` it goes on until the client leaves, or is too slow."""

    def __init__(
        self, hub: LiveHub, reader: TenantReader, where: StepFilter, mark: Mark, *, until: int, follow: bool
    ) -> None:
        super().__init__(
            status_code=200,
            media_type=EVENT_STREAM,
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},  # Or proxies keep events to themselves.
        )
        del self.headers["content-length"]
        self._hub = hub
        self._reader = reader
        self._where = where
        self._mark = mark
        self._last = str(mark)  # The id to come back with.
        self._follow = follow
        self._woken = asyncio.Event()
        self.until = until
        """The last frame that the view is known to hold."""

    def wake(self, sequence: int) -> None:
        """The view holds this frame, or the service stops. The loop's own thread."""
        self.until = max(self.until, sequence)
        self._woken.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns without completing the response where the client takes nothing: the server closes the connection."""
        if not self._hub.enter(self):
            await too_many_streams_problem(self._hub.limits.streams_max)(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            tasks = [asyncio.ensure_future(self._tell(send)), asyncio.ensure_future(_left(receive))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if not tasks[0].cancelled():
                tasks[0].result()
        finally:
            self._hub.leave(self)

    async def _tell(self, send: Send) -> None:
        try:
            await self._send(send, f"retry: {_RETRY_MS}\nid: {self._last}\n: live\n\n".encode())
            reason = await self._told(send)
            if reason is not None:
                await self._send(send, self._dropped(reason))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _log.info(
                "live_stream_cut", cause=f"its client took nothing for {self._hub.limits.stalled_seconds_max:g} s"
            )

    async def _told(self, send: Send) -> str | None:
        """Tell steps until the stream is over; returns why it is, where the client did not ask for its end."""
        limits, loop = self._hub.limits, asyncio.get_running_loop()
        held_up, caught_up = 0.0, False
        while True:
            self._woken.clear()
            try:
                piece = await loop.run_in_executor(self._hub.readers, self._read, self.until)
            except StoreError as error:
                _log.error("live_stream_failed", cause=str(error))
                return f"the view cannot answer: {error}"
            if piece.body:
                begun = loop.time()
                await self._send(send, piece.body)
                held_up += loop.time() - begun
            if piece.at_edge:
                held_up, caught_up = 0.0, True
                if not self._follow:
                    return None
            elif caught_up and held_up > limits.behind_seconds_max:
                return f"the client is too slow: it held the stream up for {held_up:.0f} s and is behind the record"
            if self._hub.is_closing():
                return "the server is stopping"
            if piece.at_edge:
                await self._rest(send)

    async def _rest(self, send: Send) -> None:
        """Wait until there may be more; say now and then that the stream lives, and how far it is."""
        while not self._woken.is_set():
            try:
                async with asyncio.timeout(self._hub.limits.heartbeat_seconds):
                    await self._woken.wait()
            except TimeoutError:
                await self._send(send, f"id: {self._last}\n: still here\n\n".encode())

    def _read(self, until: int) -> _Piece:
        """The next page, encoded. A reader's thread."""
        page = self._reader.steps_behind(
            self._where, behind=self._mark.place, until=until, limit=self._hub.limits.page_rows
        )
        body = bytearray()
        for place, step, withheld in page.rows:
            row = _ENCODER.encode(step)
            if withheld:
                row = row[:-1] + b',"withheld":' + _ENCODER.encode(sorted(withheld)) + b"}"
            body += b"id: %s\ndata: %s\n\n" % (self._mark.behind(place, step).encode(), row)
        at_edge = page.through.ordinal == PLACE_AT_END
        if page.rows and not at_edge:
            self._last = self._mark.behind(*page.rows[-1][:2])
        self._mark = Mark(self._mark.journal_id, page.through)
        if at_edge:
            self._last = str(self._mark)
        return _Piece(bytes(body), at_edge)

    async def _send(self, send: Send, body: bytes) -> None:
        """Raises TimeoutError where the client takes nothing."""
        async with asyncio.timeout(self._hub.limits.stalled_seconds_max):
            await send({"type": "http.response.body", "body": body, "more_body": True})

    def _dropped(self, reason: str) -> bytes:
        said = _ENCODER.encode({"reason": reason, "resume": self._last})
        return b"event: dropped\nid: %s\ndata: %s\n\n" % (self._last.encode(), said)


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
