"""What the record says, as rows: a run, a step, a tool call, a decision, a message, a replay event.

The field names are the API's (and the SQL views'): they do not change without an alias. Times named `*_at` are RFC 3339
with nanoseconds, `*_ns` are integers in nanoseconds, ids of traces and spans are lower-case hex. `None` means that no
telemetry said it; an empty list means that telemetry said there is none.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

RunStatus = Literal["running", "ok", "error", "interrupted", "denied", "cancelled", "incomplete", "abandoned"]
RunKind = Literal["agent", "workflow", "engine", "model_call", "other"]
StepKind = Literal[
    "run", "agent", "workflow", "turn", "llm", "embedding", "retrieval", "rerank", "tool", "mcp_client", "mcp_server",
    "guardrail", "evaluator", "memory", "plan", "approval_wait", "handoff", "workflow_engine", "other",
]  # fmt: skip
StepOutcome = Literal[
    "ok", "error", "interrupted", "denied", "pending", "cancelled", "retried", "running", "abandoned"
]  # fmt: skip
ToolCallOutcome = Literal[
    "requested", "pending_approval", "denied", "ok", "error", "retried", "interrupted", "abandoned"
]  # fmt: skip
CostSource = Literal["reported", "priced"]
Verdict = Literal["allow", "deny", "modify", "warn", "escalate", "ask"]
ReplayType = Literal[
    "run_started", "message", "reasoning", "tool_requested", "approval_asked", "decided", "tool_executed",
    "tool_result", "error", "retry", "sub_run", "evaluation", "run_ended",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """Whether the record of a run is whole. `state` is `complete` where nothing below is known to be missing."""

    state: Literal["complete", "in_progress", "partial"]
    missing_root: bool = False
    missing_parents: int = 0
    unexecuted_tool_calls: int = 0
    content_absent: bool = False
    models_unseen: bool = False
    truncated: int = 0
    redacted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """One trace's part of a run. `joined_by` names the rule that made it a continuation; None for a run's first."""

    segment_id: str
    trace_id: str
    segment_no: int
    status: RunStatus
    started_at: str | None
    ended_at: str | None
    steps: int
    joined_by: str | None = None
    continues: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStep:
    """What a run in progress is at: an open step with no open step below it, and for how long by now."""

    step_id: str
    kind: StepKind
    name: str
    started_at: str
    running_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One logical run: every trace is a segment of exactly one. Counts and tokens are those of leaves, never totals."""

    run_id: str
    run_kind: RunKind
    agent_name: str | None
    workflow_name: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    framework: str | None
    conversation_id: str | None
    conversation_id_source: str | None
    """The attribute that it was read from: some libraries have a narrower idea of a conversation than others."""
    user_id: str | None
    end_user_tenant: str | None
    session_tags: list[str]
    metadata: dict[str, Any]
    agent_version: str | None
    workflow_version: str | None
    status: RunStatus
    outcome_reason: str | None
    started_at: str | None
    ended_at: str | None
    duration_ns: int | None
    steps: int
    llm_calls: int
    tool_calls: int
    tool_errors: int
    decisions: int
    retries: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    reported_input_tokens: int | None
    reported_output_tokens: int | None
    reported_cache_read_tokens: int | None
    reported_cache_write_tokens: int | None
    reported_reasoning_tokens: int | None
    reported_agrees: bool | None
    """Whether the totals that the framework reported are what the leaves below them add up to."""
    cost_usd: float | None
    cost_source: CostSource | None
    unpriced_calls: int
    """Calls with usage whose cost is neither reported nor in the table of prices: `cost_usd` is without them."""
    models: list[str]
    tools: list[str]
    trace_ids: list[str]
    completeness: Completeness
    segments: list[SegmentRow]
    current_step: CurrentStep | None = None
    """Of a run in progress. None where no open step was sent: most exporters send a step when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One distinct span, in its current version. `revision` counts its versions from 1."""

    step_id: str
    run_id: str
    span_id: str
    trace_id: str
    parent_step_id: str | None
    seq: int
    kind: StepKind
    name: str
    operation: str | None
    outcome: StepOutcome
    error_type: str | None
    status_message: str | None
    started_at: str | None
    ended_at: str | None
    duration_ns: int | None
    provider: str | None
    model: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reason: str | None
    agent_name: str | None
    tool_name: str | None
    tool_call_id: str | None
    mcp_method: str | None
    mcp_server: str | None
    mcp_protocol_version: str | None
    mcp_session_id: str | None
    jsonrpc_request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cost_source: CostSource | None
    conversation_id: str | None
    conversation_id_source: str | None
    user_id: str | None
    end_user_tenant: str | None
    agent_version: str | None
    workflow_version: str | None
    prompt_name: str | None
    prompt_version: str | None
    service_name: str | None
    dialect: str
    scope_name: str | None
    scope_version: str | None
    reasoning: bool
    truncated: bool
    redacted: bool
    revision: int
    position: str
    received_at: str
    content: dict[str, Any] = field(default_factory=dict[str, Any])
    """By role (`input_messages`, `output_messages`, `system_instructions`, `tool_definitions`, `arguments`, `result`):
    a list of content ids, or with `content=inline` the content itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDetail:
    """A step with everything its span said. Attribute values are as sent; repeated keys are kept as `key#2`."""

    step: StepRow
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: dict[str, Any]
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]
    span: dict[str, Any]
    """What else the span carried: kind, status, trace_state, flags, dropped counts."""
    truncations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What was cut before it was recorded: `place`, `length`, `sha256`, `reason`, and `count` of dropped items."""
    redactions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What was redacted before it was recorded: `place`, `rule`, `action`, `version` of the policy, `length`, `count`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRow:
    """One logical tool call, however many spans tell of it."""

    tool_call_key: str
    tool_call_id: str | None
    tool_name: str | None
    tool_source: Literal["function", "builtin", "mcp", "provider_hosted", "handoff"] | None
    mcp_server: str | None
    outcome: ToolCallOutcome
    error_type: str | None
    arguments: Any
    result: Any
    requested_at: str | None
    started_at: str | None
    ended_at: str | None
    duration_ns: int | None
    wait_ns: int | None
    requesting_step: str | None
    executing_step: str | None
    mcp_client_step: str | None
    mcp_server_step: str | None
    mcp_rounds: int
    attempts: int = 0
    """How often it was executed: more than once where it was retried, or begun again by another attempt or a resume."""
    executing_steps: list[str] = field(default_factory=list[str])
    """Every execution of it, in order: what it does to the world was done by each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """An approval or another verdict on what an agent wanted. `evidence`: did telemetry say so itself?"""

    decision_id: str
    kind: Literal["human_approval", "permission_rule", "guardrail", "policy", "elicitation"]
    target: str | None
    tool_call_key: str | None
    tool_call_id: str | None
    verdict: Verdict
    action: Literal["executed", "blocked", "modified", "escalated", "none"]
    decided_by_kind: Literal["human", "config", "hook", "model", "service"] | None
    decided_by: str | None
    reason: str | None
    requested_at: str | None
    decided_at: str | None
    wait_ns: int | None
    request_step: str | None
    decide_step: str | None
    evidence: Literal["explicit", "inferred"]
    evidence_rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One message of a run's conversation, where it was first seen. `parts` are OTel GenAI parts, names normalised."""

    ordinal: int
    at: str | None
    step_id: str
    direction: Literal["input", "output", "system"]
    role: str
    parts: list[dict[str, Any]]
    finish_reason: str | None
    content_id: str
    step_truncated: bool = False
    """Whether something of the step it was read from was cut; the step's `truncations` say what."""
    step_redacted: bool = False
    """Whether something of that step was redacted; the step's `redactions` say what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEvent:
    """One thing that happened in a run. `state` is what holds after it."""

    position: int
    """Its place in the replay, from 0."""
    at: str | None
    type: ReplayType
    step_id: str | None
    data: dict[str, Any]
    state: dict[str, Any]
    """`elapsed_ns, input_tokens, output_tokens, cost_usd, open_calls` (names), `pending_approvals` (names)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How far the record of a run can be relied on, told with each replay and state.

    `complete` where nothing is known to be missing; what is stands in `completeness`, with the steps cut or redacted.
    `inferred` are the decisions that no telemetry says itself, `unpriced_calls` those that no cost is known of.
    """

    complete: bool
    completeness: Completeness
    inferred: int
    unpriced_calls: int
    normaliser_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRow:
    """What an agent knew when a step began. `messages` are what the model was given by the last model call not behind the
    step, exactly and in order, system instructions first; `said` is what that one answered, unless it is the step itself.
    """

    run_id: str
    seq: int
    at: str | None
    step: StepRow
    model_step_id: str | None
    messages: list[Any]
    said: list[Any]
    content_ids: list[str]
    """Of `messages` and `said`."""
    state: dict[str, Any]
    """As of a replay event: the state after the last event that is not later than the step's beginning."""
    fidelity: Fidelity


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One log record, with or without a trace."""

    event_id: str
    event_name: str | None
    severity: str | None
    severity_number: int
    at: str | None
    observed_at: str | None
    trace_id: str | None
    span_id: str | None
    run_id: str | None
    service_name: str | None
    scope_name: str | None
    body: Any
    attributes: dict[str, Any]
    resource: dict[str, Any]
    truncated: bool = False
    """Whether something of it, its resource or its scope was cut: their attribute `spanledger.truncated` says what."""
    redacted: bool = False
    """Whether something was redacted: their attribute `spanledger.redacted` says what."""
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """How a step was judged. `step_id` is null where the record names no step, or a response that no step gave."""

    evaluation_id: str
    run_id: str | None
    step_id: str | None
    trace_id: str | None
    span_id: str | None
    response_id: str | None
    name: str
    score: float | None
    label: str | None
    passed: bool | None
    explanation: str | None
    evaluator_name: str | None
    evaluator_version: str | None
    evaluator_kind: str | None
    """As sent, in lower case: `llm`, `code`, `human`."""
    target: str | None
    case_id: str | None
    error_type: str | None
    """Of an evaluator that failed."""
    source: Literal["otel_event", "openinference", "span_attributes"]
    service_name: str | None
    at: str | None
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent in one version of it and of its service, with when its steps were first and last seen."""

    agent_key: str
    agent_name: str
    agent_version: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    frameworks: list[str]
    first_seen_at: str | None
    last_seen_at: str | None
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRow:
    """A tool as it was offered to the models of an agent. `definition_hash` is the id of the definition's content.

    Another definition of the same tool is another row, with the next `revision` and the hash that it follows.
    """

    tool_key: str
    tool_name: str | None
    agent_name: str | None
    service_name: str | None
    definition_hash: str | None
    description: str | None
    definition: Any
    tool_sources: list[str]
    mcp_servers: list[str]
    revision: int
    previous_hash: str | None
    first_seen_at: str | None
    last_seen_at: str | None
    steps: int
    """Model calls that were offered it."""
    calls: int
    """Of tools of this name in the service's runs, whatever the definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """A system prompt as it was given to the models of an agent, or a prompt of which only the name is sent.

    Another text under the same name is another row, with the next `revision` and the hash that it follows.
    """

    prompt_key: str
    prompt_name: str | None
    prompt_version: str | None
    agent_name: str | None
    service_name: str | None
    prompt_hash: str | None
    content_ids: list[str]
    text: str | None
    revision: int
    previous_hash: str | None
    first_seen_at: str | None
    last_seen_at: str | None
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPointRow:
    """One data point of a metric. `value` for gauges and sums; the rest by metric type, as OTLP names it."""

    metric: str
    type: Literal["gauge", "sum", "histogram", "exponential_histogram", "summary", "empty"]
    unit: str | None
    description: str | None
    temporality: Literal["unspecified", "delta", "cumulative"] | None
    monotonic: bool | None
    started_at: str | None
    at: str | None
    value: float | int | None
    count: int | None
    sum: float | None
    min: float | None
    max: float | None
    detail: dict[str, Any]
    """Buckets, bounds, quantiles, exemplars and flags, as OTLP/JSON names them."""
    attributes: dict[str, Any]
    resource: dict[str, Any]
    service_name: str | None
    scope_name: str | None
    truncated: bool = False
    """As of a log record."""
    redacted: bool = False
    """As of a log record."""
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRow:
    """One access record: who read or changed what, or was refused. `count` attempts of the same kind are one row."""

    at: str | None
    who: str
    key_prefix: str | None
    role: str | None
    peer: str | None
    door: str
    action: str
    call: str | None
    outcome: str
    reason: str | None
    run_id: str | None
    step_id: str | None
    content_ids: list[str]
    content_count: int
    content_digest: str | None
    rows: int
    statement_digest: str | None
    filters: list[str]
    filter_digest: str | None
    purpose: str | None
    subject: str | None
    detail: dict[str, str]
    count: int
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRow:
    """One piece of content, stored once per tenant. `text` is as it was sent."""

    content_id: str
    media_type: str
    bytes: int
    text: str
