"""`runs`, `access`, `replay`, `diff` and `tail`: rows from a record to stdout, for people or for programs.

In a terminal they are tables and timelines; piped they are NDJSON, a row or an event a line, with every field. A reader
of the pipe that leaves early (`| head`) is no error.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console

from query.times import NS_PER_SECOND, parse_time_ns
from spanledger.reading import RunRecord
from spanledger.rendering.accesses import accesses_table
from spanledger.rendering.differences import diff_lines
from spanledger.rendering.runs import runs_table
from spanledger.rendering.steps import step_line
from spanledger.rendering.timeline import Timeline
from spanledger.windows import WHOLE, Window
from store.contract import LIMIT_MAX, AccessFilter, Page, RunFilter, StepFilter
from store.model.rows import ReplayEvent

Row = TypeVar("Row")

WIDE_COLUMNS: Final = 130  # From here on a run's counts fit beside its id.


class Form(StrEnum):
    """How answers are written."""

    AUTO = "auto"
    TEXT = "text"
    NDJSON = "ndjson"

    def is_text(self) -> bool:
        """Whether a person reads: asked for, or stdout is a terminal."""
        return self is Form.TEXT or (self is Form.AUTO and sys.stdout.isatty())


def console() -> Console:
    """stdout, with neither markup nor emoji read into what was recorded."""
    # Text that is not for a terminal (a file, a pager, a build's log) has no width of its own.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE_COLUMNS
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False, width=width)


@contextmanager
def pipe() -> Generator[None]:
    """Let the reader of stdout leave before the end."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, and would fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_runs(record: RunRecord, where: RunFilter, *, limit: int, form: Form) -> None:
    """The newest `limit` runs that fulfil the conditions."""
    runs = _pages(lambda most, cursor: record.runs(where, limit=most, cursor=cursor), limit)
    with pipe():
        if not form.is_text():
            _lines(runs)
            return
        rows = list(runs)
        out = console()
        if rows:
            out.print(runs_table(rows, wide=out.width >= WIDE_COLUMNS))
        else:
            out.print("No runs." if where == RunFilter() else "No run fulfils these conditions.")


def show_accesses(record: RunRecord, where: AccessFilter, *, limit: int, form: Form) -> None:
    """The latest `limit` access records that fulfil the conditions."""
    accesses = _pages(lambda most, cursor: record.accesses(where, limit=most, cursor=cursor), limit)
    with pipe():
        if not form.is_text():
            _lines(accesses)
            return
        rows = list(accesses)
        out = console()
        if rows:
            out.print(accesses_table(rows))
        else:
            out.print("Nothing was read." if where == AccessFilter() else "No access fulfils these conditions.")


def show_replay(
    record: RunRecord,
    run_id: str,
    *,
    form: Form,
    full: bool = False,
    window: Window = WHOLE,
    speed: float | None = None,
    pause: Callable[[float], Any] = time.sleep,
) -> None:
    """One run as ordered events. With `speed` in the time that it took, divided by that.

    Raises FrontDoorError, NotFound or BadQuery for a run, or steps of it, that are not there.
    """
    events = record.replay(run_id, window)
    if speed is not None:
        events = in_time(events, speed, pause)
    with pipe():
        if not form.is_text():
            _lines(events)
            return
        out = console()
        for renderable in Timeline(full=full).events(events):
            out.print(renderable)


def in_time(events: Iterable[ReplayEvent], speed: float, pause: Callable[[float], Any]) -> Iterator[ReplayEvent]:
    """Events, each when its time has come. What was already shown is flushed before each wait."""
    begun, first_ns = time.monotonic(), None
    for event in events:
        at_ns = None if event.at is None else parse_time_ns(event.at)
        first_ns = at_ns if first_ns is None else first_ns
        if at_ns is not None and first_ns is not None:
            left = begun + (at_ns - first_ns) / NS_PER_SECOND / speed - time.monotonic()
            if left > 0:
                sys.stdout.flush()
                pause(left)
        yield event


def show_diff(record: RunRecord, run_id: str, other_run_id: str, *, form: Form) -> None:
    """Two runs beside each other. Raises FrontDoorError or NotFound for an unknown one."""
    found = record.diff(run_id, other_run_id)
    with pipe():
        if not form.is_text():
            _lines([found])
            return
        out = console()
        for renderable in diff_lines(found):
            out.print(renderable)


def show_steps(record: RunRecord, where: StepFilter, after: str | None, *, form: Form, follow: bool) -> None:
    """Steps as they are recorded, from behind `after`. With `follow` until interrupted, else to the end of the record."""
    out = console() if form.is_text() else None
    with pipe():
        for step in record.live(where, after, follow=follow):
            if out is None:
                _lines([step])
            else:
                out.print(step_line(step), no_wrap=True, overflow="ellipsis")
            sys.stdout.flush()


def _pages(ask: Callable[[int, str | None], Page[Row]], limit: int) -> Iterator[Row]:
    cursor: str | None = None
    while limit > 0:
        page = ask(min(limit, LIMIT_MAX), cursor)
        yield from page.rows
        limit -= len(page.rows)
        cursor = page.next_cursor
        if cursor is None:
            return


def _lines(rows: Iterable[Any]) -> None:
    for row in rows:
        sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
