"""`/v1/agents`: the agents that were seen, each version with when it was first and last seen."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from query.documents import AgentList, answer
from query.parameters import AgentsParameters
from query.problems import responses
from query.view import Tenant, ViewOf

router = APIRouter(prefix="/v1/agents", tags=["agents"])


@router.get("", response_model=AgentList, responses=responses(422, 503, 504))
def list_agents(view: ViewOf, tenant: Tenant, asked: Annotated[AgentsParameters, Query()]) -> Response:
    """Agents by version, the latest to appear first. All conditions hold together."""
    page = view.at(asked.min_position).agents(tenant, asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(AgentList(agents=page.rows, next_cursor=page.next_cursor))
