"""A stream ends when the key of its reader is revoked: while rows come, and while nothing comes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from access.permissions import Permission, Role
from query.guard import Guarded, needs
from query.trail import Kind
from tests.gates import KeyedGate, bearing
from tests.trails import kept_trail

SECONDS = 10


class Streaming:
    """An application that streams a line, then waits for `more` before each other one."""

    def __init__(self, keyed: KeyedGate) -> None:
        self.more = asyncio.Event()
        self.sent: list[bytes] = []
        self.first = asyncio.Event()
        self.completed = False
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield b"line\n"
                await self.more.wait()
                await asyncio.sleep(0.01)

        @app.get("/v1/live", dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)])
        async def live() -> StreamingResponse:
            return StreamingResponse(lines())

        self.app = Guarded(app, keyed.gate, kept_trail())

    async def run(self, headers: dict[str, str]) -> None:
        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "path": "/v1/live", "raw_path": b"/v1/live", "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()], "http_version": "1.1",
            "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "root_path": "",
        }  # fmt: skip

        asked: list[bool] = []

        async def receive() -> dict[str, Any]:
            if not asked:
                asked.append(True)
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(event: Any) -> None:
            if event["type"] == "http.response.body":
                self.sent.append(event.get("body", b""))
                self.first.set()
                self.completed = self.completed or not event.get("more_body", False)

        await self.app(scope, receive, send)


@pytest.mark.parametrize("flowing", [True, False], ids=["while rows come", "while nothing comes"])
def test_a_stream_ends_within_a_second_of_the_revocation(flowing):
    async def scenario() -> None:
        keyed = KeyedGate()
        key = keyed.make(Role.OPERATOR)
        stream = Streaming(keyed)
        if flowing:
            stream.more.set()
        reading = asyncio.create_task(stream.run(bearing(key)))
        async with asyncio.timeout(SECONDS):
            await stream.first.wait()
        keyed.change(key, revoked_at=1.0)
        async with asyncio.timeout(1.0):
            await reading
        assert stream.sent[0] == b"line\n"
        assert not stream.completed, "a stream that was cut must not look like one that was whole"

    asyncio.run(scenario())


def test_a_stream_of_a_key_that_stays_valid_goes_on():
    async def scenario() -> None:
        keyed = KeyedGate()
        stream = Streaming(keyed)
        stream.more.set()
        reading = asyncio.create_task(stream.run(bearing(keyed.make(Role.OPERATOR))))
        async with asyncio.timeout(SECONDS):
            await stream.first.wait()
            seen = len(stream.sent)
            while len(stream.sent) < seen + 60:  # At 10 ms each: past two looks at the key.
                await asyncio.sleep(0.01)
        assert not reading.done()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    asyncio.run(scenario())
