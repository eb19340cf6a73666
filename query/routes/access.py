"""`/v1/access`: who read or changed what, or was refused. Whoever reads it is in it, too."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import AccessList, answer
from query.guard import needs
from query.parameters import AccessParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/access", tags=["access"])


@router.get(
    "",
    response_model=AccessList,
    dependencies=[needs(Permission.READ_ACCESS, Kind.ACCESS)],
    responses=responses(422, 503, 504),
)
def list_accesses(view: ViewOf, asked: Annotated[AccessParameters, Query()]) -> Response:
    """Access records of the tenant, the latest in the record first. All conditions hold together."""
    page = view.at(asked.min_position).accesses(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, AccessList(access=page.rows, next_cursor=page.next_cursor))
