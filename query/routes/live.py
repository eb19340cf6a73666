"""`/v1/live`: steps as they are recorded, as server-sent events."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from access.permissions import Permission
from query.guard import needs
from query.live import EVENT_STREAM, START, LiveHub, LiveResponse, Mark, check_mark, parse_mark
from query.parameters import LiveParameters, Text
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.contract import StepPlace

router = APIRouter(prefix="/v1/live", tags=["live"])

_LAST_EVENT_ID: Final = "Last-Event-ID"
_EXAMPLE: Final = 'id: 5f0c…:17:3:1\ndata: {"step_id": "5d9b…-19f88a26ac041391", "kind": "mcp_client", "…": "…"}\n\n'
_DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One event a step version, its row in `data`; comments while nothing is recorded.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    },
    **responses(422, 503, 504),
}


@router.get(
    "",
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    response_class=StreamingResponse,
    responses=_DESCRIBED,
)
def stream_steps(
    request: Request,
    view: ViewOf,
    asked: Annotated[LiveParameters, Query()],
    last_event_id: Annotated[
        Text | None, Header(description="The id of the last event seen, to go on behind it.")
    ] = None,
) -> Response:
    """Steps as they are recorded, from now on or behind an event or position, as server-sent events."""
    reader = view.at(asked.min_position)
    hub: LiveHub = request.app.state.live
    now = hub.waiter.moved(-1, 0.0)
    given, name = (last_event_id, _LAST_EVENT_ID) if last_event_id is not None else (asked.after, "after")
    if given is None:
        mark = parse_mark(str(now), name)
    elif given == START:
        mark = Mark(now.journal_id, StepPlace(0, -1))
    else:
        mark = parse_mark(given, name)
        check_mark(mark, hub.waiter, name)
    return LiveResponse(hub, reader, asked.filter(), mark, until=now.sequence, follow=asked.follow)
