"""`/v1/live`: steps as they are recorded, once each, also over broken connections, and streams that end with a reason."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from access.permissions import Role
from query.app import create_app
from query.live import LiveHub, LiveLimits, Mark, parse_mark
from spanledger.following import ServerSentEvent, events_in
from store.contract import PLACE_AT_END, StepFilter, StepPlace
from store.errors import BadQuery, ViewError
from store.model.rows import StepRow
from tests.builders import JOURNAL_ID, make_step
from tests.gates import KeyedGate, bearing, open_gate
from tests.query.conftest import FakeReader, FakeWaiter
from tests.trails import kept_trail

SECONDS = 20


def step_at(sequence: int, number: int) -> StepRow:
    return make_step(f"step-{number}", position=f"{JOURNAL_ID}:{sequence}")


def app_of(reader: FakeReader, waiter: FakeWaiter, gate: Any = None, **limits: Any) -> FastAPI:
    return create_app(
        reader=reader,
        waiter=waiter,
        registry=CollectorRegistry(),
        gate=gate or open_gate(),
        trail=kept_trail(),
        live_limits=LiveLimits(**limits),
    )


class Client:
    """A client of one stream. `takes` is cleared to make it take nothing; `leave` breaks the connection."""

    def __init__(self, app: FastAPI, query: str = "", headers: dict[str, str] | None = None) -> None:
        self.status = 0
        self.body = b""
        self.completed = False
        self.takes = asyncio.Event()
        self.takes.set()
        self._gone = asyncio.Event()
        self._news = asyncio.Condition()
        self._asked = False
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "path": "/v1/live", "raw_path": b"/v1/live", "query_string": query.encode(), "root_path": "",
            "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"127.0.0.1")]
            + [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        if b"data:" in message.get("body", b""):
            await self.takes.wait()
        async with self._news:
            self.status = message.get("status", self.status)
            self.body += message.get("body", b"")
            self.completed |= message["type"] == "http.response.body" and not message.get("more_body", False)
            self._news.notify_all()

    @property
    def events(self) -> list[ServerSentEvent]:
        return list(events_in(self.body.decode().split("\n")))

    @property
    def steps(self) -> list[str]:
        return [json.loads(one.data)["step_id"] for one in self.events if one.data and one.name == "message"]

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(holds)

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(SECONDS):
            await self.task


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_steps_come_as_they_are_recorded_and_not_what_was_before(reader, waiter):
    async def scenario() -> None:
        reader.step_rows = [step_at(1, 0)]
        waiter.advance(1)
        client = Client(app_of(reader, waiter))
        await client.until(lambda: client.body)
        assert client.events == [ServerSentEvent(f"{JOURNAL_ID}:1", "message", "")]
        for number in (1, 2):
            reader.step_rows.append(step_at(number + 1, number))
            waiter.advance(number + 1)
            await client.until(lambda number=number: len(client.steps) == number)
        assert client.steps == ["step-1", "step-2"]
        assert [one.id for one in client.events if one.data] == [f"{JOURNAL_ID}:2:1:1", f"{JOURNAL_ID}:3:2:1"]
        await client.leave()

    run(scenario)


def test_conditions_reach_the_reader(reader, waiter):
    async def scenario() -> None:
        asked = "agent=a&tool=t&model=m&kind=tool&outcome=error&run=r&service=s"
        client = Client(app_of(reader, waiter), f"{asked}&after=start&follow=false")
        await client.task
        assert client.status == 200
        assert client.completed
        assert reader.asked == StepFilter(
            agent="a", tool="t", model="m", kind="tool", outcome="error", run="r", service="s"
        )

    run(scenario)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    frames=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    page=st.integers(1, 3),
    mark=st.sampled_from(["header", "after"]),
)
def test_a_client_that_comes_back_misses_none_and_sees_none_twice(frames, cuts, page, mark):
    """Wherever its connections are cut, also within a frame, and by another server each time."""
    reader, waiter = FakeReader(), FakeWaiter()
    for sequence, steps in enumerate(frames, 1):
        reader.step_rows += [step_at(sequence, len(reader.step_rows)) for _ in range(steps)]
    every = [row.step_id for row in reader.step_rows]
    seen: list[str] = []

    async def scenario() -> None:
        last = "start"
        waiter.advance(len(frames) // 2)
        for cut in [*cuts, 0, len(every)]:
            given = (
                {"query": f"after={last}"}
                if mark == "after" or last == "start"
                else {"headers": {"Last-Event-ID": last}}
            )
            client = Client(app_of(reader, waiter, page_rows=page), **given)  # type: ignore[arg-type]
            visible = [
                row for row in reader.step_rows if int(row.position.split(":")[1]) <= waiter.moved(-1, 0).sequence
            ]
            wanted = min(cut, len(visible) - len(seen))
            await client.until(lambda client=client, wanted=wanted: client.body and len(client.steps) >= wanted)
            waiter.advance(len(frames))
            await client.leave()
            for event in client.events:  # What came after the cut was never read by the client.
                if event.data:
                    if wanted == 0:
                        break
                    wanted -= 1
                    seen.append(json.loads(event.data)["step_id"])
                last = event.id or last

    run(scenario)
    assert seen == every


def test_an_idle_stream_says_that_it_lives_and_how_far_it_is(reader, waiter):
    async def scenario() -> None:
        waiter.advance(3)
        client = Client(app_of(reader, waiter, heartbeat_seconds=0.01))
        await client.until(lambda: client.body.count(b": still here") > 2)
        assert {one.id for one in client.events} == {f"{JOURNAL_ID}:3"}
        await client.leave()

    run(scenario)


def test_a_slow_client_is_dropped_with_a_reason_and_the_id_to_go_on_from(reader, waiter):
    async def scenario() -> None:
        app = app_of(reader, waiter, page_rows=1, behind_seconds_max=0.0)
        client = Client(app)
        await client.until(lambda: client.body)
        client.takes.clear()
        reader.step_rows = [step_at(1, number) for number in range(50)]
        waiter.advance(1)
        await asyncio.sleep(0.05)  # The time that it takes nothing in.
        client.takes.set()
        async with asyncio.timeout(SECONDS):
            await client.task
        assert client.completed
        dropped = client.events[-1]
        assert dropped.name == "dropped"
        said = json.loads(dropped.data)
        assert "too slow" in said["reason"]
        assert said["resume"] == dropped.id == client.events[-2].id
        again = Client(app_of(reader, waiter), "follow=false", {"Last-Event-ID": said["resume"]})
        await again.task
        assert client.steps + again.steps == [row.step_id for row in reader.step_rows]
        assert again.steps

    run(scenario)


def test_a_client_that_takes_nothing_at_all_is_cut(reader, waiter):
    async def scenario() -> None:
        app = app_of(reader, waiter, stalled_seconds_max=0.02)
        client = Client(app)
        await client.until(lambda: client.body)
        client.takes.clear()
        reader.step_rows = [step_at(1, 0)]
        waiter.advance(1)
        async with asyncio.timeout(SECONDS):
            await client.task
        assert not client.completed, "a stream that was cut must not look like one that was whole"
        assert app.state.live.streams == 0

    run(scenario)


def test_one_stream_too_many_is_refused_until_another_ends(reader, waiter):
    async def scenario() -> None:
        app = app_of(reader, waiter, streams_max=1)
        first = Client(app)
        await first.until(lambda: first.body)
        second = Client(app)
        await second.task
        assert second.status == 503
        assert json.loads(second.body)["type"] == "urn:spanledger:problem:too-many-streams"
        await first.leave()
        third = Client(app)
        await third.until(lambda: third.body)
        assert third.status == 200
        await third.leave()

    run(scenario)


def test_streams_end_with_a_reason_when_the_service_stops(reader, waiter):
    async def scenario() -> None:
        app = app_of(reader, waiter)
        clients = [Client(app) for _ in range(3)]
        for client in clients:
            await client.until(lambda client=client: client.body)
        app.state.view.close()
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(client.task for client in clients))
        for client in clients:
            assert client.completed
            assert json.loads(client.events[-1].data)["reason"] == "the server is stopping"

    run(scenario)


def test_a_stream_ends_when_its_key_is_revoked(reader, waiter):
    async def scenario() -> None:
        keyed = KeyedGate()
        key = keyed.make(Role.OPERATOR)
        client = Client(app_of(reader, waiter, keyed.gate), headers=bearing(key))
        await client.until(lambda: client.body)
        keyed.change(key, revoked_at=1.0)
        async with asyncio.timeout(SECONDS):
            await client.task
        assert not client.completed

    run(scenario)


def test_a_view_that_fails_ends_the_stream_with_the_id_to_go_on_from(reader, waiter):
    async def scenario() -> None:
        client = Client(app_of(reader, waiter))
        await client.until(lambda: client.body)
        reader.failure = ViewError("the disk is gone")
        waiter.advance(1)
        async with asyncio.timeout(SECONDS):
            await client.task
        said = json.loads(client.events[-1].data)
        assert "the disk is gone" in said["reason"]
        assert said["resume"] == f"{JOURNAL_ID}:0"

    run(scenario)


def test_no_thread_is_held_by_idle_streams_and_none_is_left_behind(reader, waiter):
    async def scenario() -> None:
        app = app_of(reader, waiter)
        clients = [Client(app) for _ in range(40)]
        for client in clients:
            await client.until(lambda client=client: client.body)
        hub: LiveHub = app.state.live
        assert hub.streams == 40
        assert len(hub.readers._threads) <= 2
        await asyncio.gather(*(client.leave() for client in clients))
        assert hub.streams == 0
        async with asyncio.timeout(SECONDS):
            while hub._watching:
                await asyncio.sleep(0.01)

    run(scenario)


@pytest.mark.parametrize("text", ["x", ":1", "j:", "j:-1", "j:1:2", "j:1:2:3:4", "j:1:x:1", "j:" + "9" * 30, "j:²"])
def test_what_is_no_id_of_an_event_is_refused_with_the_parameter(api, text):
    ways = {"after": {"params": {"after": text}}, "Last-Event-ID": {"headers": {"Last-Event-ID": text.encode()}}}
    for name, way in ways.items():
        answer = api.get("/v1/live", **way)
        assert answer.status_code == 422
        assert answer.json()["parameter"] == name
    with pytest.raises(BadQuery):
        parse_mark(text, "after")


def test_an_id_of_another_record_is_refused(api):
    answer = api.get("/v1/live", params={"after": "another:1:0:1"})
    assert (answer.status_code, answer.json()["parameter"]) == (422, "after")


def test_an_id_is_the_place_behind_its_step_and_a_position_behind_its_frame():
    assert parse_mark("j:4:2:7", "after") == Mark("j", StepPlace(4, 2), 7)
    assert parse_mark("j:4", "after") == Mark("j", StepPlace(4, PLACE_AT_END))
    step = make_step(revision=7)
    assert Mark("j", StepPlace(0, -1)).behind(StepPlace(4, 2), step) == "j:4:2:7" == str(parse_mark("j:4:2:7", "after"))
