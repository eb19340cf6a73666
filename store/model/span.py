"""A span version as the model keeps it: what its telemetry says, in one vocabulary, with content by reference.

The record is append-only, so this is the one fact there is: everything else (runs, tool calls, decisions) is worked out
from the current versions of a run's spans. `Span` holds what that working out needs; `SpanBody` is the rest, which only
a reader of the single step wants.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from store.model.dialect import conversation_source


@dataclass(slots=True)
class ToolRequest:
    """A tool call that a model asked for. `arguments` is a content id."""

    id: str | None
    name: str | None
    arguments: str | None


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


class Aside(msgspec.Struct, omit_defaults=True):
    """What few spans say. With more than 60 fields every span would be too large for the quick part of the allocator."""

    workflow_id: str | None = None
    previous_response_id: str | None = None
    all_messages: list[str] | None = None
    verdicts: list[Verdict] = []
    attempts_failed: int = 0


class Particulars(msgspec.Struct, omit_defaults=True):
    """What few spans say, and not every span shall carry: for whom, in which version, and totals of what is below.

    One column holds it as JSON: a column of the widest table costs each span something, however few fill it.
    `conversation_id_source` is there where it is not the one that the dialect likes best (see `Span.conversation_source`).
    `metadata` is a JSON object as text. `system_messages` are the content ids of instructions that stand as the first of the
    input messages. `reported_*` are totals under names of their own; a total under the names of usage is in `Span`.
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
    mcp_session_id: str | None = None
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
    aside: Aside | None = None

    def beside(self) -> Aside:
        """What it says beside the rest, to be filled."""
        if self.aside is None:
            self.aside = Aside()
        return self.aside

    def say(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self.beside().verdicts.append(verdict)

    @property
    def verdicts(self) -> list[Verdict]:
        return self.aside.verdicts if self.aside is not None else []

    @property
    def attempts_failed(self) -> int:
        """How many attempts came before the one that counts."""
        return self.aside.attempts_failed if self.aside is not None else 0

    @property
    def workflow_id(self) -> str | None:
        return self.aside.workflow_id if self.aside is not None else None

    @workflow_id.setter
    def workflow_id(self, value: str | None) -> None:
        self.beside().workflow_id = value

    @property
    def previous_response_id(self) -> str | None:
        """The response that the step says it goes on from."""
        return self.aside.previous_response_id if self.aside is not None else None

    @previous_response_id.setter
    def previous_response_id(self, value: str | None) -> None:
        self.beside().previous_response_id = value

    @property
    def all_messages(self) -> list[str] | None:
        """An agent's own copy of its whole conversation, read where no model call below it tells any."""
        return self.aside.all_messages if self.aside is not None else None

    @all_messages.setter
    def all_messages(self, value: list[str] | None) -> None:
        self.beside().all_messages = value

    # `previous_response_id`: the response that the step says it continues; Agent Framework calls it a conversation.
    particulars: Particulars | None = None

    def told(self) -> Particulars:
        """Its particulars, to be filled."""
        if self.particulars is None:
            self.particulars = Particulars()
        return self.particulars

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
    response_id: str | None = None
    """Set where the record speaks for the model call with this response, not for the span that it names."""

    def say(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self.verdicts = [*(self.verdicts or ()), verdict]

    @property
    def speaks(self) -> bool:
        """Whether it tells something of a step that the step's span does not: messages, calls asked for, or a verdict."""
        return self.has_messages or bool(self.tool_requests or self.tool_definitions or self.verdicts)

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
