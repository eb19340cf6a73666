"""`/v1/runs/{run_id}/replay`: a run as ordered events, streamed one a line."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from access.permissions import Permission
from query.documents import line
from query.guard import needs
from query.parameters import ReadParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.model.rows import ReplayEvent

NDJSON_MEDIA_TYPE: Final = "application/x-ndjson"
# Every chunk is a hop between threads: at 64 KiB the hops cost less than the encoding.
CHUNK_BYTES: Final = 64 * 1024

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get(
    "/{run_id}/replay",
    dependencies=[needs(Permission.READ_RUNS, Kind.REPLAY)],
    response_class=StreamingResponse,
    responses={
        200: {"description": "One ReplayEvent a line.", "content": {NDJSON_MEDIA_TYPE: {"schema": {"type": "object"}}}},
        **responses(404, 422, 503, 504),
    },
)
def replay_run(view: ViewOf, run_id: str, asked: Annotated[ReadParameters, Query()]) -> StreamingResponse:
    """The run as ordered events with content inline, as NDJSON."""
    events = iter(view.at(asked.min_position).replay(run_id))
    # An unknown run shows at the first event, and must be a 404: once the response has begun it is too late.
    first = list(islice(events, 1))
    return StreamingResponse(_chunks(chain(first, events)), media_type=NDJSON_MEDIA_TYPE)


def _chunks(events: Iterator[ReplayEvent]) -> Iterator[bytes]:
    chunk = bytearray()
    for event in events:
        chunk += line(event)
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)
