from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from collector.admission import Admission, DecodingGate
from collector.errors import Overloaded
from collector.limits import Limits
from tests.patience import BUSY_SECONDS


def test_as_many_requests_as_the_limit_are_let_in() -> None:
    admission = Admission(Limits(http_requests_max=2))
    first, _ = admission.admit("http"), admission.admit("http")
    with pytest.raises(Overloaded, match="2 requests are in flight over http"):
        admission.admit("http")
    first.release()
    admission.admit("http")
    assert admission.requests_in_flight == 2


def test_bytes_past_the_limit_are_refused_and_not_counted() -> None:
    admission = Admission(Limits(bytes_in_flight_max=100))
    first, second = admission.admit("http"), admission.admit("http")
    first.hold(60)
    second.hold(40)
    with pytest.raises(Overloaded):
        second.hold(1)
    assert admission.bytes_in_flight == 100
    first.release()
    second.hold(1)
    assert admission.bytes_in_flight == 41


def test_a_request_that_is_alone_is_let_in_whatever_its_size() -> None:
    admission = Admission(Limits(bytes_in_flight_max=100))
    with admission.admit("http") as ticket:
        ticket.hold(90)
        ticket.hold(90)
        assert admission.bytes_in_flight == 180
        with admission.admit("http") as other, pytest.raises(Overloaded):
            other.hold(1)
    assert (admission.requests_in_flight, admission.bytes_in_flight) == (0, 0)


def test_releasing_twice_gives_back_once() -> None:
    admission = Admission(Limits())
    ticket = admission.admit("http")
    admission.admit("http")
    ticket.release()
    ticket.release()
    assert admission.requests_in_flight == 1


def test_each_door_has_places_of_its_own() -> None:
    admission = Admission(Limits(http_requests_max=1, grpc_calls_max=1))
    admission.admit("http")
    admission.admit("grpc")
    for door in ("http", "grpc"):
        with pytest.raises(Overloaded, match=f"1 requests are in flight over {door}"):
            admission.admit(door)
    assert admission.requests_in_flight == 2


def test_a_body_that_cannot_fit_now_is_refused_without_being_counted() -> None:
    admission = Admission(Limits(bytes_in_flight_max=100))
    admission.refuse_if_hopeless(1000)
    admission.admit("http").hold(60)
    admission.refuse_if_hopeless(40)
    with pytest.raises(Overloaded):
        admission.refuse_if_hopeless(41)
    assert admission.bytes_in_flight == 60


def test_an_expectation_is_settled_with_what_came() -> None:
    admission = Admission(Limits(bytes_in_flight_max=100))
    first, second = admission.admit("grpc"), admission.admit("grpc")
    first.hold(50)
    second.hold(50)
    first.settle(10)
    assert admission.bytes_in_flight == 60
    with pytest.raises(Overloaded):
        second.settle(91)
    second.settle(90)
    first.release()
    second.release()
    assert admission.bytes_in_flight == 0


def test_no_more_than_the_gate_holds_is_decoded_at_once_and_in_the_order_it_came() -> None:
    gate = DecodingGate(Limits(decoding_bytes_max=100, decoding_small_bytes=0))
    order: list[str] = []
    entered, leave = Event(), Event()

    def passing(name: str, size: int, wait: bool = False) -> None:
        with gate.passing(size):
            order.append(name)
            entered.set()
            if wait:
                assert leave.wait(BUSY_SECONDS)

    with ThreadPoolExecutor(3) as pool:
        passes = [pool.submit(passing, "first", 60, wait=True)]
        assert entered.wait(BUSY_SECONDS)
        for count, (name, size) in enumerate((("alone", 500), ("small enough", 10)), 1):
            passes.append(pool.submit(passing, name, size))
            while gate.waiting < count:
                assert not passes[-1].done()
        assert order == ["first"]
        leave.set()
        for done in passes:
            done.result(BUSY_SECONDS)
    assert order == ["first", "alone", "small enough"]


def test_a_small_body_does_not_wait_behind_a_large_one() -> None:
    gate = DecodingGate(Limits(decoding_bytes_max=100, decoding_small_bytes=10))
    with gate.passing(500), gate.passing(10):
        assert gate.waiting == 0


def test_the_gate_is_free_again_after_a_failure() -> None:
    gate = DecodingGate(Limits(decoding_bytes_max=100, decoding_small_bytes=0))
    with pytest.raises(ZeroDivisionError), gate.passing(100):
        raise ZeroDivisionError
    with gate.passing(100):
        assert gate.waiting == 0
