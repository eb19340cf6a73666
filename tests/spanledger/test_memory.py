"""What stays resident when large bodies are gone, in a process of its own: bounds in bytes, whatever the machine's speed."""

import subprocess
import sys

import pytest

from spanledger.memory import ARENAS_MAX, KEPT_BYTES_MAX

MB = 1024 * 1024
THREADS = 16
BODY_BYTES = 4 * MB
BODIES = 8
STAYING_BYTES = 2 * MB  # Of each thread: what was made of its bodies.
SLACK_BYTES = 8 * MB  # Stacks, threads, the interpreter's own.
HEAD = """
import sys, threading
from spanledger.memory import settle_allocators
if sys.argv[1] == "settled":
    settle_allocators()

def resident():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))

begun = resident()
"""
# Threads that take turns, so that only one has bodies at a time; a small part of what it made of them stays.
IN_TURNS = f"""
turn, all_here, staying = threading.Lock(), threading.Barrier({THREADS}), []

def work():
    for _ in range(2):
        all_here.wait()
        with turn:
            bodies = [b"x" * {BODY_BYTES} for _ in range({BODIES})]
            staying.append([b"y" * 16384 for _ in range({STAYING_BYTES} // 16384 // 2)])
            del bodies

threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - begun)
"""
# A thread that frees all of what it had.
AT_ONCE = f"""
def work(bytes_held):
    held = [None] * (bytes_held // {MB})
    for place in range(len(held)):
        held[place] = b"x" * {MB}
    for place in range(len(held)):
        held[place] = None
    print(resident() - begun)

thread = threading.Thread(target=work, args=(int(sys.argv[2]),))
thread.start()
thread.join()
"""


def left_bytes(code: str, how: str, *arguments: int) -> int:
    command = [sys.executable, "-c", HEAD + code, how, *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_what_threads_leave_behind_does_not_grow_with_their_number():
    bound = THREADS * STAYING_BYTES + ARENAS_MAX * BODIES * BODY_BYTES + SLACK_BYTES
    assert left_bytes(IN_TURNS, "settled") < bound
    assert left_bytes(IN_TURNS, "as it comes") > 2 * bound, "nothing would be seen if every thread had an arena"


@pytest.mark.parametrize(("held", "kept"), [(KEPT_BYTES_MAX * 3 // 4, True), (KEPT_BYTES_MAX * 5 // 4, False)])
def test_what_is_freed_is_kept_up_to_a_bound_and_beyond_it_given_back(held: int, kept: bool):
    left = left_bytes(AT_ONCE, "settled", held)
    assert (left > held - SLACK_BYTES) if kept else (left < SLACK_BYTES)
