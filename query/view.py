"""The one way from a route to the view: as one caller, and not before it has reached a position.

A route never holds a Reader by itself, and never names a tenant. It asks for the `TenantView` of the caller, whose readers
read that caller's tenant and show what that caller may see. So a new route can forget neither: isolation is below the routes.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event
from time import monotonic
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request

from access.permissions import Permission, Principal
from query.paging import page_of
from query.problems import CannotWait, NotYetVisible
from query.sql.checking import check
from query.sql.explaining import explained
from query.sql.functions import ALLOWED
from query.sql.permitted import sources_of
from query.trail import Note
from query.withholding import shown, tells
from store.contract import (
    LIMIT_MAX,
    AccessFilter,
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    FiguresFilter,
    MetricFilter,
    Moment,
    Page,
    PromptFilter,
    Reader,
    RunFilter,
    StepFilter,
    StepPlace,
    ToolFilter,
    Waiter,
)
from store.model.alignment import ALIGNED_MAX
from store.model.diff import DIFF_CALLS_MAX, DiffInput, Heard, diff
from store.model.diff_rows import RunDiff
from store.model.rows import (
    AccessRow,
    AgentRow,
    ContentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    MetricPointRow,
    PromptRow,
    ReplayEvent,
    RunRow,
    StateRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)
from store.questions import (
    Asking,
    DocumentedView,
    ResultForm,
    SqlAnswer,
    SqlBusy,
    SqlCancelled,
    SqlFailed,
    SqlLimits,
    SqlQuestion,
)
from store.record import Position

Row = TypeVar("Row")

# Each waiting read holds a worker thread (of 40); the rest must stay free for reads that need not wait.
WAITING_READS_MAX: Final = 16
# Statements at once: each has two threads at the lowest priority, and memory of its own.
STATEMENTS_MAX: Final = 2
# Those that wait for one of them to end, and how long: most are over in less.
WAITING_STATEMENTS_MAX: Final = 8
STATEMENT_WAIT_SECONDS: Final = 2.0
PLAYED_MAX: Final = 64
"""Replays that play in time at once: each holds what was read ahead, for as long as its run took."""
# How soon a waiting read notices that the service stops.
_SLICE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Bounds that the front door may set."""

    wait_seconds_max: float = 10.0
    """How long a read with `min_position` waits for the view."""
    sql: SqlLimits = field(default_factory=SqlLimits)


@dataclass(frozen=True, slots=True)
class ShownSteps:
    """`store.contract.StepsBehind` as a caller may see it: each row with the names of its fields that are not shown."""

    rows: list[tuple[StepPlace, StepRow, set[str]]]
    through: StepPlace


@dataclass(frozen=True, slots=True)
class View:
    """A Reader behind its Waiter, of all tenants: routes get a `TenantView` of it."""

    _reader: Reader
    waiter: Waiter
    _limits: ReadLimits
    _waiting: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(WAITING_READS_MAX))
    closing: Event = field(default_factory=Event)
    """Set where the service stops: streams end then."""
    stage: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(PLAYED_MAX))
    """Has a place for each replay that plays in time."""

    _statements: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(STATEMENTS_MAX))
    _waiting_statements: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(WAITING_STATEMENTS_MAX))
    _asked: "set[Asking]" = field(default_factory=set["Asking"])

    def close(self) -> None:
        """Let reads that wait give up at once: the service is stopping. Reads that need not wait are still answered."""
        self.closing.set()
        for asking in list(self._asked):
            asking.cancel()

    @property
    def limits(self) -> ReadLimits:
        return self._limits

    def answered(self, asking: Asking) -> SqlAnswer:
        """The answer to a statement, in its turn. Raises SqlBusy, and what `Asking.answer` raises."""
        with self._turn():
            self._asked.add(asking)
            try:
                if self.closing.is_set():
                    raise SqlCancelled("the service is stopping; ask again later")
                return asking.answer()
            finally:
                self._asked.discard(asking)

    @contextmanager
    def _turn(self) -> Generator[None]:
        busy = SqlBusy(f"{STATEMENTS_MAX} statements are under way already; try again in a few seconds")
        if not self._statements.acquire(blocking=False):
            if not self._waiting_statements.acquire(blocking=False):
                raise busy
            try:
                if not self._statements.acquire(timeout=STATEMENT_WAIT_SECONDS):
                    raise busy
            finally:
                self._waiting_statements.release()
        try:
            yield
        finally:
            self._statements.release()

    def isclosing(self) -> bool:
        """Whether the service is stopping."""
        return self.closing.is_set()

    def of(self, who: Principal, note: Note) -> "TenantView":
        """What one caller has of it; `note` hears what it is shown."""
        return TenantView(self, who, note)

    def at(self, min_position: str | None) -> Reader:
        """The reader, once the view holds `min_position`. Raises BadQuery, NotYetVisible, CannotWait."""
        if min_position is None:
            return self._reader
        position = Position.parse(min_position)
        if self.waiter.wait_for(position, 0.0):
            return self._reader
        if not self._waiting.acquire(blocking=False):
            raise CannotWait(f"{WAITING_READS_MAX} reads wait for the view already; try again in a second")
        try:
            self._wait(position)
        finally:
            self._waiting.release()
        return self._reader

    def _wait(self, position: Position) -> None:
        limit = self._limits.wait_seconds_max
        deadline = monotonic() + limit
        while not self.closing.is_set():
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise NotYetVisible(
                    f"the view did not reach {position} within {limit:g} s; "
                    "ask again, or look at /readyz for how far it is"
                )
            if self.waiter.wait_for(position, min(remaining, _SLICE_SECONDS)):
                return
        raise CannotWait(f"the service is stopping, and its view has not reached {position}; ask again later")


class TenantView:
    """The view as one caller has it, for one request."""

    __slots__ = ("_view", "_who", "note", "withheld")

    def __init__(self, view: View, who: Principal, note: Note) -> None:
        self._view = view
        self._who = who
        self.note = note
        self.withheld: set[str] = set()
        """The names of the fields that were not shown."""

    def statement(self, text: str, form: ResultForm, rows_max: int) -> "Statement":
        """A statement, checked and bound to the caller. Raises SqlFailed, SqlNotAllowed, Forbidden."""
        return self.at(None).statement(text, form, rows_max, self._view)

    @property
    def limits(self) -> ReadLimits:
        return self._view.limits

    @property
    def stage(self) -> BoundedSemaphore:
        """See `View.stage`."""
        return self._view.stage

    @property
    def closing(self) -> Event:
        """See `View.closing`."""
        return self._view.closing

    def at(self, min_position: str | None, as_of: Moment | None = None) -> "TenantReader":
        """The reader, once the view holds `min_position`. With `as_of` it answers about one run, as of then.

        Raises BadQuery, NotYetVisible, CannotWait.
        """
        return TenantReader(self._view.at(min_position), self._who, self.withheld, self.note, as_of)


class TenantReader:
    """`store.contract.Reader` of one caller: of its tenant, in pages, less what it may not see. Raises what that raises.

    What is shown is noted, for the record of who read it.
    """

    __slots__ = ("_as_of", "_note", "_reader", "_tenant", "_who", "_withheld")

    def __init__(
        self, reader: Reader, who: Principal, withheld: set[str], note: Note, as_of: Moment | None = None
    ) -> None:
        self._as_of = as_of
        self._reader = reader
        self._note = note
        self._who = who
        self._tenant = who.tenant
        self._withheld = withheld

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        """Runs. Raises Forbidden for a search in what the caller may not see: what it finds would tell."""
        if where.q is not None:
            self._who.require(Permission.READ_CONTENT)
            self._note.shows_content = True  # What is found tells, and so does nothing.
        return self._page(self._reader.runs(self._tenant, where, limit=limit, cursor=cursor))

    def _of(self, run_id: str) -> tuple[Reader, str]:
        """Who answers about a run, and by which id, at the moment that is asked for."""
        self._note.run_id = run_id
        if self._as_of is None:
            return self._reader, run_id
        return self._reader.as_of(self._tenant, run_id, self._as_of)

    def run(self, run_id: str) -> RunRow:
        reader, known_as = self._of(run_id)
        return self._shown(reader.run(self._tenant, known_as))

    def steps(self, run_id: str, *, limit: int, cursor: str | None, inline: bool) -> Page[StepRow]:
        """A run's steps; content by its ids where the caller may not see it inline."""
        inlined = inline and self._who.may(Permission.READ_CONTENT)
        if inline and not inlined:
            self._withheld.add("content")
        reader, known_as = self._of(run_id)
        return self._page(reader.steps(self._tenant, known_as, limit=limit, cursor=cursor, inline=inlined))

    def step(self, step_id: str) -> StepDetail:
        found = self._reader.step(self._tenant, step_id)
        self._note.step_id, self._note.run_id = step_id, found.step.run_id
        return self._shown(found)

    def tool_calls(self, run_id: str, *, limit: int, cursor: str | None) -> Page[ToolCallRow]:
        reader, known_as = self._of(run_id)
        rows = reader.tool_calls(self._tenant, known_as, limit=limit + 1, after=cursor)
        return self._page(page_of(rows, lambda row: row.tool_call_key, limit=limit, cursor=None))

    def decisions(self, run_id: str, *, limit: int, cursor: str | None) -> Page[DecisionRow]:
        reader, known_as = self._of(run_id)
        rows = reader.decisions(self._tenant, known_as)
        return self._page(page_of(rows, lambda row: row.decision_id, limit=limit, cursor=cursor))

    def messages(self, run_id: str, *, limit: int, cursor: str | None) -> Page[MessageRow]:
        """A page of the conversation; what lies before it is passed over unseen."""
        self._who.require(Permission.READ_CONTENT)
        reader, known_as = self._of(run_id)
        rows = reader.messages(self._tenant, known_as)
        return self._page(page_of(rows, lambda row: str(row.ordinal), limit=limit, cursor=cursor))

    def replay(
        self, run_id: str, *, from_step: int | None = None, until_step: int | None = None
    ) -> Iterator[ReplayEvent]:
        """A run's events, each as the caller may see it by the time it is asked for. What is noted is the run: the rest
        follows from it, and is not read yet when the answer begins.
        """
        reader, known_as = self._of(run_id)
        events = reader.replay(self._tenant, known_as, from_step=from_step, until_step=until_step)
        return (shown(event, self._who, self._withheld) for event in events)

    def state(self, run_id: str, seq: int) -> StateRow:
        """What the agent knew when a step began."""
        reader, known_as = self._of(run_id)
        return self._shown(reader.state(self._tenant, known_as, seq))

    def diff(self, run_id: str, other_run_id: str) -> RunDiff:
        """Two runs, aligned. It compares what the caller may see, so that no difference tells of what it may not."""
        found = diff(self._compared(run_id), self._compared(other_run_id))
        self._note.run_id, self._note.other_run_id = run_id, other_run_id
        self._note.saw(content=self._who.may(Permission.READ_CONTENT))
        if not self._who.may(Permission.READ_CONTENT):
            self._withheld |= {"arguments", "result", "said", "given"}
        return found

    def _compared(self, run_id: str) -> DiffInput:
        reader = TenantReader(self._reader, self._who, set(), Note())  # What is compared is not what is shown.
        steps: list[StepRow] = []
        cursor: str | None = None
        while len(steps) < ALIGNED_MAX:
            page = reader.steps(run_id, limit=min(LIMIT_MAX, ALIGNED_MAX - len(steps)), cursor=cursor, inline=False)
            steps += page.rows
            cursor = page.next_cursor
            if cursor is None:
                break
        calls = reader.tool_calls(run_id, limit=DIFF_CALLS_MAX, cursor=None).rows
        heard = Heard()
        if self._who.may(Permission.READ_CONTENT):
            compared = {step.step_id for step in steps}
            for message in self._reader.messages(self._tenant, run_id):
                if message.step_id in compared:
                    heard.hear(message)
                elif cursor is not None:
                    break  # Behind the last step that is compared.
        return DiffInput(reader.run(run_id), steps, calls, heard)

    def events(self, where: EventFilter, *, limit: int, cursor: str | None) -> Page[EventRow]:
        return self._page(self._reader.events(self._tenant, where, limit=limit, cursor=cursor))

    def metric_points(self, where: MetricFilter, *, limit: int, cursor: str | None) -> Page[MetricPointRow]:
        return self._page(self._reader.metric_points(self._tenant, where, limit=limit, cursor=cursor))

    def evaluations(self, where: EvaluationFilter, *, limit: int, cursor: str | None) -> Page[EvaluationRow]:
        return self._page(self._reader.evaluations(self._tenant, where, limit=limit, cursor=cursor))

    def agents(self, where: AgentFilter, *, limit: int, cursor: str | None) -> Page[AgentRow]:
        return self._page(self._reader.agents(self._tenant, where, limit=limit, cursor=cursor))

    def tools(self, where: ToolFilter, *, limit: int, cursor: str | None) -> Page[ToolRow]:
        return self._page(self._reader.tools(self._tenant, where, limit=limit, cursor=cursor))

    def prompts(self, where: PromptFilter, *, limit: int, cursor: str | None) -> Page[PromptRow]:
        return self._page(self._reader.prompts(self._tenant, where, limit=limit, cursor=cursor))

    def content(self, content_id: str) -> ContentRow:
        """One piece of content, as it was sent: there may be reasoning in it, so it takes that permission too."""
        self._who.require(Permission.READ_CONTENT)
        self._who.require(Permission.READ_REASONING)
        return self._shown(self._reader.content(self._tenant, content_id))

    def accesses(self, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        """Access records; the rows of one's own reading are behind, as they come."""
        self._who.require(Permission.READ_ACCESS)
        return self._page(self._reader.accesses(self._tenant, where, limit=limit, cursor=cursor))

    def new_steps(self, after: Position | None, *, limit: int) -> list[StepRow]:
        return self._all(self._reader.new_steps(self._tenant, after, limit=limit))

    def statement(self, text: str, form: ResultForm, rows_max: int, view: View) -> "Statement":
        """A statement over the documented views: of the caller's tenant, with null where it may not see something."""
        self._note.states(text)
        views = self._reader.sql_views()
        checked = check(text, views, rows_max)
        question = SqlQuestion(
            text=checked.text,
            sources=sources_of(checked.references, views, self._who, self._withheld),
            functions=ALLOWED,
            form=form,
            rows_max=rows_max,
            limits=view.limits.sql,
        )
        named = [views[one.view] for one in checked.references]
        return Statement(text, self._reader.ask(self._tenant, question), view, named, self._note)

    def figures(self, where: FiguresFilter, *, limit: int) -> list[dict[str, Any]]:
        """Figures of metadata alone."""
        return self._reader.figures(self._tenant, where, limit=limit)

    def steps_behind(self, where: StepFilter, *, behind: StepPlace, until: int, limit: int) -> ShownSteps:
        """Of a stream: each step says for itself what was withheld of it."""
        found = self._reader.steps_behind(self._tenant, where, behind=behind, until=until, limit=limit)
        self._note.shows_content = bool(self._note.shows_content)
        rows: list[tuple[StepPlace, StepRow, set[str]]] = []
        for place, stored in found.rows:
            withheld: set[str] = set()
            row = shown(stored, self._who, withheld)
            self._note.saw(content=tells(row))
            rows.append((place, row, withheld))
        return ShownSteps(rows, found.through)

    def _shown(self, row: Row) -> Row:
        row = shown(row, self._who, self._withheld)
        self._note.saw(content=tells(row), ids=_content_ids(row))
        return row

    def _all(self, rows: list[Row]) -> list[Row]:
        self._note.shows_content = bool(self._note.shows_content)
        return [self._shown(row) for row in rows]

    def _page(self, page: Page[Row]) -> Page[Row]:
        self._note.content_ids |= page.inlined
        return Page(self._all(page.rows), page.next_cursor)


def _content_ids(row: Any) -> tuple[str, ...]:
    """The ids of the content that stands in a row, where it names them."""
    match row:
        case ContentRow() | MessageRow():
            return (row.content_id,) if row.content_id else ()
        case StateRow():
            return tuple(row.content_ids)
        case PromptRow():
            return tuple(row.content_ids)
        case _:
            return ()


class Statement:
    """A statement of one caller on its way."""

    __slots__ = ("_asking", "_note", "_text", "_view", "_views")

    def __init__(self, text: str, asking: Asking, view: View, views: list[DocumentedView], note: Note) -> None:
        self._text = text
        self._note = note
        self._asking = asking
        self._view = view
        self._views = views

    def answer(self) -> SqlAnswer:
        """Wait for it. Raises SqlBusy, and what `Asking.answer` raises; what the engine says is placed in the statement."""
        try:
            answer = self._view.answered(self._asking)
        except SqlFailed as error:
            raise explained(error, self._text, self._views) from error
        self._note.rows = answer.rows
        return answer

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._asking.cancel()


async def _view(request: Request) -> TenantView:
    view: View = request.app.state.view
    return view.of(request.scope["principal"], request.scope["note"])


async def _waiter(request: Request) -> Any:
    return request.app.state.view.waiter


ViewOf = Annotated[TenantView, Depends(_view)]
WaiterOf = Annotated[Waiter, Depends(_waiter)]
