"""Rows with every field filled, so that a test names only what it is about."""

from typing import Any

from store.model.rows import (
    AgentRow,
    Completeness,
    ContentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    MetricPointRow,
    PromptRow,
    ReplayEvent,
    RunRow,
    SegmentRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)

TRACE_ID = "5b8efff798038103d269b633813fc60c"
JOURNAL_ID = "0190c1d2"


def time_at(second: float) -> str:
    """`second` seconds after noon of the day that all built rows share."""
    whole, fraction = divmod(round(second * 1_000_000_000), 1_000_000_000)
    minutes, seconds = divmod(whole, 60)
    return f"2026-07-01T12:{minutes:02d}:{seconds:02d}.{fraction:09d}Z"


def make_run(run_id: str = "run-1", **changed: Any) -> RunRow:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "run_kind": "agent",
        "agent_name": "release-manager",
        "workflow_name": None,
        "service_name": "deploys",
        "service_version": "1.2.0",
        "environment": "test",
        "framework": "pydantic-ai",
        "conversation_id": "conversation-1",
        "conversation_id_source": "gen_ai.conversation.id",
        "user_id": "u-7",
        "end_user_tenant": "acme",
        "session_tags": ["nightly"],
        "metadata": {"ticket": "OPS-1"},
        "agent_version": None,
        "workflow_version": None,
        "status": "ok",
        "outcome_reason": None,
        "started_at": time_at(0),
        "ended_at": time_at(4.5),
        "duration_ns": 4_500_000_000,
        "steps": 7,
        "llm_calls": 3,
        "tool_calls": 2,
        "tool_errors": 1,
        "decisions": 1,
        "retries": 0,
        "input_tokens": 1200,
        "output_tokens": 340,
        "cache_read_tokens": 0,
        "cache_write_tokens": None,
        "reasoning_tokens": 90,
        "reported_input_tokens": 1200,
        "reported_output_tokens": 340,
        "reported_cache_read_tokens": None,
        "reported_cache_write_tokens": None,
        "reported_reasoning_tokens": None,
        "reported_agrees": True,
        "cost_usd": 0.0123,
        "cost_source": "priced",
        "unpriced_calls": 0,
        "models": ["scripted-1"],
        "tools": ["list_services", "deploy"],
        "trace_ids": [TRACE_ID],
        "completeness": Completeness(state="complete"),
        "segments": [
            SegmentRow(
                segment_id=TRACE_ID,
                trace_id=TRACE_ID,
                segment_no=1,
                status="ok",
                started_at=time_at(0),
                ended_at=time_at(4.5),
                steps=7,
            )
        ],
    }
    return RunRow(**(fields | changed))


def make_step(step_id: str = "step-1", **changed: Any) -> StepRow:
    absent = (
        "parent_step_id operation error_type status_message provider model request_model response_model response_id "
        "finish_reason agent_name tool_name tool_call_id mcp_method mcp_server mcp_protocol_version mcp_session_id "
        "jsonrpc_request_id input_tokens output_tokens cache_read_tokens cache_write_tokens reasoning_tokens cost_usd "
        "cost_source conversation_id conversation_id_source user_id end_user_tenant agent_version workflow_version "
        "prompt_name prompt_version scope_name scope_version"
    )
    fields: dict[str, Any] = dict.fromkeys(absent.split()) | {
        "step_id": step_id,
        "run_id": "run-1",
        "span_id": "00f067aa0ba902b7",
        "trace_id": TRACE_ID,
        "seq": 0,
        "kind": "tool",
        "name": "execute_tool deploy",
        "outcome": "ok",
        "started_at": time_at(1),
        "ended_at": time_at(1.25),
        "duration_ns": 250_000_000,
        "service_name": "deploys",
        "dialect": "otel_genai",
        "reasoning": False,
        "truncated": False,
        "redacted": False,
        "revision": 1,
        "position": f"{JOURNAL_ID}:1",
        "received_at": time_at(2),
    }
    return StepRow(**(fields | changed))


def make_step_detail(step_id: str = "step-1", **changed: Any) -> StepDetail:
    fields: dict[str, Any] = {
        "step": make_step(step_id),
        "attributes": {"gen_ai.tool.name": "deploy", "retries": 2},
        "resource": {"attributes": {"service.name": "deploys"}},
        "scope": {"name": "pydantic-ai", "version": "2.68"},
        "events": [{"name": "exception", "attributes": {"exception.type": "ToolError"}}],
        "links": [{"trace_id": TRACE_ID, "span_id": "00f067aa0ba902b8"}],
        "span": {"kind": "internal", "status": {"code": "unset"}},
    }
    return StepDetail(**(fields | changed))


def make_tool_call(tool_call_key: str = "call-1", **changed: Any) -> ToolCallRow:
    fields: dict[str, Any] = {
        "tool_call_key": tool_call_key,
        "tool_call_id": "toolu_1",
        "tool_name": "deploy",
        "tool_source": "mcp",
        "mcp_server": "deploys",
        "outcome": "ok",
        "error_type": None,
        "arguments": {"service": "billing", "version": "1.4.2"},
        "result": {"deployed": True},
        "requested_at": time_at(1),
        "started_at": time_at(2),
        "ended_at": time_at(3),
        "duration_ns": 1_000_000_000,
        "wait_ns": 1_000_000_000,
        "requesting_step": "step-0",
        "executing_step": "step-1",
        "mcp_client_step": "step-2",
        "mcp_server_step": "step-3",
        "mcp_rounds": 1,
    }
    return ToolCallRow(**(fields | changed))


def make_decision(decision_id: str = "decision-1", **changed: Any) -> DecisionRow:
    fields: dict[str, Any] = {
        "decision_id": decision_id,
        "kind": "human_approval",
        "target": "deploy",
        "tool_call_key": "call-1",
        "tool_call_id": "toolu_1",
        "verdict": "allow",
        "action": "executed",
        "decided_by_kind": "human",
        "decided_by": "ada",
        "reason": None,
        "requested_at": time_at(1),
        "decided_at": time_at(2),
        "wait_ns": 1_000_000_000,
        "request_step": "step-0",
        "decide_step": "step-1",
        "evidence": "explicit",
        "evidence_rule": "approval_span",
    }
    return DecisionRow(**(fields | changed))


def make_message(ordinal: int = 0, **changed: Any) -> MessageRow:
    fields: dict[str, Any] = {
        "ordinal": ordinal,
        "at": time_at(ordinal),
        "step_id": "step-0",
        "direction": "input",
        "role": "user",
        "parts": [{"type": "text", "content": "Deploy billing 1.4.2"}],
        "finish_reason": None,
        "content_id": f"content-{ordinal}",
    }
    return MessageRow(**(fields | changed))


def make_replay_event(position: int = 0, **changed: Any) -> ReplayEvent:
    fields: dict[str, Any] = {
        "position": position,
        "at": time_at(position),
        "type": "message",
        "step_id": "step-0",
        "data": {},
        "state": {
            "elapsed_ns": position * 1_000_000_000,
            "input_tokens": None,
            "output_tokens": None,
            "cost_usd": None,
            "open_calls": [],
            "pending_approvals": [],
        },
    }
    return ReplayEvent(**(fields | changed))


def make_event(event_id: str = "event-1", **changed: Any) -> EventRow:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "event_name": "gen_ai.choice",
        "severity": "INFO",
        "severity_number": 9,
        "at": time_at(1),
        "observed_at": time_at(1),
        "trace_id": TRACE_ID,
        "span_id": "00f067aa0ba902b7",
        "run_id": "run-1",
        "service_name": "deploys",
        "scope_name": "pydantic-ai",
        "body": {"message": "done"},
        "attributes": {"gen_ai.system": "scripted"},
        "resource": {"attributes": {"service.name": "deploys"}},
        "position": f"{JOURNAL_ID}:1",
    }
    return EventRow(**(fields | changed))


def make_evaluation(evaluation_id: str = "evaluation-1", **changed: Any) -> EvaluationRow:
    absent = "response_id label passed evaluator_version evaluator_kind target case_id error_type"
    fields: dict[str, Any] = dict.fromkeys(absent.split()) | {
        "evaluation_id": evaluation_id,
        "run_id": "run-1",
        "step_id": "step-1",
        "trace_id": TRACE_ID,
        "span_id": "00f067aa0ba902b7",
        "name": "relevance",
        "score": 0.85,
        "explanation": "names the version",
        "evaluator_name": "judge",
        "source": "otel_event",
        "service_name": "deploys",
        "at": time_at(3),
        "position": f"{JOURNAL_ID}:1",
    }
    return EvaluationRow(**(fields | changed))


_SEEN: dict[str, Any] = {"first_seen_at": time_at(0), "last_seen_at": time_at(4), "steps": 3}


def make_agent(agent_key: str = "agent-1", **changed: Any) -> AgentRow:
    fields: dict[str, Any] = {
        "agent_key": agent_key,
        "agent_name": "release-manager",
        "agent_version": "7",
        "service_name": "deploys",
        "service_version": "1.2.0",
        "environment": "test",
        "frameworks": ["pydantic-ai"],
        **_SEEN,
    }
    return AgentRow(**(fields | changed))


def make_tool(tool_key: str = "tool-1", **changed: Any) -> ToolRow:
    fields: dict[str, Any] = {
        "tool_key": tool_key,
        "tool_name": "deploy",
        "agent_name": "release-manager",
        "service_name": "deploys",
        "definition_hash": "content-1",
        "description": "Deploy a service.",
        "definition": {"name": "deploy", "description": "Deploy a service."},
        "tool_sources": ["mcp"],
        "mcp_servers": ["deploys"],
        "revision": 2,
        "previous_hash": "content-0",
        "calls": 4,
        **_SEEN,
    }
    return ToolRow(**(fields | changed))


def make_prompt(prompt_key: str = "prompt-1", **changed: Any) -> PromptRow:
    fields: dict[str, Any] = {
        "prompt_key": prompt_key,
        "prompt_name": "release",
        "prompt_version": "3",
        "agent_name": "release-manager",
        "service_name": "deploys",
        "prompt_hash": "content-2",
        "content_ids": ["content-2"],
        "text": "You deploy services.",
        "revision": 1,
        "previous_hash": None,
        **_SEEN,
    }
    return PromptRow(**(fields | changed))


def make_metric_point(metric: str = "gen_ai.client.token.usage", **changed: Any) -> MetricPointRow:
    fields: dict[str, Any] = {
        "metric": metric,
        "type": "histogram",
        "unit": "{token}",
        "description": None,
        "temporality": "cumulative",
        "monotonic": None,
        "started_at": time_at(0),
        "at": time_at(1),
        "value": None,
        "count": 2,
        "sum": 1540.0,
        "min": 340.0,
        "max": 1200.0,
        "detail": {"explicitBounds": [1, 4, 16], "bucketCounts": ["0", "0", "0", "2"]},
        "attributes": {"gen_ai.token.type": "input"},
        "resource": {"attributes": {"service.name": "deploys"}},
        "service_name": "deploys",
        "scope_name": "pydantic-ai",
        "position": f"{JOURNAL_ID}:1",
    }
    return MetricPointRow(**(fields | changed))


def make_content(content_id: str = "content-1", text: str = "Deploy billing 1.4.2") -> ContentRow:
    return ContentRow(content_id=content_id, media_type="text/plain", bytes=len(text.encode()), text=text)
