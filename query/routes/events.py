"""`/v1/events`: log records, also those without a trace."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import EventList, answer
from query.guard import needs
from query.parameters import EventsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get(
    "",
    response_model=EventList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_events(view: ViewOf, asked: Annotated[EventsParameters, Query()]) -> Response:
    """Log records, newest first. All conditions hold together."""
    page = view.at(asked.min_position).events(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, EventList(events=page.rows, next_cursor=page.next_cursor))
