"""`python -m bench.reading`: how long it takes to read runs of 1,000, 10,000 and 100,000 steps, and in how much memory.

A view is filled with the runs (`bench.long_run`) and, beside them, with those of the *small* workload, through a real
`Ledger`; then its `Reader` is asked. A figure is the median of some calls: wall milliseconds, and processor milliseconds of
all threads, which others on the machine do not change. `--data` keeps the folder: a second run, of another commit say, reads
what the first has filled. A run's pages in its middle and at its end are reached by its cursors.

Memory is how much the process's resident set grew at its highest over a call, the engine's buffers included.
"""

import argparse
import gc
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from bench.long_run import long_run
from bench.run import say
from bench.workloads import WORKLOADS, bodies
from store.contract import LIMIT_MAX, Reader
from store.ledger import Ledger
from store.otlp.decode import decode, records_of
from store.otlp.leaves import leaves_of
from store.record import DEFAULT_TENANT, FrameDraft, Position, Signal

SIZES: Final = (1_000, 10_000, 100_000)
BESIDE: Final = 20_000
_SETTLE_SECONDS: Final = 1800.0
_LONG_SECONDS: Final = 2.0  # What takes longer is measured once.
_WALK_SECONDS: Final = 30.0
_RUNS: Final = "runs.json"
_END_NS: Final = 1_795_159_163_000_000_000

Figures = dict[str, str]


def fill(ledger: Ledger, sizes: Iterable[int], beside: int) -> dict[int, str]:
    """Record the runs and wait until each is worked out whole; returns trace ids by size."""
    found: dict[int, str] = {}
    if beside:
        made = bodies(WORKLOADS["small"], seed=1, spans=beside, end_ns=_END_NS)
        _record(ledger, (body.content for body in made))
    for seed, size in enumerate(sizes):
        found[size], requests = long_run(size, seed=seed, start_ns=_END_NS - size * 1_000_000_000)
        _record(ledger, requests)
    deadline = time.monotonic() + _SETTLE_SECONDS
    for size, trace_id in found.items():
        while ledger.reader.run(DEFAULT_TENANT, trace_id).steps != size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the run of {size:,} steps was not worked out within {_SETTLE_SECONDS:g} s")
            time.sleep(0.1)
    return found


def _record(ledger: Ledger, requests: Iterable[bytes]) -> None:
    last: Position | None = None
    for request in requests:
        decoded = decode(Signal.TRACES, request)
        leaves = tuple(leaves_of(records_of(Signal.TRACES, decoded.batch)))
        last = ledger.append(FrameDraft(DEFAULT_TENANT, Signal.TRACES, decoded.body, leaves))
    if last is not None and not ledger.waiter.wait_for(last, _SETTLE_SECONDS):
        raise TimeoutError(f"the view did not reach {last} within {_SETTLE_SECONDS:g} s")


def measure(reader: Reader, trace_id: str) -> Figures:
    """What reading one run takes, in words, by what was asked."""

    def page(cursor: str | None, limit: int = 100, *, inline: bool = False) -> Any:
        return reader.steps(DEFAULT_TENANT, trace_id, limit=limit, cursor=cursor, inline=inline)

    figures: Figures = {}
    run = reader.run(DEFAULT_TENANT, trace_id)
    figures["run"] = _median(lambda: reader.run(DEFAULT_TENANT, trace_id))
    figures["steps: first page"] = _median(lambda: page(None))
    figures["steps: first page inline"] = _median(lambda: page(None, inline=True))
    middle, last = _cursors(page, run.steps)
    if middle is not None:
        figures["steps: page in the middle"] = _median(lambda: page(middle))
    if last is not None:
        figures["steps: last page"] = _median(lambda: page(last))
    step_id = page(middle).rows[0].step_id
    figures["step"] = _median(lambda: reader.step(DEFAULT_TENANT, step_id))
    figures["new steps"] = _median(lambda: reader.new_steps(DEFAULT_TENANT, None, limit=100))
    figures["tool calls: first 100"] = _median(lambda: reader.tool_calls(DEFAULT_TENANT, trace_id, limit=100))
    figures["messages: first 100"] = _median(lambda: _take(reader.messages(DEFAULT_TENANT, trace_id), 100))
    figures["replay: first event"] = _median(lambda: _take(reader.replay(DEFAULT_TENANT, trace_id), 1))
    for name, stream in (("messages", reader.messages), ("replay", reader.replay)):
        taken, megabytes, count = _streamed(stream, trace_id)
        figures |= {f"{name}: all": taken, f"{name}: memory": f"{megabytes:+,.0f} MB", f"{name}: count": f"{count:,}"}
    return figures


def _take(rows: Iterable[Any], count: int) -> None:
    list(islice(rows, count))


def _median(call: Callable[[], Any], times: int = 7) -> str:
    walls: list[float] = []
    processors: list[float] = []
    for _ in range(times):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        if walls[-1] > _LONG_SECONDS:
            break
    return _words(statistics.median(walls), statistics.median(processors))


def _words(wall_seconds: float, processor_seconds: float) -> str:
    return f"{wall_seconds * 1000:,.0f} ({processor_seconds * 1000:,.0f}) ms"


def _cursors(page: Callable[..., Any], steps: int) -> tuple[str | None, str | None]:
    """A cursor about the middle of the run, and one at its end, as far as the time allows."""
    deadline = time.monotonic() + _WALK_SECONDS
    seen, cursor = 0, page(None, 1).next_cursor
    middle: str | None = None
    while cursor is not None and time.monotonic() < deadline:
        found = page(cursor, min(LIMIT_MAX, steps // 4))
        seen += len(found.rows)
        if found.next_cursor is None:
            return middle, cursor
        cursor = found.next_cursor
        if middle is None and seen >= steps // 2:
            middle = cursor
    return middle, None


def _streamed(ask: Callable[[str, str], Iterable[Any]], trace_id: str) -> tuple[str, float, int]:
    """Times, megabytes the process grew by at its highest, and rows of one stream, each encoded as the API does."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Forget the highest resident set so far.
    before, wall, processor, count = _memory_kb("VmRSS"), time.perf_counter(), time.process_time(), 0
    encode = msgspec.json.Encoder().encode
    for row in ask(DEFAULT_TENANT, trace_id):
        encode(row)
        count += 1
    taken = _words(time.perf_counter() - wall, time.process_time() - processor)
    return taken, max(_memory_kb("VmHWM") - before, 0) / 1024, count


def _memory_kb(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status says nothing of {name}")
    return int(found[1])


def table(measured: dict[int, Figures]) -> str:
    """The figures as Markdown: a line a question, a column a size."""
    names = list(dict.fromkeys(name for figures in measured.values() for name in figures))
    lines = [
        "| asked | " + " | ".join(f"{size:,} steps" for size in measured) + " |",
        "|---" * (len(measured) + 1) + "|",
    ]
    for name in names:
        cells = (figures.get(name, "too slow") for figures in measured.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--steps", type=int, nargs="+", default=list(SIZES), metavar="N", help="sizes of the runs")
    parser.add_argument("--beside", type=int, default=BESIDE, metavar="N", help=f"spans of other runs ({BESIDE:,})")
    parser.add_argument("--data", type=Path, metavar="DIR", help="fill this folder, or read what it was filled with")
    asked = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    with TemporaryDirectory(prefix="spanledger-reading-") as temporary:
        data: Path = asked.data or Path(temporary) / "data"
        kept = data / _RUNS
        ledger = Ledger.open(data)
        try:
            if not kept.exists():
                say(f"filling {data} ...")
                kept.write_bytes(msgspec.json.encode(fill(ledger, asked.steps, asked.beside)))
            runs = msgspec.json.decode(kept.read_bytes(), type=dict[int, str])
            measured: dict[int, Figures] = {}
            for size, trace_id in runs.items():
                say(f"reading the run of {size:,} steps ...")
                measured[size] = measure(ledger.reader, trace_id)
        finally:
            ledger.close()
    print(table(measured))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
