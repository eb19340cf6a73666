"""What the routes answer: frozen dataclasses that msgspec encodes as they are, and OpenAPI describes.

The rows are the store's own (`store.model.rows`); here are only the objects around them. FastAPI is never given a row
to validate: on a page of a thousand that would cost more than the read.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec
from fastapi import Response

from query.view import TenantView
from store.model.rows import (
    AccessRow,
    AgentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    MetricPointRow,
    PromptRow,
    RunRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)

JSON_MEDIA_TYPE: Final = "application/json"
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Runs, newest start first."""

    runs: list[RunRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepList:
    """A run's steps in order."""

    steps: list[StepRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStepList:
    """Steps in the order of the record. Ask again with `after=next_position`; null where nothing was recorded yet."""

    steps: list[StepRow]
    next_position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallList:
    """A run's logical tool calls in the order they were asked for."""

    tool_calls: list[ToolCallRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionList:
    """A run's decisions in the order they were asked for."""

    decisions: list[DecisionRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageList:
    """A run's conversation, every message once."""

    messages: list[MessageRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventList:
    """Log records, newest first."""

    events: list[EventRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationList:
    """Evaluations, newest first."""

    evaluations: list[EvaluationRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentList:
    """Agents by version, the latest to appear first."""

    agents: list[AgentRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolList:
    """Tools by definition, the latest to appear first."""

    tools: list[ToolRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptList:
    """Prompts by text, the latest to appear first."""

    prompts: list[PromptRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPointList:
    """Metric points, newest first."""

    metric_points: list[MetricPointRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessList:
    """Access records, the latest in the record first."""

    access: list[AccessRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureList:
    """Figures by group; `truncated` where there are more groups than are given."""

    figures: list[dict[str, Any]]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDocument(StepRow):
    """A step row with everything its span said."""

    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: dict[str, Any]
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]
    span: dict[str, Any]
    truncations: list[dict[str, Any]]
    redactions: list[dict[str, Any]]

    @classmethod
    def of(cls, detail: StepDetail) -> "StepDocument":
        row = {member.name: getattr(detail.step, member.name) for member in fields(StepRow)}
        said = {member.name: getattr(detail, member.name) for member in fields(StepDetail) if member.name != "step"}
        return cls(**row, **said)


def answer(view: TenantView, document: Any) -> Response:
    """A document as the response. What was not shown of its rows stands in `withheld`, which is absent where all was."""
    body = _ENCODER.encode(document)
    if view.withheld:
        body = body[:-1] + b',"withheld":' + _ENCODER.encode(sorted(view.withheld)) + b"}"
    return Response(body, media_type=JSON_MEDIA_TYPE)


def line(document: Any) -> bytes:
    """A document as one line of NDJSON."""
    return _ENCODER.encode(document) + b"\n"
