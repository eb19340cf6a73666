"""Keys: what one looks like, what is kept of it, what it permits."""

import math
import re

import pytest

from access.errors import KeyRefused
from access.gate import OPEN_TENANT
from access.keys import (
    PREFIX_CHARS,
    SECRET_CHARS,
    checked_tenant,
    digest_of,
    new_key,
    prefix_of,
)
from access.permissions import ROLE_PERMISSIONS, Permission, Role
from store.record import DEFAULT_TENANT
from tests.gates import key_record

CONTENT = {Permission.READ_CONTENT, Permission.READ_REASONING, Permission.READ_RAW}


def test_a_key_has_a_visible_prefix_and_at_least_192_bits_of_secret():
    key = new_key()
    assert re.fullmatch(r"slk_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", key)
    assert prefix_of(key) == key[4 : 4 + PREFIX_CHARS]
    assert SECRET_CHARS * math.log2(62) >= 192


def test_no_two_keys_are_alike_and_every_character_is_used():
    keys = [new_key() for _ in range(500)]
    assert len(set(keys)) == 500
    secrets = "".join(key.rpartition("_")[2] for key in keys)
    assert len(set(secrets)) == 62
    assert max(map(secrets.count, set(secrets))) < 2 * len(secrets) / 62


def test_a_record_of_a_key_does_not_have_its_secret():
    key = new_key()
    record = key_record(key)
    assert key.rpartition("_")[2] not in repr(record)
    assert record.digest == digest_of(key)
    assert len(record.digest) == 32


@pytest.mark.parametrize(
    "text",
    ["", "slk_", "slk_abcdefgh_", "slk_abcdefgh_short", "SLK_abcdefgh_" + "a" * 43, "slk_abcdefg_" + "a" * 43,
     "slk_abcdefgh_" + "a" * 65, "slk_abcdefgh_" + "a" * 42 + "!", "slk_abcdefgh_" + "a" * 43 + "\n", "x" * 60],
)  # fmt: skip
def test_what_is_not_a_key_has_no_prefix(text):
    assert prefix_of(text) is None


def test_a_key_that_openssl_made_is_one():
    assert prefix_of("slk_0a1b2c3d_" + "0f" * 32) == "0a1b2c3d"


def test_only_auditors_may_read_content_and_nobody_of_a_tenant_may_scrape():
    assert {role for role, held in ROLE_PERMISSIONS.items() if held & CONTENT} == {Role.AUDITOR}
    assert {role for role, held in ROLE_PERMISSIONS.items() if Permission.SCRAPE in held} == {Role.METRICS}
    assert ROLE_PERMISSIONS[Role.INGEST] == {Permission.WRITE}
    assert {role for role, held in ROLE_PERMISSIONS.items() if Permission.WRITE in held} == {Role.INGEST}
    assert set(ROLE_PERMISSIONS) == set(Role)


def test_a_key_can_be_given_a_permission_and_denied_another():
    record = key_record(
        new_key(),
        Role.AUDITOR,
        granted=frozenset({Permission.SCRAPE}),
        denied=frozenset({Permission.READ_REASONING}),
    )
    assert record.permissions == ROLE_PERMISSIONS[Role.AUDITOR] - {Permission.READ_REASONING} | {Permission.SCRAPE}


def test_a_key_is_active_until_it_expires_or_is_revoked():
    assert key_record(new_key(), expires_at=100.0).state(99.9) == "active"
    assert key_record(new_key(), expires_at=100.0).state(100.0) == "expired"
    assert key_record(new_key(), expires_at=1000.0, revoked_at=50.0).state(60.0) == "revoked"


@pytest.mark.parametrize("tenant", ["", "-a", "A", "a b", "a/b", "a" * 64, "ä", "a\n", "a'"])
def test_a_tenant_has_a_plain_name(tenant):
    with pytest.raises(KeyRefused, match="not the name of a tenant"):
        checked_tenant(tenant)


def test_without_keys_the_tenant_is_the_store_s_default():
    assert OPEN_TENANT == DEFAULT_TENANT
    assert checked_tenant(DEFAULT_TENANT) == DEFAULT_TENANT
