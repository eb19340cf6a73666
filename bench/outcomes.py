"""What a hostile case gives: figures, and what had to hold. Written as results.ndjson has it, and as a table for people."""

import platform
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import results

RESULTS: Final = results.BENCH / "hostile.ndjson"
TABLE: Final = results.BENCH / "HOSTILE.md"
PREFIX: Final = "hostile/"
BEGIN: Final = "<!-- table: written by bench.hostile -->"
END: Final = "<!-- end of table -->"


class CannotRun(Exception):
    """Why a case cannot be run on this machine or by this user."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold: in words, what was found, and whether it held."""

    words: str
    found: str
    held: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case did (`done`, a sentence with numbers), its figures by name (units last), and its checks."""

    done: str
    figures: dict[str, float]
    checks: tuple[Check, ...]

    @property
    def held(self) -> bool:
        return all(check.held for check in self.checks)


def at_most(words: str, value: float | None, bound: float, unit: str) -> Check:
    """A check that a value is there and not above a bound."""
    found = "not reached" if value is None else f"{value:,.4g} {unit}"
    return Check(f"{words} ≤ {bound:,.5g} {unit}", found, value is not None and value <= bound)


def nothing(words: str, count: int) -> Check:
    """A check that there are 0 of something."""
    return Check(f"0 {words}", f"{count:,}", count == 0)


def measurement(
    name: str, outcome: Outcome, *, command: list[str], quick: bool, note: str, load_before: float
) -> dict[str, Any]:
    """An outcome as one line of a results file. `load_before` is the machine's load average when the case began."""
    done = results.measurement(
        PREFIX + name,
        command=command,
        quick=quick,
        workload={"name": name, "done": outcome.done, "note": note},
        rounds=[dict(outcome.figures)],
        load_before=load_before,
    )
    checks = [{"words": check.words, "found": check.found, "held": check.held} for check in outcome.checks]
    line = f"python -m bench.hostile {shlex.join(command)}".strip()
    return done | {"command": line, "checks": checks, "held": outcome.held}


def table(measurements: Iterable[dict[str, Any]], order: Iterable[str]) -> str:
    """The newest outcome of every case, as Markdown."""
    newest = {done["benchmark"].removeprefix(PREFIX): done for done in measurements}
    shown = [newest[name] for name in order if name in newest]
    lines = ["| case | what was done | had to hold | found | held |", "|---|---|---|---|---|"]
    for done in shown:
        name, what = done["workload"]["name"], done["workload"]["done"]
        for place, check in enumerate(done["checks"]):
            first = (name, what) if place == 0 else ("", "")
            held = "yes" if check["held"] else "**no**"
            lines.append(f"| {first[0]} | {first[1]} | {check['words']} | {check['found']} | {held} |")
    lines += ["", "| case | command | when | commit | load before | figures |", "|---|---|---|---|---|---|"]
    for done in shown:
        figures = ", ".join(f"{name} {value:,.5g}" for name, value in done["rounds"][0].items())
        lines.append(
            f"| {done['workload']['name']} | `{done['command']}` | {done['at']} | {done['commit']} "
            f"| {done['machine']['load_before']:.1f} | {figures} |"
        )
    notes = sorted({f"- {done['workload']['name']}: {note}" for done in shown if (note := done["workload"]["note"])})
    return "\n".join([*lines, "", *sorted({_machine(done) for done in shown}), *notes])


def write_table(path: Path, text: str) -> None:
    """Put the table between the markers of a Markdown file. Raises ValueError where they are not there."""
    page = path.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path.name} lacks the markers {BEGIN!r} and {END!r}: put them where the table belongs")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _machine(done: dict[str, Any]) -> str:
    here = done["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in done["versions"].items())
    return (
        f"- {here['cores']} cores of {here['processor']}, {here['memory_gb']:g} GB, Linux {here['kernel']} "
        f"({platform.machine()}), client and server on the same cores; {versions}."
    )
