"""`/v1/agents`: the agents that were seen, each version with when it was first and last seen."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import AgentList, answer
from query.guard import needs
from query.parameters import AgentsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/agents", tags=["agents"])


@router.get(
    "",
    response_model=AgentList,
    dependencies=[needs(Permission.READ_RUNS, Kind.METADATA)],
    responses=responses(422, 503, 504),
)
def list_agents(view: ViewOf, asked: Annotated[AgentsParameters, Query()]) -> Response:
    """Agents by version, the latest to appear first. All conditions hold together."""
    page = view.at(asked.min_position).agents(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, AgentList(agents=page.rows, next_cursor=page.next_cursor))
