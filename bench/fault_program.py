"""The program that a fault sweep runs under strace: it appends, and writes down what was acknowledged.

    python -m bench.fault_program PROGRAM FOLDER ACKS [--plant DEFECT]

The list of acknowledgements is the client's: one line of JSON an ack, each written with one writev, a call that neither
journal nor engine makes, to the open file descriptor ACKS. FOLDER/outcome tells how it ended. `--plant` puts a defect in, so
that a sweep can show that it finds it.

strace counts the calls of each thread, so that an occurrence is the same call in every run only where each call is one
thread's: the engine has one thread here, and a body is in the view before the next is sent.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Final

from store.contract import Waiter
from store.duckdb import engine
from store.duckdb.writer import DuckDbWriter, Prepared
from store.errors import JournalFull, StoreError
from store.journal.journal import Journal
from store.ledger import Ledger
from store.otlp.decode import decode, records_of
from store.otlp.leaves import leaves_of
from store.record import FrameDraft, Position, Signal

ACKS: Final = "acks"
OUTCOME: Final = "outcome"
DATA: Final = "data"
SEGMENT_BYTES: Final = 16 * 1024  # Three bodies a segment: every few appends a segment is sealed and one is made.
BODIES: Final = 8
BODY_BYTES: Final = 4_000
ATTEMPTS: Final = 3  # Of an append that says it can be tried again.
PROJECTED_WITHIN_SECONDS: Final = 30.0  # A batch takes some 50 ms under strace, if the machine is not busy.
TROUBLED_SECONDS: Final = 5.0  # For a view that says why it stands still: it is tried again after less than that.
_POLL_SECONDS: Final = 0.05
HEARD_WITHIN_SECONDS: Final = 10.0
CAPTURE: Final = Path(__file__).parents[1] / "tests" / "fixtures" / "captures" / "spanledger-demo"

_heard: Final = threading.Semaphore(0)  # Released for each acknowledgement that is in the client's list.


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """What the client knows when the program is over. `outcome` is None where it was killed."""

    sequences: dict[int, int]
    """Sequence by the number of the draft."""
    outcome: str | None
    message: str


@cache
def journal_drafts() -> tuple[FrameDraft, ...]:
    """Bodies that zstd cannot shrink, each another one."""
    dice = Random(1)
    bodies = [dice.randbytes(BODY_BYTES) for _ in range(BODIES)]
    return tuple(FrameDraft("default", Signal.TRACES, body, (sha256(body).digest(),)) for body in bodies)


@cache
def view_drafts() -> tuple[FrameDraft, ...]:
    """The bodies of the demo agent's run."""
    drafts: list[FrameDraft] = []
    for entry in json.loads((CAPTURE / "index.json").read_text())[:BODIES]:
        decoded = decode(Signal[entry["signal"].upper()], (CAPTURE / entry["file"]).read_bytes())
        leaves = tuple(leaves_of(records_of(decoded.signal, decoded.batch)))
        drafts.append(FrameDraft("default", decoded.signal, decoded.body, leaves))
    return tuple(drafts)


class Client:
    """Sends drafts and keeps the list of what was acknowledged."""

    def __init__(self, folder: Path, acks: int) -> None:
        self._outcome = folder / OUTCOME
        self._acks = acks

    def ended(self, outcome: str, message: str) -> None:
        self._outcome.write_text(json.dumps({"outcome": outcome, "message": message}))

    def send(self, journal: Journal, number: int, draft: FrameDraft) -> Position:
        for attempt in range(ATTEMPTS):
            try:
                position = journal.append(draft)
            except JournalFull:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                said = json.dumps({"number": number, "sequence": position.sequence})
                os.writev(self._acks, [said.encode() + b"\n"])
                _heard.release()
                return position
        raise AssertionError


def acknowledgements(folder: Path) -> Acknowledgements:
    """Read the client's list."""
    acks, ended = folder / ACKS, folder / OUTCOME
    said = [json.loads(line) for line in acks.read_text().splitlines()] if acks.exists() else []
    last: dict[str, Any] = json.loads(ended.read_text()) if ended.exists() else {"outcome": None, "message": ""}
    return Acknowledgements({one["number"]: one["sequence"] for one in said}, last["outcome"], last["message"])


def run_journal(folder: Path, client: Client) -> str:
    journal = Journal(folder / DATA / "journal", segment_bytes=SEGMENT_BYTES)
    try:
        for number, draft in enumerate(journal_drafts()):
            client.send(journal, number, draft)
    finally:
        journal.close()
    return ""


def run_view(folder: Path, client: Client) -> str:
    """Every body is projected before the next is sent, so that every batch is a transaction of its own."""
    vars(engine)["THREADS"] = 1  # Of two, now one and now the other makes the calls of a commit.
    ledger = Ledger.open(folder / DATA)
    try:
        for number, draft in enumerate(view_drafts()):
            position = client.send(ledger.journal, number, draft)
            _projected(ledger.waiter, position)
        return "; ".join(ledger.waiter.readiness()["reasons"])
    finally:
        ledger.close(timeout_seconds=1.0)


def _projected(waiter: Waiter, position: Position) -> None:
    """Wait until a body is in the view, or the view has said why it does not come. Raises TimeoutError."""
    deadline = time.monotonic() + PROJECTED_WITHIN_SECONDS
    while not waiter.wait_for(position, _POLL_SECONDS):
        if waiter.readiness()["reasons"]:
            waiter.wait_for(position, TROUBLED_SECONDS)
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{position} is not in the view after {PROJECTED_WITHIN_SECONDS:g} s, and it says nothing"
            )


def acknowledge_before_sync() -> None:
    commit = Journal._sync

    def early(self: Journal, written: list[Any]) -> None:
        for pending, frame in written:
            pending.done.set_result(Position(self.journal_id, frame.sequence))
        for _ in written:  # The client is a thread of this process: it must hear of it before the process is killed.
            _heard.acquire(timeout=HEARD_WITHIN_SECONDS)
        commit(self, [(replace(pending, done=Future()), frame) for pending, frame in written])
        written.clear()

    Journal._sync = early


def ignore_failed_syncs() -> None:
    sync = os.fdatasync

    def careless(descriptor: int) -> None:
        try:
            sync(descriptor)
        except OSError:
            return

    os.fdatasync = careless


def write_position_before_data() -> None:
    commit = DuckDbWriter.commit

    def hasty(self: DuckDbWriter, prepared: Prepared) -> None:
        commit(self, Prepared(prepared.sequence, {}, [], [], owed_anew=False))
        commit(self, prepared)

    DuckDbWriter.commit = hasty


PROGRAMS: Final[dict[str, Callable[[Path, Client], str]]] = {"journal": run_journal, "view": run_view}
DEFECTS: Final[dict[str, Callable[[], None]]] = {
    "ack-before-sync": acknowledge_before_sync,
    "ignored-sync-error": ignore_failed_syncs,
    "position-before-data": write_position_before_data,
}


def main(command: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fault_program")
    parser.add_argument("program", choices=sorted(PROGRAMS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("acks", type=int)
    parser.add_argument("--plant", choices=sorted(DEFECTS))
    asked = parser.parse_args(command)
    if asked.plant:
        DEFECTS[asked.plant]()
    client = Client(asked.folder, asked.acks)
    try:
        message = PROGRAMS[asked.program](asked.folder, client)
    except (StoreError, OSError) as error:
        client.ended(type(error).__name__, str(error))
        return 3
    client.ended("done", message)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
