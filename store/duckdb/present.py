"""Rows of the tables as rows of the contract: names and times as the API writes them, content put back where it stood."""

from dataclasses import fields
from typing import Any

import msgspec

from store.model.content import join_pieces
from store.model.conversation import finish_reason_of, pieces_of_step
from store.model.ids import step_id
from store.model.messages import parsed, read_message
from store.model.paid import paid_for, reported_by
from store.model.particulars import NOTHING, RunParticulars
from store.model.prices import shown_usd
from store.model.rows import (
    AccessRow,
    Completeness,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MetricPointRow,
    RunRow,
    SegmentRow,
    StepRow,
    ToolCallRow,
)
from store.model.runs import status_at
from store.model.span import Event, Particulars, Span
from store.model.times import rfc3339
from store.model.truncation import is_cut, is_taken_out
from store.otlp.redaction import is_redacted
from store.otlp.truncation import is_truncated
from store.record import Position

_EVALUATION_COLUMNS = tuple(
    field.name for field in fields(EvaluationRow) if field.name not in ("step_id", "at", "position")
)
_ACCESS_COLUMNS = tuple(
    field.name
    for field in fields(AccessRow)
    if field.name not in ("at", "content_ids", "filters", "detail", "position")
)
_NOTHING_PARTICULAR = Particulars()
_of_a_run = msgspec.json.Decoder(RunParticulars)
_SEVERITIES = ("", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def present_run(row: dict[str, Any], now_ns: int) -> RunRow:
    """A row of `runs` as of now: a run without a recorded end is running, abandoned or incomplete."""
    status: Any = status_at(
        row["status"], row["open_reason"], row["last_event_ns"], row["last_received_ns"], now_ns=now_ns
    )
    missing = row["missing_root"] or row["missing_parents"] or row["unexecuted_tool_calls"] or row["truncated"]
    partial = missing or row["models_unseen"] or status in ("incomplete", "abandoned")
    ended_ns = row["end_ns"]
    told = _of_a_run.decode(row["particulars"]) if row["particulars"] else NOTHING
    return RunRow(
        run_id=row["run_id"],
        run_kind=row["run_kind"],
        agent_name=row["agent_name"],
        workflow_name=row["workflow_name"],
        service_name=row["service_name"],
        service_version=row["service_version"],
        environment=row["environment"],
        framework=row["framework"],
        conversation_id=row["conversation_id"],
        conversation_id_source=row["conversation_id_source"],
        user_id=row["user_id"],
        end_user_tenant=told.end_user_tenant,
        session_tags=told.session_tags,
        metadata=msgspec.json.decode(told.metadata) if told.metadata else {},
        agent_version=told.agent_version,
        workflow_version=told.workflow_version,
        status=status,
        outcome_reason=row["outcome_reason"],
        started_at=rfc3339(row["start_ns"]),
        ended_at=rfc3339(ended_ns),
        duration_ns=max(ended_ns - row["start_ns"], 0) if ended_ns and row["start_ns"] else None,
        steps=row["steps"],
        llm_calls=row["llm_calls"],
        tool_calls=row["tool_calls"],
        tool_errors=row["tool_errors"],
        decisions=row["decisions"],
        retries=row["retries"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_tokens=row["cache_read_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        reported_input_tokens=told.reported.get("input_tokens"),
        reported_output_tokens=told.reported.get("output_tokens"),
        reported_cache_read_tokens=told.reported.get("cache_read_tokens"),
        reported_cache_write_tokens=told.reported.get("cache_write_tokens"),
        reported_reasoning_tokens=told.reported.get("reasoning_tokens"),
        reported_agrees=told.reported_agrees,
        cost_usd=shown_usd(row["cost_usd"]),
        cost_source=row["cost_source"],
        unpriced_calls=told.unpriced_calls,
        models=row["models"] or [],
        tools=row["tools"] or [],
        trace_ids=row["trace_ids"] or [],
        completeness=Completeness(
            state="in_progress" if status == "running" else "partial" if partial else "complete",
            missing_root=row["missing_root"],
            missing_parents=row["missing_parents"],
            unexecuted_tool_calls=row["unexecuted_tool_calls"],
            content_absent=row["content_absent"],
            models_unseen=row["models_unseen"],
            truncated=row["truncated"],
            redacted=row["redacted"],
        ),
        segments=[_segment(segment, now_ns) for segment in msgspec.json.decode(row["segments"])],
    )


def is_alive(row: dict[str, Any], now_ns: int) -> bool:
    """Whether a run has said something lately: what of it has no recorded end may still be going on."""
    found = status_at("", "unended", row["last_event_ns"], row["last_received_ns"], now_ns=now_ns)
    return found == "running"


def _segment(segment: dict[str, Any], now_ns: int) -> SegmentRow:
    status: Any = status_at(
        segment["status"], segment["open_reason"], segment["last_event_ns"], segment["last_received_ns"], now_ns=now_ns
    )
    return SegmentRow(
        segment_id=segment["segment_id"],
        trace_id=segment["trace_id"],
        segment_no=segment["segment_no"],
        status=status,
        started_at=rfc3339(segment["start_ns"]),
        ended_at=rfc3339(segment["end_ns"]),
        steps=segment["steps"],
        joined_by=segment["joined_by"],
        continues=segment["continues"],
    )


def content_of(span: Span, events: list[Event]) -> dict[str, list[str]]:
    """The content ids of a step, by role; roles without content are left out."""
    pieces = pieces_of_step(span, events)
    found = {
        "system_instructions": pieces.system,
        "input_messages": pieces.given,
        "output_messages": pieces.said,
        "tool_definitions": span.tool_definitions
        or next((event.tool_definitions for event in events if event.tool_definitions), []),
        "arguments": [span.arguments] if span.arguments else [],
        "result": [span.result] if span.result else [],
    }
    return {role: ids for role, ids in found.items() if ids}


def inline_content(content: dict[str, list[str]], texts: dict[str, str]) -> dict[str, Any]:
    """Content ids replaced by what they hold: messages as messages, arguments and results parsed where they are JSON."""
    shown: dict[str, Any] = {}
    for role, ids in content.items():
        if role in ("arguments", "result"):
            shown[role] = parsed(texts.get(ids[0]))
        elif role == "tool_definitions":
            shown[role] = [parsed(texts.get(piece)) for piece in ids]
        else:
            default = {"system_instructions": "system", "output_messages": "assistant"}.get(role, "user")
            shown[role] = [read_message(texts.get(piece, "null"), default) for piece in ids]
    return shown


def present_step(span: Span, *, run_id: str, seq: int, journal_id: str, content: dict[str, Any], outcomes: dict[str, str],
                 events: list[Event], mcp_servers: dict[str, str | None], is_alive: bool = True) -> StepRow:  # fmt: skip
    """A span version as a step. `mcp_servers`: see `Trace.mcp_servers`; `outcomes`: see `ToolCall.outcomes`.

    `is_alive`: whether its run has said something lately, so that a step whose end is not recorded may still be running.
    """
    kind: Any = span.kind
    outcome: Any = outcomes.get(step_id(span.trace_id, span.span_id), span.outcome)
    if outcome == "running" and not is_alive:
        outcome = "abandoned"
    paid = paid_for(span, reported_by(events))
    cost_source: Any = paid.source
    told = span.particulars or _NOTHING_PARTICULAR
    return StepRow(
        step_id=step_id(span.trace_id, span.span_id),
        run_id=run_id,
        span_id=span.span_id,
        trace_id=span.trace_id,
        parent_step_id=step_id(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        seq=seq,
        kind=kind,
        name=span.name,
        operation=span.operation,
        outcome=outcome,
        error_type=span.error_type,
        status_message=span.status_message,
        started_at=rfc3339(span.start_ns),
        ended_at=rfc3339(span.end_ns),
        duration_ns=max(span.end_ns - span.start_ns, 0) if span.end_ns and span.start_ns else None,
        provider=span.provider,
        model=span.model,
        request_model=span.request_model,
        response_model=span.response_model,
        response_id=span.response_id,
        finish_reason=finish_reason_of(span, events),
        agent_name=span.agent_name,
        tool_name=span.tool_name,
        tool_call_id=span.tool_call_id,
        mcp_method=span.mcp_method,
        # On the server's side its resource says who it is, on the client's side the step below does.
        mcp_server=span.service_name if span.kind == "mcp_server" else mcp_servers.get(span.span_id),
        mcp_protocol_version=span.mcp_protocol_version,
        mcp_session_id=told.mcp_session_id,
        jsonrpc_request_id=span.jsonrpc_request_id,
        input_tokens=span.input_tokens,
        output_tokens=span.output_tokens,
        cache_read_tokens=span.cache_read_tokens,
        cache_write_tokens=span.cache_write_tokens,
        reasoning_tokens=span.reasoning_tokens,
        cost_usd=shown_usd(paid.usd),
        cost_source=cost_source,
        conversation_id=span.conversation_id,
        conversation_id_source=span.conversation_source,
        user_id=told.user_id,
        end_user_tenant=told.end_user_tenant,
        agent_version=told.agent_version,
        workflow_version=told.workflow_version,
        prompt_name=told.prompt_name,
        prompt_version=told.prompt_version,
        service_name=span.service_name,
        dialect=span.dialect,
        scope_name=span.scope_name,
        scope_version=span.scope_version,
        reasoning=span.reasoning or any(event.reasoning for event in events),
        truncated=span.truncated or any(map(is_cut, events)),
        redacted=span.redacted or any(map(is_taken_out, events)),
        revision=span.revision,
        position=str(Position(journal_id, span.sequence)),
        received_at=rfc3339(span.received_ns) or "",
        content=content,
    )


def present_call(row: dict[str, Any], texts: dict[str, str], *, is_alive: bool) -> ToolCallRow:
    """A row as a tool call. `is_alive`: as of a step."""
    started_ns, ended_ns = row["started_ns"], row["ended_ns"]
    lost = row["outcome"] == "requested" and started_ns and not ended_ns and not is_alive
    return ToolCallRow(
        tool_call_key=row["tool_call_key"],
        tool_call_id=row["tool_call_id"],
        tool_name=row["tool_name"],
        tool_source=row["tool_source"],
        mcp_server=row["mcp_server"],
        outcome="abandoned" if lost else row["outcome"],
        error_type=row["error_type"],
        arguments=parsed(texts.get(row["arguments"] or "")),
        result=parsed(texts.get(row["result"] or "")),
        requested_at=rfc3339(row["requested_ns"]),
        started_at=rfc3339(started_ns),
        ended_at=rfc3339(ended_ns),
        duration_ns=max(ended_ns - started_ns, 0) if started_ns and ended_ns else None,
        wait_ns=row["wait_ns"],
        requesting_step=row["requesting_step"],
        executing_step=row["executing_step"],
        mcp_client_step=row["mcp_client_step"],
        mcp_server_step=row["mcp_server_step"],
        mcp_rounds=row["mcp_rounds"],
        attempts=row["attempts"],
        executing_steps=row["executing_steps"] or ([row["executing_step"]] if row["executing_step"] else []),
    )


def present_decision(row: dict[str, Any], texts: dict[str, str]) -> DecisionRow:
    return DecisionRow(
        decision_id=row["decision_id"],
        kind=row["kind"],
        target=row["target"],
        tool_call_key=row["tool_call_key"],
        tool_call_id=row["tool_call_id"],
        verdict=row["verdict"],
        action=row["action"],
        decided_by_kind=row["decided_by_kind"],
        decided_by=row["decided_by"],
        reason=texts.get(row["reason"] or ""),
        requested_at=rfc3339(row["requested_ns"]),
        decided_at=rfc3339(row["decided_ns"]),
        wait_ns=row["wait_ns"],
        request_step=row["request_step"],
        decide_step=row["decide_step"],
        evidence=row["evidence"],
        evidence_rule=row["evidence_rule"],
    )


def present_event(row: dict[str, Any], texts: dict[str, str], *, journal_id: str, run_id: str | None) -> EventRow:
    pieces = _pieces(row)
    body = join_pieces(pieces["body"], texts) if "body" in pieces else msgspec.json.decode(row["body"])
    attributes, resource = attributes_of(row, texts), resource_of(row, texts)
    return EventRow(
        event_id=row["event_id"],
        event_name=row["event_name"],
        severity=row["severity_text"] or _severity(row["severity_number"]),
        severity_number=row["severity_number"],
        at=rfc3339(row["time_ns"] or row["observed_ns"]),
        observed_at=rfc3339(row["observed_ns"]),
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        run_id=run_id,
        service_name=row["service_name"],
        scope_name=row["scope_name"],
        body=body,
        attributes=attributes,
        resource=resource,
        truncated=is_truncated(attributes, resource, scope_attributes_of(row, texts)),
        redacted=is_redacted(attributes, resource, scope_attributes_of(row, texts)),
        position=str(Position(journal_id, row["sequence"])),
    )


def _severity(number: int) -> str | None:
    return _SEVERITIES[min((number + 3) // 4, 6)] or None if number > 0 else None


def present_evaluation(row: dict[str, Any], *, journal_id: str) -> EvaluationRow:
    """A row of `evaluations` with the `run_id` of the step that it is about."""
    shown = {name: row[name] for name in _EVALUATION_COLUMNS}
    known = row["trace_id"] and row["span_id"]
    return EvaluationRow(
        **shown,
        step_id=step_id(row["trace_id"], row["span_id"]) if known else None,
        at=rfc3339(row["time_ns"]),
        position=str(Position(journal_id, row["sequence"])),
    )


def present_access(row: dict[str, Any], *, journal_id: str) -> AccessRow:
    """A row of `access_records`."""
    shown = {name: row[name] for name in _ACCESS_COLUMNS}
    return AccessRow(
        **shown,
        at=rfc3339(row["at_ns"]),
        content_ids=row["content_ids"] or [],
        filters=row["filters"] or [],
        detail=msgspec.json.decode(row["detail"]) if row["detail"] else {},
        position=str(Position(journal_id, row["sequence"])),
    )


def present_point(row: dict[str, Any], texts: dict[str, str], *, journal_id: str) -> MetricPointRow:
    attributes, resource = msgspec.json.decode(row["attributes"]), resource_of(row, texts)
    return MetricPointRow(
        metric=row["metric"],
        type=row["type"],
        unit=row["unit"],
        description=row["description"],
        temporality=row["temporality"],
        monotonic=row["monotonic"],
        started_at=rfc3339(row["start_ns"]),
        at=rfc3339(row["time_ns"]),
        value=row["value_int"] if row["value_int"] is not None else row["value_double"],
        count=row["count"],
        sum=row["sum"],
        min=row["min"],
        max=row["max"],
        detail=msgspec.json.decode(row["detail"]),
        attributes=attributes,
        resource=resource,
        service_name=row["service_name"],
        scope_name=row["scope_name"],
        truncated=is_truncated(attributes, resource, scope_attributes_of(row, texts)),
        redacted=is_redacted(attributes, resource, scope_attributes_of(row, texts)),
        position=str(Position(journal_id, row["sequence"])),
    )


def pieces_in(row: dict[str, Any]) -> set[str]:
    """The content ids that a row refers to."""
    return {row["resource"], row["scope"]}.union(piece for form in _pieces(row).values() for piece in form[1])


def attributes_of(row: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """A row's attributes, whole: what stayed inline and what was moved to content."""
    attributes: dict[str, Any] = msgspec.json.decode(row["attributes"])
    for place, pieces in _pieces(row).items():
        where, _, key = place.partition("/")
        if where == "attributes":
            attributes[key] = join_pieces(pieces, texts)
    return attributes


def span_events_of(row: dict[str, Any], texts: dict[str, str]) -> list[dict[str, Any]]:
    """A step's span events, whole."""
    events: list[dict[str, Any]] = msgspec.json.decode(row["events"]) if row["events"] else []
    for place, pieces in _pieces(row).items():
        where, _, rest = place.partition("/")
        if where == "events":
            index, _, key = rest.partition("/")
            events[int(index)]["attributes"][key] = join_pieces(pieces, texts)
    return events


def _pieces(row: dict[str, Any]) -> dict[str, list[Any]]:
    """What of a row is content, by place: form and ids (see `store.model.content.Pieces.as_json`)."""
    found: dict[str, list[Any]] = msgspec.json.decode(row["pieces"]) if row.get("pieces") else {}
    for pieces in found.values():
        if isinstance(pieces[1], str):
            held = row[pieces[1]] if pieces[1] in row else _particulars(row)[pieces[1]]
            pieces[1] = held if isinstance(held, list) else [held]
    return found


def _particulars(row: dict[str, Any]) -> dict[str, Any]:
    """What stands in a step's column `particulars`."""
    told = row["particulars"]
    return msgspec.json.decode(told) if isinstance(told, str) else msgspec.to_builtins(told)


def resource_of(row: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """A row's resource attributes."""
    return msgspec.json.decode(texts.get(row["resource"], '{"attributes":{}}'))["attributes"]


def scope_attributes_of(row: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """The attributes of a row's scope."""
    return msgspec.json.decode(texts.get(row["scope"], '{"attributes":{}}'))["attributes"]
