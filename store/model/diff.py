"""Two runs beside each other: which step is which, what differs, and where they first went different ways.

Steps are aligned by what they are (kind, and the tool, agent, method or name), never by ids or times. What differs of two
aligned steps is told apart: what the agent *did* (said, arguments, outcome) is where runs diverge; what it was given or how
it was made (model, messages, result of a tool) is a change, and often the reason.

What is compared of messages is a digest without ids and reasoning, so that two runs which say the same are the same, and a
run may have more to say than there is memory for. Everything here is a function of rows, as the caller may see them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec

from store.model.alignment import aligned
from store.model.diff_rows import DiffCall, DiffRun, DiffSide, DiffStep, DiffTotals, RunDiff, Status
from store.model.rows import MessageRow, RunRow, StepRow, ToolCallRow

DIFF_CALLS_MAX: Final = 2_000
"""Tool calls of one run. Their arguments and results are in memory while they are compared."""
DID: Final = frozenset({"said", "arguments", "outcome", "finish_reason"})
"""Differences by which two runs diverge. The others are what was done to them, or how they were made."""
_ENCLOSING: Final = frozenset({"run", "agent", "workflow", "turn", "workflow_engine"})
"""How these ended follows from what is below them, which comes later in the order."""
Row = TypeVar("Row", StepRow, ToolCallRow)
_REASONING: Final = ("reasoning", "thinking", "redacted_thinking", "reasoning_content")
_IDS: Final = frozenset({"id", "signature", "provider_details", "provider_name"})
_COMPARED: Final = ("outcome", "error_type", "finish_reason", "model")


@dataclass(slots=True)
class _Talk:
    given: list[bytes] = field(default_factory=list[bytes])
    said: list[bytes] = field(default_factory=list[bytes])


class Heard:
    """What was given and said on the steps of a run, as digests. Takes messages one at a time."""

    def __init__(self, messages: Iterable[MessageRow] = ()) -> None:
        self._talk: dict[str, _Talk] = {}
        for one in messages:
            self.hear(one)

    def hear(self, message: MessageRow) -> None:
        """One more message of the conversation."""
        parts = [_bare(part) for part in message.parts if part.get("type") not in _REASONING]
        if not parts:
            return
        talk = self._talk.setdefault(message.step_id, _Talk())
        digest = sha256(msgspec.json.encode([message.role, parts], order="deterministic")).digest()
        (talk.said if message.direction == "output" else talk.given).append(digest)

    def given(self, step_id: str) -> bytes:
        """What was new in the input of a step."""
        return b"".join(self._talk[step_id].given) if step_id in self._talk else b""

    def said(self, step_id: str) -> bytes:
        """What the model said on it."""
        return b"".join(self._talk[step_id].said) if step_id in self._talk else b""


@dataclass(frozen=True, slots=True)
class DiffInput:
    """One run to compare: its row, its first steps in order, its first tool calls, and what was heard on its steps."""

    run: RunRow
    steps: Sequence[StepRow]
    calls: Sequence[ToolCallRow]
    heard: Heard


def diff(a: DiffInput, b: DiffInput) -> RunDiff:
    """Compare two runs. At most `ALIGNED_MAX` steps and `DIFF_CALLS_MAX` tool calls of each."""
    steps = list(_steps(a, b))
    counts: dict[str, int] = dict.fromkeys(("same", "changed", "only_a", "only_b"), 0)
    for one in steps:
        counts[one.status] += 1
    left, right = _run(a), _run(b)
    return RunDiff(
        a=left,
        b=right,
        delta=DiffTotals(**{
            member.name: _less(getattr(right, member.name), getattr(left, member.name))
            for member in fields(DiffTotals)
        }),
        whole=all(
            one.compared_steps == one.steps and one.compared_tool_calls >= one.tool_calls for one in (left, right)
        ),
        counts=counts,
        first_divergence=next((one.index for one in steps if one.diverges), None),
        first_change=next((one.index for one in steps if one.status != "same"), None),
        steps=steps,
        tool_calls=list(_calls(a.calls, b.calls)),
    )  # fmt: skip


def _run(one: DiffInput) -> DiffRun:
    row = one.run
    return DiffRun(
        run_id=row.run_id, agent_name=row.agent_name, status=row.status, models=row.models, steps=row.steps,
        compared_steps=len(one.steps), llm_calls=row.llm_calls, tool_calls=row.tool_calls,
        compared_tool_calls=len(one.calls), tool_errors=row.tool_errors, input_tokens=row.input_tokens,
        output_tokens=row.output_tokens, cost_usd=row.cost_usd, duration_ns=row.duration_ns,
    )  # fmt: skip


def _less(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one - other


def _steps(a: DiffInput, b: DiffInput) -> Iterable[DiffStep]:
    told_a, told_b = _told(a), _told(b)
    pairs = aligned(
        [(_key(step), _frozen(told)) for step, told in zip(a.steps, told_a, strict=True)],
        [(_key(step), _frozen(told)) for step, told in zip(b.steps, told_b, strict=True)],
    )
    for index, (i, j) in enumerate(pairs):
        left = None if i is None else a.steps[i]
        right = None if j is None else b.steps[j]
        changed = [] if i is None or j is None else _differing(told_a[i], told_b[j])
        status = _status(left, right, changed)
        kind, label = _key(_either(left, right))
        yield DiffStep(
            index=index, status=status, kind=kind, label=label, a=_side(left), b=_side(right), changed=changed,
            diverges=status in ("only_a", "only_b") or (kind not in _ENCLOSING and not DID.isdisjoint(changed)),
        )  # fmt: skip


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


def _status(left: object | None, right: object | None, changed: list[str]) -> Status:
    if left is None:
        return "only_b"
    if right is None:
        return "only_a"
    return "changed" if changed else "same"


def _either(left: Row | None, right: Row | None) -> Row:
    found = left or right
    if found is None:
        raise AssertionError("an alignment has pairs of nothing")
    return found


def _key(step: StepRow) -> tuple[str, str]:
    """What a step is, whoever's it is. A model call's name and model are how it was made."""
    match step.kind:
        case "llm" | "embedding" | "rerank" | "retrieval":
            return step.kind, step.operation or step.kind
        case "tool" | "handoff":
            return step.kind, step.tool_name or step.name
        case "mcp_client" | "mcp_server":
            return step.kind, f"{step.mcp_method or step.name} {step.tool_name or ''}".rstrip()
        case "agent" | "run":
            # Its name is often what one changes: the agents of two versions are each other's counterpart.
            return step.kind, step.kind
        case _:
            return step.kind, step.name


def _told(one: DiffInput) -> list[dict[str, Any]]:
    """By step: what is compared of it beside what it is."""
    by_step = {
        step_id: call for call in one.calls for step_id in (call.executing_step, *call.executing_steps) if step_id
    }
    found: list[dict[str, Any]] = []
    for step in one.steps:
        call = by_step.get(step.step_id)
        found.append(
            {name: getattr(step, name) for name in _COMPARED}
            | {"given": one.heard.given(step.step_id), "said": one.heard.said(step.step_id)}
            | {
                "arguments": None if call is None else _encoded(call.arguments),
                "result": None if call is None else _encoded(call.result),
            }
        )
    return found


def _frozen(told: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(told.values())


def _side(step: StepRow | None) -> DiffSide | None:
    if step is None:
        return None
    return DiffSide(**{member.name: getattr(step, member.name) for member in fields(DiffSide)})


def _calls(a: Sequence[ToolCallRow], b: Sequence[ToolCallRow]) -> Iterable[DiffCall]:
    told_a, told_b = [_told_call(one) for one in a], [_told_call(one) for one in b]
    pairs = aligned(
        [(one.tool_name, _frozen(told)) for one, told in zip(a, told_a, strict=True)],
        [(one.tool_name, _frozen(told)) for one, told in zip(b, told_b, strict=True)],
    )
    for i, j in pairs:
        left, right = (None if i is None else a[i]), (None if j is None else b[j])
        changed = [] if i is None or j is None else _differing(told_a[i], told_b[j])
        yield DiffCall(
            status=_status(left, right, changed),
            tool_name=_either(left, right).tool_name,
            a=left and left.tool_call_key,
            b=right and right.tool_call_key,
            a_outcome=left and left.outcome,
            b_outcome=right and right.outcome,
            changed=changed,
            arguments=_both("arguments", left, right, changed),
            result=_both("result", left, right, changed),
        )


def _told_call(call: ToolCallRow) -> dict[str, Any]:
    return {
        "arguments": _encoded(call.arguments), "outcome": call.outcome, "error_type": call.error_type,
        "result": _encoded(call.result),
    }  # fmt: skip


def _both(name: str, left: ToolCallRow | None, right: ToolCallRow | None, changed: list[str]) -> Any:
    if name not in changed:
        return None
    return {"a": getattr(left, name), "b": getattr(right, name)}


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _bare(value: Any) -> Any:
    """A part without the ids that make every run another."""
    if isinstance(value, dict) and value.get("type") in ("tool_call", "tool_call_response"):
        return {name: one for name, one in value.items() if name not in _IDS}
    if isinstance(value, dict):
        return {name: one for name, one in value.items() if name not in ("id", "signature")}
    return value
