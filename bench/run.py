"""`python -m bench.run`: measure, append to results.ndjson, rewrite the table of BENCHMARKS.md.

A full run takes some minutes a workload. `--quick` takes seconds, one round, and is stored as such: it never gets into the
table. Peers are measured only when asked for, for they take as long as all the rest.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench import boundary_cost, growth, limit, measure, peers, results
from bench.bodies import BodyFile
from bench.load import LoadFailed
from bench.server import ServerFailed
from bench.texts import NoText, texts
from bench.workloads import WORKLOADS, Workload, bodies

# A round of warming up and one of pacing use seeds of their own: no span is ever sent twice.
SEED: Final = 1
PACED_SEED: Final = 2
PEERS_SEED: Final = 3
LOAD_SHARE: Final = 0.5  # Of the rate just measured: "half the sustainable load".


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to do."""

    rounds: int
    history_spans: int
    small_spans: int
    paced_seconds: float
    peer_spans: int

    def spans(self, workload: Workload) -> int:
        """Spans of a round."""
        return self.history_spans if workload.kind == "history" else self.small_spans


FULL: Final = Plan(rounds=3, history_spans=30_720, small_spans=204_800, paced_seconds=30.0, peer_spans=3_072)
QUICK: Final = Plan(rounds=1, history_spans=5_120, small_spans=20_480, paced_seconds=5.0, peer_spans=1_024)


class Run:
    """One invocation: measures into `folder` and writes to `output`."""

    def __init__(self, plan: Plan, command: list[str], folder: Path, output: Path, venv: Path, *, quick: bool) -> None:
        self._plan = plan
        self._command = command
        self._folder = folder
        self._output = output
        self._venv = venv
        self._quick = quick
        self._load_before = os.getloadavg()[0]

    def spanledger(self, workload: Workload) -> None:
        """Saturated, the limit beside it in every round, then paced at half of what was reached."""
        saturated: list[dict[str, Any]] = []
        limits: list[dict[str, Any]] = []
        with self._file(workload, SEED, self._plan.spans(workload)) as file:
            for _ in range(self._plan.rounds):
                with self._round() as folder:
                    saturated.append(dataclasses.asdict(measure.saturated(workload, file, folder)))
                with self._round() as folder:
                    batch_bytes = limit.BATCH_BYTES[workload.kind]
                    done = limit.insert_bare(file, folder / "limit.duckdb", batch_bytes=batch_bytes)
                    limits.append(dataclasses.asdict(done) | {"spans_per_second": done.spans_per_second})
            reached = self._report(f"{workload.name}/saturated", workload, file, saturated)
            self._report(f"{workload.name}/limit", workload, file, limits)
        rate = reached["visible_spans_per_second"] * LOAD_SHARE / workload.spans_a_request
        requests = max(2, round(rate * self._plan.paced_seconds))
        with self._file(workload, PACED_SEED, requests * workload.spans_a_request) as file, self._round() as folder:
            paced = measure.paced(workload, file, folder, requests_per_second=rate)
            self._report(f"{workload.name}/paced", workload, file, [dataclasses.asdict(paced)])

    def peers(self, workload: Workload) -> None:
        """Every peer that is installed, under the first bodies of the workload."""
        with self._file(workload, PEERS_SEED, self._plan.peer_spans) as file:
            for peer in peers.PEERS:
                reason = peers.missing(peer, self._venv)
                if reason is not None:
                    say(f"{workload.name}/{peer.name} skipped: {reason}")
                    continue
                # One round: it is as long as all of ours together.
                with self._round() as folder:
                    rounds = [dataclasses.asdict(peers.stored_by(peer, file, folder, self._venv))]
                version = peers.version(peer, self._venv)
                self._report(f"{workload.name}/{peer.name}", workload, file, rounds, peer=version)

    def redaction(self, workload: Workload) -> None:
        """Saturated with redaction and without, in turns."""
        rounds: list[dict[str, Any]] = []
        with self._file(workload, SEED, self._plan.spans(workload)) as file:
            for number in range(self._plan.rounds):
                done = boundary_cost.on_and_off(workload, file, self._folder, on_first=number % 2 == 0)
                rounds.append(dataclasses.asdict(done))
            self._report(f"{workload.name}/{boundary_cost.NAME}", workload, file, rounds)

    def growth(self, spans: int) -> None:
        """The ingest rate with few spans stored and with `spans`."""
        with self._round() as folder:
            done, described = growth.grow(folder, spans=spans)
        self._store("growth", described, [dataclasses.asdict(done)])

    @contextlib.contextmanager
    def _round(self) -> Generator[Path]:
        with TemporaryDirectory(dir=self._folder) as name:
            yield Path(name)

    def _file(self, workload: Workload, seed: int, spans: int) -> BodyFile:
        started = time.perf_counter()
        made = bodies(workload, seed=seed, spans=spans, end_ns=time.time_ns())
        file = BodyFile.write(self._folder / f"{workload.kind}-{seed}.bodies", made)
        seconds = time.perf_counter() - started
        say(f"{workload.name}: {file.spans:,} spans of {file.bytes_a_span:,.1f} bytes made in {seconds:.1f} s")
        return file

    def _report(
        self, name: str, workload: Workload, file: BodyFile, rounds: list[dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        described = {
            "name": workload.name,
            "spans": file.spans,
            "requests": len(file),
            "bytes_a_span": file.bytes_a_span,
            "runs_at_once": workload.runs_at_once,
            "text_digest": texts().digest,
        } | more
        return self._store(name, described, rounds)["median"]

    def _store(self, name: str, described: dict[str, Any], rounds: list[dict[str, Any]]) -> dict[str, Any]:
        done = results.measurement(
            name,
            command=self._command,
            quick=self._quick,
            workload=described,
            rounds=rounds,
            load_before=self._load_before,
        )
        results.append(self._output, done)
        figures = ", ".join(f"{figure} {value:,.5g}" for figure, value in done["median"].items())
        say(f"{name}: {figures}")
        return done


def say(line: str) -> None:
    """Progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(command)
    plan = QUICK if asked.quick else FULL
    names = list(WORKLOADS) if asked.workload == "all" else [asked.workload]
    try:
        with TemporaryDirectory(prefix="spanledger-bench-", dir=asked.folder) as folder:
            run = Run(plan, command, Path(folder), asked.results, asked.peers_venv, quick=asked.quick)
            if asked.growth:
                run.growth(asked.growth)
            else:
                for name in names:
                    workload = _asked_for(WORKLOADS[name], asked.runs_at_once)
                    if asked.redaction:
                        run.redaction(workload)
                        continue
                    run.spanledger(workload)
                    if asked.peers:
                        run.peers(workload)
    except (LoadFailed, ServerFailed, peers.PeerFailed, NoText) as error:
        say(f"error: {error}")
        return 1
    measured = results.read(asked.results)
    if asked.quick:
        quick = [done for done in measured if done["quick"]]
        print(boundary_cost.section(quick) if asked.redaction else results.table(quick))
    else:
        full = [done for done in measured if not done["quick"]]
        results.write_table(asked.table, full)
        if asked.redaction:
            asked.redaction_page.write_text(boundary_cost.written_into(asked.redaction_page.read_text(), full))
    return 0


def _asked_for(workload: Workload, runs_at_once: int | None) -> Workload:
    """The workload, or a variant under a name of its own: its figures never stand for the workload's."""
    if runs_at_once is None:
        return workload
    return dataclasses.replace(workload, name=f"{workload.name}@{runs_at_once}", runs_at_once=runs_at_once)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--quick", action="store_true", help="one small round; never gets into the table")
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--peers", action="store_true", help="measure the peers too (`make bench-peers` installs them)")
    parser.add_argument("--peers-venv", type=Path, default=peers.PEERS_VENV, metavar="DIR")
    parser.add_argument(
        "--growth", type=int, nargs="?", const=growth.SPANS, metavar="SPANS",
        help=f"only the growth test, up to SPANS stored (default {growth.SPANS:,}; the target speaks of 10,000,000)",
    )  # fmt: skip
    parser.add_argument(
        "--redaction",
        action="store_true",
        help="only the rates with redaction and without, in turns; into REDACTION.md",
    )
    parser.add_argument("--runs-at-once", type=int, metavar="N", help="a variant of the workload, stored as NAME@N")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where bodies and data folders go (default: temporary)"
    )
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FILE")
    parser.add_argument("--table", type=Path, default=results.TABLE, metavar="FILE")
    parser.add_argument("--redaction-page", type=Path, default=boundary_cost.PAGE, metavar="FILE")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
