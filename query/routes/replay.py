"""`/v1/runs/{run_id}/replay`: a run as ordered events, one a line or as server-sent events, at once or in its own time."""

from collections.abc import Iterator
from itertools import chain, dropwhile, islice
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.responses import StreamingResponse

from access.permissions import Permission
from query.guard import needs
from query.parameters import ReplayParameters
from query.playing import NDJSON_MEDIA_TYPE, SSE_MEDIA_TYPE, STREAMED, PlayedReplay, chunks
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.errors import BadQuery
from store.model.rows import ReplayEvent

_POSITION_DIGITS_MAX: Final = 10

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get(
    "/{run_id}/replay",
    dependencies=[needs(Permission.READ_RUNS, Kind.REPLAY)],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One ReplayEvent a line, or a server-sent event.",
            "content": {
                NDJSON_MEDIA_TYPE: {"schema": {"type": "object"}},
                SSE_MEDIA_TYPE: {"schema": {"type": "string"}},
            },
        },
        **responses(404, 422, 503, 504),
    },
)
def replay_run(
    view: ViewOf,
    run_id: str,
    asked: Annotated[ReplayParameters, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[str | None, Header(description="Of a stream that broke off: go on behind it.")] = None,
) -> StreamingResponse:
    """The run as ordered events with content inline: NDJSON, or server-sent events where `Accept` asks for them."""
    sse = SSE_MEDIA_TYPE in (accept or "")
    reader = view.at(asked.min_position, asked.as_of)
    events = reader.replay(run_id, from_step=asked.from_step, until_step=asked.until_step)
    if sse and last_event_id is not None:
        events = _behind(events, last_event_id)
    # An unknown run shows at the first event, and must be a 404: once the response has begun it is too late.
    first = list(islice(events, 1))
    whole = chain(first, events)
    media_type = SSE_MEDIA_TYPE if sse else NDJSON_MEDIA_TYPE
    if asked.speed is None:
        return StreamingResponse(chunks(whole, sse=sse), media_type=media_type, headers=STREAMED if sse else None)
    return PlayedReplay(whole, asked.speed, sse=sse, stage=view.stage, closing=view.closing, media_type=media_type)


def _behind(events: Iterator[ReplayEvent], last_event_id: str) -> Iterator[ReplayEvent]:
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _POSITION_DIGITS_MAX):
        raise BadQuery("Last-Event-ID", f"{last_event_id!r} is no position of an event; send the last `id` again")
    position = int(last_event_id)
    return dropwhile(lambda event: event.position <= position, events)
