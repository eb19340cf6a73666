"""Refused attempts: counted together where they are the same, bounded, and without what was presented."""

import pytest

from access.errors import AccessUnknown, CredentialInUrl, Forbidden, HostRefused, RateExceeded, Unauthenticated
from access.keys import new_key
from access.permissions import Role
from access.refusals import ENTRIES_MAX, OTHERS, Refusal, Refusals, packed, refusal_of, unpacked
from tests.gates import KeyedGate, key_record


def refusal(peer: str = "192.0.2.1", **changed) -> Refusal:
    return Refusal(**({"who": "unknown", "door": "api", "reason": "unknown", "peer": peer} | changed))


def test_what_is_the_same_is_counted_and_taken_once():
    times = iter([30, 10, 20])
    refusals = Refusals(lambda: next(times))
    refusals.note(refusal())
    refusals.note(refusal())
    refusals.note(refusal("192.0.2.2"))
    found = refusals.take()
    assert [(one.refusal.peer, one.count, one.at_ns) for one in found] == [("192.0.2.1", 2, 10), ("192.0.2.2", 1, 20)]
    assert refusals.take() == []


def test_senders_without_number_take_bounded_room_and_none_of_their_attempts_is_lost():
    refusals = Refusals()
    for number in range(100_000):
        refusals.note(refusal(f"host-{number}", door=("api", "otlp-http")[number % 2]))
    found = refusals.take()
    assert len(found) <= ENTRIES_MAX + 2
    assert sum(one.count for one in found) == 100_000
    assert {(one.refusal.who, one.refusal.peer, one.refusal.door) for one in found if one.refusal.who == OTHERS} == {
        (OTHERS, None, "api"),
        (OTHERS, None, "otlp-http"),
    }


def test_what_could_not_be_written_is_put_back_and_counts_on():
    refusals = Refusals()
    refusals.note(refusal())
    taken = refusals.take()
    refusals.note(refusal())
    refusals.put(taken)
    assert [one.count for one in refusals.take()] == [2]


def test_counts_go_to_another_process_as_they_are():
    refusals = Refusals()
    refusals.note(refusal(tenant="acme", key_prefix="ab12cd34", role="operator", call="GET /v1/runs"))
    refusals.note(refusal())
    taken = refusals.take()
    assert unpacked(packed(taken)) == taken


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unauthenticated("x", "missing"), "missing"),
        (Forbidden("x", "read_content"), "forbidden: read_content"),
        (CredentialInUrl("x"), "credential_in_url"),
        (HostRefused("x"), "host_refused"),
        (RateExceeded("x", 1), "rate_exceeded"),
        (AccessUnknown("x"), "access_unknown"),
    ],
)
def test_every_reason_has_its_word(error, reason):
    found = refusal_of(error, door="api", peer="192.0.2.1")
    assert (found.who, found.tenant, found.reason) == ("unknown", None, reason)


def test_who_is_known_is_named_by_the_visible_part_of_the_key():
    keyed = KeyedGate()
    key = keyed.make(Role.OPERATOR, "acme")
    who = keyed.gate.admit_waiting([f"Bearer {key}"])
    found = refusal_of(Forbidden("x", "read_content"), door="api", peer=None, who=who)
    assert (found.who, found.tenant, found.key_prefix, found.role) == (
        f"key:{key[4:12]}",
        "acme",
        key[4:12],
        "operator",
    )
    dead = key_record(new_key(), Role.AUDITOR, "other")
    found = refusal_of(Unauthenticated("x", "revoked", key=dead), door="api", peer=None)
    assert (found.who, found.tenant, found.reason) == (f"key:{dead.prefix}", "other", "revoked")
