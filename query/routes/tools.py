"""`/v1/tools`: the tools that models were offered, each definition with when it was first and last seen."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import ToolList, answer
from query.guard import needs
from query.parameters import ToolsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/tools", tags=["tools"])


@router.get(
    "",
    response_model=ToolList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_tools(view: ViewOf, asked: Annotated[ToolsParameters, Query()]) -> Response:
    """Tools by definition, the latest to appear first. All conditions hold together."""
    page = view.at(asked.min_position).tools(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, ToolList(tools=page.rows, next_cursor=page.next_cursor))
