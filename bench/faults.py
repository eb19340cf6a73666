"""A sweep of faults: every system call that journal and view make on their files fails once, or the process is killed in it.

    python -m bench.faults                      everything (some ten minutes), then the planted defects
    python -m bench.faults --scenario reopened --call fdatasync

For each kind of call and each occurrence k of it, strace injects EIO, ENOSPC or SIGKILL. Then the folder is opened again and
compared with the client's own list: no acknowledged frame missing, changed or doubled, order kept, the view equal to one that
is made anew, and an error that was given says something. A sweep is worth what it can find: three defects are planted, and
each must be found. Prints a line a finding on stderr and one line of JSON on stdout; the exit status is 1 when there was a
finding, or a planted defect was missed.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from bench.fault_program import (
    ACKS,
    DATA,
    SEGMENT_BYTES,
    Acknowledgements,
    acknowledgements,
    journal_drafts,
    view_drafts,
)
from bench.syscall_order import violations
from store.duckdb.writer import DuckDbWriter
from store.errors import StoreError
from store.folder import JOURNAL, VIEW
from store.journal.journal import Journal
from store.ledger import Ledger, rebuild
from store.record import FrameDraft, Signal

# Names that an architecture does not have are left out by strace itself ("?").
CALLS: Final = {
    "write": "write,pwrite64",
    "fsync": "fsync",
    "fdatasync": "fdatasync",
    "fallocate": "fallocate",
    "rename": "?rename,?renameat,?renameat2",
    "openat": "openat",
    "ftruncate": "ftruncate",
}
EFFECTS: Final = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "SIGKILL": "signal=SIGKILL"}
ROOT: Final = Path(__file__).parents[1]
SEGMENTS_WATCHED: Final = 24  # By first sequence: more frames than any scenario has.
FOREIGN: Final = FrameDraft("default", Signal.LOGS, b"", ())
PROGRAM_SECONDS_MAX: Final = 300  # Two, where nothing else is running.
PROJECTED_WITHIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """The `occurrence`-th call of a kind (from 1, counted for each thread) has an effect."""

    call: str
    effect: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.call} {self.occurrence} {self.effect}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A program whose own files meet the faults, and what is in the folder before it: `prepare` returns how many frames."""

    program: str
    prepare: Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed. `fired` is False where the program made fewer calls than the fault asked for."""

    fired: bool
    ending: str
    findings: list[str]


def _nothing(_: Path) -> int:
    return 0


def _some_frames(folder: Path) -> int:
    journal = Journal(folder / DATA / JOURNAL, segment_bytes=SEGMENT_BYTES)
    for body in (b"before", b"before, too"):
        journal.append(FrameDraft("default", Signal.TRACES, body, (bytes(32),)))
    journal.close()
    return 2


def _a_torn_tail(folder: Path) -> int:
    frames = _some_frames(folder)
    path = next((folder / DATA / JOURNAL).glob("*.segment"))
    data = path.read_bytes()
    path.write_bytes(data.rstrip(b"\x00").ljust(400, b"\x00") + b"SPLF torn".ljust(len(data) - 400, b"\x00"))
    return frames


def _a_view(folder: Path) -> int:
    ledger = Ledger.open(folder / DATA)
    position = ledger.journal.append(FrameDraft("default", Signal.TRACES, b"", ()))
    ledger.waiter.wait_for(position, PROJECTED_WITHIN_SECONDS)
    ledger.close()
    return 1


SCENARIOS: Final = {
    "new": Scenario("journal", _nothing),
    "reopened": Scenario("journal", _some_frames),
    "torn": Scenario("journal", _a_torn_tail),
    "new-view": Scenario("view", _nothing),
    "view": Scenario("view", _a_view),
}


def unavailable() -> str | None:
    """Why no sweep can be made here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed (Debian: apt-get install strace)"
    tried = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def run(scenario: Scenario, fault: Fault | None, folder: Path, *, plant: str | None = None) -> Outcome:
    """One run of a scenario with a fault in `folder`, which is empty and afterwards holds what the run left."""
    before = scenario.prepare(folder)
    log, acks_path = folder / "strace.log", folder / ACKS
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(log)]
    if fault is None or fault.effect != "SIGKILL":
        command.append("--seccomp-bpf")  # Twice as fast, but strace 6.1 injects no signals under it.
    # A thread's calls are counted together, so a fault in the view is only met alone where the journal is not watched.
    for path in _journal_files(folder) if scenario.program == "journal" else _view_files(folder):
        command += ["-P", str(path)]
    command += ["-e", "trace=writev,?unlink,?unlinkat," + ",".join(CALLS.values())]
    if fault is not None:
        command += ["-e", f"inject={CALLS[fault.call]}:{EFFECTS[fault.effect]}:when={fault.occurrence}"]
    with acks_path.open("ab") as acks:
        command += [sys.executable, "-m", "bench.fault_program", scenario.program, str(folder), str(acks.fileno())]
        command += ["--plant", plant] if plant else []
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS_MAX, cwd=ROOT,
            pass_fds=(acks.fileno(),),
        )  # fmt: skip
    lines = log.read_text().splitlines()
    fired = any("(INJECTED)" in line or "killed by SIGKILL" in line for line in lines)
    acked = acknowledgements(folder)
    findings = violations(lines, acks_path=str(acks_path)) if scenario.program == "journal" else []
    killed = acked.outcome is None and fired and fault is not None and fault.effect == "SIGKILL"
    if acked.outcome is None and not killed:
        findings.append(f"the program ended with status {ended.returncode} and said nothing: {ended.stderr[-500:]}")
    if acked.outcome not in (None, "done") and not acked.message:
        findings.append(f"{acked.outcome} without a word")
    findings += _compare(scenario, folder, acked, before)
    return Outcome(fired, acked.outcome or "killed", findings)


def _journal_files(folder: Path) -> Iterator[Path]:
    yield from (folder / ACKS, folder / DATA / JOURNAL)
    for sequence in range(1, SEGMENTS_WATCHED + 1):
        path = folder / DATA / JOURNAL / f"{sequence:020d}.segment"
        yield from (path, path.with_name(path.name + ".new"))


def _view_files(folder: Path) -> Iterator[Path]:
    return (folder / DATA / (VIEW + suffix) for suffix in ("", ".wal", ".wal.checkpoint", ".wal.recovery"))


def _compare(scenario: Scenario, folder: Path, acked: Acknowledgements, before: int) -> list[str]:
    """Open what is left and hold it against what the client knows."""
    drafts = journal_drafts() if scenario.program == "journal" else view_drafts()
    try:
        findings = _compare_journal(folder, drafts, acked, before)
        if scenario.program == "view":
            findings += _compare_view(folder)
    except (StoreError, OSError) as error:
        return [f"the folder does not open again: {type(error).__name__}: {error}"]
    return findings


def _compare_journal(folder: Path, drafts: tuple[FrameDraft, ...], acked: Acknowledgements, before: int) -> list[str]:
    findings: list[str] = []
    journal = Journal(folder / DATA / JOURNAL, segment_bytes=SEGMENT_BYTES)
    try:
        frames = list(journal.frames_after(0))
        by_sequence = {frame.sequence: frame.body for frame in frames}
        if list(by_sequence) != list(range(1, len(frames) + 1)):
            findings.append(f"the sequences are {list(by_sequence)}")
        if len(frames) < before:
            findings.append(f"{before - len(frames)} frames of an earlier run are gone")
        for number, sequence in acked.sequences.items():
            if by_sequence.get(sequence) != drafts[number].body:
                findings.append(f"the acknowledged frame {sequence} is missing or changed")
        if list(acked.sequences.values()) != sorted(acked.sequences.values()):
            findings.append(f"acks came in the order {list(acked.sequences.values())}")
        times = Counter(frame.body for frame in frames[before:])
        known = {draft.body for draft in drafts}
        findings += [f"a frame stands {n} times" for body, n in times.items() if n > 1 and body in known]
        findings += ["a frame that nobody sent" for body in times if body not in known]
        if journal.append(FOREIGN).sequence != len(frames) + 1:
            findings.append("the next frame does not get the next sequence")
    finally:
        journal.close()
    return findings


def _compare_view(folder: Path) -> list[str]:
    ledger = Ledger.open(folder / DATA)
    try:
        if not ledger.waiter.wait_for(ledger.journal.durable_position, PROJECTED_WITHIN_SECONDS):
            return [f"the view does not reach the journal: {ledger.waiter.readiness()['reasons']}"]
        writer, deadline = DuckDbWriter(ledger._engine), time.monotonic() + PROJECTED_WITHIN_SECONDS
        while writer.owed() and time.monotonic() < deadline:
            time.sleep(0.01)  # Under strace even a small run may take long enough to be rested.
        found = ledger.digests()
    finally:
        ledger.close()
    expected = rebuild(folder / DATA).digests
    return [f"the view differs from the record in {name}" for name in found if found[name] != expected[name]]


def sweep(
    name: str, call: str, effect: str, *, plant: str | None = None, told: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Fault, Outcome]]:
    """Every occurrence of a call in a scenario, until there is no further one."""
    for occurrence in count(1):
        fault = Fault(call, effect, occurrence)
        with TemporaryDirectory(prefix="faults-") as folder:
            outcome = run(SCENARIOS[name], fault, Path(folder).resolve(), plant=plant)
        if not outcome.fired:
            return
        for finding in outcome.findings:
            told(f"{name}: {fault}: {finding}")
        yield fault, outcome


# Where each planted defect shows: scenario, call, effect.
PLANTED: Final = {
    "ack-before-sync": ("reopened", "fdatasync", "SIGKILL"),
    "ignored-sync-error": ("reopened", "fdatasync", "EIO"),
    "position-before-data": ("view", "fdatasync", "SIGKILL"),
}


def caught(defect: str, told: Callable[[str], None] = lambda _: None) -> bool:
    """Whether a sweep finds a planted defect."""
    name, call, effect = PLANTED[defect]
    return any(outcome.findings for _, outcome in sweep(name, call, effect, plant=defect, told=told))


def main(command: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append")
    parser.add_argument("--call", choices=sorted(CALLS), action="append")
    parser.add_argument("--effect", choices=sorted(EFFECTS), action="append")
    asked = parser.parse_args(command)
    if reason := unavailable():
        sys.stderr.write(f"no sweep: {reason}\n")
        return 2

    def tell(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    runs, findings, endings = 0, 0, Counter[str]()
    for name in asked.scenario or SCENARIOS:
        for call in asked.call or CALLS:
            for effect in asked.effect or EFFECTS:
                done = [outcome for _, outcome in sweep(name, call, effect, told=tell)]
                runs += len(done)
                findings += sum(len(outcome.findings) for outcome in done)
                endings.update(outcome.ending for outcome in done)
                tell(
                    f"{name}: {call} {effect}: {len(done)} faults, {sum(bool(one.findings) for one in done)} with findings"
                )
    missed = (
        [] if asked.scenario or asked.call or asked.effect else [name for name in PLANTED if not caught(name, tell)]
    )
    sys.stdout.write(json.dumps({"faults": runs, "findings": findings, "endings": endings, "missed": missed}) + "\n")
    return 1 if findings or missed or not runs else 0


if __name__ == "__main__":
    # What the store says of torn tails while they are mended is expected here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(main())
