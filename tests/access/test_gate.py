"""The gate: who is let in, by what, and until when."""

import time
from concurrent.futures import Future
from threading import Event

import pytest

from access.errors import AccessUnknown, HostRefused, Unauthenticated
from access.gate import TOKEN_THREADS, TOKENS_WAITING_MAX, Gate
from access.keyring import Keyring
from access.keys import new_key
from access.permissions import ALL_PERMISSIONS, ROLE_PERMISSIONS, Principal, Role
from tests.gates import KeyedGate, TimelessHolder, key_record, open_gate


class Tokens:
    """A verifier that says what a test wants, when it wants."""

    def __init__(self) -> None:
        self.may_answer = Event()
        self.known: dict[str, Principal] = {}

    def remembered(self, token: str) -> Principal | None:
        return self.known.get(token)

    def verify(self, token: str) -> Principal:
        assert self.may_answer.wait(10)
        return Principal(
            kind="token",
            name=f"token:{token}",
            tenant="acme",
            role=Role.OPERATOR,
            permissions=ROLE_PERMISSIONS[Role.OPERATOR],
            expires_at=time.time() + 60,
        )


def bearer(credential: str) -> list[str]:
    return [f"Bearer {credential}"]


def test_without_keys_on_loopback_everybody_may_everything():
    who = open_gate().admit([])
    assert isinstance(who, Principal)
    assert (who.tenant, who.permissions) == ("default", ALL_PERMISSIONS)
    assert open_gate().admit(["Basic whatever"]) == who, "what is presented does not matter then"


def test_the_first_key_ends_that_and_so_does_one_that_was_revoked():
    holder = TimelessHolder()
    gate = Gate(holder, trusting=True)
    who = gate.admit_waiting([])
    holder.replace(Keyring.of(2, [], known=True))
    with pytest.raises(Unauthenticated, match="a credential is needed"):
        gate.admit([])
    assert not gate.is_valid(who)


def test_a_server_that_strangers_reach_trusts_nobody():
    with pytest.raises(Unauthenticated):
        Gate(TimelessHolder(), trusting=False).admit([])


def test_a_server_with_an_issuer_trusts_nobody_either():
    with pytest.raises(Unauthenticated):
        Gate(TimelessHolder(), trusting=True, tokens=Tokens()).admit([])


def test_a_key_has_its_tenant_and_its_use_is_noted():
    keyed = KeyedGate()
    key = keyed.make(Role.AUDITOR, "acme")
    who = keyed.gate.admit_waiting(bearer(key))
    assert (who.kind, who.tenant, who.role, who.permissions) == (
        "key",
        "acme",
        Role.AUDITOR,
        ROLE_PERMISSIONS[Role.AUDITOR],
    )
    assert list(keyed.holder.take_used()) == [key[4:12]]
    assert keyed.holder.take_used() == {}


@pytest.mark.parametrize("changed", [{"revoked_at": 1.0}, {"expires_at": 1.0}])
def test_who_was_let_in_is_no_longer_valid_when_the_key_is_not(changed):
    keyed = KeyedGate()
    key = keyed.make()
    who = keyed.gate.admit_waiting(bearer(key))
    assert keyed.gate.is_valid(who)
    keyed.change(key, **changed)
    assert not keyed.gate.is_valid(who)
    with pytest.raises(Unauthenticated):
        keyed.gate.admit(bearer(key))


def test_nobody_is_valid_while_nothing_can_be_known():
    keyed = KeyedGate()
    who = keyed.gate.admit_waiting(bearer(keyed.make()))

    def unknown():
        raise AccessUnknown("the store is away")

    keyed.holder.current = unknown
    assert not keyed.gate.is_valid(who)
    with pytest.raises(AccessUnknown):
        keyed.gate.admit([])


def test_a_token_is_checked_on_a_thread_and_remembered_ones_are_not():
    tokens = Tokens()
    gate = KeyedGate(tokens=tokens).gate
    checking = gate.admit(bearer("a.b.c"))
    assert isinstance(checking, Future)
    assert not checking.done()
    tokens.may_answer.set()
    assert checking.result(10).name == "token:a.b.c"
    tokens.known["a.b.c"] = checking.result()
    assert gate.admit(bearer("a.b.c")) is checking.result()
    gate.close()


def test_tokens_that_wait_to_be_checked_are_bounded():
    tokens = Tokens()
    gate = KeyedGate(tokens=tokens).gate
    waiting = [gate.admit(bearer(f"a.b.{number}")) for number in range(TOKENS_WAITING_MAX)]
    assert len(waiting) > TOKEN_THREADS
    with pytest.raises(AccessUnknown, match="come again"):
        gate.admit(bearer("a.b.more"))
    tokens.may_answer.set()
    for one in waiting:
        assert isinstance(one, Future)
        one.result(10)
    gate.close()


def test_a_token_is_valid_until_its_end():
    gate = KeyedGate().gate
    who = Principal(
        kind="token", name="token:x", tenant="a", role=None, permissions=frozenset(), expires_at=time.time() + 60
    )
    assert gate.is_valid(who)
    gone = Principal(
        kind="token", name="token:x", tenant="a", role=None, permissions=frozenset(), expires_at=time.time() - 1
    )
    assert not gate.is_valid(gone)


def test_without_an_issuer_a_token_is_no_credential():
    keyed = KeyedGate()
    keyed.make()
    with pytest.raises(Unauthenticated, match="form of a key"):
        keyed.gate.admit(bearer("a.b.c"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8321", "LOCALHOST:1", "[::1]:8321", "::1", " localhost "])
def test_the_names_of_this_machine_may_stand_in_the_host_header(host):
    Gate(TimelessHolder(), trusting=True, hosts=["localhost", "127.0.0.1", "::1"]).check_host([host])


@pytest.mark.parametrize(
    "hosts",
    [[], ["evil.example"], ["127.0.0.1.evil.example"], ["localhost", "localhost"], ["evil.example:8321"], [""],
     ["127.0.0.1@evil.example"], ["localhost.evil.example:80"], ["[::1].evil.example"]],
)  # fmt: skip
def test_another_name_in_the_host_header_is_refused(hosts):
    with pytest.raises(HostRefused):
        Gate(TimelessHolder(), trusting=True, hosts=["localhost", "127.0.0.1", "::1"]).check_host(hosts)


def test_where_no_names_are_given_every_name_passes():
    open_gate().check_host(["anything.example"])


def test_ten_thousand_strangers_a_second_are_no_load():
    gate = KeyedGate().gate
    keys = [bearer(new_key()) for _ in range(10_000)]
    started = time.thread_time()
    for key in keys:
        with pytest.raises(Unauthenticated):
            gate.admit(key)
    assert time.thread_time() - started < 1.0


def test_a_key_of_the_keyring_is_its_own_record():
    key = new_key()
    record = key_record(key, Role.INGEST, "acme", requests_per_second=7)
    assert record.principal().requests_per_second == 7
    assert key not in repr(record.principal())
