"""The engines that must keep the contract, each as a bench: a writer, a reader, a clock, and a way to record bodies.

A case knows `store.view.Writer` and `store.contract.Reader` and nothing of the engine behind them. A new engine is one more
entry of `ENGINES`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from store.contract import Page, Reader
from store.duckdb.engine import Engine
from store.duckdb.reader import DuckDbReader
from store.duckdb.writer import DuckDbWriter
from store.projection import Projection
from store.record import DEFAULT_TENANT, Frame, FrameDraft
from store.view import ViewBatch, Writer
from tests.store.ledger_bench import JOURNAL_ID, NOON_NS, SECOND_NS, Body, draft_of, frames_of


class Clock:
    """The reader's time; a case moves it."""

    def __init__(self) -> None:
        self.now_ns = NOON_NS

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class EngineBench:
    """One engine, open on an empty view."""

    writer: Writer
    reader: Reader
    clock: Clock
    close: Callable[[], None]
    drafts: list[FrameDraft] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._projection = Projection(self.writer)

    def record(self, *bodies: Body, tenant: str = DEFAULT_TENANT) -> ViewBatch:
        """Project bodies as the next frames of the record, in one batch."""
        batch = self.prepare(*bodies, tenant=tenant)
        self.writer.write(batch)
        self._projection.placed(batch)
        self._projection.written()
        return batch

    def prepare(self, *bodies: Body, tenant: str = DEFAULT_TENANT) -> ViewBatch:
        """The batch of the next frames, not yet written."""
        first = len(self.drafts)
        self.drafts += [draft_of(body, tenant) for body in bodies]
        return self._projection.project(self._received(frames_of(self.drafts)[first:]))

    def forget(self, bodies: int) -> None:
        """The last prepared bodies were not written."""
        del self.drafts[-bodies:]
        self._projection.forget()

    def _received(self, frames: list[Frame]) -> list[Frame]:
        # All of a batch arrives at the same moment: what a case says about time, it says with the clock.
        return [replace(frame, received_ns=self.clock.now_ns) for frame in frames]


def duckdb(folder: Path) -> EngineBench:
    engine = Engine(folder / "view.duckdb")
    clock = Clock()
    return EngineBench(DuckDbWriter(engine), DuckDbReader(engine, clock_ns=clock), clock, engine.close)


ENGINES: dict[str, Callable[[Path], EngineBench]] = {"duckdb": duckdb}


def pages(ask: Callable[[str | None], Page[Any]], *, most: int = 1000) -> list[list[Any]]:
    """Every page of a list, following its cursors."""
    found: list[list[Any]] = []
    cursor: str | None = None
    for _ in range(most):
        page = ask(cursor)
        found.append(page.rows)
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError(f"the list does not end within {most} pages")


def flat(found: Iterable[list[Any]]) -> list[Any]:
    return [row for page in found for row in page]


__all__ = ["ENGINES", "JOURNAL_ID", "NOON_NS", "SECOND_NS", "Body", "EngineBench", "flat", "pages"]
