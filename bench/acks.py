"""The client's own journal: what it sent and what of it was acknowledged, on disk, and the comparison with what a server has.

One line when a request goes out, one when its acknowledgement is there. The lines are the evidence: the check reads them back
from the file and asks the server's API for every span by its id.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Lock
from typing import Final, Self

from bench.hostile_server import HostileServer

_SENT: Final = "sent"
_ACKED: Final = "acked"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the client knows it. Ids are hexadecimal; all its spans are of one trace."""

    trace_id: str
    spans: tuple[str, ...]
    acked: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a server has against what it acknowledged, in spans but for `torn`, which are requests stored in part."""

    acked: int
    missing: int
    doubled: int
    foreign: int
    unacked_present: int
    torn: int

    @property
    def clean(self) -> bool:
        """Nothing acknowledged is absent, nothing is there twice, nothing is there that nobody sent."""
        return not (self.missing or self.doubled or self.foreign or self.torn)


class AckJournal:
    """Written by senders on many threads. A context: the file is closed after it, and can still be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a")
        self._lock = Lock()
        self._next = sum(line.startswith(_SENT) for line in path.read_text().splitlines())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def sent(self, trace_id: str, spans: Sequence[str]) -> int:
        """Note a request before it goes out; returns its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._file.write(f"{_SENT} {number} {trace_id} {','.join(spans)}\n")
            return number

    def acked(self, number: int) -> None:
        """Note that its acknowledgement is there."""
        with self._lock:
            self._file.write(f"{_ACKED} {number}\n")
            self._file.flush()

    def requests(self, since: int = 0) -> list[Request]:
        """What the file says of the requests from number `since` on."""
        with self._lock:
            if not self._file.closed:
                self._file.flush()
            lines = [line.split(" ") for line in self._path.read_text().splitlines()]
        acked = {int(line[1]) for line in lines if line[0] == _ACKED}
        return [
            Request(line[2], tuple(line[3].split(",")), int(line[1]) in acked)
            for line in lines
            if line[0] == _SENT and int(line[1]) >= since
        ]

    @property
    def count(self) -> int:
        """Requests sent so far."""
        return self._next


def new_trace() -> bytes:
    """A trace id that nobody had before."""
    return os.urandom(16)


def compare(server: HostileServer, requests: Iterable[Request], *, traces_max: int | None = None) -> Comparison:
    """Ask for every trace and look for every span by its id; of `traces_max` traces, chosen at random, where given.

    The view must have caught up. Raises ServerFailed.
    """
    by_trace: dict[str, list[Request]] = {}
    for request in requests:
        by_trace.setdefault(request.trace_id, []).append(request)
    chosen = sorted(by_trace)
    if traces_max is not None and len(chosen) > traces_max:
        chosen = Random(len(chosen)).sample(chosen, traces_max)
    acked = missing = doubled = foreign = unacked = torn = 0
    for trace_id in chosen:
        found = Counter(server.steps_of(trace_id))
        sent = by_trace[trace_id]
        doubled += sum(count - 1 for count in found.values())
        foreign += len(found.keys() - {span for request in sent for span in request.spans})
        for request in sent:
            there = sum(span in found for span in request.spans)
            torn += 0 < there < len(request.spans)
            if request.acked:
                acked += len(request.spans)
                missing += len(request.spans) - there
            else:
                unacked += there
    return Comparison(acked, missing, doubled, foreign, unacked, torn)


def compare_counts(server: HostileServer, requests: Iterable[Request]) -> Comparison:
    """The same by the number of steps of every run, where each request was a trace of its own: for very many spans."""
    steps: Counter[str] = Counter()
    for row in server.rows("/v1/runs", "runs"):
        for segment in row["segments"]:
            steps[segment["trace_id"]] += segment["steps"]
    acked = missing = doubled = unacked = torn = 0
    known: set[str] = set()
    for request in requests:
        known.add(request.trace_id)
        expected, there = len(request.spans), steps[request.trace_id]
        doubled += max(there - expected, 0)
        torn += 0 < there < expected
        if request.acked:
            acked += expected
            missing += max(expected - there, 0)
        else:
            unacked += there
    foreign = sum(count for trace_id, count in steps.items() if trace_id not in known)
    return Comparison(acked, missing, doubled, foreign, unacked, torn)
