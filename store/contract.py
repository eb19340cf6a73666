"""What an engine must do. The docstrings are the contract; `tests/conformance` holds every engine to them.

Two sides that know nothing of each other: a `Writer` is fed by the projector, a `Reader` answers the query service. All
reads are of one tenant; the tenant is never a filter that a caller may leave out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

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
from store.questions import Asking, DocumentedView, SqlQuestion
from store.record import Position

Row = TypeVar("Row")

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000  # Rows in one page: at a few KB a row a page stays a few MB.


FIGURES_MAX = 1000  # Groups in one answer: more is a table to export, not figures to look at.


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and where the next ones begin: None at the end. The cursor is opaque.

    `inlined` are the ids of content that stands in the rows itself, where the rows do not name it.
    """

    rows: list[Row]
    next_cursor: str | None
    inlined: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment of the record: a position in it, or, where there is none, a time in UTC nanoseconds."""

    position: Position | None = None
    time_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """All conditions hold together; None does not filter. Times are UTC nanoseconds of its start."""

    agent: str | None = None
    status: str | None = None
    conversation: str | None = None
    trace_id: str | None = None
    service: str | None = None
    tool: str | None = None
    model: str | None = None
    user: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Log records: all conditions hold together; None does not filter."""

    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None
    service: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFilter:
    """Metric points: all conditions hold together; None does not filter."""

    metric: str | None = None
    service: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFilter:
    """Evaluations: all conditions hold together; None does not filter. `run`: any id of it."""

    run: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    name: str | None = None
    evaluator: str | None = None
    service: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFilter:
    """Agents: all conditions hold together; None does not filter."""

    agent: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFilter:
    """Tools: all conditions hold together; None does not filter."""

    tool: str | None = None
    agent: str | None = None
    service: str | None = None
    mcp_server: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFilter:
    """Prompts: all conditions hold together; None does not filter."""

    prompt: str | None = None
    agent: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFilter:
    """Access records: all conditions hold together; None does not filter. `run`: any id of it."""

    who: str | None = None
    action: str | None = None
    run: str | None = None
    outcome: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """Steps as they are recorded: all conditions hold together; None does not filter. `run`: any id of it.

    `agent` is the step's own; of a step that names none, its run's.
    """

    agent: str | None = None
    tool: str | None = None
    model: str | None = None
    outcome: str | None = None
    run: str | None = None
    kind: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FiguresFilter:
    """What is counted, and by what: at most two of its properties. All conditions hold together; None does not filter.

    `since_ns` and `until_ns` are of a run's start, of a tool call's begin, of a decision's request.
    """

    of: Literal["runs", "tools", "approvals"]
    by: tuple[str, ...] = ()
    agent: str | None = None
    service: str | None = None
    tool: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    sort: Literal["calls", "slowest", "failing"] = "calls"
    """Of tools: most calls, greatest p95, or most errors first."""


@dataclass(frozen=True, slots=True, order=True)
class StepPlace:
    """A place in the record between two step versions: behind the one that is `ordinal` in the frame `sequence`."""

    sequence: int
    ordinal: int


PLACE_AT_END = 2**31 - 1
"""The ordinal of a place behind all of a frame."""


@dataclass(frozen=True, slots=True)
class StepsBehind:
    """Step versions behind a place, each with its own, in the order of the record; and the place behind all that was
    looked at, which is where the next ones begin.
    """

    rows: list[tuple[StepPlace, StepRow]]
    through: StepPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewStatus:
    """How far the view is: `position` of the last frame it holds (None: none yet) and what could not be projected."""

    position: Position | None
    quarantined_frames: int
    normaliser_version: int
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Rows by table, and runs by status under `runs.<status>`."""


class Reader(Protocol):
    """Answers questions about one tenant's record. Every method may raise ViewError; none changes anything."""

    def status(self) -> ViewStatus:
        """Where the view stands, all tenants together."""
        ...

    def runs(self, tenant: str, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        """Runs, newest start first. Raises BadQuery for a cursor that is not one of ours."""
        ...

    def run(self, tenant: str, run_id: str) -> RunRow:
        """One run, by any id it ever had, or by a trace id of it. Raises NotFound."""
        ...

    def steps(self, tenant: str, run_id: str, *, limit: int, cursor: str | None, inline: bool) -> Page[StepRow]:
        """A run's steps by start time, parents before children of the same start. Raises NotFound, BadQuery."""
        ...

    def step(self, tenant: str, step_id: str) -> StepDetail:
        """One step with every attribute, event and link. Raises NotFound."""
        ...

    def tool_calls(
        self, tenant: str, run_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[ToolCallRow]:
        """A run's logical tool calls in the order they were asked for: all, or at most `limit` behind the one with the key
        `after`. Raises NotFound, BadQuery for a key that no call of the run has.
        """
        ...

    def decisions(self, tenant: str, run_id: str) -> list[DecisionRow]:
        """A run's decisions in the order they were asked for. Raises NotFound."""
        ...

    def messages(self, tenant: str, run_id: str) -> Iterator[MessageRow]:
        """A run's conversation, every message once, in order. Raises NotFound before the first."""
        ...

    def replay(
        self, tenant: str, run_id: str, *, from_step: int | None = None, until_step: int | None = None
    ) -> Iterator[ReplayEvent]:
        """A run as ordered events: all, or from the moment that step `from_step` begins to the one that the step behind
        `until_step` does (steps by `seq`). The first has the run's fidelity in its data. Raises NotFound, BadQuery before it.
        """
        ...

    def state(self, tenant: str, run_id: str, seq: int) -> StateRow:
        """What the agent knew when a step began. Raises NotFound; BadQuery where the run has no such step."""
        ...

    def as_of(self, tenant: str, run_id: str, moment: Moment) -> "tuple[Reader, str]":
        """A reader that answers about one run as the record stood then, and the run's id then.

        What came later is as if it never had. Raises NotFound where nothing of the run had come; BadQuery for a moment that
        is not one of this record or too large to be worked out; PastNotReached, PastBusy.
        """
        ...

    def events(self, tenant: str, where: EventFilter, *, limit: int, cursor: str | None) -> Page[EventRow]:
        """Log records, newest first."""
        ...

    def metric_points(
        self, tenant: str, where: MetricFilter, *, limit: int, cursor: str | None
    ) -> Page[MetricPointRow]:
        """Metric points, newest first."""
        ...

    def evaluations(
        self, tenant: str, where: EvaluationFilter, *, limit: int, cursor: str | None
    ) -> Page[EvaluationRow]:
        """Evaluations, newest first. One that names a response is about the step that gave it."""
        ...

    def agents(self, tenant: str, where: AgentFilter, *, limit: int, cursor: str | None) -> Page[AgentRow]:
        """Agents by version, the one that was first seen last before the others."""
        ...

    def tools(self, tenant: str, where: ToolFilter, *, limit: int, cursor: str | None) -> Page[ToolRow]:
        """Tools by definition, the one that was first seen last before the others."""
        ...

    def prompts(self, tenant: str, where: PromptFilter, *, limit: int, cursor: str | None) -> Page[PromptRow]:
        """Prompts by text, the one that was first seen last before the others."""
        ...

    def accesses(self, tenant: str, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        """Access records, the latest in the record first."""
        ...

    def content(self, tenant: str, content_id: str) -> ContentRow:
        """One piece of content. Raises NotFound."""
        ...

    def new_steps(self, tenant: str, after: Position | None, *, limit: int) -> list[StepRow]:
        """Steps recorded after a position, in the order of the record; None starts at the beginning."""
        ...

    def sql_views(self) -> Mapping[str, DocumentedView]:
        """The views that statements may name."""
        ...

    def ask(self, tenant: str, question: SqlQuestion) -> Asking:
        """Put a statement, whose answer is then waited for. Nothing that it does can stand in the writer's way."""
        ...

    def figures(self, tenant: str, where: FiguresFilter, *, limit: int) -> list[dict[str, Any]]:
        """Counts, rates (0 to 1) and quantiles, a row a group: the properties of `where.by` (hours as RFC 3339), then what
        was counted. The largest groups first, unless sorted otherwise; without `by` one row, or none where there is nothing.
        """
        ...

    def steps_behind(self, tenant: str, where: StepFilter, *, behind: StepPlace, until: int, limit: int) -> StepsBehind:
        """At most `limit` step versions behind a place, up to and with the frame `until`, which the view must hold."""
        ...


class Waiter(Protocol):
    """Knows when the view has reached a position."""

    def wait_for(self, position: Position, timeout_seconds: float) -> bool:
        """True once the view holds `position`; False when the time is over. Raises BadQuery for another journal's."""
        ...

    def moved(self, sequence: int, timeout_seconds: float) -> Position:
        """The position that the view holds, as soon as it is behind `sequence`, or when the time is over."""
        ...

    def readiness(self) -> dict[str, Any]:
        """`ready, reasons, journal_position, view_position, lag_ms, quarantined_frames`."""
        ...
