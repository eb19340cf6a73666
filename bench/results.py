"""Results: one JSON object a measurement in results.ndjson, and the table of BENCHMARKS.md made from the newest of each.

A measurement says everything needed to doubt it: machine, versions, commit, exact command, workload, every round. The
table is written between two markers and never by hand.
"""

import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

BENCH: Final = Path(__file__).parent
RESULTS: Final = BENCH / "results.ndjson"
TABLE: Final = BENCH / "BENCHMARKS.md"
BEGIN: Final = "<!-- table: written by bench.run -->"
END: Final = "<!-- end of table -->"
# Measuring changes them, which does not change what is measured.
_WRITTEN_HERE: Final = tuple(f":(top,exclude)bench/{name}" for name in (RESULTS.name, TABLE.name, "REDACTION.md"))
_PACKAGES: Final = ("spanledger", "duckdb", "ptars", "pyarrow", "uvicorn", "zstandard", "protobuf")


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table: `figure` of `benchmark`, alone or over `base` of another, against a bound."""

    words: str
    benchmark: str
    figure: str
    bound: float
    unit: str
    at_least: bool
    base: tuple[str, str] | None = None


def _ratio(words: str, workload: str, bound: float, base: tuple[str, str]) -> Target:
    return Target(words, f"{workload}/saturated", "visible_spans_per_second", bound, "x", at_least=True, base=base)


TARGETS: Final = (
    _ratio("history: visible spans/s over MLflow's stored", "history", 20, ("history/mlflow", "stored_spans_per_second")),
    _ratio("history: over Phoenix's", "history", 50, ("history/phoenix", "stored_spans_per_second")),
    _ratio("history: over the limit", "history", 0.5, ("history/limit", "spans_per_second")),
    _ratio("small: visible spans/s over MLflow's stored", "small", 30, ("small/mlflow", "stored_spans_per_second")),
    _ratio("small: over Phoenix's", "small", 150, ("small/phoenix", "stored_spans_per_second")),
    _ratio("small: over the limit", "small", 0.4, ("small/limit", "spans_per_second")),
    *(
        Target(f"{name}, half load: {words} p99", f"{name}/paced", figure, bound, "ms", at_least=False)
        for name in ("history", "small")
        for words, figure, bound in (("ack", "ack_ms_p99", 100), ("visible after ack", "visible_ms_p99", 500))
    ),
    Target(
        "history: OTLP bytes over journal and view", "history/saturated", "otlp_bytes_per_stored_byte", 15, "x",
        at_least=True,
    ),
    *(
        Target(f"{name}: server memory", f"{name}/saturated", "server_memory_peak_mb", 1200, "MB", at_least=False)
        for name in ("history", "small")
    ),
    *(
        Target(
            f"{name}: visible spans/s with redaction over without", f"{name}/redaction", "on_visible_spans_per_second",
            0.8, "x", at_least=True, base=(f"{name}/redaction", "off_visible_spans_per_second"),
        )
        for name in ("history", "small")
    ),
    Target("small: rate at the end of growth over that at a tenth", "growth", "rate_kept", 0.9, "x", at_least=True),
)  # fmt: skip


def measurement(
    benchmark: str,
    *,
    command: list[str],
    quick: bool,
    workload: dict[str, Any],
    rounds: list[dict[str, Any]],
    load_before: float,
) -> dict[str, Any]:
    """A measurement as it is stored; `median` has the median of every number that all rounds have.

    `load_before` is the machine's load average when the run began: what others did on the cores that were measured.
    """
    return {
        "benchmark": benchmark,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m bench.run {shlex.join(command)}".strip(),
        "quick": quick,
        "commit": commit(),
        "machine": machine() | {"load_before": load_before},
        "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "workload": workload,
        "median": {
            name: statistics.median(each[name] for each in rounds)
            for name, value in rounds[0].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        },
        "rounds": rounds,
    }  # fmt: skip


def append(path: Path, done: dict[str, Any]) -> None:
    """Add one measurement to a results file."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(done) + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All measurements of a results file, oldest first; none where there is no file."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line]


def table(measurements: Iterable[dict[str, Any]]) -> str:
    """The targets and what the newest measurement of each says, as Markdown."""
    newest = {done["benchmark"]: done for done in measurements}
    lines = [
        "| target | bound | measured | of | reached |",
        "|---|---|---|---|---|",
        *(_line(target, newest) for target in TARGETS),
        "",
        "Medians of the rounds. Where they come from (a load before of more than some tenths: others used the cores):",
        "",
        "| measurement | command | when | commit | rounds | spans a round | bytes a span | load before |",
        "|---|---|---|---|---|---|---|---|",
        *(_origin(name, newest[name]) for name in sorted(newest)),
        "",
        *sorted({_setting(done) for done in newest.values()}),
    ]
    return "\n".join(lines)


def write_table(path: Path, measurements: Iterable[dict[str, Any]]) -> None:
    """Put the table between the markers of a Markdown file. Raises ValueError where they are not there."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path.name} lacks the markers {BEGIN!r} and {END!r}: put them where the table belongs")
    path.write_text(f"{before}{BEGIN}\n\n{table(measurements)}\n\n{END}{after}")


def commit() -> str:
    """The commit that is checked out, with "+changes" where files differ from it; "unknown" outside a repository."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+changes" if _git("status", "--porcelain", "--", ":/", *_WRITTEN_HERE) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict[str, Any]:
    """Processor, cores, memory and kernel."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=BENCH, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(target: Target, newest: dict[str, dict[str, Any]]) -> str:
    bound = f"{'≥' if target.at_least else '≤'} {_figure(target.bound)} {target.unit}"
    wanted = [(target.benchmark, target.figure), *([target.base] if target.base else [])]
    absent = [name for name, figure in wanted if name not in newest or figure not in newest[name]["median"]]
    if absent:
        return f"| {target.words} | {bound} | not measured: {', '.join(absent)} | | |"
    found: list[float] = [newest[name]["median"][figure] for name, figure in wanted]
    value, of = found[0], ""
    if target.base:
        of = f"{_figure(found[0])} over {_figure(found[1])} spans/s"
        value = found[0] / found[1]
    reached = value >= target.bound if target.at_least else value <= target.bound
    return f"| {target.words} | {bound} | {_figure(value)} {target.unit} | {of} | {'yes' if reached else 'no'} |"


def _origin(name: str, done: dict[str, Any]) -> str:
    load = done["workload"]
    return (
        f"| {name} | `{done['command']}` | {done['at']} | {done['commit']} | {len(done['rounds'])} "
        f"| {load['spans']:,} | {load['bytes_a_span']:,.1f} | {done['machine']['load_before']:.1f} |"
    )


def _setting(done: dict[str, Any]) -> str:
    here = done["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in done["versions"].items())
    return (
        f"- {here['cores']} cores of {here['processor']}, {here['memory_gb']:g} GB, Linux {here['kernel']}, client and "
        f"server on the same cores; {versions}."
    )
