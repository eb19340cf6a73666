"""The record in a data folder that no server holds, as the commands read it: opened by this process, and leaving a trace.

Who may read the folder may read all of it, so nothing is withheld here; but what is shown is recorded first, as by a
server, under the name that the operating system has for the user.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Final

import structlog

from query.live import START, Mark, check_mark, parse_mark
from query.moments import moment_of
from query.trail import RECORD_SECONDS_MAX, Asked, Kind, Note, must_be_recorded, record_of, without_content
from query.view import ReadLimits, TenantReader, View
from spanledger.errors import FrontDoorError
from spanledger.local_user import local_principal
from spanledger.settings import Settings
from spanledger.trail_keeping import record_waiting_changes
from spanledger.windows import WHOLE, Window
from store.contract import LIMIT_MAX, PLACE_AT_END, AccessFilter, Moment, Page, RunFilter, StepFilter, StepPlace
from store.errors import BadQuery, StoreError
from store.ledger import Ledger
from store.model.diff_rows import RunDiff
from store.model.prices import read_prices
from store.model.rows import AccessRow, ReplayEvent, RunRow, StepRow
from store.questions import ROWS_DEFAULT, ResultForm, SqlError, SqlFailed, SqlLimits, SqlNotAllowed
from store.record import Position

CATCH_UP_SECONDS: Final = 600.0  # A folder that was never projected is projected whole; people can interrupt it.
_CLOSE_SECONDS: Final = 5.0
SQL_HINT: Final = "docs/sql.md lists the views, their columns and the functions"

_log: Final = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlResult:
    """The answer to a statement in the form that was asked for, and what there is to say of it."""

    body: bytes
    truncated: str | None
    withheld: str | None


class LocalRecord:
    """The record in a data folder that this process has opened itself. What it shows is recorded before it is returned."""

    def __init__(self, ledger: Ledger, *, purpose: str | None = None, limits: SqlLimits | None = None) -> None:
        """`purpose` is redacted already; `limits` are those of statements."""
        self._ledger = ledger
        self._limits = limits or SqlLimits()
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

    def live(self, where: StepFilter, after: str | None, *, follow: bool) -> Iterator[StepRow]:
        """What there is: nothing new comes while no server holds the folder, so `follow` makes no difference."""
        until = self._ledger.waiter.moved(-1, 0.0)
        at = Mark(until.journal_id, StepPlace(0, -1)) if after == START else parse_mark(after or str(until), "after")
        check_mark(at, self._ledger.waiter, "after")
        return self._live(where, at.place, until.sequence)

    def _live(self, where: StepFilter, behind: StepPlace, until: int) -> Iterator[StepRow]:
        while behind < StepPlace(until, PLACE_AT_END):
            reader, note = self._reader()
            page = reader.steps_behind(where, behind=behind, until=until, limit=LIMIT_MAX)
            if not self._kept_or_withheld("tail", note, where):
                page = self._reader()[0].steps_behind(where, behind=behind, until=until, limit=LIMIT_MAX)
            for _, step, _ in page.rows:
                yield step
            behind = page.through

    def diff(self, run_id: str, other_run_id: str) -> RunDiff:
        reader, note = self._reader()
        found = reader.diff(run_id, other_run_id)
        self._keep(Kind.CONTENT, "diff", note)
        return found

    def _reader(self, as_of: Moment | None = None) -> tuple[TenantReader, Note]:
        note = Note()
        return TenantReader(self._ledger.reader, self._who, set(), note, as_of), note

    def _kept_or_withheld(self, command: str, note: Note, where: RunFilter | StepFilter | None = None) -> bool:
        """Record a list. False where that cannot be: from then on metadata alone is shown, which an incident needs."""
        try:
            self._keep(Kind.CONTENT, command, note, where)
        except FrontDoorError as error:
            if isinstance(where, RunFilter) and where.q is not None:
                raise
            _log.warning("content_withheld", cause=str(error))
            self._who = without_content(self._who)
            return False
        return True

    def _keep(
        self, kind: Kind, command: str, note: Note, where: RunFilter | AccessFilter | StepFilter | None = None
    ) -> None:
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

    def sql(self, text: str, form: ResultForm, limit: int | None) -> SqlResult:
        note = Note()
        view = View(self._ledger.reader, self._ledger.waiter, ReadLimits(sql=self._limits)).of(self._who, note)
        try:
            limit = min(ROWS_DEFAULT, self._limits.rows) if limit is None else limit
            if not 1 <= limit <= self._limits.rows:
                raise BadQuery("limit", f"--limit is from 1 to {self._limits.rows} (sql_rows_max), not {limit}")
            answer = view.statement(text, form, limit).answer()
        except (SqlFailed, SqlNotAllowed) as error:
            at = f" (at character {error.position})" if error.position is not None else ""
            raise FrontDoorError(f"{error}{at}", SQL_HINT) from error
        except SqlError as error:
            raise FrontDoorError(str(error), SQL_HINT) from error
        self._keep(Kind.STATEMENT, "sql", note)
        return SqlResult(body=answer.body, truncated=answer.truncated, withheld=None)

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
