"""The order of system calls, read from logs made by hand: one that is right, and each way to be wrong."""

import pytest

from bench.syscall_order import violations

SEGMENT = "/d/journal/00000000000000000001.segment"
LOG = f"""
7  openat(AT_FDCWD</>, "{SEGMENT}.new", O_RDWR|O_CREAT) = 4<{SEGMENT}.new>
7  pwrite64(4<{SEGMENT}.new>, ""..., 64, 0) = 64
7  fsync(4<{SEGMENT}.new>) = 0
7  rename("{SEGMENT}.new", "{SEGMENT}") = 0
7  fsync(5</d/journal>) = 0
8  pwrite64(4<{SEGMENT}>, ""..., 4093, 64) = 4093
8  fdatasync(4<{SEGMENT}> <unfinished ...>
9  writev(3</d/other>, [...], 1) = 2
8  <... fdatasync resumed>) = 0
7  writev(3</d/acks>, [...], 1) = 2
""".strip().splitlines()


def without(text: str) -> list[str]:
    return [line for line in LOG if text not in line]


def test_the_right_order_of_calls_is_no_violation() -> None:
    assert violations(LOG, acks_path="/d/acks") == []


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (without("fdatasync"), "ack 1 was given when 0 of 1 written frames were durable"),
        ([*LOG[:8], LOG[9], LOG[8]], "ack 1 was given when 0 of 1 written frames were durable"),
        ([*LOG[:5], *LOG[6:8], LOG[5], *LOG[8:]], "ack 1 was given when 0 of 1"),
        ([line.replace("resumed>) = 0", "resumed>) = -1 EIO (Input/output error) (INJECTED)") for line in LOG], "ack 1 was"),
        (without("fsync(5</d/journal>)"), f"ack 1 was given before the names ['{SEGMENT}'] were durable"),
        (without(f"fsync(4<{SEGMENT}.new>)"), f"{SEGMENT} got its name before its header was durable"),
        ([*LOG, LOG[-1]], "ack 2 was given when 1 of 1 written frames were durable"),
    ],
    ids=["no sync", "sync not returned", "sync begun before the write", "sync failed", "folder not synced",
         "header not synced", "one ack too many"],
)  # fmt: skip
def test_a_wrong_order_of_calls_is_told(log: list[str], why: str) -> None:
    found = violations(log, acks_path="/d/acks")
    assert found
    assert found[0].startswith(why)
