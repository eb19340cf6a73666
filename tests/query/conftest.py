"""A Reader in memory with real rows, and the app over it."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from query.app import create_app
from query.view import ReadLimits
from store.contract import (
    PLACE_AT_END,
    AccessFilter,
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    FiguresFilter,
    MetricFilter,
    Moment,
    Page,
    PromptFilter,
    RunFilter,
    StepFilter,
    StepPlace,
    StepsBehind,
    ToolFilter,
    ViewStatus,
)
from store.duckdb.documented import documented_views
from store.errors import BadQuery, NotFound
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
from store.questions import Asking, DocumentedView, SqlAnswer, SqlQuestion
from store.record import DEFAULT_TENANT, Position
from tests.builders import JOURNAL_ID
from tests.gates import open_gate
from tests.trails import kept_trail


def _sequence_of(position: str) -> int:
    """Rows of words have none."""
    return Position.parse(position).sequence if ":" in position else 0


def _page(rows: list[Any], limit: int, cursor: str | None) -> Page[Any]:
    if cursor is not None and not cursor.isdigit():
        raise BadQuery("cursor", f"{cursor!r} is not a cursor of this list; start again without one")
    start = int(cursor or 0)
    return Page(rows[start : start + limit], str(start + limit) if start + limit < len(rows) else None)


@dataclass
class FakeReader:
    """Holds rows by run and remembers what it was asked; `failure` makes every answer raise."""

    run_rows: list[RunRow] = field(default_factory=list)
    step_rows: list[StepRow] = field(default_factory=list)
    details: dict[str, StepDetail] = field(default_factory=dict)
    tool_call_rows: list[ToolCallRow] = field(default_factory=list)
    decision_rows: list[DecisionRow] = field(default_factory=list)
    message_rows: list[MessageRow] = field(default_factory=list)
    replay_events: list[ReplayEvent] = field(default_factory=list)
    state_rows: list[StateRow] = field(default_factory=list)
    event_rows: list[EventRow] = field(default_factory=list)
    metric_rows: list[MetricPointRow] = field(default_factory=list)
    evaluation_rows: list[EvaluationRow] = field(default_factory=list)
    agent_rows: list[AgentRow] = field(default_factory=list)
    tool_rows: list[ToolRow] = field(default_factory=list)
    prompt_rows: list[PromptRow] = field(default_factory=list)
    access_rows: list[AccessRow] = field(default_factory=list)
    figure_rows: list[dict[str, Any]] = field(default_factory=list)
    content_rows: dict[str, ContentRow] = field(default_factory=dict)
    sql_words: dict[str, str] = field(default_factory=dict)
    cancelled: list[SqlQuestion] = field(default_factory=list)
    failure: Exception | None = None
    asked: Any = None
    moment: Moment | None = None
    tenants: set[str] = field(default_factory=set)

    def _answer(self, tenant: str, asked: Any = None) -> None:
        self.tenants.add(tenant)
        self.asked = asked
        if self.failure:
            raise self.failure

    def status(self) -> ViewStatus:
        return ViewStatus(position=None, quarantined_frames=0, normaliser_version=1)

    def runs(self, tenant: str, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        self._answer(tenant, where)
        return _page(self.run_rows, limit, cursor)

    def run(self, tenant: str, run_id: str) -> RunRow:
        self._answer(tenant)
        for row in self.run_rows:
            if row.run_id == run_id:
                return row
        raise NotFound(f"there is no run {run_id!r}")

    def steps(self, tenant: str, run_id: str, *, limit: int, cursor: str | None, inline: bool) -> Page[StepRow]:
        self.run(tenant, run_id)
        self.asked = inline
        return _page(self.step_rows, limit, cursor)

    def step(self, tenant: str, step_id: str) -> StepDetail:
        self._answer(tenant)
        if step_id not in self.details:
            raise NotFound(f"there is no step {step_id!r}")
        return self.details[step_id]

    def tool_calls(
        self, tenant: str, run_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[ToolCallRow]:
        self.run(tenant, run_id)
        keys = [row.tool_call_key for row in self.tool_call_rows]
        if after is not None and after not in keys:
            raise BadQuery("cursor", f"{after!r} names no tool call of this run")
        start = keys.index(after) + 1 if after else 0
        return self.tool_call_rows[start:][:limit]

    def decisions(self, tenant: str, run_id: str) -> list[DecisionRow]:
        self.run(tenant, run_id)
        return self.decision_rows

    def messages(self, tenant: str, run_id: str) -> Iterator[MessageRow]:
        self.run(tenant, run_id)
        return iter(self.message_rows)

    def replay(
        self, tenant: str, run_id: str, *, from_step: int | None = None, until_step: int | None = None
    ) -> Iterator[ReplayEvent]:
        self.run(tenant, run_id)
        self.asked = (from_step, until_step)
        yield from self.replay_events

    def state(self, tenant: str, run_id: str, seq: int) -> StateRow:
        self.run(tenant, run_id)
        if seq >= len(self.state_rows):
            raise BadQuery("step", f"{seq} is not a step of this run")
        return self.state_rows[seq]

    def as_of(self, tenant: str, run_id: str, moment: Moment) -> "tuple[FakeReader, str]":
        self.run(tenant, run_id)
        self.moment = moment
        return self, run_id

    def events(self, tenant: str, where: EventFilter, *, limit: int, cursor: str | None) -> Page[EventRow]:
        self._answer(tenant, where)
        return _page(self.event_rows, limit, cursor)

    def metric_points(
        self, tenant: str, where: MetricFilter, *, limit: int, cursor: str | None
    ) -> Page[MetricPointRow]:
        self._answer(tenant, where)
        return _page(self.metric_rows, limit, cursor)

    def evaluations(
        self, tenant: str, where: EvaluationFilter, *, limit: int, cursor: str | None
    ) -> Page[EvaluationRow]:
        self._answer(tenant, where)
        return _page(self.evaluation_rows, limit, cursor)

    def agents(self, tenant: str, where: AgentFilter, *, limit: int, cursor: str | None) -> Page[AgentRow]:
        self._answer(tenant, where)
        return _page(self.agent_rows, limit, cursor)

    def tools(self, tenant: str, where: ToolFilter, *, limit: int, cursor: str | None) -> Page[ToolRow]:
        self._answer(tenant, where)
        return _page(self.tool_rows, limit, cursor)

    def prompts(self, tenant: str, where: PromptFilter, *, limit: int, cursor: str | None) -> Page[PromptRow]:
        self._answer(tenant, where)
        return _page(self.prompt_rows, limit, cursor)

    def accesses(self, tenant: str, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        self._answer(tenant, where)
        return _page(self.access_rows, limit, cursor)

    def content(self, tenant: str, content_id: str) -> ContentRow:
        self._answer(tenant)
        if content_id not in self.content_rows:
            raise NotFound(f"there is no content {content_id!r}")
        return self.content_rows[content_id]

    def new_steps(self, tenant: str, after: Position | None, *, limit: int) -> list[StepRow]:
        self._answer(tenant, after)
        return [row for row in self.step_rows if after is None or Position.parse(row.position) > after][:limit]

    def sql_views(self) -> Mapping[str, DocumentedView]:
        return documented_views()

    def ask(self, tenant: str, question: SqlQuestion) -> Asking:
        self._answer(tenant, question)
        return FakeAsking(question, self)

    def figures(self, tenant: str, where: FiguresFilter, *, limit: int) -> list[dict[str, Any]]:
        self._answer(tenant, where)
        return self.figure_rows[:limit]

    def steps_behind(self, tenant: str, where: StepFilter, *, behind: StepPlace, until: int, limit: int) -> StepsBehind:
        self._answer(tenant, where)
        found: list[tuple[StepPlace, StepRow]] = []
        for ordinal, row in enumerate(self.step_rows):
            place = StepPlace(_sequence_of(row.position), ordinal)
            if behind < place <= StepPlace(until, PLACE_AT_END):
                found.append((place, row))
        shown = found[:limit]
        return StepsBehind(shown, shown[-1][0] if len(found) > limit else StepPlace(until, PLACE_AT_END))


@dataclass(eq=False)
class FakeAsking:
    """Answers with what the question said: its text, and which columns of which view it may not see."""

    question: SqlQuestion
    reader: FakeReader

    def answer(self) -> SqlAnswer:
        hidden = {f"{one.view}.{name}" for one in self.question.sources for name in one.hidden}
        row = {
            f"{one.view}.{name}": None if name in one.hidden else self.reader.sql_words.get(name, "known")
            for one in self.question.sources
            for name in one.columns
        }
        assert hidden <= row.keys()
        body = json.dumps({"columns": [], "rows": [row], "truncated": None}).encode()
        return SqlAnswer(body=body, rows=1, truncated=None)

    def cancel(self) -> None:
        self.reader.cancelled.append(self.question)


class FakeWaiter:
    """A view at a position, which `advance` moves."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._sequence = 0
        self.waits: list[float] = []
        self.waiting = threading.Event()
        self.reasons: list[str] = []

    def advance(self, sequence: int) -> None:
        with self._moved:
            self._sequence = sequence
            self._moved.notify_all()

    def wait_for(self, position: Position, timeout_seconds: float) -> bool:
        if position.journal_id != JOURNAL_ID:
            raise BadQuery("min_position", f"{position} is of another journal")
        self.waits.append(timeout_seconds)
        with self._moved:
            if timeout_seconds:
                self.waiting.set()
            return self._moved.wait_for(lambda: self._sequence >= position.sequence, timeout_seconds)

    def moved(self, sequence: int, timeout_seconds: float) -> Position:
        with self._moved:
            self._moved.wait_for(lambda: self._sequence > sequence, timeout_seconds)
            return Position(JOURNAL_ID, self._sequence)

    def readiness(self) -> dict[str, Any]:
        return {
            "ready": not self.reasons,
            "reasons": self.reasons,
            "journal_position": f"{JOURNAL_ID}:7",
            "view_position": f"{JOURNAL_ID}:{self._sequence}",
            "lag_ms": 12,
            "quarantined_frames": 0,
        }


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def waiter() -> FakeWaiter:
    return FakeWaiter()


@pytest.fixture
def api(reader: FakeReader, waiter: FakeWaiter) -> Iterator[TestClient]:
    app = create_app(
        reader=reader,
        waiter=waiter,
        registry=CollectorRegistry(),
        gate=open_gate(),
        trail=kept_trail(),
        limits=ReadLimits(wait_seconds_max=0.05),
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    assert reader.tenants <= {DEFAULT_TENANT}
