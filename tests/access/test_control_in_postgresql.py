"""The control store in PostgreSQL: what holds of it in SQLite, held of a server that is started for these tests.

They need the programs `initdb` and `postgres` and the driver that the extra `postgres` brings, and are skipped without.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from access.control import SCHEMA_VERSION, Control
from access.errors import ControlUnusable, ControlVersionUnknown
from access.keys import new_key
from tests.access.test_control import (
    test_a_dead_key_can_be_neither_rotated_nor_revoked,
    test_a_key_comes_back_as_it_was_kept,
    test_a_key_is_found_by_its_prefix_and_by_a_name_that_only_one_has,
    test_a_key_that_is_kept_already_is_not_kept_again,
    test_a_migration_that_fails_leaves_the_store_as_it_was,
    test_each_change_of_a_key_moves_the_revision_and_its_use_does_not,
    test_rotation_leaves_the_old_key_valid_for_the_overlap_and_no_longer_than_it_was,
    test_the_keyring_leaves_out_what_died_long_ago_and_still_knows_that_there_was_a_key,
    test_two_keys_cannot_have_one_prefix,
    test_two_processes_that_open_and_change_one_store_at_once_lose_nothing,
    test_use_is_written_and_never_goes_backwards,
)
from tests.gates import key_record
from tests.patience import BUSY_SECONDS

# Their stores are this module's: pytest takes the fixtures of the module that a test stands in.
SHARED = (
    test_a_dead_key_can_be_neither_rotated_nor_revoked,
    test_a_key_comes_back_as_it_was_kept,
    test_a_key_is_found_by_its_prefix_and_by_a_name_that_only_one_has,
    test_a_key_that_is_kept_already_is_not_kept_again,
    test_a_migration_that_fails_leaves_the_store_as_it_was,
    test_each_change_of_a_key_moves_the_revision_and_its_use_does_not,
    test_rotation_leaves_the_old_key_valid_for_the_overlap_and_no_longer_than_it_was,
    test_the_keyring_leaves_out_what_died_long_ago_and_still_knows_that_there_was_a_key,
    test_two_keys_cannot_have_one_prefix,
    test_two_processes_that_open_and_change_one_store_at_once_lose_nothing,
    test_use_is_written_and_never_goes_backwards,
)

pytestmark = [
    pytest.mark.skipif(not (shutil.which("initdb") and shutil.which("postgres")), reason="PostgreSQL is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="the extra `postgres` is not installed"),
]


def _owner() -> str:
    """Who runs the server: it refuses to be root's."""
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server's database `postgres`, on a socket in a folder of its own."""
    # Not below tmp_path, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="spanledger-pg-") as name:
        folder, owner = Path(name), _owner()
        shutil.chown(folder, owner)
        made = subprocess.run(
            ["initdb", "-D", folder / "data", "-A", "trust", "-U", "spanledger", "--no-sync", "-E", "UTF8", "--locale=C"],
            user=owner if os.geteuid() == 0 else None, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["postgres", "-D", folder / "data", *options], cwd=folder, stderr=log, stdout=log,
                user=owner if os.geteuid() == 0 else None,
            )  # fmt: skip
        try:
            url = f"postgresql+psycopg://spanledger@/postgres?host={folder}"
            _wait_for(url, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(BUSY_SECONDS)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    engine = create_engine(url)
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)  # It says nowhere but in its log that it is ready.
        else:
            engine.dispose()
            return


@pytest.fixture
def url(server: str) -> str:
    """A database of its own, empty."""
    name = f"t{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def control(url: str) -> Iterator[Control]:
    opened = Control.open(url)
    yield opened
    opened.close()


def test_the_store_is_opened_again_with_its_keys(url: str) -> None:
    key = key_record(new_key())
    first = Control.open(url)
    first.add(key)
    first.close()
    again = Control.open(url)
    assert again.every_key() == [key]
    again.close()


def test_servers_that_are_the_first_to_name_a_tenant_at_the_same_moment_do_not_meet(url: str) -> None:
    stores = [Control.open(url) for _ in range(4)]
    for number in range(25):
        together = Barrier(len(stores))

        def add(store: Control, tenant: str, together: Barrier = together) -> bool:
            together.wait(BUSY_SECONDS)
            return store.add(key_record(new_key(), tenant=tenant))

        with ThreadPoolExecutor(len(stores)) as pool:
            assert all(pool.map(add, stores, [f"tenant{number}"] * len(stores)))
    assert len(stores[0].every_key()) == 100
    assert stores[0].revision() == 101
    for store in stores:
        store.close()


def test_a_newer_store_is_refused(url: str) -> None:
    Control.open(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE control_numbers SET value = 99 WHERE name = 'schema_version'"))
    engine.dispose()
    with pytest.raises(ControlVersionUnknown, match=f"version 99, this Spanledger knows up to {SCHEMA_VERSION}"):
        Control.open(url)


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(ControlUnusable, match=r"the control store .* failed") as refused:
        Control.open(f"postgresql+psycopg://somebody:hidden@/x?host={tmp_path}")
    assert "hidden" not in str(refused.value)
