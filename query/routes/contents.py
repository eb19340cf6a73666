"""`/v1/contents/{content_id}`: one piece of content, stored once however often it was sent."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import answer
from query.guard import needs
from query.parameters import ReadParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.model.rows import ContentRow

router = APIRouter(prefix="/v1/contents", tags=["contents"])


@router.get(
    "/{content_id}",
    response_model=ContentRow,
    dependencies=[needs(Permission.READ_CONTENT, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def get_content(view: ViewOf, content_id: str, asked: Annotated[ReadParameters, Query()]) -> Response:
    """One piece of content as it was sent."""
    return answer(view, view.at(asked.min_position).content(content_id))
