"""The record in a data folder that no server holds, as the commands read it: opened by this process, and leaving a trace.

Who may read the folder may read all of it, so nothing is withheld here; but what is shown is recorded first, as by a
server, under the name that the operating system has for the user.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import chain, islice
from typing import Final

import structlog

from query.moments import moment_of
from query.new_steps import new_steps
from query.trail import RECORD_SECONDS_MAX, Asked, Kind, Note, must_be_recorded, record_of, without_content
from query.view import TenantReader
from spanledger.errors import FrontDoorError
from spanledger.local_user import local_principal
from spanledger.settings import Settings
from spanledger.trail_keeping import record_waiting_changes
from spanledger.windows import WHOLE, Window
from store.contract import AccessFilter, Moment, Page, RunFilter
from store.errors import StoreError
from store.ledger import Ledger
from store.model.diff_rows import RunDiff
from store.model.prices import read_prices
from store.model.rows import AccessRow, ReplayEvent, RunRow, StepRow
from store.record import Position

CATCH_UP_SECONDS: Final = 600.0  # A folder that was never projected is projected whole; people can interrupt it.
_CLOSE_SECONDS: Final = 5.0

_log: Final = structlog.stdlib.get_logger(__name__)


class LocalRecord:
    """The record in a data folder that this process has opened itself. What it shows is recorded before it is returned."""

    def __init__(self, ledger: Ledger, *, purpose: str | None = None) -> None:
        """`purpose` is redacted already."""
        self._ledger = ledger
        self._purpose = purpose
        self._who = local_principal()

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        reader, note = self._reader()
        page = reader.runs(where, limit=limit, cursor=cursor)
        if self._kept_or_withheld("runs", note, where):
            return page
        return self._reader()[0].runs(where, limit=limit, cursor=cursor)

    def accesses(self, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        reader, note = self._reader()
        page = reader.accesses(where, limit=limit, cursor=cursor)
        self._keep(Kind.ACCESS, "access", note, where)
        return page

    def replay(self, run_id: str, window: Window = WHOLE) -> Iterator[ReplayEvent]:
        moment = None if window.as_of is None else moment_of(window.as_of)
        reader, note = self._reader(moment)
        events = reader.replay(run_id, from_step=window.from_step, until_step=window.until_step)
        first = list(islice(events, 1))  # An unknown run shows here, and there is nothing to record of it.
        self._keep(Kind.REPLAY, "replay", note)
        return chain(first, events)

    def diff(self, run_id: str, other_run_id: str) -> RunDiff:
        reader, note = self._reader()
        found = reader.diff(run_id, other_run_id)
        self._keep(Kind.CONTENT, "diff", note)
        return found

    def new_steps(self, after: Position | None, *, limit: int) -> list[StepRow]:
        reader, note = self._reader()
        steps = new_steps(lambda start, rows: reader.new_steps(start, limit=rows), after, limit=limit)
        if self._kept_or_withheld("tail", note):
            return steps
        reader, _ = self._reader()
        return new_steps(lambda start, rows: reader.new_steps(start, limit=rows), after, limit=limit)

    def _reader(self, as_of: Moment | None = None) -> tuple[TenantReader, Note]:
        note = Note()
        return TenantReader(self._ledger.reader, self._who, set(), note, as_of), note

    def _kept_or_withheld(self, command: str, note: Note, where: RunFilter | None = None) -> bool:
        """Record a list. False where that cannot be: from then on metadata alone is shown, which an incident needs."""
        try:
            self._keep(Kind.CONTENT, command, note, where)
        except FrontDoorError as error:
            if where is not None and where.q is not None:
                raise
            _log.warning("content_withheld", cause=str(error))
            self._who = without_content(self._who)
            return False
        return True

    def _keep(self, kind: Kind, command: str, note: Note, where: RunFilter | AccessFilter | None = None) -> None:
        """Record what is about to be shown. Raises FrontDoorError where that cannot be."""
        if must_be_recorded(self._who, kind, note, ok=True) is None:
            return
        said = {} if where is None else {member.name: getattr(where, member.name) for member in fields(where)}
        query = [(name, str(value)) for name, value in said.items() if value is not None]
        asked = Asked(call=command, query=query, purpose=self._purpose, door="cli")
        record = record_of(self._who, kind, asked, note, at_ns=time.time_ns())
        try:
            self._ledger.record(self._who.tenant, [record]).result(RECORD_SECONDS_MAX)
        except (StoreError, TimeoutError) as error:
            raise FrontDoorError(
                f"what is read is recorded before it is shown, and it cannot be recorded: {error}",
                "free disk space in the data folder, or see its journal's error in the log",
            ) from error

    def view_position(self) -> Position | None:
        return self._ledger.reader.status().position

    def wait_for(self, position: Position) -> None:
        if not self._ledger.waiter.wait_for(position, CATCH_UP_SECONDS):
            raise FrontDoorError(f"the view did not reach {position}", "try `spanledger rebuild`")


@contextmanager
def open_ledger(settings: Settings) -> Generator[Ledger]:
    """The data folder of a server that is not running, for as long as the context lasts."""
    ledger = Ledger.open(
        settings.data,
        registry=None,
        view_memory_mb=settings.view_memory_mb,
        prices=read_prices(settings.prices),
    )
    try:
        record_waiting_changes(settings, ledger)
        yield ledger
    finally:
        ledger.close(_CLOSE_SECONDS)
