"""`/v1/contents/{content_id}`: one piece of content, stored once however often it was sent."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from query.documents import answer
from query.parameters import ReadParameters
from query.problems import responses
from query.view import Tenant, ViewOf
from store.model.rows import ContentRow

router = APIRouter(prefix="/v1/contents", tags=["contents"])


@router.get("/{content_id}", response_model=ContentRow, responses=responses(404, 422, 503, 504))
def get_content(view: ViewOf, tenant: Tenant, content_id: str, asked: Annotated[ReadParameters, Query()]) -> Response:
    """One piece of content as it was sent."""
    return answer(view.at(asked.min_position).content(tenant, content_id))
