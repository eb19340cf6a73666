"""`python -m bench.hostile [case ...]`: treat a server badly, see that it keeps its promises, write down what happened.

Each case starts real servers on a data folder of its own. Its outcome is a line of hostile.ndjson (the shape of
results.ndjson) and rows of the table in HOSTILE.md; the exit status is 1 where something did not hold. `--quick` takes
seconds a case and is stored as such: it never gets into the table.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from bench import outcomes, results
from bench.crash_cases import FullDisk, Kill, Sigterm
from bench.load import LoadFailed
from bench.outcomes import CannotRun, Outcome
from bench.overload import Overload
from bench.run import say
from bench.senders import SenderStuck
from bench.server import ServerFailed
from bench.volume_cases import BigTraceCase, Idle, Tiny


class Case(Protocol):
    """Something done to a server."""

    def run(self, folder: Path) -> Outcome:
        """Do it, with everything in an empty folder. Raises ServerFailed, LoadFailed, SenderStuck, CannotRun."""
        ...


CASES: Final[Mapping[str, Callable[[argparse.Namespace], Case]]] = {
    "kill": lambda asked: Kill(rounds=asked.rounds, load_seconds_max=1.0),
    "full_disk": lambda asked: FullDisk(disk_mb=110, full_seconds=asked.full_seconds),
    "big_trace": lambda asked: BigTraceCase(spans=asked.spans),
    "tiny": lambda asked: Tiny(requests_per_second=asked.tiny_rate, seconds=asked.tiny_seconds),
    "idle": lambda asked: Idle(connections=asked.connections, seconds=asked.idle_seconds),
    "overload": lambda asked: Overload(seconds=asked.overload_seconds, calibration_seconds=asked.overload_seconds / 4),
    "sigterm": lambda asked: Sigterm(rounds=asked.sigterm_rounds, load_seconds=5.0),
}
# Name, full, quick, what it is.
_SIZES: Final = (
    ("--rounds", 200, 10, "rounds of kill"),
    ("--full-seconds", 10.0, 3.0, "how long the disk stays full"),
    ("--spans", 1_000_000, 100_000, "spans of big_trace"),
    ("--tiny-rate", 5_000.0, 500.0, "requests a second of tiny"),
    ("--tiny-seconds", 20.0, 5.0, "how long tiny goes on"),
    ("--connections", 10_000, 1_000, "idle connections"),
    ("--idle-seconds", 20.0, 5.0, "how long idle sends beside them"),
    (
        "--overload-seconds",
        60.0,
        8.0,
        "how long overload goes on; a quarter of it before, to find the sustainable rate",
    ),
    ("--sigterm-rounds", 3, 1, "rounds of sigterm"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(command)
    for option, full, quick, _ in _SIZES:
        name = option.removeprefix("--").replace("-", "_")
        if getattr(asked, name) is None:
            setattr(asked, name, quick if asked.quick else full)
    held = True
    for name in asked.case or CASES:
        say(f"{name} ...")
        load_before = os.getloadavg()[0]
        try:
            with TemporaryDirectory(prefix="spanledger-hostile-", dir=asked.folder) as folder:
                outcome = CASES[name](asked).run(Path(folder))
        except CannotRun as error:
            say(f"{name} skipped: {error}")
            continue
        except (ServerFailed, LoadFailed, SenderStuck) as error:
            say(f"{name} failed: {error}")
            held = False
            continue
        done = outcomes.measurement(
            name, outcome, command=command, quick=asked.quick, note=asked.note, load_before=load_before
        )
        results.append(asked.results, done)
        _tell(name, outcome)
        held &= outcome.held
    measured = [done for done in results.read(asked.results) if done["quick"] == asked.quick]
    if asked.quick:
        print(outcomes.table(measured, CASES))
    else:
        outcomes.write_table(asked.table, outcomes.table(measured, CASES))
    return 0 if held else 1


def _tell(name: str, outcome: Outcome) -> None:
    say(f"{name}: {outcome.done}")
    say("  " + ", ".join(f"{figure} {value:,.5g}" for figure, value in outcome.figures.items()))
    for check in outcome.checks:
        say(f"  {'held    ' if check.held else 'NOT HELD'} {check.words}: {check.found}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("case", nargs="*", metavar="case", help=f"{', '.join(CASES)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="small sizes; never gets into the table")
    for option, full, quick, words in _SIZES:
        parser.add_argument(option, type=type(full), metavar="N", help=f"{words} ({full:,g}; quick {quick:,g})")
    parser.add_argument(
        "--note", default="", help="something to say about this run, as what else the machine was doing"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where data folders go (default: temporary)")
    parser.add_argument("--results", type=Path, default=outcomes.RESULTS, metavar="FILE")
    parser.add_argument("--table", type=Path, default=outcomes.TABLE, metavar="FILE")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
