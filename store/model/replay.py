"""A run as ordered events, each with the state after it: what happened, not what was instrumented.

Model calls give reasoning, messages and requests; tool calls give approval, execution and result, however many spans told
of them; the state runs along: tokens and cost so far, calls still open, approvals still pending. Everything here is a
function of what it is given, some at a time: see `store.model.happenings`.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from store.model.conversation import Message
from store.model.happenings import Happening
from store.model.rows import DecisionRow, EvaluationRow, ReplayEvent, RunRow, ToolCallRow
from store.model.times import rfc3339


@dataclass(frozen=True, slots=True)
class Times:
    """A tool call's or decision's times in ns, beside its row: `asked`, `decided` for decisions."""

    requested_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a run begins and ends, in ns, and the steps that stand for it there."""

    begun_ns: int
    ended_ns: int
    first_step: str | None
    last_step: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one leaf used, counted from its end on."""

    at_ns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Noted:
    """A step that is an event by itself: one that failed, or an agent below another one (`sub_agent`)."""

    step_id: str
    kind: str
    name: str
    outcome: str
    agent_name: str | None
    error_type: str | None
    status_message: str | None
    start_ns: int
    end_ns: int
    sub_agent: bool


def told(
    run: RunRow,
    bounds: Bounds,
    happened: Iterable[Happening],
    usage: Iterable[Usage],
    *,
    cut: Container[str | None],
    redacted: Container[str | None],
) -> Iterator[ReplayEvent]:
    """The events, positions from 0. `happened` and `usage` are in order of time.

    `cut` and `redacted` have the ids of the steps of which something was cut, or redacted.
    """
    leaves = iter(usage)
    leaf = next(leaves, None)
    input_tokens = output_tokens = 0
    cost_usd = 0.0
    open_calls: dict[str, str] = {}
    pending: dict[str, str] = {}
    position = 0
    for one in happened:
        while leaf is not None and (leaf.at_ns <= one.at_ns or one.type == "run_ended"):
            input_tokens += leaf.input_tokens
            output_tokens += leaf.output_tokens
            cost_usd += leaf.cost_usd
            leaf = next(leaves, None)
        name = one.data.get("tool_name") or one.data.get("target") or "tool"
        if one.opens:
            open_calls[one.opens] = name
        if one.closes:
            open_calls.pop(one.closes, None)
        if one.asks:
            pending[one.asks] = name
        if one.settles:
            pending.pop(one.settles, None)
        if not one.type:
            continue
        yield ReplayEvent(
            position=position,
            at=rfc3339(one.at_ns),
            type=one.type,  # pyright: ignore[reportArgumentType] - made from the literal names below
            step_id=one.step_id,
            data=_marked(one, cut=cut, redacted=redacted),
            state={
                "elapsed_ns": max(one.at_ns - bounds.begun_ns, 0) if one.at_ns else None,
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "cost_usd": cost_usd if run.cost_usd is not None else None,
                "open_calls": list(open_calls.values()),
                "pending_approvals": list(pending.values()),
            },
        )
        position += 1


def _marked(one: Happening, *, cut: Container[str | None], redacted: Container[str | None]) -> dict[str, Any]:
    data = one.data
    if one.step_id in cut:
        data = data | {"step_truncated": True}
    if one.step_id in redacted:
        data = data | {"step_redacted": True}
    return data


def frame(run: RunRow, bounds: Bounds) -> Iterator[Happening]:
    """The run's beginning, and its end where it is recorded."""
    yield Happening(
        bounds.begun_ns, "run_started", bounds.first_step,
        {"run_id": run.run_id, "run_kind": run.run_kind, "agent_name": run.agent_name, "service_name": run.service_name,
         "conversation_id": run.conversation_id, "segments": len(run.segments)},
    )  # fmt: skip
    if run.ended_at is not None:
        yield Happening(
            bounds.ended_ns, "run_ended", bounds.last_step,
            {"status": run.status, "outcome_reason": run.outcome_reason, "duration_ns": run.duration_ns,
             "steps": run.steps, "llm_calls": run.llm_calls, "tool_calls": run.tool_calls,
             "tool_errors": run.tool_errors},
        )  # fmt: skip


class Saying:
    """Makes messages happen. `known_calls` are the ids of calls that are told for themselves."""

    def __init__(self, known_calls: set[str]) -> None:
        self._known_calls = known_calls
        self._order = count()

    def said(self, messages: Iterable[Message]) -> Iterator[Happening]:
        """What these messages, in the order of the conversation, tell."""
        for message, part in ((one, part) for one in messages for part in one.parts):
            order = next(self._order)
            kind, data = _part(part)
            if kind == "tool_call_response" and part.get("id") in self._known_calls:
                continue  # Told by the tool call's own result.
            if kind == "tool_call":
                if message.direction == "output" or part.get("id") in self._known_calls:
                    continue  # Told by the tool call's own request.
                kind = "message"
            yield Happening(
                message.at_ns,
                "reasoning" if kind == "reasoning" else "message",
                message.step_id,
                {"role": message.role, "direction": message.direction, **data},
                order,
            )


def noted(step: Noted) -> Iterator[Happening]:
    """What a step tells by itself."""
    if step.sub_agent:
        yield Happening(step.start_ns, "sub_run", step.step_id, {"agent_name": step.agent_name, "name": step.name})
    if step.outcome == "error" and step.kind not in ("tool", "handoff", "mcp_client", "mcp_server"):
        yield Happening(
            step.end_ns or step.start_ns, "error", step.step_id,
            {"kind": step.kind, "name": step.name, "error_type": step.error_type, "message": step.status_message},
        )  # fmt: skip


def called(call: ToolCallRow, times: Times, order: int) -> Iterator[Happening]:
    """What a tool call tells. `order` is its place among the run's calls."""
    asked = {"tool_name": call.tool_name, "tool_call_id": call.tool_call_id, "mcp_server": call.mcp_server}
    key = call.tool_call_key
    if times.requested_ns:
        yield Happening(
            times.requested_ns, "tool_requested", call.requesting_step, {**asked, "arguments": call.arguments},
            order, opens=key,
        )  # fmt: skip
    if times.started_ns:
        yield Happening(
            times.started_ns, "tool_executed", call.executing_step or call.mcp_client_step or call.mcp_server_step,
            {**asked, "arguments": call.arguments, "tool_source": call.tool_source,
             "mcp_client_step": call.mcp_client_step, "mcp_server_step": call.mcp_server_step,
             "mcp_rounds": call.mcp_rounds},
            order, opens=key,
        )  # fmt: skip
    if call.outcome in ("requested", "pending_approval"):
        return
    if call.outcome == "error":
        yield Happening(
            times.ended_ns, "error", call.executing_step or call.mcp_client_step,
            {**asked, "error_type": call.error_type, "message": call.result}, order,
        )  # fmt: skip
    yield Happening(
        times.ended_ns, "tool_result", call.executing_step,
        {**asked, "outcome": call.outcome, "error_type": call.error_type, "result": call.result,
         "duration_ns": call.duration_ns},
        order, closes=key,
    )  # fmt: skip


def decided(decisions: Iterable[tuple[DecisionRow, Times]]) -> Iterator[Happening]:
    """What a run's decisions tell."""
    known: set[str] = set()
    for order, (decision, times) in enumerate(decisions):
        asked = {
            "kind": decision.kind, "target": decision.target, "tool_name": decision.target,
            "tool_call_id": decision.tool_call_id,
        }  # fmt: skip
        # One question can be decided twice: once in each continuation of the run.
        question = f"{decision.kind} {decision.tool_call_key or decision.decision_id} {times.requested_ns}"
        if question not in known and times.requested_ns:  # Some answers are sent without their question.
            known.add(question)
            yield Happening(times.requested_ns, "approval_asked", decision.request_step, asked, order, asks=question)
        if decision.verdict != "ask":
            yield Happening(
                times.ended_ns, "decided", decision.decide_step,
                {**asked, "verdict": decision.verdict, "action": decision.action, "reason": decision.reason,
                 "decided_by_kind": decision.decided_by_kind, "wait_ns": decision.wait_ns,
                 "evidence": decision.evidence, "evidence_rule": decision.evidence_rule},
                order, settles=question,
            )  # fmt: skip
        elif times.ended_ns:  # Somebody answered, and what they said was not sent: nothing waits any longer.
            yield Happening(times.ended_ns, "", None, {}, order, settles=question)


def evaluated(evaluations: Iterable[tuple[EvaluationRow, int]]) -> Iterator[Happening]:
    """What evaluations tell, each with its time in ns."""
    for order, (one, time_ns) in enumerate(evaluations):
        yield Happening(
            time_ns, "evaluation", one.step_id,
            {"name": one.name, "score": one.score, "label": one.label, "passed": one.passed,
             "explanation": one.explanation, "evaluator_name": one.evaluator_name, "target": one.target,
             "error_type": one.error_type},
            order,
        )  # fmt: skip


def _part(part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    match part["type"]:
        case "text" | "reasoning":
            return part["type"], {"text": part.get("content")}
        case kind:
            return kind, {"part": part}
