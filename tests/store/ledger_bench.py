"""What the tests of projector, ledger and engines share: recorded bodies as drafts and frames, and views made of them.

Frames are made here without a journal, so that the same ones (sequence and receive time included) can be projected in
different batches and the views compared byte by byte.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from store.duckdb.digests import table_digests
from store.duckdb.engine import Engine
from store.duckdb.writer import DuckDbWriter
from store.otlp.decode import decode, records_of
from store.otlp.leaves import leaves_of, root_of
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.projection import Projection
from store.record import DEFAULT_TENANT, Frame, FrameDraft, Signal
from store.view import ViewBatch

CAPTURES = Path(__file__).parents[1] / "fixtures" / "captures"
JOURNAL_ID = "feedfeedfeedfeedfeedfeedfeedfeed"
NOON_NS = 1_780_000_000_000_000_000
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Body:
    """One request body."""

    signal: Signal
    data: bytes


@cache
def captures() -> dict[str, tuple[Body, ...]]:
    """Every recorded capture by name, its bodies in the order they were sent."""
    found: dict[str, tuple[Body, ...]] = {}
    for index in sorted(CAPTURES.glob("*/index.json")):
        entries = json.loads(index.read_text())
        found[index.parent.name] = tuple(
            Body(Signal[entry["signal"].upper()], (index.parent / entry["file"]).read_bytes()) for entry in entries
        )
    assert len(found) > 20
    return found


@cache
def draft_of(body: Body, tenant: str = DEFAULT_TENANT) -> FrameDraft:
    """What the collector would hand to the journal."""
    decoded = decode(body.signal, body.data)
    return FrameDraft(tenant, body.signal, decoded.body, tuple(leaves_of(records_of(body.signal, decoded.batch))))


def frames_of(drafts: Iterable[FrameDraft]) -> list[Frame]:
    """The frames that a journal would hold, a second apart from noon on."""
    return [
        Frame(
            sequence, draft.type, draft.tenant, draft.signal, NOON_NS + sequence * SECOND_NS, len(draft.leaves),
            root_of(draft.leaves), draft.body,
        )
        for sequence, draft in enumerate(drafts, 1)
    ]  # fmt: skip


def split(body: Body) -> list[Body]:
    """The same records, each in a request of its own."""
    outer_name, inner_name, record_name = LEVELS[body.signal]
    request: Any = REQUEST_MESSAGES[body.signal].FromString(body.data)
    single: list[Body] = []
    for outer in getattr(request, outer_name):
        for inner in getattr(outer, inner_name):
            for record in getattr(inner, record_name):
                alone: Any = REQUEST_MESSAGES[body.signal]()
                new_outer = getattr(alone, outer_name).add(schema_url=outer.schema_url)
                new_outer.resource.CopyFrom(outer.resource)
                new_inner = getattr(new_outer, inner_name).add(schema_url=inner.schema_url)
                new_inner.scope.CopyFrom(inner.scope)
                getattr(new_inner, record_name).add().CopyFrom(record)
                single.append(Body(body.signal, alone.SerializeToString()))
    return single


def batches(frames: Sequence[Frame], sizes: Sequence[int]) -> list[Sequence[Frame]]:
    """The frames cut into batches of these sizes; what is left over is the last one."""
    ends = [end for end in accumulate(sizes) if end < len(frames)]
    return [frames[a:b] for a, b in pairwise([0, *ends, len(frames)]) if a < b]


class View:
    """A view in memory, fed by hand. `restart` forgets everything but the tables, as a new process would."""

    def __init__(self) -> None:
        self.engine = Engine(Path(":memory:"))
        self.writer = DuckDbWriter(self.engine)
        self.writer.begin(JOURNAL_ID)
        self._projection = Projection(self.writer)
        self._sequence = 0

    def project(self, frames: Sequence[Frame]) -> ViewBatch:
        batch = self._projection.project(list(frames))
        self._sequence = batch.sequence
        self.writer.write(batch)
        self._projection.placed(batch)
        self._projection.written()
        return batch

    def restart(self) -> None:
        self._projection = Projection(self.writer)

    def settle(self) -> None:
        """Work out the runs that rest: on a slow machine even a small one may."""
        batch = self._projection.settle(self._sequence, at_once=True)
        if batch is not None:
            self.writer.write(batch)
            self._projection.placed(batch)
            self._projection.written()

    def digests(self) -> dict[str, str]:
        self.settle()
        return table_digests(self.engine)

    def rows(self, table: str, *, without: Iterable[str] = ()) -> list[dict[str, Any]]:
        self.settle()
        rows = self.engine.rows(f"SELECT * EXCLUDE ({', '.join(without)}) FROM {table}" if without else f"FROM {table}")
        return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))

    def count(self, table: str) -> int:
        return self.engine.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"]

    def close(self) -> None:
        self.engine.close()


def settled_digests(engine: Engine) -> dict[str, str]:
    """The digests of a view that a projector keeps, once no run of it rests."""
    writer, deadline = DuckDbWriter(engine), time.monotonic() + 20
    while writer.owed() and time.monotonic() < deadline:
        time.sleep(0.01)
    return table_digests(engine)


def digests_of(frames: Sequence[Frame], sizes: Sequence[int] = (), *, restarts: bool = False) -> dict[str, str]:
    """The digests of a view into which the frames went in batches of these sizes."""
    view = View()
    try:
        for batch in batches(frames, sizes):
            view.project(batch)
            if restarts:
                view.restart()
        return view.digests()
    finally:
        view.close()


def every_body(names: Iterable[str] | None = None) -> list[Body]:
    return [body for name in (names or captures()) for body in captures()[name]]


def renumbered(frames: Iterable[Frame]) -> list[Frame]:
    """The frames in this order, with sequence and receive time as if they had come in it."""
    return [
        replace(frame, sequence=sequence, received_ns=NOON_NS + sequence * SECOND_NS)
        for sequence, frame in enumerate(frames, 1)
    ]


class FailingWriter:
    """A DuckDB writer whose commits do first what they are told: raise, wait, count."""

    def __init__(self, engine: Engine, before_write: Callable[[ViewBatch], None]) -> None:
        self._writer = DuckDbWriter(engine)
        self._before_write = before_write
        self.written: list[ViewBatch] = []

    def prepare(self, batch: ViewBatch) -> Any:
        return batch, self._writer.prepare(batch)

    def commit(self, prepared: Any) -> None:
        batch, inner = prepared
        self._before_write(batch)
        self._writer.commit(inner)
        self.written.append(batch)

    def write(self, batch: ViewBatch) -> None:
        self.commit(self.prepare(batch))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)
