"""A replay on its way to a client: as lines or as server-sent events, at once or in the time that the run took.

At once it is an iterator that a worker thread drives, chunk by chunk. In time it is the event loop's: events are read ahead
in a worker thread, some at a time, and between two of them nobody waits but a timer. So a slow replay costs a timer and what
was read ahead, not a thread, and how many there may be at once is bounded all the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from threading import BoundedSemaphore, Event
from time import monotonic
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from query.documents import line
from query.problems import CannotWait
from query.times import NS_PER_SECOND, parse_time_ns
from query.view import PLAYED_MAX
from store.model.rows import ReplayEvent

CHUNK_BYTES: Final = 64 * 1024
"""Every chunk is a hop between threads: at 64 KiB the hops cost less than the encoding."""
READ_AHEAD_EVENTS: Final = 32
HEARTBEAT_SECONDS: Final = 15.0
"""Proxies close what says nothing for a minute, some for half of one."""
SLICE_SECONDS: Final = 0.25
"""How soon a replay notices that the service stops."""
NDJSON_MEDIA_TYPE: Final = "application/x-ndjson"
SSE_MEDIA_TYPE: Final = "text/event-stream"
STREAMED: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_HEARTBEAT: Final = b": the next event is still to come\n\n"
_END: Final = b"event: end\ndata: {}\n\n"

_log: Final = structlog.stdlib.get_logger(__name__)

Write = Callable[[ReplayEvent], bytes]


def as_event(event: ReplayEvent) -> bytes:
    """A server-sent event: its id is the position, which a client sends back as Last-Event-ID."""
    return b"id: %d\nevent: %s\ndata: %s\n" % (event.position, event.type.encode(), line(event))


def chunks(events: Iterator[ReplayEvent], *, sse: bool) -> Iterator[bytes]:
    """Everything, as fast as the client takes it. A stream of events says that it has ended: it breaks off otherwise."""
    write: Write = as_event if sse else line
    chunk = bytearray()
    for event in events:
        chunk += write(event)
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if sse:
        chunk += _END
    if chunk:
        yield bytes(chunk)


class PlayedReplay(StreamingResponse):
    """A replay in the time that the run took, divided by `speed`. `stage` has a place for each that plays.

    Raises CannotWait, before anything is sent, where there is no place. Where the service stops the stream breaks off.
    """

    def __init__(
        self,
        events: Iterator[ReplayEvent],
        speed: float,
        *,
        sse: bool,
        stage: BoundedSemaphore,
        closing: Event,
        media_type: str,
    ) -> None:
        super().__init__(_played(events, speed, sse=sse, closing=closing), media_type=media_type, headers=STREAMED)
        self._stage = stage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._stage.acquire(blocking=False):
            raise CannotWait(f"{PLAYED_MAX} replays play in time already; ask without `speed`, or try again in a while")
        try:
            await super().__call__(scope, receive, send)
        except* _Broken:
            _log.info("replay_broken_off", cause="the service stops")  # Unfinished: the server closes the connection.
        finally:
            self._stage.release()


class _Broken(Exception):
    """The service stops in the middle of a replay: the client must see that it was not completed."""


async def _played(events: Iterator[ReplayEvent], speed: float, *, sse: bool, closing: Event) -> AsyncIterator[bytes]:
    write: Write = as_event if sse else line
    begun, first_ns = monotonic(), None
    while ahead := await run_in_threadpool(lambda: list(islice(events, READ_AHEAD_EVENTS))):
        for event in ahead:
            at_ns = None if event.at is None else parse_time_ns(event.at)
            first_ns = at_ns if first_ns is None else first_ns
            if at_ns is not None and first_ns is not None:
                due = begun + (at_ns - first_ns) / NS_PER_SECOND / speed
                async for beat in _until(due, closing):
                    if sse:
                        yield beat
            yield write(event)
    if sse:
        yield _END


async def _until(due: float, closing: Event) -> AsyncIterator[bytes]:
    """Wait for a moment, with heartbeats. Raises _Broken where the service stops first."""
    beat_at = monotonic() + HEARTBEAT_SECONDS
    while (left := due - monotonic()) > 0:
        if closing.is_set():
            raise _Broken("the service stops; ask again, from the event after the last one")
        await asyncio.sleep(min(left, SLICE_SECONDS))
        if monotonic() >= beat_at:
            yield _HEARTBEAT
            beat_at += HEARTBEAT_SECONDS
