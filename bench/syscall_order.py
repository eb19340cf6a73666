"""Reads strace's log for the order that makes an acknowledgement true.

A killed process loses nothing that it has written, for the page cache stays; only a power cut would. So the order of calls
is checked instead: when an ack is given, a sync of the segment must have begun after its frame was written and have returned,
and every name that a rename made must have been made durable by a sync of its folder.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

_STARTED: Final = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)$")
_RESUMED: Final = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_RESULT: Final = re.compile(r"\) += (?P<value>-?\d+)(?:<[^>]*>)?(?: .*)?$")
_FILE: Final = re.compile(r"^\d+<(?P<path>[^>]*)>")
_NAMES: Final = re.compile(r'"(?P<path>[^"]*)"')
_UNFINISHED: Final = " <unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """One moment of a system call: it begins (`value` is None), or it has returned."""

    thread: str
    name: str
    path: str
    value: int | None


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """The beginnings and returns of a log in order. A call that never returned only begins."""
    begun: dict[str, Call] = {}
    for line in lines:
        text = line.rstrip("\n")
        if started := _STARTED.match(text):
            call = Call(started["thread"], started["name"], _path(started["arguments"]), None)
            yield call
            if text.endswith(_UNFINISHED):
                begun[call.thread] = call
                continue
        elif resumed := _RESUMED.match(text):
            call = begun.pop(resumed["thread"])
        else:
            continue
        if result := _RESULT.search(text):
            yield Call(call.thread, call.name, call.path, int(result["value"]))


def _path(arguments: str) -> str:
    if found := _FILE.match(arguments):
        return found["path"]
    names = _NAMES.findall(arguments)
    return names[-1] if names else ""


@dataclass(slots=True)
class _State:
    written: int = 0
    synced: int = 0
    syncing: dict[str, int] = field(default_factory=dict[str, int])
    renamed: set[str] = field(default_factory=set[str])
    unsynced_files: set[str] = field(default_factory=set[str])
    acks: int = 0


def violations(lines: Iterable[str], *, acks_path: str) -> list[str]:
    """What the program promised too early, in words. Frames are written one a pwrite64."""
    state, found = _State(), list[str]()
    for call in calls(lines):
        if call.value is None:
            found += _on_begin(state, call, acks_path)
        elif call.value >= 0:
            _on_return(state, call)
    return found


def _on_begin(state: _State, call: Call, acks_path: str) -> list[str]:
    if call.name in ("fsync", "fdatasync") and call.path.endswith(".segment"):
        state.syncing[call.thread] = state.written
    if call.name.startswith("rename") and call.path + ".new" in state.unsynced_files:
        return [f"{call.path} got its name before its header was durable"]
    if call.name == "writev" and call.path == acks_path:
        state.acks += 1
        if state.acks > state.synced:
            return [f"ack {state.acks} was given when {state.synced} of {state.written} written frames were durable"]
        if state.renamed:
            return [f"ack {state.acks} was given before the names {sorted(state.renamed)} were durable"]
    return []


def _on_return(state: _State, call: Call) -> None:
    match call.name:
        case "pwrite64" if call.path.endswith(".segment"):
            state.written += 1
        case "pwrite64" if call.path.endswith(".segment.new"):
            state.unsynced_files.add(call.path)
        case "fsync" | "fdatasync" if call.path.endswith(".segment"):
            state.synced = max(state.synced, state.syncing.pop(call.thread, 0))
        case "fsync" if call.path.endswith(".segment.new"):
            state.unsynced_files.discard(call.path)
        case "fsync":
            state.renamed = {path for path in state.renamed if not path.startswith(call.path + "/")}
        case "rename" | "renameat" | "renameat2" if call.path.endswith(".segment"):
            state.renamed.add(call.path)
        case _:
            pass
