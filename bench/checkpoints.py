"""`python -m bench.checkpoints`: for how long a checkpoint of the view holds its writer up, by the rows of a row group.

One process, no network and no journal: requests are taken in, normalised and written one by one; whenever the write-ahead
log has grown to the threshold, a checkpoint is written and timed. Prints one line of JSON for each size of a row group.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from prometheus_client import CollectorRegistry

from bench.workloads import WORKLOADS, bodies
from collector.boundary import PassThrough
from collector.intake import Intake
from collector.metrics import IngestMetrics
from store.duckdb.engine import CHECKPOINT_MB, GROUP_ROWS, Engine
from store.duckdb.writer import DuckDbWriter
from store.projection import Projection
from store.record import Frame, FrameDraft, FrameType, Position, Signal

_JOURNAL_ID: Final = "0" * 32
_NEVER_MB: Final = 100_000
_SEED: Final = 3


class _Last:
    """In place of a journal: keeps the last draft."""

    draft: FrameDraft

    def append(self, draft: FrameDraft) -> Position:
        self.draft = draft
        return Position(_JOURNAL_ID, 1)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """`spans` were written with `milliseconds` of one checkpoint after another; `file_bytes`: after the last."""

    group_rows: int
    spans: int
    milliseconds: list[float]
    file_bytes: int

    def told(self) -> dict[str, Any]:
        """One line of the output."""
        return {
            "group_rows": self.group_rows,
            "spans": self.spans,
            "checkpoints": len(self.milliseconds),
            "ms_median": round(statistics.median(self.milliseconds), 1),
            "ms_max": round(max(self.milliseconds), 1),
            "us_a_span": round(sum(self.milliseconds) / self.spans * 1000, 1),
            "bytes_a_span": round(self.file_bytes / self.spans),
        }


def measure(workload: str, *, spans: int, group_rows: int, log_bytes: int, folder: Path) -> Checkpoints:
    """Fill a view in `folder` (which is empty) and write a checkpoint whenever its log reaches `log_bytes`."""
    engine = Engine(folder / "view.duckdb", group_rows=group_rows, checkpoint_mb=_NEVER_MB)
    writer = DuckDbWriter(engine)
    writer.begin(_JOURNAL_ID)
    projection = Projection(writer)
    last = _Last()
    intake = Intake(last, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
    log = folder / "view.duckdb.wal"
    taken: list[float] = []
    done = 0
    sent = bodies(WORKLOADS[workload], seed=_SEED, spans=spans, end_ns=time.time_ns())
    for sequence, body in enumerate(sent, 1):
        intake.accept(Signal.TRACES, body.content)
        batch = projection.project([_frame(sequence, last.draft)])
        writer.write(batch)
        projection.placed(batch)
        projection.written()
        done += body.spans
        if log.exists() and log.stat().st_size > log_bytes:
            taken.append(_checkpoint(engine))
    taken.append(_checkpoint(engine))
    file_bytes = engine.path.stat().st_size
    engine.close()
    return Checkpoints(group_rows, done, taken, file_bytes)


def _checkpoint(engine: Engine) -> float:
    begun = time.perf_counter()
    engine.cursor().execute("CHECKPOINT")
    return (time.perf_counter() - begun) * 1000


def _frame(sequence: int, draft: FrameDraft) -> Frame:
    return Frame(
        sequence=sequence,
        type=FrameType.OTLP,
        tenant=draft.tenant,
        signal=draft.signal,
        received_ns=time.time_ns(),
        records=len(draft.leaves),
        root=bytes(32),
        body=draft.body,
        leaves=draft.leaves,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size of a row group in turn; 0 when done."""
    parser = argparse.ArgumentParser(prog="python -m bench.checkpoints", description=__doc__)
    parser.add_argument("--workload", choices=["history", "small"], default="small")
    parser.add_argument("--spans", type=int, default=150_000)
    parser.add_argument("--group-rows", type=int, nargs="+", default=[122_880, GROUP_ROWS])
    parser.add_argument("--log-mb", type=int, default=CHECKPOINT_MB)
    chosen = parser.parse_args(arguments)
    for group_rows in chosen.group_rows:
        with TemporaryDirectory(prefix="spanledger-checkpoints-") as folder:
            done = measure(
                chosen.workload,
                spans=chosen.spans,
                group_rows=group_rows,
                log_bytes=chosen.log_mb * 1_000_000,
                folder=Path(folder),
            )
        sys.stdout.write(json.dumps({"workload": chosen.workload} | done.told()) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
