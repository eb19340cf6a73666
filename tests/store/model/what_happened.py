"""Short forms of what the reader says of a run, for tests that compare it with the scenario that made the capture."""

from typing import Any

from store.model.rows import DecisionRow, ReplayEvent, RunRow, ToolCallRow
from store.record import DEFAULT_TENANT
from tests.captured import Recorded


def calls(taken: Recorded, run: RunRow) -> list[ToolCallRow]:
    return taken.reader.tool_calls(DEFAULT_TENANT, run.run_id)


def decisions(taken: Recorded, run: RunRow) -> list[DecisionRow]:
    return taken.reader.decisions(DEFAULT_TENANT, run.run_id)


def replay(taken: Recorded, run: RunRow) -> list[ReplayEvent]:
    return list(taken.reader.replay(DEFAULT_TENANT, run.run_id))


def told(taken: Recorded, run: RunRow) -> list[str]:
    """The replay, an event a line: its type, and what or whom it is about."""
    return [f"{event.type} {_about(event.data)}".rstrip() for event in replay(taken, run)]


def _about(data: dict[str, Any]) -> str:
    for name in ("tool_name", "text", "agent_name", "status", "name"):
        if data.get(name):
            verdict = f": {data['verdict']}" if "verdict" in data else ""
            return f"{data[name]}{verdict}"
    return ""


def said(taken: Recorded, run: RunRow) -> list[tuple[str, Any]]:
    """The conversation, a part a pair: the role (or `thinks`, `calls`, `answers`) and what was said."""
    return [
        _part(message.role, part)
        for message in taken.reader.messages(DEFAULT_TENANT, run.run_id)
        for part in message.parts
    ]


def _part(role: str, part: dict[str, Any]) -> tuple[str, Any]:
    match part["type"]:
        case "text":
            return role, part["content"]
        case "reasoning":
            return "thinks", part["content"]
        case "tool_call":
            return "calls", (part["name"], part["arguments"])
        case "tool_call_response":
            return "answers", part["response"]
        case _:
            return "?", part


def tokens(run: RunRow) -> tuple[int | None, ...]:
    """Input, output, cache read, cache write and reasoning tokens."""
    return (
        run.input_tokens, run.output_tokens, run.cache_read_tokens, run.cache_write_tokens, run.reasoning_tokens,
    )  # fmt: skip


def outcomes(taken: Recorded, run: RunRow) -> list[tuple[str | None, str, Any, Any]]:
    """The tool calls: name, outcome, arguments, result."""
    return [(call.tool_name, call.outcome, call.arguments, call.result) for call in calls(taken, run)]
