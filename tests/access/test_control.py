"""The control store: transactions, versions, several processes, and what is in its bytes."""

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_mock_engine

from access import control as control_module
from access.control import SCHEMA_VERSION, Control, control_url
from access.errors import ControlUnusable, ControlVersionUnknown, KeyRefused
from access.keys import digest_of, new_key
from access.permissions import Permission, Role
from tests.gates import key_record


@pytest.fixture
def url(tmp_path):
    return control_url(tmp_path, None)


@pytest.fixture
def control(url):
    opened = Control.open(url)
    yield opened
    opened.close()


def test_a_key_comes_back_as_it_was_kept(control):
    key = key_record(
        new_key(),
        Role.AUDITOR,
        "acme",
        granted=frozenset({Permission.SCRAPE, Permission.WRITE}),
        denied=frozenset({Permission.READ_RAW}),
        expires_at=time.time() + 60,
        requests_per_second=5,
        bytes_per_second=0,
    )
    assert control.add(key)
    assert control.every_key() == [key]
    assert control.keyring(time.time()).keys == {key.digest: key}


def test_a_key_that_is_kept_already_is_not_kept_again(control):
    key = key_record(new_key())
    assert control.add(key)
    assert not control.add(replace(key, role=Role.ADMIN))
    assert [one.role for one in control.every_key()] == [Role.OPERATOR]


def test_two_keys_cannot_have_one_prefix(control):
    key = key_record(new_key())
    control.add(key)
    with pytest.raises(KeyRefused, match="another key with the prefix"):
        control.add(replace(key, digest=digest_of(new_key())))


def test_the_secret_is_in_no_byte_of_the_file(control, tmp_path):
    key = new_key()
    control.add(key_record(key))
    bytes_kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.rpartition("_")[2].encode() not in bytes_kept
    assert digest_of(key) in bytes_kept
    assert [path.name for path in tmp_path.iterdir()] == ["control.sqlite3"]
    assert (tmp_path / "control.sqlite3").stat().st_mode & 0o777 == 0o600


def test_each_change_of_a_key_moves_the_revision_and_its_use_does_not(control):
    seen = [control.revision()]
    key, other = key_record(new_key()), key_record(new_key())
    control.add(key)
    seen.append(control.revision())
    control.rotate(key.prefix, other, old_until=time.time() + 60)
    seen.append(control.revision())
    control.revoke(other.prefix, time.time())
    seen.append(control.revision())
    assert seen == sorted(set(seen))
    control.used({key.prefix: time.time()})
    assert control.revision() == seen[-1]


def test_use_is_written_and_never_goes_backwards(control):
    key = key_record(new_key())
    control.add(key)
    control.used({key.prefix: 200.0, "unknown0": 1.0})
    control.used({key.prefix: 100.0})
    assert control.every_key()[0].last_used_at == 200.0


def test_rotation_leaves_the_old_key_valid_for_the_overlap_and_no_longer_than_it_was(control):
    now = time.time()
    lasting, ending = key_record(new_key()), key_record(new_key(), expires_at=now + 10)
    for old in (lasting, ending):
        control.add(old)
        control.rotate(old.prefix, key_record(new_key(), replaces=old.prefix), old_until=now + 60)
    kept = {one.prefix: one for one in control.every_key()}
    assert kept[lasting.prefix].expires_at == now + 60
    assert kept[ending.prefix].expires_at == now + 10


def test_a_dead_key_can_be_neither_rotated_nor_revoked(control):
    key = key_record(new_key())
    control.add(key)
    control.revoke(key.prefix, time.time())
    with pytest.raises(KeyRefused, match="revoked already"):
        control.revoke(key.prefix, time.time())
    with pytest.raises(KeyRefused, match="revoked already"):
        control.rotate(key.prefix, key_record(new_key()), old_until=time.time())
    assert len(control.every_key()) == 1, "a rotation that was refused left nothing"
    with pytest.raises(KeyRefused, match="there is no key"):
        control.revoke("nowhere0", time.time())


def test_a_key_is_found_by_its_prefix_and_by_a_name_that_only_one_has(control):
    first, second = key_record(new_key(), name="ci"), key_record(new_key(), name="ci")
    control.add(first)
    now = time.time()
    assert (
        control.find("ci", now) == control.find(f"slk_{first.prefix}", now) == control.find(first.prefix, now) == first
    )
    control.add(second)
    with pytest.raises(KeyRefused, match="more than one active key"):
        control.find("ci", now)
    control.revoke(first.prefix, now)
    assert control.find("ci", now) == second
    with pytest.raises(KeyRefused, match="no active key"):
        control.find("elsewhere", now)


def test_the_keyring_leaves_out_what_died_long_ago_and_still_knows_that_there_was_a_key(control):
    now = time.time()
    for changed in ({"revoked_at": now - 90_000}, {"expires_at": now - 90_000}, {"revoked_at": now - 5}):
        control.add(key_record(new_key(), **changed))
    ring = control.keyring(now)
    assert len(ring.keys) == 1
    assert ring.known


def test_an_older_store_is_brought_up_to_date_with_its_keys(url, tmp_path, monkeypatch):
    monkeypatch.setattr(control_module, "_MIGRATIONS", control_module._MIGRATIONS[:1])
    monkeypatch.setattr(control_module, "SCHEMA_VERSION", 1)
    Control.open(url).close()
    with sqlite3.connect(tmp_path / "control.sqlite3") as old:
        columns = {row[1] for row in old.execute("PRAGMA table_info(keys)")}
        assert "requests_per_second" not in columns
        old.execute(
            "INSERT INTO keys VALUES ('abcdefgh', x'00', 'old', 'default', 'operator', '', '', 1.0, NULL, NULL, NULL, NULL)"
        )
    old.close()
    monkeypatch.undo()
    control = Control.open(url)
    (key,) = control.every_key()
    control.close()
    assert (key.prefix, key.requests_per_second) == ("abcdefgh", None)
    with sqlite3.connect(tmp_path / "control.sqlite3") as now:
        numbers = dict(now.execute("SELECT name, value FROM control_numbers"))
    now.close()
    assert numbers["schema_version"] == SCHEMA_VERSION


def test_a_migration_that_fails_leaves_the_store_as_it_was(url, monkeypatch):
    monkeypatch.setattr(control_module, "_MIGRATIONS", control_module._MIGRATIONS[:1])
    monkeypatch.setattr(control_module, "SCHEMA_VERSION", 1)
    Control.open(url).close()
    monkeypatch.undo()

    def failing(connection):
        control_module._to_2(connection)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(control_module, "_MIGRATIONS", (control_module._to_1, failing))
    with pytest.raises(RuntimeError, match="in the middle"):
        Control.open(url)
    monkeypatch.undo()
    Control.open(url).close()


def test_a_newer_store_is_refused_and_left_alone(url, tmp_path):
    Control.open(url).close()
    with sqlite3.connect(tmp_path / "control.sqlite3") as store:
        store.execute("UPDATE control_numbers SET value = 99 WHERE name = 'schema_version'")
    store.close()
    before = (tmp_path / "control.sqlite3").read_bytes()
    with pytest.raises(ControlVersionUnknown, match="version 99, this Spanledger knows up to"):
        Control.open(url)
    assert (tmp_path / "control.sqlite3").read_bytes() == before


def test_what_is_not_a_database_is_refused(tmp_path):
    (tmp_path / "control.sqlite3").write_bytes(b"something else entirely" * 100)
    with pytest.raises(ControlUnusable, match="not a database"):
        Control.open(control_url(tmp_path, None))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://somebody:hidden@127.0.0.1/x", "sqlite and postgresql are what there is"),
        ("postgresql+nosuchdriver://somebody:hidden@127.0.0.1/x", "driver of control_url is not installed"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(given, message):
    with pytest.raises(ControlUnusable, match=message) as refused:
        Control.open(given)
    assert "hidden" not in str(refused.value)


def test_two_processes_that_open_and_change_one_store_at_once_lose_nothing(url):
    program = (
        "import sys\n"
        "from access.control import Control\n"
        "from access.keys import new_key\n"
        "from tests.gates import key_record\n"
        "control = Control.open(sys.argv[1])\n"
        "for _ in range(20): control.add(key_record(new_key()))\n"
    )
    root = Path(__file__).parents[2]
    both = [subprocess.Popen([sys.executable, "-c", program, url], cwd=root, stderr=subprocess.PIPE) for _ in range(2)]
    for one in both:
        _, said = one.communicate(timeout=60)
        assert one.returncode == 0, said
    control = Control.open(url)
    assert len(control.every_key()) == 40
    assert control.revision() == 41
    control.close()


def test_every_table_can_be_made_in_postgresql():
    said: list[str] = []
    engine = create_mock_engine(
        "postgresql://", lambda statement, *_: said.append(str(statement.compile(dialect=engine.dialect)))
    )
    control_module._metadata.create_all(engine, checkfirst=False)
    assert len(said) == 3
    assert any("BYTEA" in one for one in said)


def test_each_change_of_a_key_waits_to_be_recorded_in_the_transaction_that_made_it(control):
    now = time.time()
    old, successor = key_record(new_key(), Role.AUDITOR, "acme", created_at=now), key_record(new_key(), tenant="acme")
    control.add(old, by="local:ann")
    control.add(old, by="local:ann")
    successor = replace(successor, created_at=now + 1, replaces=old.prefix)
    control.rotate(old.prefix, successor, old_until=now + 60, by="local:ben")
    control.revoke(successor.prefix, now + 2, by="local:cy")
    with pytest.raises(KeyRefused):
        control.revoke(successor.prefix, now + 3, by="local:cy")
    found = control.changes()
    assert [(one.action, one.changed_by, one.prefix, one.tenant) for one in found] == [
        ("key_create", "local:ann", old.prefix, "acme"),
        ("key_rotate", "local:ben", successor.prefix, "acme"),
        ("key_revoke", "local:cy", successor.prefix, "acme"),
    ]
    assert found[0].detail["role"] == "auditor"
    assert found[1].detail["replaces"] == old.prefix
    assert len({one.change_id for one in found}) == 3
    assert old.digest.hex() not in repr(found)
    control.recorded(found[:2])
    assert control.changes() == found[2:]
    control.recorded(found)
    assert control.changes() == []


def test_when_a_key_was_used_is_no_change_that_is_recorded(control):
    key = key_record(new_key())
    control.add(key)
    control.recorded(control.changes())
    control.used({key.prefix: time.time()})
    assert control.changes() == []
