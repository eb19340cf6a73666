"""What a caller may ask: one pydantic model a route, each refusing what it does not know.

A misspelt parameter that is silently ignored widens the answer (`?agnet=x` would list every run), so unknown, repeated
and empty parameters are refused with the parameter's name. Pydantic stops here: the readers get the filters of
`store.contract`.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from query.moments import moment_of
from query.times import parse_time_ns
from store.contract import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    AccessFilter,
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    FiguresFilter,
    MetricFilter,
    Moment,
    PromptFilter,
    RunFilter,
    StepFilter,
    ToolFilter,
)
from store.errors import BadQuery
from store.model.rows import RunStatus, StepKind, StepOutcome

SEQ_MAX: Final = 2**31 - 1  # No run comes near it, and a number that fits no engine is refused here.
SPEED_MIN: Final = 0.01
SPEED_MAX: Final = 100_000.0  # A day in a second. Faster is at once.
TEXT_MAX_CHARS: Final = 1024  # A filter is a name or a few words; a longer one is a mistake, and costs every row.

BY_MAX: Final = 2  # Properties to count by: the groups of three are too many to read.

Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX_CHARS)]


def _time(value: Any) -> Any:
    return parse_time_ns(value) if isinstance(value, str) else value


TimeNs = Annotated[
    int,
    BeforeValidator(_time),
    WithJsonSchema(
        {
            "type": "string",
            "description": "RFC 3339 with up to nanoseconds, or integer nanoseconds since 1970.",
            "examples": ["2026-07-01T12:00:00.123456789Z", "1782907200123456789"],
        }
    ),
]
TraceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$", to_lower=True)]
SpanId = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{16}$", to_lower=True)]
Since = Annotated[TimeNs | None, Field(description="Only what began at this time or later.")]
Until = Annotated[TimeNs | None, Field(description="Only what began before this time.")]


class ReadParameters(BaseModel):
    """What every read takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_position: Text | None = Field(
        None, description="A position from a receipt: the answer waits until the view holds it (504 if it does not)."
    )


def _moment(value: Any) -> Any:
    try:
        return moment_of(value) if isinstance(value, str) else value
    except BadQuery as error:
        raise ValueError(str(error)) from error


MomentOf = Annotated[
    Moment | None,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "type": "string",
            "description": "A time, or a position from a receipt: the answer is as the record stood then.",
            "examples": ["2026-07-01T12:00:00Z", "0190c1d2:17"],
        }
    ),
]


class PastParameters(ReadParameters):
    """What every read of one run takes."""

    as_of: MomentOf = None


class PageParameters(ReadParameters):
    """What every list takes."""

    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Rows in this page at most.")
    cursor: Text | None = Field(None, description="The `next_cursor` of the page before.")


class PastPageParameters(PageParameters):
    """What every list of one run takes."""

    as_of: MomentOf = None


class RunsParameters(PageParameters):
    """Which runs."""

    agent: Text | None = Field(None, description="Agent name.")
    status: RunStatus | None = None
    conversation: Text | None = Field(None, description="Conversation id.")
    trace_id: TraceId | None = None
    service: Text | None = Field(None, description="`service.name` of the resource.")
    tool: Text | None = Field(None, description="Name of a tool the run called.")
    model: Text | None = Field(None, description="Name of a model the run called.")
    user: Text | None = Field(None, description="Id of the user it ran for.")
    since: Since = None
    until: Until = None
    q: Text | None = Field(None, description="Words to find in the run.")

    def filter(self) -> RunFilter:
        return RunFilter(
            agent=self.agent,
            status=self.status,
            conversation=self.conversation,
            trace_id=self.trace_id,
            service=self.service,
            tool=self.tool,
            model=self.model,
            user=self.user,
            since_ns=self.since,
            until_ns=self.until,
            q=self.q,
        )


class StepsParameters(PastPageParameters):
    """A run's steps."""

    content: Literal["inline", "reference"] = Field(
        "reference", description="`inline` puts the content itself where `reference` puts its ids."
    )


class StateParameters(PastParameters):
    """Which moment of a run."""

    step: int = Field(ge=0, le=SEQ_MAX, description="The step's `seq`.", examples=[4])


class ReplayParameters(PastParameters):
    """Which part of a run, and how fast."""

    from_step: int | None = Field(
        None, ge=0, le=SEQ_MAX, description="A step's `seq`: only what happened from its beginning on.", examples=[4]
    )
    until_step: int | None = Field(
        None,
        ge=0,
        le=SEQ_MAX,
        description="A step's `seq`: only what happened before the step behind it began.",
        examples=[9],
    )
    speed: float | None = Field(
        None,
        ge=SPEED_MIN,
        le=SPEED_MAX,
        allow_inf_nan=False,
        description="1 plays in the time that the run took, 20 in a twentieth of it. Without: at once.",
        examples=[1.0, 20.0],
    )


class NewStepsParameters(ReadParameters):
    """Steps in the order of the record."""

    after: Text | None = Field(None, description="A position: only steps recorded after it. Without: from the start.")
    limit: int = Field(
        LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Rows in this page at most, but for one request that holds more."
    )


class LiveParameters(ReadParameters):
    """Which steps of those that are recorded."""

    agent: Text | None = Field(None, description="Agent name, of the step or else of its run.")
    tool: Text | None = Field(None, description="Tool name.")
    model: Text | None = Field(None, description="Model name.")
    kind: StepKind | None = None
    outcome: StepOutcome | None = None
    run: Text | None = Field(None, description="Any id of a run, or of one of its traces.")
    service: Text | None = Field(None, description="`service.name` of the resource.")
    after: Text | None = Field(
        None, description="The id of an event, a position, or `start`: only what is behind it. Without: from now on."
    )
    follow: bool = Field(True, description="`false` ends at the end of the record.")

    def filter(self) -> StepFilter:
        return StepFilter(
            agent=self.agent,
            tool=self.tool,
            model=self.model,
            kind=self.kind,
            outcome=self.outcome,
            run=self.run,
            service=self.service,
        )


class EventsParameters(PageParameters):
    """Which log records."""

    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    event_name: Text | None = None
    service: Text | None = Field(None, description="`service.name` of the resource.")
    since: Since = None
    until: Until = None

    def filter(self) -> EventFilter:
        return EventFilter(
            trace_id=self.trace_id,
            span_id=self.span_id,
            event_name=self.event_name,
            service=self.service,
            since_ns=self.since,
            until_ns=self.until,
        )


class EvaluationsParameters(PageParameters):
    """Which evaluations."""

    run: Text | None = Field(None, description="Any id of a run.")
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    name: Text | None = Field(None, description="What was judged, as the evaluation is called.")
    evaluator: Text | None = Field(None, description="Name of the evaluator.")
    service: Text | None = Field(None, description="`service.name` of the resource.")
    since: Since = None
    until: Until = None

    def filter(self) -> EvaluationFilter:
        return EvaluationFilter(
            run=self.run,
            trace_id=self.trace_id,
            span_id=self.span_id,
            name=self.name,
            evaluator=self.evaluator,
            service=self.service,
            since_ns=self.since,
            until_ns=self.until,
        )


class AgentsParameters(PageParameters):
    """Which agents."""

    agent: Text | None = Field(None, description="Agent name.")
    service: Text | None = Field(None, description="`service.name` of the resource.")

    def filter(self) -> AgentFilter:
        return AgentFilter(agent=self.agent, service=self.service)


class ToolsParameters(PageParameters):
    """Which tools."""

    tool: Text | None = Field(None, description="Tool name.")
    agent: Text | None = Field(None, description="Name of the agent that was offered it.")
    service: Text | None = Field(None, description="`service.name` of the resource.")
    mcp_server: Text | None = Field(None, description="Name of the MCP server that answered its calls.")

    def filter(self) -> ToolFilter:
        return ToolFilter(tool=self.tool, agent=self.agent, service=self.service, mcp_server=self.mcp_server)


class PromptsParameters(PageParameters):
    """Which prompts."""

    prompt: Text | None = Field(None, description="Prompt name, where one was sent.")
    agent: Text | None = Field(None, description="Name of the agent that was given it.")
    service: Text | None = Field(None, description="`service.name` of the resource.")

    def filter(self) -> PromptFilter:
        return PromptFilter(prompt=self.prompt, agent=self.agent, service=self.service)


class AccessParameters(PageParameters):
    """Which access records."""

    who: Text | None = Field(None, description="A caller: `key:PREFIX`, `token:SUBJECT`, `local:USER`, `unknown`.")
    action: (
        Literal[
            "read",
            "replay",
            "export",
            "statement",
            "access",
            "enter",
            "key_create",
            "key_rotate",
            "key_revoke",
            "policy",
        ]
        | None
    ) = None
    run: Text | None = Field(None, description="Any id of a run.")
    outcome: Literal["allowed", "refused", "failed"] | None = None
    since: Annotated[TimeNs | None, Field(description="Only what happened at this time or later.")] = None
    until: Annotated[TimeNs | None, Field(description="Only what happened before this time.")] = None

    def filter(self) -> AccessFilter:
        return AccessFilter(
            who=self.who,
            action=self.action,
            run=self.run,
            outcome=self.outcome,
            since_ns=self.since,
            until_ns=self.until,
        )


class MetricPointsParameters(PageParameters):
    """Which metric points."""

    metric: Text | None = Field(None, description="Metric name.")
    service: Text | None = Field(None, description="`service.name` of the resource.")
    since: Since = None
    until: Until = None

    def filter(self) -> MetricFilter:
        return MetricFilter(metric=self.metric, service=self.service, since_ns=self.since, until_ns=self.until)


class _FiguresParameters(ReadParameters):
    """What figures are of, and by what."""

    by: Text | None = Field(None, description="One or two properties to count by, with a comma between.")
    agent: Text | None = Field(None, description="Agent name.")
    service: Text | None = Field(None, description="`service.name` of the resource.")
    tool: Text | None = Field(None, description="Tool name.")
    since: Since = None
    until: Until = None

    def _filter(
        self,
        of: Literal["runs", "tools", "approvals"],
        known: tuple[str, ...],
        sort: Literal["calls", "slowest", "failing"] = "calls",
    ) -> FiguresFilter:
        """Raises BadQuery."""
        by = tuple(self.by.split(",")) if self.by else ()
        if len(by) > BY_MAX or len(set(by)) < len(by) or not set(by) <= set(known):
            raise BadQuery("by", f"is one or two different ones of {', '.join(known)}, as `{known[0]},hour`")
        return FiguresFilter(
            of=of,
            by=by,
            agent=self.agent,
            service=self.service,
            tool=self.tool,
            since_ns=self.since,
            until_ns=self.until,
            sort=sort,
        )


class RunFiguresParameters(_FiguresParameters):
    """Figures of runs."""

    def filter(self) -> FiguresFilter:
        return self._filter("runs", ("agent", "service", "version", "status", "hour"))


class ToolFiguresParameters(_FiguresParameters):
    """Figures of tool calls."""

    sort: Literal["calls", "slowest", "failing"] = Field("calls", description="What comes first.")

    def filter(self) -> FiguresFilter:
        known = ("tool", "mcp_server", "agent", "service", "version", "hour")
        return self._filter("tools", known, self.sort)


class ApprovalFiguresParameters(_FiguresParameters):
    """Figures of decisions."""

    def filter(self) -> FiguresFilter:
        return self._filter("approvals", ("tool", "kind", "agent", "service", "version", "hour"))


async def refuse_repeated(request: Request) -> None:
    """Refuse `?agent=a&agent=b`: every parameter holds one value, and choosing one would drop the other unseen."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            raise BadQuery(name, "is given more than once, and takes one value")
        seen.add(name)
