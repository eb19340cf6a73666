"""`/v1/runs`: the list, one run, and what belongs to it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import DecisionList, MessageList, RunList, StepList, ToolCallList, answer
from query.guard import needs
from query.parameters import (
    PastPageParameters,
    PastParameters,
    ReadParameters,
    RunsParameters,
    StateParameters,
    StepsParameters,
)
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.model.diff_rows import RunDiff
from store.model.rows import RunRow, StateRow

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get(
    "",
    response_model=RunList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_runs(view: ViewOf, asked: Annotated[RunsParameters, Query()]) -> Response:
    """Runs, newest start first. All conditions hold together."""
    page = view.at(asked.min_position).runs(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, RunList(runs=page.rows, next_cursor=page.next_cursor))


@router.get(
    "/{run_id}",
    response_model=RunRow,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def get_run(view: ViewOf, run_id: str, asked: Annotated[PastParameters, Query()]) -> Response:
    """One run, by any id it ever had or by the id of one of its traces."""
    return answer(view, view.at(asked.min_position, asked.as_of).run(run_id))


@router.get(
    "/{run_id}/steps",
    response_model=StepList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def list_steps(view: ViewOf, run_id: str, asked: Annotated[StepsParameters, Query()]) -> Response:
    """The steps of a run in order of their start."""
    page = view.at(asked.min_position, asked.as_of).steps(
        run_id, limit=asked.limit, cursor=asked.cursor, inline=asked.content == "inline"
    )
    return answer(view, StepList(steps=page.rows, next_cursor=page.next_cursor))


@router.get(
    "/{run_id}/tool-calls",
    response_model=ToolCallList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def list_tool_calls(view: ViewOf, run_id: str, asked: Annotated[PastPageParameters, Query()]) -> Response:
    """The logical tool calls of a run, however many spans tell of each."""
    page = view.at(asked.min_position, asked.as_of).tool_calls(run_id, limit=asked.limit, cursor=asked.cursor)
    return answer(view, ToolCallList(tool_calls=page.rows, next_cursor=page.next_cursor))


@router.get(
    "/{run_id}/decisions",
    response_model=DecisionList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def list_decisions(view: ViewOf, run_id: str, asked: Annotated[PastPageParameters, Query()]) -> Response:
    """The approvals and other verdicts on what the agent wanted."""
    page = view.at(asked.min_position, asked.as_of).decisions(run_id, limit=asked.limit, cursor=asked.cursor)
    return answer(view, DecisionList(decisions=page.rows, next_cursor=page.next_cursor))


@router.get(
    "/{run_id}/messages",
    response_model=MessageList,
    dependencies=[needs(Permission.READ_CONTENT, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def list_messages(view: ViewOf, run_id: str, asked: Annotated[PastPageParameters, Query()]) -> Response:
    """The conversation of a run, every message once, in order."""
    page = view.at(asked.min_position, asked.as_of).messages(run_id, limit=asked.limit, cursor=asked.cursor)
    return answer(view, MessageList(messages=page.rows, next_cursor=page.next_cursor))


@router.get(
    "/{run_id}/diff/{other_run_id}",
    response_model=RunDiff,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def diff_runs(view: ViewOf, run_id: str, other_run_id: str, asked: Annotated[ReadParameters, Query()]) -> Response:
    """Two runs beside each other, step by step: what only one has, what differs, and where they first diverge."""
    return answer(view, view.at(asked.min_position).diff(run_id, other_run_id))


@router.get(
    "/{run_id}/state",
    response_model=StateRow,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def get_state(view: ViewOf, run_id: str, asked: Annotated[StateParameters, Query()]) -> Response:
    """What the agent knew when a step began: the messages it had been given, open calls, pending approvals, totals."""
    return answer(view, view.at(asked.min_position, asked.as_of).state(run_id, asked.step))
