"""The keys in memory: found, refused, packed, grown stale."""

import time

import pytest

from access.errors import AccessUnknown, Unauthenticated
from access.keyring import STALE_SECONDS_MAX, KeyHolder, Keyring
from access.keys import new_key
from tests.gates import key_record


def ring(*records):
    return Keyring.of(1, records, known=True)


def test_a_key_is_found_by_all_of_it():
    key = new_key()
    assert ring(key_record(key)).find(key, time.time()).prefix == key[4:12]


@pytest.mark.parametrize("changed", [lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), lambda key: new_key()])
def test_a_key_that_differs_is_unknown(changed):
    key = new_key()
    with pytest.raises(Unauthenticated, match="not one of this server's") as refused:
        ring(key_record(key)).find(changed(key), time.time())
    assert refused.value.reason == "unknown"


def test_a_dead_key_is_told_why():
    revoked, expired = new_key(), new_key()
    keys = ring(key_record(revoked, revoked_at=1.0), key_record(expired, expires_at=2.0))
    with pytest.raises(Unauthenticated, match="was revoked on 1970-01-01"):
        keys.find(revoked, time.time())
    with pytest.raises(Unauthenticated, match="expired on 1970-01-01"):
        keys.find(expired, time.time())


def test_another_process_gets_the_same_keys():
    keys = ring(key_record(new_key(), expires_at=5.5), key_record(new_key(), "ingest", "acme", requests_per_second=3))
    assert Keyring.unpacked(keys.packed()) == keys


def test_a_keyring_that_nobody_confirms_lets_nobody_in():
    now = [0.0]
    holder = KeyHolder(ring(), clock=lambda: now[0])
    now[0] = STALE_SECONDS_MAX
    assert holder.current() is holder.keyring
    now[0] += 0.1
    with pytest.raises(AccessUnknown):
        holder.current()
    holder.confirm()
    holder.current()


def test_ten_thousand_wrong_keys_cost_a_fraction_of_a_second():
    keys = ring(*(key_record(new_key()) for _ in range(1000)))
    wrong = [new_key() for _ in range(10_000)]
    started = time.thread_time()
    for one in wrong:
        with pytest.raises(Unauthenticated):
            keys.find(one, 1.0)
    assert time.thread_time() - started < 0.5
