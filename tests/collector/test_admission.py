import pytest

from collector.admission import Admission
from collector.errors import Overloaded
from collector.limits import Limits


def test_as_many_requests_as_the_limit_are_let_in() -> None:
    admission = Admission(Limits(requests_in_flight_max=2))
    first, _ = admission.admit(), admission.admit()
    with pytest.raises(Overloaded, match="2 requests are in flight"):
        admission.admit()
    first.release()
    admission.admit()
    assert admission.requests_in_flight == 2


def test_bytes_past_the_limit_are_refused_and_not_counted() -> None:
    admission = Admission(Limits(bytes_in_flight_max=100))
    first, second = admission.admit(), admission.admit()
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
    with admission.admit() as ticket:
        ticket.hold(90)
        ticket.hold(90)
        assert admission.bytes_in_flight == 180
        with admission.admit() as other, pytest.raises(Overloaded):
            other.hold(1)
    assert (admission.requests_in_flight, admission.bytes_in_flight) == (0, 0)


def test_releasing_twice_gives_back_once() -> None:
    admission = Admission(Limits())
    ticket = admission.admit()
    admission.admit()
    ticket.release()
    ticket.release()
    assert admission.requests_in_flight == 1
