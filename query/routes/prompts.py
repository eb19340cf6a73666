"""`/v1/prompts`: the system prompts that models were given, each text with when it was first and last seen."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import PromptList, answer
from query.guard import needs
from query.parameters import PromptsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/prompts", tags=["prompts"])


@router.get(
    "",
    response_model=PromptList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_prompts(view: ViewOf, asked: Annotated[PromptsParameters, Query()]) -> Response:
    """Prompts by text, the latest to appear first. All conditions hold together."""
    page = view.at(asked.min_position).prompts(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, PromptList(prompts=page.rows, next_cursor=page.next_cursor))
