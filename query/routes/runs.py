"""`/v1/runs`: the list, one run, and what belongs to it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from query.documents import DecisionList, MessageList, RunList, StepList, ToolCallList, answer, page_of
from query.parameters import PageParameters, ReadParameters, RunsParameters, StepsParameters
from query.problems import responses
from query.view import Tenant, ViewOf
from store.model.rows import RunRow

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("", response_model=RunList, responses=responses(422, 503, 504))
def list_runs(view: ViewOf, tenant: Tenant, asked: Annotated[RunsParameters, Query()]) -> Response:
    """Runs, newest start first. All conditions hold together."""
    page = view.at(asked.min_position).runs(tenant, asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(RunList(runs=page.rows, next_cursor=page.next_cursor))


@router.get("/{run_id}", response_model=RunRow, responses=responses(404, 422, 503, 504))
def get_run(view: ViewOf, tenant: Tenant, run_id: str, asked: Annotated[ReadParameters, Query()]) -> Response:
    """One run, by any id it ever had or by the id of one of its traces."""
    return answer(view.at(asked.min_position).run(tenant, run_id))


@router.get("/{run_id}/steps", response_model=StepList, responses=responses(404, 422, 503, 504))
def list_steps(view: ViewOf, tenant: Tenant, run_id: str, asked: Annotated[StepsParameters, Query()]) -> Response:
    """The steps of a run in order of their start."""
    page = view.at(asked.min_position).steps(
        tenant, run_id, limit=asked.limit, cursor=asked.cursor, inline=asked.content == "inline"
    )
    return answer(StepList(steps=page.rows, next_cursor=page.next_cursor))


@router.get("/{run_id}/tool-calls", response_model=ToolCallList, responses=responses(404, 422, 503, 504))
def list_tool_calls(view: ViewOf, tenant: Tenant, run_id: str, asked: Annotated[PageParameters, Query()]) -> Response:
    """The logical tool calls of a run, however many spans tell of each."""
    rows = view.at(asked.min_position).tool_calls(tenant, run_id, limit=asked.limit + 1, after=asked.cursor)
    page = page_of(rows, lambda row: row.tool_call_key, limit=asked.limit, cursor=None)
    return answer(ToolCallList(tool_calls=page.rows, next_cursor=page.next_cursor))


@router.get("/{run_id}/decisions", response_model=DecisionList, responses=responses(404, 422, 503, 504))
def list_decisions(view: ViewOf, tenant: Tenant, run_id: str, asked: Annotated[PageParameters, Query()]) -> Response:
    """The approvals and other verdicts on what the agent wanted."""
    rows = view.at(asked.min_position).decisions(tenant, run_id)
    page = page_of(rows, lambda row: row.decision_id, limit=asked.limit, cursor=asked.cursor)
    return answer(DecisionList(decisions=page.rows, next_cursor=page.next_cursor))


@router.get("/{run_id}/messages", response_model=MessageList, responses=responses(404, 422, 503, 504))
def list_messages(view: ViewOf, tenant: Tenant, run_id: str, asked: Annotated[PageParameters, Query()]) -> Response:
    """The conversation of a run, every message once, in order."""
    rows = view.at(asked.min_position).messages(tenant, run_id)
    page = page_of(rows, lambda row: str(row.ordinal), limit=asked.limit, cursor=asked.cursor)
    return answer(MessageList(messages=page.rows, next_cursor=page.next_cursor))
