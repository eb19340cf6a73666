"""What of a row is shown to whom: metadata to whoever may read runs, everything else by permission.

The table lists what is metadata. A field that is not listed is content, so a field that somebody adds is withheld until it is
listed here. Withheld fields are null, or empty where their type has no null; their names stand in `withheld`.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from functools import cache
from typing import Any, Final, TypeVar

from access.permissions import Permission, Principal
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

Row = TypeVar("Row")

CONTENT: Final = frozenset({Permission.READ_CONTENT})
# Raw telemetry holds whatever was sent, content and reasoning included: it takes all three.
RAW: Final = frozenset({Permission.READ_CONTENT, Permission.READ_REASONING, Permission.READ_RAW})
_REASONING_PARTS: Final = frozenset({"reasoning", "thinking", "redacted_thinking", "reasoning_content"})


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


METADATA: Final[dict[type, frozenset[str]]] = {
    RunRow: _names(
        """run_id run_kind agent_name workflow_name service_name service_version environment framework conversation_id
        conversation_id_source user_id end_user_tenant agent_version workflow_version status started_at ended_at duration_ns
        steps llm_calls tool_calls tool_errors decisions retries input_tokens output_tokens cache_read_tokens
        cache_write_tokens reasoning_tokens reported_input_tokens reported_output_tokens reported_cache_read_tokens
        reported_cache_write_tokens reported_reasoning_tokens reported_agrees cost_usd cost_source unpriced_calls models tools
        trace_ids completeness segments current_step"""
    ),
    StepRow: _names(
        """step_id run_id span_id trace_id parent_step_id seq kind name operation outcome error_type started_at ended_at
        duration_ns provider model request_model response_model response_id finish_reason agent_name tool_name tool_call_id
        mcp_method mcp_server mcp_protocol_version mcp_session_id jsonrpc_request_id input_tokens output_tokens
        cache_read_tokens cache_write_tokens reasoning_tokens cost_usd cost_source conversation_id conversation_id_source
        user_id end_user_tenant agent_version workflow_version prompt_name prompt_version service_name dialect scope_name
        scope_version reasoning truncated redacted revision position received_at"""
    ),
    StepDetail: _names("step truncations redactions"),
    ToolCallRow: _names(
        """tool_call_key tool_call_id tool_name tool_source mcp_server outcome error_type requested_at started_at ended_at
        duration_ns wait_ns requesting_step executing_step mcp_client_step mcp_server_step mcp_rounds attempts
        executing_steps"""
    ),
    DecisionRow: _names(
        """decision_id kind target tool_call_key tool_call_id verdict action decided_by_kind decided_by requested_at
        decided_at wait_ns request_step decide_step evidence evidence_rule"""
    ),
    MessageRow: _names("ordinal at step_id direction role finish_reason content_id step_truncated step_redacted"),
    ReplayEvent: _names("position at type step_id state"),
    StateRow: _names("run_id seq at step model_step_id content_ids state fidelity"),
    EventRow: _names(
        """event_id event_name severity severity_number at observed_at trace_id span_id run_id service_name scope_name
        truncated redacted position"""
    ),
    EvaluationRow: _names(
        """evaluation_id run_id step_id trace_id span_id response_id name score label passed evaluator_name evaluator_version
        evaluator_kind target case_id error_type source service_name at position"""
    ),
    AgentRow: _names(
        """agent_key agent_name agent_version service_name service_version environment frameworks first_seen_at last_seen_at
        steps"""
    ),
    ToolRow: _names(
        """tool_key tool_name agent_name service_name definition_hash tool_sources mcp_servers revision previous_hash
        first_seen_at last_seen_at steps calls"""
    ),
    PromptRow: _names(
        """prompt_key prompt_name prompt_version agent_name service_name prompt_hash content_ids revision previous_hash
        first_seen_at last_seen_at steps"""
    ),
    MetricPointRow: _names(
        """metric type unit description temporality monotonic started_at at value count sum min max attributes service_name
        scope_name truncated redacted position"""
    ),
    ContentRow: _names("content_id media_type bytes"),
    # It takes a permission of its own, and there is no content in it.
    AccessRow: _names(
        """at who key_prefix role peer door action call outcome reason run_id step_id content_ids content_count content_digest
        rows statement_digest filters filter_digest purpose subject detail count position"""
    ),
}
_CONTENT_FIELDS: Final[dict[type, frozenset[str]]] = {
    RunRow: _names("outcome_reason metadata session_tags"),
    StepRow: _names("status_message content"),
    ToolCallRow: _names("arguments result"),
    DecisionRow: _names("reason"),
    EvaluationRow: _names("explanation"),
    MessageRow: _names("parts"),
    ReplayEvent: _names("data"),
    StateRow: _names("messages said"),
    ToolRow: _names("description definition"),
    PromptRow: _names("text"),
    ContentRow: _names("text"),  # What may be in it besides, `TenantReader.content` asks for.
}
# Of a replay event's data. What is not here is content.
_REPLAY_METADATA: Final = _names(
    """run_id run_kind agent_name service_name conversation_id segments status duration_ns steps llm_calls tool_calls
    tool_errors role direction name kind error_type tool_name tool_call_id mcp_server tool_source mcp_client_step
    mcp_server_step mcp_rounds outcome target verdict action decided_by_kind wait_ns evidence evidence_rule score label passed
    evaluator_name step_truncated step_redacted fidelity"""
)
# Beside the lists: the buckets of a histogram are numbers, exemplars are pieces of what was measured.
_DETAIL_CONTENT: Final = _names("exemplars")


def needed(kind: type, name: str) -> frozenset[Permission]:
    """The permissions that a field of a row takes beside those of the call."""
    if name in METADATA[kind]:
        return frozenset()
    return CONTENT if name in _CONTENT_FIELDS.get(kind, ()) else RAW


@cache
def _hidden(kind: type, permissions: frozenset[Permission]) -> tuple[tuple[str, Any], ...]:
    """The fields of a row that are not shown, each with the value that stands for it."""
    return tuple(
        (member.name, _empty(str(member.type)))
        for member in fields(kind)
        if not needed(kind, member.name) <= permissions
    )


def _empty(kind: str) -> Any:
    if kind.startswith(("dict", "<class 'dict", "typing.Dict")):
        return {}
    return [] if kind.startswith(("list", "<class 'list", "typing.List")) else None


def shown(row: Row, who: Principal, withheld: set[str]) -> Row:
    """A row as `who` may see it; names of fields that are not shown go into `withheld`."""
    match row:
        case StepDetail():
            row = replace(row, step=shown(row.step, who, withheld))
        case StepRow():
            return _step(row, who, withheld)
        case StateRow():
            step = shown(row.step, who, withheld)
            messages, answer = said(row.messages, who, withheld), said(row.said, who, withheld)
            row = replace(row, step=step, messages=messages, said=answer)
        case MessageRow():
            row = replace(row, parts=said(row.parts, who, withheld))
        case ReplayEvent():
            return _event(row, who)
        case MetricPointRow():
            return _point(row, who, withheld)
        case _:
            pass
    return _masked(row, who, withheld)


@cache
def _telling(kind: type) -> tuple[str, ...]:
    """The fields of a row that are no metadata."""
    return tuple(member.name for member in fields(kind) if needed(kind, member.name))


def tells(row: Any) -> bool:
    """Whether there is anything in a row, as it is shown, that is no metadata."""
    match row:
        case StepRow():
            inline = any(not isinstance(one, str) for given in row.content.values() for one in _listed(given))
            return inline or any(getattr(row, name) for name in _telling(StepRow) if name != "content")
        case MetricPointRow():
            exemplars = not _DETAIL_CONTENT.isdisjoint(row.detail)
            return exemplars or any(getattr(row, name) for name in _telling(MetricPointRow) if name != "detail")
        case StepDetail() | StateRow():
            return tells(row.step) or any(getattr(row, name) for name in _telling(type(row)))
        case _:
            return any(getattr(row, name) for name in _telling(type(row)))


def said(content: Any, who: Principal, withheld: set[str]) -> Any:
    """Content without its reasoning where that is not for `who`."""
    return content if who.may(Permission.READ_REASONING) else _without_reasoning(content, withheld)


def _masked(row: Any, who: Principal, withheld: set[str], keep: frozenset[str] = frozenset()) -> Any:
    hidden = {name: empty for name, empty in _hidden(type(row), who.permissions) if name not in keep}
    if not hidden:
        return row
    withheld.update(hidden)
    return replace(row, **hidden)


def _step(row: StepRow, who: Principal, withheld: set[str]) -> StepRow:
    """Content ids are metadata; the content itself, where it stands in their place, is not."""
    if who.may(Permission.READ_CONTENT):
        row = replace(row, content=said(row.content, who, withheld))
    elif any(not isinstance(one, str) for given in row.content.values() for one in _listed(given)):
        withheld.add("content")
        row = replace(row, content={})
    return _masked(row, who, withheld, keep=frozenset({"content"}))


def _listed(given: Any) -> Iterable[Any]:
    return given if isinstance(given, list) else (given,)


def _event(event: ReplayEvent, who: Principal) -> ReplayEvent:
    """Its data by name: what happened is metadata, what was said is not. Each event says what it lacks."""
    permission = Permission.READ_REASONING if event.type == "reasoning" else Permission.READ_CONTENT
    if who.may(Permission.READ_CONTENT) and who.may(permission):
        gone: set[str] = set()
        data = said(event.data, who, gone)
        return replace(event, data=data | {"withheld": sorted(gone)}) if gone else event
    missing = sorted(name for name in event.data if name not in _REPLAY_METADATA)
    data = {name: value if name in _REPLAY_METADATA else None for name, value in event.data.items()}
    return replace(event, data=data | {"withheld": missing} if missing else data)


def _point(row: MetricPointRow, who: Principal, withheld: set[str]) -> MetricPointRow:
    if who.permissions >= RAW:
        return row
    hidden = _DETAIL_CONTENT & row.detail.keys()
    withheld.update(f"detail.{name}" for name in hidden)
    row = replace(row, detail={name: value for name, value in row.detail.items() if name not in hidden})
    return _masked(row, who, withheld, keep=frozenset({"detail"}))


def _without_reasoning(value: Any, withheld: set[str]) -> Any:
    if isinstance(value, list):
        return [_without_reasoning(one, withheld) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in _REASONING_PARTS:
        withheld.add("reasoning")
        return {"type": value["type"]}
    return {name: _without_reasoning(one, withheld) for name, one in value.items() if not _is_reasoning(name, withheld)}


def _is_reasoning(name: str, withheld: set[str]) -> bool:
    if name in _REASONING_PARTS:
        withheld.add("reasoning")
        return True
    return False
