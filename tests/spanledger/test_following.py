"""A live stream followed by the command line: begun again behind the last event seen, until the server stays away."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from spanledger import following
from spanledger.following import ServerSentEvent, events_in, follow


class Refused(Exception):
    """What the test makes of an answer that is none."""


def refused(response: httpx.Response) -> Exception:
    return Refused(response.status_code)


class BrokenStream(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx.ReadError("broken")


def told(
    answers: list[Callable[[], httpx.Response]], *, endless: bool = True
) -> tuple[list[str], list[str | None], Any]:
    """What is told of a server that answers like this; with which ids it was asked; and how it ended."""
    asked: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        return answers[len(asked) - 1]()

    seen: list[str] = []
    with httpx.Client(transport=httpx.MockTransport(handle), base_url="http://x") as client:
        try:
            for data in follow(client, {}, refused=refused, follow=endless, pause=lambda _: None):
                seen.append(data)
        except (Refused, httpx.HTTPError) as error:
            return seen, asked, error
    return seen, asked, None


def stream(text: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, text=text)


def broken(text: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, stream=BrokenStream(text.encode()))


def unreachable() -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_events_are_read_as_the_standard_has_them():
    lines = [": hello", "retry: 1000", "id: a:1", "", "id:a:1:0:1", "data: {", "data: }", "", "event: dropped",
             "data: x", "", ": only a comment", "", "data: not ended"]  # fmt: skip
    assert list(events_in(lines)) == [
        ServerSentEvent("a:1", "message", ""),
        ServerSentEvent("a:1:0:1", "message", "{\n}"),
        ServerSentEvent(None, "dropped", "x"),
    ]


def test_a_stream_that_breaks_or_is_dropped_is_begun_again_behind_the_last_event():
    with capture_logs() as logs:
        seen, asked, error = told([
            broken("id: a:1\n\nid: a:2:0:1\ndata: one\n\nid: a:2:1:1\ndata: half"),
            unreachable,
            lambda: httpx.Response(503),
            stream('id: a:2:1:1\ndata: two\n\nevent: dropped\nid: a:2:1:1\ndata: {"reason": "slow"}\n\n'),
            stream("id: a:3\n\nid: a:4:0:1\ndata: three\n\n"),
            lambda: httpx.Response(401),
        ])  # fmt: skip
    assert seen == ["one", "two", "three"]
    assert asked == [None, "a:2:0:1", "a:2:0:1", "a:2:0:1", "a:2:1:1", "a:4:0:1"]
    assert isinstance(error, Refused), "a key that was revoked is no reason to go on asking"
    assert [line["event"] for line in logs] == ["live_stream_broken", "live_stream_dropped"]


def test_without_following_it_ends_where_the_record_does():
    assert told([stream("id: a:1:0:1\ndata: one\n\n")], endless=False) == (["one"], [None], None)


@pytest.mark.parametrize("first", [unreachable, lambda: httpx.Response(503), lambda: httpx.Response(422)])
def test_what_was_never_there_is_not_waited_for(first):
    seen, asked, error = told([first])
    assert (seen, asked) == ([], [None])
    assert error is not None


def test_a_server_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(following, "GONE_SECONDS_MAX", -1.0)
    seen, asked, error = told([stream("id: a:1:0:1\ndata: one\n\n"), unreachable, unreachable])
    assert seen == ["one"]
    assert len(asked) == 3
    assert isinstance(error, httpx.ConnectError)
