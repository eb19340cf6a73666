"""The watch: what is changed in the control store holds in the keyring within a second, and what happens when it is away."""

import time
from threading import Event

import pytest

from access.control import Control, control_url
from access.errors import AccessUnknown, ControlUnusable, Unauthenticated
from access.keyring import KeyHolder
from access.keys import new_key
from access.watch import POLL_SECONDS, KeyWatch
from tests.gates import key_record

SECONDS = 10


class Looks:
    """What the watch tells: waits for a keyring that somebody wants."""

    def __init__(self, watch: KeyWatch) -> None:
        self._changed = Event()
        self.confirmed = Event()
        watch.listen(self._look)

    def _look(self, keyring):
        (self._changed if keyring else self.confirmed).set()

    def change(self) -> None:
        assert self._changed.wait(SECONDS)
        self._changed.clear()


@pytest.fixture
def url(tmp_path):
    return control_url(tmp_path, None)


@pytest.fixture
def control(url):
    opened = Control.open(url)
    yield opened
    opened.close()


@pytest.fixture
def watching(url):
    started = []

    def start(**arguments):
        holder = KeyHolder()
        watch = KeyWatch(url, holder, **arguments)
        looks = Looks(watch)
        looks._changed.clear()
        watch.start()
        started.append(watch)
        return holder, watch, looks

    yield start
    for watch in started:
        watch.stop()


def test_without_a_control_store_there_are_no_keys_and_none_is_made(watching, tmp_path):
    holder, _, looks = watching()
    assert not holder.keyring.known
    assert looks.confirmed.wait(SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_another_process_makes_and_revokes_is_seen_within_a_second(watching, url):
    holder, _, looks = watching()
    other = Control.open(url)
    key = new_key()
    other.add(key_record(key))
    looks.change()
    holder.keyring.find(key, time.time())
    started = time.monotonic()
    other.revoke(key[4:12], time.time())
    looks.change()
    assert time.monotonic() - started < 1.0 + POLL_SECONDS
    with pytest.raises(Unauthenticated, match="revoked"):
        holder.keyring.find(key, time.time())
    other.close()


def test_keys_of_files_are_kept_once(watching, control):
    key = key_record(new_key())
    for _ in range(2):
        holder, watch, _ = watching(make=[key])
        assert holder.keyring.by_prefix == {key.prefix: key}
        watch.stop()
    control.revoke(key.prefix, time.time())
    holder, _, _ = watching(make=[key])
    assert holder.keyring.by_prefix[key.prefix].revoked_at is not None, "a start does not bring a revoked key back"


def test_a_control_store_that_goes_away_does_not_open_the_doors(watching, control, tmp_path):
    control.add(key_record(new_key()))
    holder, _, looks = watching()
    assert looks.confirmed.wait(SECONDS)
    (tmp_path / "control.sqlite3").rename(tmp_path / "elsewhere")
    looks.confirmed.clear()
    assert not looks.confirmed.wait(POLL_SECONDS * 3)
    assert holder.keyring.known
    holder._fresh_until = 0.0  # As ten seconds later.
    with pytest.raises(AccessUnknown):
        holder.current()
    (tmp_path / "elsewhere").rename(tmp_path / "control.sqlite3")
    assert looks.confirmed.wait(SECONDS)
    assert holder.current().known


def test_when_keys_were_used_is_written_at_the_end_and_seldom_before(watching, control):
    key = key_record(new_key())
    control.add(key)
    holder, watch, looks = watching()
    holder.used(key.prefix, 123.0)
    looks.confirmed.clear()
    assert looks.confirmed.wait(SECONDS)
    assert control.every_key()[0].last_used_at is None
    watch.stop()
    assert control.every_key()[0].last_used_at == 123.0


def test_a_store_that_cannot_be_opened_is_said_at_once(tmp_path, url):
    (tmp_path / "control.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ControlUnusable):
        KeyWatch(url, KeyHolder())
