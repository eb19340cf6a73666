"""Between the model's dataclasses and the engine's tables. A table's columns are its dataclass's fields, by name."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa

from store.access_records import AccessRecord, StoredAccess
from store.model.decisions import Decision
from store.model.evaluations import Evaluation
from store.model.joining import Joined, SegmentFacts
from store.model.runs import Run
from store.model.span import Event, Particulars, Span, SpanBody, ToolAnswer, ToolRequest, Verdict
from store.model.tool_calls import ToolCall, name_step

SPAN_FIELDS: Final = tuple(field.name for field in fields(Span))
BODY_FIELDS: Final = tuple(field.name for field in fields(SpanBody))
EVENT_FIELDS: Final = tuple(field.name for field in fields(Event))
EVALUATION_FIELDS: Final = tuple(field.name for field in fields(Evaluation))
ACCESS_FIELDS: Final = tuple(field.name for field in fields(AccessRecord))
RUN_FIELDS: Final = tuple(field.name for field in fields(Run))

_TRANSPOSED_AT_ONCE: Final = 32
"""Fields of an instance that are read in one go: from some 60 on the tuple of them is no small object of the allocator's."""

_encode = msgspec.json.Encoder().encode
_requests = msgspec.json.Decoder(list[ToolRequest])
_particulars = msgspec.json.Decoder(Particulars)
_answers = msgspec.json.Decoder(list[ToolAnswer])
_verdicts = msgspec.json.Decoder(list[Verdict])
_AS_JSON: Final = frozenset({"tool_requests", "tool_answers", "approvals", "verdicts", "segments", "particulars"})


def columns(items: Sequence[Any], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The fields of some dataclass instances as columns; lists of dataclasses as JSON, an empty one as NULL."""
    if not items:
        return dict.fromkeys(names, ())
    result: dict[str, Sequence[Any]] = {}
    for begin in range(0, len(names), _TRANSPOSED_AT_ONCE):
        some = names[begin : begin + _TRANSPOSED_AT_ONCE]
        if len(some) == 1:  # Of one name attrgetter gives the value itself.
            result[some[0]] = tuple(getattr(item, some[0]) for item in items)
        else:
            result.update(zip(some, zip(*map(attrgetter(*some), items), strict=True), strict=True))
    for name in _AS_JSON.intersection(names):
        if any(result[name]):
            result[name] = [_encode(value).decode() if value else None for value in result[name]]
        else:
            result[name] = (None,) * len(items)
    return result


def span_of(row: dict[str, Any]) -> Span:
    """A span version from its row."""
    values = _talk({name: row[name] for name in SPAN_FIELDS})
    values["particulars"] = particulars_of(row)
    return Span(**values)


def particulars_of(row: dict[str, Any]) -> Particulars | None:
    """What a step's row says that few do."""
    return _particulars.decode(row["particulars"]) if row["particulars"] else None


def event_of(row: dict[str, Any]) -> Event:
    """A log record from its row."""
    values = _talk({name: row[name] for name in EVENT_FIELDS})
    values["verdicts"] = _verdicts.decode(row["verdicts"]) if row["verdicts"] else None
    return Event(**values)


def _talk(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("tool_requests", "approvals"):
        values[name] = _requests.decode(values[name]) if values[name] else []
    values["tool_answers"] = _answers.decode(values["tool_answers"]) if values["tool_answers"] else []
    return values


def facts_of_row(row: dict[str, Any]) -> SegmentFacts:
    """What joining needs of a stored segment."""
    return SegmentFacts(
        row["tenant"], row["trace_id"], row["segment_id"], row["conversation_id"], row["start_ns"],
        row["first_sequence"], row["last_sequence"],
        *(frozenset(row[name] or ()) for name in ("shares", "leaves", "takes")),
    )  # fmt: skip


def segment_row(segment: Joined) -> dict[str, Any]:
    facts = segment.facts
    return {
        "tenant": facts.tenant,
        "trace_id": facts.trace_id,
        "segment_id": facts.segment_id,
        "run_id": segment.run_id,
        "segment_no": segment.segment_no,
        "conversation_id": facts.conversation_id,
        "start_ns": facts.start_ns,
        "first_sequence": facts.first_sequence,
        "last_sequence": facts.last_sequence,
        "shares": sorted(facts.shares) or None,
        "leaves": sorted(facts.leaves) or None,
        "takes": sorted(facts.takes) or None,
        "continues": segment.continues,
        "rule": segment.rule,
    }


def call_row(run: Run, call: ToolCall, position: int) -> dict[str, Any]:
    failed = call.failed
    outcomes = call.outcomes() if call.interruptions or call.refused else None
    return {
        "tenant": run.tenant,
        "run_id": run.run_id,
        "tool_call_key": call.key,
        "tool_call_id": call.id,
        "tool_name": call.name,
        "tool_source": call.source,
        "mcp_server": call.mcp_server,
        "outcome": call.outcome,
        "error_type": failed.error_type if failed else None,
        "arguments": call.arguments,
        "result": call.result,
        "requested_ns": call.requested_ns,
        "started_ns": call.started_ns,
        "ended_ns": call.ended_ns,
        "answered_ns": call.answered_ns,
        "wait_ns": call.wait_ns,
        "requesting_step": name_step(call.requesting),
        "executing_step": name_step(call.execution if call.executed else None),
        "mcp_client_step": name_step(call.clients[-1] if call.clients else None),
        "mcp_server_step": name_step(call.servers[-1] if call.servers else None),
        "mcp_rounds": call.rounds,
        "attempts": call.attempts,
        "executing_steps": [name_step(span) for span in call.executions] if len(call.executions) > 1 else None,
        "step_outcomes": _encode(outcomes).decode() if outcomes else None,
        "position": position,
    }


def decision_row(run: Run, decision: Decision, position: int) -> dict[str, Any]:
    return {
        "tenant": run.tenant,
        "run_id": run.run_id,
        "decision_id": decision.decision_id,
        "kind": decision.kind,
        "target": decision.target,
        "tool_call_key": decision.call.key if decision.call else None,
        "tool_call_id": decision.call.id if decision.call else None,
        "verdict": decision.verdict,
        "action": decision.action,
        "decided_by_kind": decision.decided_by_kind,
        "decided_by": decision.decided_by,
        "reason": decision.reason,
        "requested_ns": decision.requested_ns,
        "decided_ns": decision.decided_ns,
        "wait_ns": decision.wait_ns,
        "request_step": decision.request_step,
        "decide_step": decision.decide_step,
        "evidence": decision.evidence,
        "evidence_rule": decision.evidence_rule,
        "position": position,
    }


def access_row(access: StoredAccess) -> dict[str, Any]:
    record = access.record
    said = {name: getattr(record, name) for name in ACCESS_FIELDS}
    return said | {
        "tenant": access.tenant,
        "sequence": access.sequence,
        "ordinal": access.ordinal,
        "received_ns": access.received_ns,
        "content_ids": list(record.content_ids) or None,
        "filters": list(record.filters) or None,
        "detail": _encode(record.detail).decode() if record.detail else None,
    }


def table(values: dict[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Columns as an Arrow table of a table's own types, whatever order they come in.

    Most columns of most batches are empty. Those are left out: looking is much cheaper than converting and writing.
    """
    said = {name: column for name, column in values.items() if column.count(None) != len(column)}
    fields = [schema.field(name) for name in said]
    arrays = [pa.array(column, type=one.type) for one, column in zip(fields, said.values(), strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))
