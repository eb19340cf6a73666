"""A data folder belongs to one process at a time, and whoever cannot have it is told why and what to do."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.errors import DataFolderLocked, DataFolderUnusable
from store.folder import LOCK, FolderLock, running_server
from store.ledger import Ledger, rebuild

ADDRESSES = {"otlp_grpc": "127.0.0.1:4317", "api": "http://127.0.0.1:8321"}
HOLDER = """
import sys
from pathlib import Path
from store.folder import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.publish({"api": "http://127.0.0.1:8321"})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def holder(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def not_root() -> Iterator[Path]:
    """A folder of root's in which this test is somebody else."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        else:
            Path(place).chmod(0o555)
        try:
            yield Path(place)
        finally:
            if is_root:
                os.seteuid(0)
            Path(place).chmod(0o755)


def test_a_folder_is_made_for_its_owner_alone(data):
    lock = FolderLock(data / "deep" / "down")
    assert (data / "deep" / "down").stat().st_mode & 0o777 == 0o700
    assert (data / "deep" / "down" / LOCK).stat().st_mode & 0o777 == 0o600
    lock.release()
    lock.release()


@pytest.mark.parametrize("opens", [FolderLock, Ledger.open, rebuild])
def test_a_second_process_is_told_which_one_has_the_folder(data, holder, opens):
    with pytest.raises(
        DataFolderLocked, match=rf"is open in process {holder.pid}: stop it, use its API, or name another"
    ):
        opens(data)
    assert running_server(data) == {"pid": str(holder.pid), "api": "http://127.0.0.1:8321"}


def test_a_process_that_was_killed_holds_nothing(data, holder):
    holder.kill()
    holder.wait()
    assert running_server(data) is None
    FolderLock(data).release()


def test_a_folder_given_back_can_be_had_again(data):
    first = FolderLock(data)
    with pytest.raises(DataFolderLocked, match=f"process {os.getpid()}"):
        FolderLock(data)
    first.release()
    second = FolderLock(data)
    second.release()


def test_the_addresses_of_the_holder_are_found_until_it_lets_go(data):
    assert running_server(data) is None
    lock = FolderLock(data)
    assert running_server(data) == {"pid": str(os.getpid())}
    lock.publish(ADDRESSES)
    assert running_server(data) == {"pid": str(os.getpid()), **ADDRESSES}
    lock.publish({"api": "x"})
    assert running_server(data) == {"pid": str(os.getpid()), "api": "x"}
    lock.release()
    assert running_server(data) is None
    assert data.exists()


def test_what_a_dead_process_left_in_the_lock_file_is_not_an_address(data):
    data.mkdir()
    (data / LOCK).write_text('{"pid":"1","api":"http://127.0.0.1:1"}')
    assert running_server(data) is None


def test_looking_for_a_server_again_and_again_keeps_none_from_starting(data):
    FolderLock(data).release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            running_server(data)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            lock = FolderLock(data)
            lock.publish(ADDRESSES)
            found = running_server(data)
            assert found is not None
            assert found["api"] == ADDRESSES["api"]
            lock.release()
    finally:
        stop.set()
        looking.join()


@pytest.mark.parametrize("opens", [FolderLock, Ledger.open])
def test_a_folder_that_may_not_be_written_is_refused_with_what_to_do(not_root, opens):
    with pytest.raises(
        DataFolderUnusable, match="Permission denied: make it writable for this user or name another one"
    ):
        opens(not_root / "data")
    with pytest.raises(DataFolderUnusable, match="Permission denied"):
        opens(not_root)
    assert running_server(not_root / "data") is None


@pytest.mark.parametrize("below", ["", "data"])
@pytest.mark.parametrize("opens", [FolderLock, Ledger.open, rebuild])
def test_a_file_in_the_place_of_the_folder_is_refused_and_not_touched(tmp_path, opens, below):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(DataFolderUnusable, match="there is a file of that name: name a folder"):
        opens(file / below)
    assert file.read_text() == "mine"
    assert running_server(file) is None


def test_a_full_disk_is_said_to_be_full_and_leaves_the_folder_unlocked(data, monkeypatch):
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", no_room)
        with pytest.raises(DataFolderUnusable, match="No space left on device: free disk space"):
            FolderLock(data)
    FolderLock(data).release()


def test_a_process_that_only_looks_holds_the_lock_for_a_moment_and_is_waited_for(data, monkeypatch):
    FolderLock(data).release()
    looking = os.open(data / LOCK, os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda _: os.close(looking))
    FolderLock(data).release()


def test_a_file_system_that_cannot_lock_is_not_called_another_process(data, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(DataFolderUnusable, match="No locks available"):
        FolderLock(data)
