"""Replays in the time that the run took, and as server-sent events."""

import asyncio
import threading
from typing import Any

import pytest

from query import playing
from query.playing import PlayedReplay, as_event
from query.problems import CannotWait
from store.model.rows import ReplayEvent
from tests.builders import make_replay_event, make_run, time_at


def played(seconds: list[float], **changed: Any) -> tuple[PlayedReplay, threading.BoundedSemaphore, threading.Event]:
    events = iter([make_replay_event(n, at=time_at(second)) for n, second in enumerate(seconds)])
    stage, closing = threading.BoundedSemaphore(1), threading.Event()
    given = {"speed": 1.0, "sse": True, "stage": stage, "closing": closing, "media_type": "text/event-stream"}
    return PlayedReplay(events, **(given | changed)), stage, closing


async def run(response: PlayedReplay, sent: list[dict[str, Any]], *, leave_after: int | None = None) -> None:
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message | {"after": asyncio.get_running_loop().time()})
        if leave_after is not None and len(sent) > leave_after:
            left.set()

    await response({"type": "http", "asgi": {"spec_version": "2.0"}}, receive, send)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Moments that were slept to; nobody really sleeps."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(playing, "monotonic", lambda: now[0])
    monkeypatch.setattr(playing.asyncio, "sleep", sleep)
    return now


def bodies(sent: list[dict[str, Any]]) -> list[bytes]:
    return [message.get("body", b"") for message in sent if message["type"] == "http.response.body"]


@pytest.mark.parametrize(("speed", "took"), [(1.0, 90.0), (20.0, 4.5)])
def test_a_replay_takes_the_time_that_the_run_took_divided_by_the_speed(clock, speed, took):
    sent: list[dict[str, Any]] = []
    response, stage, _ = played([0, 30, 90], speed=speed)
    asyncio.run(run(response, sent))
    assert clock[0] == pytest.approx(took, abs=0.001)
    assert [body for body in bodies(sent) if body.startswith(b"id: ")] == [
        as_event(make_replay_event(n, at=time_at(second))) for n, second in enumerate([0, 30, 90])
    ]
    assert b"event: end" in b"".join(bodies(sent))
    assert stage.acquire(blocking=False), "the place was not given back"


def test_a_stream_of_events_says_that_it_lives_while_nothing_happens(clock):
    sent: list[dict[str, Any]] = []
    asyncio.run(run(played([0, 31])[0], sent))
    assert sum(body.startswith(b": ") for body in bodies(sent)) == 2


def test_lines_have_no_heartbeats_between_them(clock):
    sent: list[dict[str, Any]] = []
    asyncio.run(run(played([0, 31], sse=False)[0], sent))
    assert len([body for body in bodies(sent) if body]) == 2


def test_events_without_a_time_do_not_wait(clock):
    events = iter([make_replay_event(0, at=None), make_replay_event(1, at=time_at(5)), make_replay_event(2, at=None)])
    response = PlayedReplay(
        events, 1.0, sse=True, stage=threading.BoundedSemaphore(1), closing=threading.Event(), media_type="x"
    )
    sent: list[dict[str, Any]] = []
    asyncio.run(run(response, sent))
    assert clock[0] == 0


def test_where_as_many_play_as_may_the_next_is_told_to_come_again():
    response, stage, _ = played([0, 1])
    stage.acquire()
    sent: list[dict[str, Any]] = []
    with pytest.raises(CannotWait, match="without `speed`"):
        asyncio.run(run(response, sent))
    assert sent == []


def test_a_client_that_leaves_gives_its_place_back():
    response, stage, _ = played([0, 3000])
    asyncio.run(asyncio.wait_for(run(response, [], leave_after=1), 10))
    assert stage.acquire(blocking=False)


def test_a_service_that_stops_breaks_the_replay_off():
    response, stage, closing = played([0, 3000], sse=False)
    closing.set()
    sent: list[dict[str, Any]] = []
    asyncio.run(asyncio.wait_for(run(response, sent), 10))
    assert sent[-1]["more_body"], "it looks as if it were complete"
    assert stage.acquire(blocking=False)


@pytest.fixture
def three(reader) -> list[ReplayEvent]:
    reader.run_rows = [make_run()]
    reader.replay_events = [make_replay_event(n, at=time_at(0), data={"text": "a\nb"}) for n in range(3)]
    return reader.replay_events


def test_events_are_sent_to_who_accepts_them(api, three):
    answer = api.get("/v1/runs/run-1/replay", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b"".join(map(as_event, three)) + b"event: end\ndata: {}\n\n"


@pytest.mark.parametrize("speed", [None, "100000"])
def test_a_stream_that_broke_off_goes_on_behind_its_last_event(api, three, speed):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    answer = api.get("/v1/runs/run-1/replay", params={"speed": speed} if speed else {}, headers=headers)
    assert answer.content == as_event(three[2]) + b"event: end\ndata: {}\n\n"


def test_a_last_event_that_is_none_is_refused(api, three):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "x"}
    assert api.get("/v1/runs/run-1/replay", headers=headers).json()["parameter"] == "Last-Event-ID"


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "1e9", "fast"])
def test_a_speed_at_which_nothing_plays_is_refused(api, three, speed):
    answer = api.get("/v1/runs/run-1/replay", params={"speed": speed})
    assert (answer.status_code, answer.json()["parameter"]) == (422, "speed")


def test_the_steps_of_a_window_reach_the_reader(api, reader, three):
    api.get("/v1/runs/run-1/replay", params={"from_step": 2, "until_step": 5})
    assert reader.asked == (2, 5)
