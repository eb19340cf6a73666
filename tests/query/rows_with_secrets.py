"""A reader whose every row has words in its content, its reasoning and its raw telemetry, to be looked for in answers.

Fields are filled by their type, so that one that is added has a word in it, too: a field that nobody said to be metadata.
"""

from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from query.withholding import CONTENT, METADATA, needed
from store.model.rows import (
    AccessRow,
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
    StateRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)
from tests.query.conftest import FakeReader

CONTENT_WORD = "thecontentword"
REASONING_WORD = "thereasoningword"
RAW_WORD = "therawword"


def _word(kind: type, name: str) -> str:
    return CONTENT_WORD if needed(kind, name) == CONTENT else RAW_WORD


def filled(kind: type, **given: Any) -> Any:
    """A row of that kind: metadata of plain values, everything else of words to look for."""
    hints = get_type_hints(kind)
    values = {
        member.name: _metadata(hints[member.name])
        if member.name in METADATA[kind]
        else _secret(kind, member.name, hints)
        for member in fields(kind)
    }
    return kind(**(values | given))


def _metadata(hint: Any) -> Any:
    """A value of a type that says nothing."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return []
    if origin is dict:
        return {}
    if arguments:  # An enumeration, or something or None.
        return None if type(None) in arguments else arguments[0]
    return {str: "known", int: 1, float: 1.0, bool: False}.get(hint)


def _secret(kind: type, name: str, hints: dict[str, Any]) -> Any:
    word = _word(kind, name)
    origin = get_origin(hints[name])
    if origin is dict:
        return {"some": word}
    if origin is list:
        return [{"some": word}] if dict in map(get_origin, get_args(hints[name])) else [word]
    return word


TEXT_PART = {"type": "text", "content": CONTENT_WORD}
REASONING_PART = {"type": "reasoning", "content": REASONING_WORD}


def reader_with_secrets() -> FakeReader:
    step = filled(
        StepRow,
        content={
            "output_messages": [
                {"role": "assistant", "parts": [{"type": "text", "content": CONTENT_WORD}, REASONING_PART]}
            ]
        },
    )
    plain = filled(StepRow, content={"output_messages": ["idofthecontent"]})
    return FakeReader(
        run_rows=[filled(RunRow, completeness=Completeness(state="complete"))],
        step_rows=[step],
        details={"known": filled(StepDetail, step=plain, truncations=[])},
        tool_call_rows=[filled(ToolCallRow)],
        decision_rows=[filled(DecisionRow)],
        message_rows=[filled(MessageRow, parts=[TEXT_PART, REASONING_PART])],
        replay_events=[
            filled(ReplayEvent, type="message", state={}, data={"role": "user", "text": CONTENT_WORD}),
            filled(ReplayEvent, type="reasoning", state={}, data={"role": "assistant", "text": REASONING_WORD}),
            filled(
                ReplayEvent, type="tool_requested", state={}, data={"tool_name": "t", "arguments": {"a": CONTENT_WORD}}
            ),
            filled(ReplayEvent, type="error", state={}, data={"error_type": "E", "message": CONTENT_WORD}),
            filled(ReplayEvent, type="error", state={}, data={"a_field_that_somebody_adds": CONTENT_WORD}),
        ],
        state_rows=[
            filled(StateRow, step=plain, state={}, messages=[{"role": "user", "parts": [TEXT_PART, REASONING_PART]}])
        ],
        event_rows=[filled(EventRow)],
        metric_rows=[filled(MetricPointRow, detail={"bounds": [1], "exemplars": [{"value": RAW_WORD}]})],
        evaluation_rows=[filled(EvaluationRow)],
        agent_rows=[filled(AgentRow)],
        access_rows=[filled(AccessRow)],
        tool_rows=[filled(ToolRow)],
        prompt_rows=[filled(PromptRow)],
        sql_words={"arguments": CONTENT_WORD, "text": REASONING_WORD, "body": RAW_WORD},
        content_rows={"known": filled(ContentRow, text=f"{CONTENT_WORD} {REASONING_WORD}")},
    )
