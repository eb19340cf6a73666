"""Following a server's live stream: its events read as they come, and the stream begun again where it breaks.

Each event has an id, and the stream goes on behind the last one seen; so what is recorded while nobody is connected is told
afterwards, once, also by a server that was started again meanwhile.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx
import structlog

LIVE_PATH: Final = "/v1/live"
SILENCE_SECONDS_MAX: Final = 45.0  # A server says something every 15 s: past three of those it is gone.
GONE_SECONDS_MAX: Final = 60.0  # A server that is started again is back in seconds.
_PAUSE_SECONDS: Final = 1.0
_AGAIN: Final = (429, 502, 503, 504)  # Of a server, or a proxy before it, that is not there yet.

_log: Final = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; without data it only tells how far the stream is."""

    id: str | None
    name: str
    data: str


def events_in(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """The events of a stream's lines; one that is not ended by an empty line is none."""
    said: dict[str, str] = {}
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            said[field] = said["data"] + "\n" + value if field == "data" and "data" in said else value
            continue
        if "id" in said or "data" in said:
            yield ServerSentEvent(said.get("id"), said.get("event", "message"), said.get("data", ""))
        said.clear()


class Refuses(Protocol):
    """Makes an error of an answer that is none."""

    def __call__(self, response: httpx.Response) -> Exception: ...


def follow(
    client: httpx.Client,
    parameters: dict[str, Any],
    *,
    refused: Refuses,
    follow: bool,
    pause: Callable[[float], Any] = time.sleep,
) -> Iterator[str]:
    """The data of each event. Raises what `refused` makes of an answer, and httpx.HTTPError where the server stays away."""
    last: str | None = None
    gone_at: float | None = None
    begun = False
    timeout = httpx.Timeout(SILENCE_SECONDS_MAX)
    while True:
        headers = {} if last is None else {"Last-Event-ID": last}
        try:
            with client.stream("GET", LIVE_PATH, params=parameters, headers=headers, timeout=timeout) as response:
                if response.is_success:
                    begun, gone_at = True, None
                    for event in events_in(response.iter_lines()):
                        last = event.id or last
                        if event.name == "dropped":
                            _log.warning("live_stream_dropped", said=event.data)
                        elif event.data:
                            yield event.data
                    if not follow:
                        return
                elif not begun or response.status_code not in _AGAIN:
                    response.read()
                    raise refused(response)
        except httpx.HTTPError as error:
            if not begun or (gone_at is not None and time.monotonic() - gone_at > GONE_SECONDS_MAX):
                raise
            if gone_at is None:
                gone_at = time.monotonic()
                _log.warning("live_stream_broken", cause=str(error) or type(error).__name__, effect="it is begun again")
        pause(_PAUSE_SECONDS)
