"""More than the server can take: what it holds stays within its bounds, and slow senders are in nobody's way."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from collector_bench import Answered, Bench, exchange

from collector.grpc import SERVICES, OtlpGrpcServer
from collector.http import OtlpHttpApp
from collector.limits import KIB, Limits
from store.record import FrameDraft, Position, Signal
from tests.gates import open_gate
from tests.patience import BUSY_SECONDS

Build = Callable[..., bytes]
CHUNK_BYTES = 16 * KIB
HEADERS = [(b"content-type", b"application/x-protobuf")]


class SlowJournal:
    """Takes its time for each request, and remembers how much was waiting for it at most."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lock = threading.Lock()
        self._inside = 0
        self.bytes_max = self.stored = 0

    def append(self, draft: FrameDraft) -> Position:
        with self._lock:
            self._inside += len(draft.body)
            self.bytes_max = max(self.bytes_max, self._inside, self._bench.intake.admission.bytes_in_flight)
        time.sleep(0.005)  # What is slow here is the disk.
        with self._lock:
            self._inside -= len(draft.body)
            self.stored += 1
        return Position("slow", self.stored)


def test_a_crowd_of_large_bodies_never_holds_more_than_the_bound_and_the_refused_are_not_read_further(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    body = traces({"name": "x" * 400_000})
    chunks = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    bench = make_bench(Limits(bytes_in_flight_max=1_000_000, http_threads=8))
    journal = bench.intake._journal = SlowJournal(bench)
    app = OtlpHttpApp(bench.intake, gate=open_gate())

    async def crowd() -> list[Answered]:
        return await asyncio.gather(*(exchange(app, chunks) for _ in range(64)))

    answers = asyncio.run(crowd())
    accepted = [answered for answered in answers if answered.status == 200]
    refused = [answered for answered in answers if answered.status == 429]
    assert accepted
    assert len(accepted) + len(refused) == 64
    assert len(accepted) == journal.stored
    assert 0 < journal.bytes_max <= 1_000_000
    assert all(answered.chunks_read < len(chunks) for answered in refused)
    assert asyncio.run(exchange(app, chunks)).status == 200, "it recovers by itself"
    app.close()
    assert (bench.intake.admission.requests_in_flight, bench.intake.admission.bytes_in_flight) == (0, 0)


def test_a_body_whose_length_says_that_it_does_not_fit_now_is_refused_unread(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    body = traces({"name": "x" * 1000})
    bench = make_bench(Limits(bytes_in_flight_max=1500))
    app = OtlpHttpApp(bench.intake, gate=open_gate())
    bench.journal.gate.clear()

    async def late() -> Answered:
        first = asyncio.create_task(exchange(app, [body]))
        await asyncio.to_thread(bench.journal.entered.wait, 30)
        answered = await exchange(app, [body], headers={"content-length": str(len(body))})
        bench.journal.gate.set()
        await first
        return answered

    answered = asyncio.run(late())
    app.close()
    assert (answered.status, answered.chunks_read) == (429, 0)


async def stalled(app: OtlpHttpApp, begun: asyncio.Event, drip_seconds: float | None = None) -> Answered:
    """A sender that sends one byte and then nothing, or one more every now and then."""
    answered = Answered()
    count = 0

    async def receive() -> dict[str, Any]:
        nonlocal count
        count += 1
        if count == 1:
            return {"type": "http.request", "body": b"\x0a", "more_body": True}
        begun.set()
        await (asyncio.Event().wait() if drip_seconds is None else asyncio.sleep(drip_seconds))
        return {"type": "http.request", "body": b"\x0a", "more_body": True}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            answered.status = event["status"]
            answered.headers = {name.decode(): value.decode() for name, value in event["headers"]}

    await app({"type": "http", "method": "POST", "path": "/v1/traces", "headers": HEADERS}, receive, send)
    return answered


def test_senders_that_dawdle_over_their_bodies_hold_no_thread(make_bench: Callable[..., Bench], traces: Build) -> None:
    bench = make_bench(Limits(http_threads=1))
    app = OtlpHttpApp(bench.intake, gate=open_gate())

    async def beside() -> int:
        began = [asyncio.Event() for _ in range(50)]
        slow = [asyncio.create_task(stalled(app, begun)) for begun in began]
        for begun in began:
            await begun.wait()
        status = (await exchange(app, [traces()])).status
        assert bench.intake.admission.requests_in_flight == 50
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return status

    assert asyncio.run(beside()) == 200
    app.close()
    assert bench.intake.admission.requests_in_flight == 0


@pytest.mark.parametrize(
    ("limits", "drip_seconds"),
    [({"body_idle_seconds_max": 0.02}, None), ({"body_read_seconds_max": 0.05, "body_idle_seconds_max": 5.0}, 0.001)],
    ids=["rests", "drips"],
)
def test_a_body_that_rests_or_takes_too_long_is_refused_and_its_connection_closed(
    make_bench: Callable[..., Bench], limits: dict[str, float], drip_seconds: float | None
) -> None:
    bench = make_bench(Limits(**limits))
    app = OtlpHttpApp(bench.intake, gate=open_gate())

    async def refused() -> Answered:
        return await stalled(app, asyncio.Event(), drip_seconds)

    answered = asyncio.run(refused())
    app.close()
    assert (answered.status, answered.headers["connection"]) == (408, "close")
    assert bench.intake.admission.bytes_in_flight == 0


@pytest.fixture
def grpc_bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench(Limits(grpc_calls_max=2, grpc_body_read_seconds_max=0.05))


@pytest.fixture
def server(grpc_bench: Bench) -> Iterator[OtlpGrpcServer]:
    started = OtlpGrpcServer(grpc_bench.intake, gate=open_gate(), host="127.0.0.1", port=0)
    yield started
    started.stop(1)


@pytest.fixture
def channel(server: OtlpGrpcServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as opened:
        yield opened


def test_grpc_calls_whose_bodies_do_not_come_are_ended_and_give_their_places_back(
    server: OtlpGrpcServer, channel: grpc.Channel, grpc_bench: Bench
) -> None:
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        assert never.wait(BUSY_SECONDS)
        yield b""

    path = f"/{SERVICES[Signal.TRACES]}/Export"
    slow = [channel.stream_unary(path).future(nothing(), timeout=BUSY_SECONDS) for _ in range(2)]
    codes = [call.exception(BUSY_SECONDS).code() for call in slow]
    never.set()
    server.stop(5)  # Then its threads are done too.
    assert codes == [grpc.StatusCode.CANCELLED] * 2
    assert grpc_bench.sample("spanledger_ingest_refused_requests_total", signal="traces", reason="too_slow") == 2
    assert grpc_bench.intake.admission.requests_in_flight == 0


def test_a_grpc_sender_that_goes_away_is_counted_as_such(
    make_bench: Callable[..., Bench],
) -> None:
    began, never = threading.Event(), threading.Event()
    bench = make_bench()
    patient = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=0)

    def nothing() -> Iterator[bytes]:
        began.set()
        assert never.wait(BUSY_SECONDS)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{patient.start()}") as opened:
        call = opened.stream_unary(f"/{SERVICES[Signal.TRACES]}/Export").future(nothing(), timeout=BUSY_SECONDS)
        assert began.wait(BUSY_SECONDS)
        while not bench.intake.admission.requests_in_flight:
            assert not call.done()
        call.cancel()
        never.set()
        patient.stop(5)
    ended = {"signal": "traces", "transport": "grpc", "outcome": "disconnected"}
    assert bench.sample("spanledger_ingest_requests_total", **ended) == 1


def test_a_grpc_call_without_a_message_is_an_error_of_its_sender(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(f"/{SERVICES[Signal.TRACES]}/Export")(iter(()), timeout=BUSY_SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_grpc_bodies_that_are_larger_than_those_before_are_counted_when_they_are_there(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    bench = make_bench(Limits(bytes_in_flight_max=1_000_000, grpc_body_bytes_expected=1000))
    bench.journal.gate.clear()
    server = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=0)
    body = traces({"name": "x" * 600_000})
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as opened, ThreadPoolExecutor(1) as sender:
        export = opened.unary_unary(f"/{SERVICES[Signal.TRACES]}/Export")
        first = sender.submit(export, body, timeout=BUSY_SECONDS)
        assert bench.journal.entered.wait(BUSY_SECONDS)
        with pytest.raises(grpc.RpcError) as caught:
            export(body, timeout=BUSY_SECONDS)
        assert bench.intake.admission.bytes_in_flight == len(body)
        bench.journal.gate.set()
        first.result(BUSY_SECONDS)
    server.stop(1)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(bench.journal.drafts) == 1
