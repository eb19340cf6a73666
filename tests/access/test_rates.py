"""Token buckets: what a key may use, and what it is told beyond."""

import pytest

from access.errors import RateExceeded
from access.permissions import Principal, Role
from access.rates import BURST_SECONDS, CALLERS_MAX, RETRY_SECONDS_MAX, KeyRates, Rates


def caller(name: str = "key:a", **changed) -> Principal:
    return Principal(
        **{"kind": "key", "name": name, "tenant": "default", "role": Role.INGEST, "permissions": frozenset()} | changed
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_the_rate_holds():
    clock = Clock()
    rates = KeyRates(Rates(requests_per_second=10), clock)
    for _ in range(int(10 * BURST_SECONDS)):
        rates.spend_request(caller())
    with pytest.raises(RateExceeded) as refused:
        rates.spend_request(caller())
    assert refused.value.retry_after_seconds == 1
    clock.now += 0.1
    rates.spend_request(caller())
    with pytest.raises(RateExceeded):
        rates.spend_request(caller())


def test_a_body_is_charged_behind_and_the_debt_is_waited_for():
    clock = Clock()
    rates = KeyRates(Rates(bytes_per_second=1000), clock)
    rates.spend_request(caller())
    rates.spend_bytes(caller(), 5000)
    with pytest.raises(RateExceeded) as refused:
        rates.spend_request(caller())
    assert refused.value.retry_after_seconds == 3
    clock.now += 3.0
    rates.spend_request(caller())


def test_the_wait_that_is_asked_for_fits_into_an_exporter_s_patience():
    rates = KeyRates(Rates(bytes_per_second=1), Clock())
    rates.spend_bytes(caller(), 10**9)
    with pytest.raises(RateExceeded) as refused:
        rates.spend_request(caller())
    assert refused.value.retry_after_seconds == RETRY_SECONDS_MAX


def test_one_key_does_not_use_up_another_s():
    rates = KeyRates(Rates(requests_per_second=1), Clock())
    for _ in range(2):
        rates.spend_request(caller("key:a"))
    with pytest.raises(RateExceeded):
        rates.spend_request(caller("key:a"))
    rates.spend_request(caller("key:b"))


def test_a_key_can_have_a_bound_of_its_own_or_none():
    rates = KeyRates(Rates(requests_per_second=1), Clock())
    for _ in range(100):
        rates.spend_request(caller("key:free", requests_per_second=0))
    for _ in range(10):
        rates.spend_request(caller("key:more", requests_per_second=5))
    with pytest.raises(RateExceeded):
        rates.spend_request(caller("key:more", requests_per_second=5))


def test_who_tries_it_out_without_keys_has_no_bound():
    rates = KeyRates(Rates(1, 1), Clock())
    for _ in range(100):
        rates.spend_request(caller(kind="open"))
        rates.spend_bytes(caller(kind="open"), 10**9)


def test_memory_is_bounded_by_forgetting_whoever_was_not_seen_for_longest():
    rates = KeyRates(Rates(requests_per_second=1), Clock())
    for number in range(CALLERS_MAX + 10):
        rates.spend_request(caller(f"token:{number}"))
    assert len(rates._callers) == CALLERS_MAX
    assert "token:0" not in rates._callers
    assert f"token:{CALLERS_MAX + 9}" in rates._callers
