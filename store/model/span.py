"""A span version as the model keeps it: what its telemetry says, in one vocabulary, with content by reference.

The record is append-only, so this is the one fact there is: everything else (runs, tool calls, decisions) is worked out
from the current versions of a run's spans. `Span` holds what that working out needs; `SpanBody` is the rest, which only
a reader of the single step wants.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from store.model.dialect import conversation_source

HOSTED: Final = "provider_hosted"
"""The type of a tool that the model's provider runs: its result comes with the model's answer."""


@dataclass(slots=True)
class ToolRequest:
    """A tool call that a model asked for. `arguments` is a content id; `type`, where told, says where the tool lives.

    `toolset`: the name of the toolset that the tool was offered in, where told.
    """

    id: str | None
    name: str | None
    arguments: str | None
    type: str | None = None
    toolset: str | None = None


@dataclass(slots=True)
class ToolAnswer:
    """A tool's result as the model was given it. `result` and `arguments` are content ids.

    `name` and `arguments` are those of the request, as the history before the result repeats it.
    """

    id: str | None
    result: str | None
    name: str | None = None
    arguments: str | None = None


@dataclass(slots=True)
class Verdict:
    """The answer to a question for leave, as telemetry says it itself. Without a call id it answers whatever was asked.

    `verdict` is `allow`, `deny` or (a guardrail's) `warn`, None where only the answering is told. `kind` and `by` are a
    decision's `kind` and `decided_by_kind`; `reason` is a content id.
    """

    id: str | None
    verdict: str | None
    kind: str = "human_approval"
    by: str = "human"
    name: str | None = None
    reason: str | None = None


class Particulars(msgspec.Struct, omit_defaults=True):
    """What few spans say, and not every span shall carry: for whom, in which version, totals of what is below, verdicts.

    One column holds it as JSON: a column of the widest table costs each span something, however few fill it, and with more
    than `SPAN_FIELDS_MAX` fields every span would be too large for the quick part of the allocator.
    `conversation_id_source` is there where it is not the one that the dialect likes best (see `Span.conversation_source`).
    `metadata` is a JSON object as text. `system_messages` are the content ids of instructions that stand as the first of the
    input messages. `reported_*` are totals under names of their own; a total under the names of usage is in `Span`.
    `workflow_id` to `attempts_failed` are told by `Span`'s properties.
    """

    conversation_id_source: str | None = None
    user_id: str | None = None
    end_user_tenant: str | None = None
    session_tags: list[str] | None = None
    metadata: str | None = None
    agent_version: str | None = None
    workflow_version: str | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    system_messages: list[str] | None = None
    reported_input_tokens: int | None = None
    reported_output_tokens: int | None = None
    reported_cache_read_tokens: int | None = None
    reported_cache_write_tokens: int | None = None
    reported_reasoning_tokens: int | None = None
    mcp_session_id: str | None = None
    mcp_server: str | None = None
    workflow_id: str | None = None
    previous_response_id: str | None = None
    all_messages: list[str] | None = None
    verdicts: list[Verdict] = []
    attempts_failed: int = 0


SPAN_FIELDS_MAX: Final = 60
"""Python's allocator is quick up to 512 bytes: 16 for the garbage collector, 16 of every object, and 8 a field."""
PARTICULARS: Final = frozenset(Particulars.__struct_fields__)


@dataclass(slots=True)
class Span:
    """One version of one span. Times are UTC nanoseconds, 0 when unset; ids are hex; token counts None when not sent."""

    tenant: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    digest: str
    sequence: int
    ordinal: int
    received_ns: int
    name: str
    start_ns: int
    end_ns: int
    span_kind: int
    status_code: int
    status_message: str | None
    scope_name: str | None
    scope_version: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    dialect: str
    revision: int = 1
    kind: str = "other"
    outcome: str = "ok"
    operation: str | None = None
    error_type: str | None = None
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    conversation_id: str | None = None
    agent_name: str | None = None
    agent_run_id: str | None = None
    workflow_name: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    tool_type: str | None = None
    mcp_method: str | None = None
    mcp_protocol_version: str | None = None
    jsonrpc_request_id: str | None = None
    reasoning: bool = False
    truncated: bool = False
    redacted: bool = False
    input_messages: list[str] | None = None
    output_messages: list[str] | None = None
    system_instructions: list[str] | None = None
    tool_definitions: list[str] | None = None
    arguments: str | None = None
    result: str | None = None
    tool_requests: list[ToolRequest] = field(default_factory=list[ToolRequest])
    tool_answers: list[ToolAnswer] = field(default_factory=list[ToolAnswer])
    approvals: list[ToolRequest] = field(default_factory=list[ToolRequest])
    particulars: Particulars | None = None

    def told(self) -> Particulars:
        """Its particulars, to be filled."""
        if self.particulars is None:
            self.particulars = Particulars()
        return self.particulars

    def said(self, column: str) -> Any:
        """What stands in a column, also in one of the particulars; None where nothing does."""
        return getattr(self.particulars if column in PARTICULARS else self, column, None)

    def take(self, column: str, value: Any) -> None:
        """Fill a column, also one of the particulars."""
        setattr(self.told() if column in PARTICULARS else self, column, value)

    def say(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self.told().verdicts.append(verdict)

    @property
    def verdicts(self) -> list[Verdict]:
        return self.particulars.verdicts if self.particulars is not None else []

    @property
    def attempts_failed(self) -> int:
        """How many attempts came before the one that counts."""
        return self.particulars.attempts_failed if self.particulars is not None else 0

    @property
    def workflow_id(self) -> str | None:
        return self.particulars.workflow_id if self.particulars is not None else None

    @property
    def previous_response_id(self) -> str | None:
        """The response that the step says it goes on from."""
        return self.particulars.previous_response_id if self.particulars is not None else None

    @property
    def all_messages(self) -> list[str] | None:
        """An agent's own copy of its whole conversation, read where no model call below it tells any."""
        return self.particulars.all_messages if self.particulars is not None else None

    @all_messages.setter
    def all_messages(self, value: list[str] | None) -> None:
        self.told().all_messages = value

    @property
    def conversation_source(self) -> str | None:
        """The attribute that its conversation id was read from; None without one."""
        if self.conversation_id is None:
            return None
        named = self.particulars and self.particulars.conversation_id_source
        return named or conversation_source(self.scope_name, self.dialect)

    @property
    def model(self) -> str | None:
        return self.response_model or self.request_model

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Which version of a span is the current one: ended before unended, latest end, greatest digest."""
        return (self.end_ns > 0, self.end_ns, self.digest)


@dataclass(slots=True)
class SpanBody:
    """What else the span said. JSON texts; `pieces` maps `attributes/<key>` and `events/<i>/<key>` to content."""

    attributes: str
    events: str
    links: str
    extra: str
    pieces: str
    resource: str
    scope: str


@dataclass(slots=True)
class Event:
    """One log record. `event_id` follows from its digest and its ordinal among equals in its body."""

    tenant: str
    event_id: str
    sequence: int
    ordinal: int
    received_ns: int
    trace_id: str | None
    span_id: str | None
    event_name: str | None
    severity_number: int
    severity_text: str | None
    time_ns: int
    observed_ns: int
    service_name: str | None
    scope_name: str | None
    scope_version: str | None
    dialect: str
    body: str
    attributes: str
    pieces: str
    resource: str
    scope: str
    extra: str
    input_messages: list[str] | None = None
    output_messages: list[str] | None = None
    system_instructions: list[str] | None = None
    tool_definitions: list[str] | None = None
    tool_requests: list[ToolRequest] = field(default_factory=list[ToolRequest])
    tool_answers: list[ToolAnswer] = field(default_factory=list[ToolAnswer])
    approvals: list[ToolRequest] = field(default_factory=list[ToolRequest])
    verdicts: list[Verdict] | None = None
    reasoning: bool = False
    finish_reason: str | None = None
    cost_usd: float | None = None
    response_id: str | None = None
    """Set where the record speaks for the model call with this response, not for the span that it names."""

    def say(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self.verdicts = [*(self.verdicts or ()), verdict]

    @property
    def speaks(self) -> bool:
        """Whether it tells of a step what the span does not: messages, calls asked for, a verdict, what it cost."""
        told = self.tool_requests or self.tool_definitions or self.verdicts
        return self.has_messages or bool(told) or self.cost_usd is not None

    @property
    def has_messages(self) -> bool:
        """Whether it carries messages of a step."""
        return bool(self.input_messages or self.output_messages or self.system_instructions)


@dataclass(slots=True)
class MetricPoint:
    """One data point. `point_id` follows from the stream's identity, the time and the values."""

    tenant: str
    point_id: str
    sequence: int
    ordinal: int
    received_ns: int
    metric: str
    type: str
    unit: str | None
    description: str | None
    temporality: str | None
    monotonic: bool | None
    start_ns: int
    time_ns: int
    value_double: float | None
    value_int: int | None
    count: int | None
    sum: float | None
    min: float | None
    max: float | None
    detail: str
    attributes: str
    resource: str
    scope: str
    service_name: str | None
    scope_name: str | None
