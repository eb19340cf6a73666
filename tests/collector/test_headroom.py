"""Whether the store has room: how a view that is behind and a disk that is nearly full are told, and that both end."""

import asyncio
import random
from collections.abc import Callable
from threading import Event
from typing import Any

import grpc
import pytest
from collector_bench import Bench, exchange
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collector.errors import RETRY_SECONDS_MAX, DiskNearlyFull, ViewBehind
from collector.grpc import SERVICES, OtlpGrpcServer
from collector.headroom import DISK_SECONDS, Headroom, Patience, Spread
from collector.http import OtlpHttpApp
from collector.limits import MIB, Limits
from store.record import Signal
from tests.gates import open_gate
from tests.patience import BUSY_SECONDS

Build = Callable[..., bytes]


class Store:
    """A store that says what it is told to."""

    def __init__(self) -> None:
        self.lag = 0
        self.excess = 0.0
        self.free, self.total = 100_000 * MIB, 200_000 * MIB
        self.looks = 0
        self.broken = False

    def lag_bytes(self, bytes_max: int) -> int:
        return self.lag

    def lag_excess_seconds(self, seconds_max: float) -> float:
        assert seconds_max == 5
        return self.excess

    def disk(self) -> tuple[int, int]:
        self.looks += 1
        if self.broken:
            raise OSError("stale handle")
        return self.free, self.total


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def headroom(store: Store, clock: Clock) -> Headroom:
    return Headroom(Limits(view_lag_bytes_max=10 * MIB, disk_reserve_bytes=500 * MIB), store, clock)


def test_a_view_that_is_as_far_behind_as_it_may_be_is_no_reason_to_refuse(store: Store, headroom: Headroom) -> None:
    store.lag = 10 * MIB
    headroom.check()


def test_a_view_that_is_further_behind_is_named_and_its_end_is_seen_at_once(store: Store, headroom: Headroom) -> None:
    store.lag = 11 * MIB
    with pytest.raises(
        ViewBehind, match=r"the view is 11.0 MiB behind the record and 10 MiB are the limit \(view_lag_max_mb\)"
    ):
        headroom.check()
    store.lag = 10 * MIB
    headroom.check()


def test_more_than_can_be_projected_in_time_is_named_and_its_end_is_seen_at_once(
    store: Store, headroom: Headroom
) -> None:
    store.excess = 1.25
    with pytest.raises(
        ViewBehind, match=r"the view is 1.2 s further behind the record than the 5 s .* \(view_lag_max_seconds\)"
    ):
        headroom.check()
    store.excess = 0
    headroom.check()


@pytest.mark.parametrize("excess", [0.01, 0.5, 1, 2, 3.9, 60])
def test_a_crowd_is_asked_to_come_again_when_there_is_room_and_not_in_one_beat(excess: float) -> None:
    spread = Spread(RETRY_SECONDS_MAX, random.Random(7))
    waits = [spread.seconds(excess) for _ in range(1000)]
    assert min(waits) >= 1
    assert max(waits) <= RETRY_SECONDS_MAX
    assert sum(waits) / len(waits) == pytest.approx(min(excess, RETRY_SECONDS_MAX - 3) + 2, abs=0.2)
    assert max(waits.count(seconds) for seconds in set(waits)) < 600


def test_a_disk_with_less_than_the_reserve_is_named_and_room_is_seen_soon(
    store: Store, headroom: Headroom, clock: Clock
) -> None:
    store.free = 499 * MIB
    with pytest.raises(DiskNearlyFull, match=r"499 MiB left and 500 MiB are kept free \(disk_reserve_mb\)"):
        headroom.check()
    store.free = 501 * MIB
    clock.now += DISK_SECONDS
    headroom.check()


def test_the_disk_is_looked_at_a_few_times_a_second_however_many_requests_come(
    store: Store, headroom: Headroom, clock: Clock
) -> None:
    for _ in range(1000):
        headroom.check()
        clock.now += 0.001
    assert store.looks <= 1 / DISK_SECONDS + 1


def test_of_a_small_disk_an_eighth_is_the_reserve(store: Store, headroom: Headroom, clock: Clock) -> None:
    store.total, store.free = 64 * MIB, 8 * MIB
    headroom.check()
    store.free -= 1
    clock.now += 1
    with pytest.raises(DiskNearlyFull, match="8 MiB are kept free"):
        headroom.check()


def test_0_switches_each_bound_off(store: Store, clock: Clock) -> None:
    store.lag, store.excess, store.free = 10**12, 10**6, 0
    Headroom(Limits(view_lag_bytes_max=0, view_lag_seconds_max=0, disk_reserve_bytes=0), store, clock).check()
    assert store.looks == 0


def test_a_file_system_that_cannot_be_asked_refuses_nobody(store: Store, headroom: Headroom) -> None:
    store.broken = True
    headroom.check()


def test_senders_are_asked_to_stay_away_for_as_long_as_it_has_lasted_within_bounds(clock: Clock) -> None:
    patience = Patience(2, 5, clock)
    waits: list[int] = []
    for seconds in (0, 1, 2, 1, 3, 10):
        clock.now += seconds
        waits.append(patience.seconds())
    assert waits == [2, 2, 3, 4, 5, 5]
    clock.now += 11
    assert patience.seconds() == 2


@pytest.fixture
def crowded(make_bench: Callable[..., Bench], store: Store) -> Bench:
    return make_bench(Limits(view_lag_bytes_max=10 * MIB, disk_reserve_bytes=500 * MIB), space=store)


def too_far_behind(store: Store) -> tuple[int, str, grpc.StatusCode]:
    store.lag = 11 * MIB
    return 429, "view_behind", grpc.StatusCode.RESOURCE_EXHAUSTED


def nearly_full(store: Store) -> tuple[int, str, grpc.StatusCode]:
    store.free = 1
    return 503, "disk_reserve", grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("cause", [too_far_behind, nearly_full])
def test_over_http_the_refusal_comes_before_the_body_is_read(
    crowded: Bench, store: Store, traces: Build, cause: Callable[[Store], Any]
) -> None:
    http_status, reason, _ = cause(store)
    app = OtlpHttpApp(crowded.intake, gate=open_gate())
    answered = asyncio.run(exchange(app, [traces()]))
    app.close()
    assert (answered.status, answered.headers["retry-after"], answered.chunks_read) == (http_status, "2", 0)
    info = RetryInfo()
    assert Status.FromString(answered.body).details[0].Unpack(info)
    assert info.retry_delay.seconds == 2
    assert crowded.sample("spanledger_ingest_refused_requests_total", signal="traces", reason=reason) == 1


@pytest.mark.parametrize("cause", [too_far_behind, nearly_full])
def test_over_grpc_the_refusal_comes_before_the_body_with_retry_info_in_both_places(
    crowded: Bench, store: Store, cause: Callable[[Store], Any]
) -> None:
    _, reason, code = cause(store)
    server = OtlpGrpcServer(crowded.intake, gate=open_gate(), host="127.0.0.1", port=0)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:

            def never_sent() -> Any:
                assert refused.wait(BUSY_SECONDS)
                yield b""

            refused = Event()
            call = channel.stream_unary(f"/{SERVICES[Signal.TRACES]}/Export").future(never_sent(), timeout=BUSY_SECONDS)
            error = call.exception(BUSY_SECONDS)
            refused.set()
    finally:
        server.stop(1)
    assert error.code() is code
    trailing = dict(error.trailing_metadata())
    info = RetryInfo()
    assert Status.FromString(trailing["grpc-status-details-bin"]).details[0].Unpack(info)
    assert info == RetryInfo.FromString(trailing["google.rpc.retryinfo-bin"])
    assert 0 < info.retry_delay.seconds <= RETRY_SECONDS_MAX
    assert crowded.sample("spanledger_ingest_refused_requests_total", signal="traces", reason=reason) == 1
