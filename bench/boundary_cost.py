"""What the boundary costs the whole server: saturated, with redaction and without, in turns, on the same bodies.

A machine that others use gives other figures from minute to minute, so a ratio is one of neighbours: a round measures both,
and every other round the other way round. Processor seconds of the server stand beside the rate, for they waver less.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.bodies import BodyFile
from bench.measure import Saturated, saturated
from bench.workloads import Workload

PAGE: Final = Path(__file__).parent / "REDACTION.md"
BEGIN: Final = "<!-- table: written by bench.run -->"
END: Final = "<!-- end of table -->"
NAME: Final = "redaction"
RATIO_MIN: Final = 0.8


@dataclass(frozen=True, slots=True)
class OnAndOff:
    """One round: visible spans a second, and the server's processor seconds, with the built-in policy and without."""

    on_visible_spans_per_second: float
    off_visible_spans_per_second: float
    on_server_cpu_seconds: float
    off_server_cpu_seconds: float


def on_and_off(workload: Workload, file: BodyFile, folder: Path, *, on_first: bool) -> OnAndOff:
    """Both, each with a server and a data folder of its own. Raises LoadFailed, ServerFailed."""
    done: dict[str, Saturated] = {}
    for redaction in ("on", "off") if on_first else ("off", "on"):
        with TemporaryDirectory(dir=folder) as name:
            done[redaction] = saturated(workload, file, Path(name), "--redaction", redaction)
    return OnAndOff(
        done["on"].visible_spans_per_second,
        done["off"].visible_spans_per_second,
        done["on"].server_cpu_seconds,
        done["off"].server_cpu_seconds,
    )


def section(measurements: Iterable[dict[str, Any]]) -> str:
    """The newest measurement of each workload as Markdown, with its markers."""
    newest = {name: done for done in measurements if (name := done["benchmark"]).endswith(f"/{NAME}")}
    lines = [
        "The whole server, saturated, until the last span is visible; medians of rounds in turns (`python -m bench.run",
        f"--redaction`). With redaction at least {RATIO_MIN} of the rate without it is what is asked for:",
        "",
        "| workload | off, spans/s | on, spans/s | on over off | server's CPU, on over off | rounds | when | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for done in newest.values():
        middle = done["median"]
        on, off = middle["on_visible_spans_per_second"], middle["off_visible_spans_per_second"]
        cpu = middle["on_server_cpu_seconds"] / middle["off_server_cpu_seconds"]
        lines.append(
            f"| *{done['workload']['name']}* | {off:,.0f} | {on:,.0f} | {on / off:.2f} | {cpu:.2f} | {len(done['rounds'])} "
            f"| {done['at']} | {done['commit']} |"
        )
    return "\n".join([BEGIN, "", *lines, "", END])


def written_into(page: str, measurements: Iterable[dict[str, Any]]) -> str:
    """A page with its section made anew; at its end where it has none yet."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if begin else ""
    return f"{before.rstrip()}\n\n{section(measurements)}\n{after.lstrip()}"
