"""`POST /v1/sql`: one statement over the documented views, as JSON, CSV, an Arrow stream or Parquet.

The statement is waited for in a thread, and meanwhile it is watched here whether anybody still wants the answer: a client
that goes away takes its statement with it.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from access.permissions import Permission
from query.documents import JSON_MEDIA_TYPE
from query.guard import needs
from query.parameters import ReadParameters
from query.problems import responses
from query.sql.checking import TEXT_MAX_CHARS
from query.trail import Kind
from query.view import Statement, TenantView, ViewOf
from store.errors import BadQuery
from store.questions import ROWS_DEFAULT, ResultForm, SqlAnswer, SqlCancelled

# A statement of the greatest length, each character escaped as JSON may, and the rest of the object.
BODY_BYTES_MAX: Final = 6 * TEXT_MAX_CHARS + 1024
MEDIA_TYPES: Final[dict[str, ResultForm]] = {
    JSON_MEDIA_TYPE: ResultForm.JSON,
    "text/csv": ResultForm.CSV,
    "application/vnd.apache.arrow.stream": ResultForm.ARROW,
    "application/vnd.apache.parquet": ResultForm.PARQUET,
}
_BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_ASKED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["sql"],
    "additionalProperties": False,
    "properties": {
        "sql": {"type": "string", "maxLength": TEXT_MAX_CHARS, "description": "One SELECT over the documented views."},
        "limit": {
            "type": "integer",
            "minimum": 1,
            "default": ROWS_DEFAULT,
            "description": "Rows of the answer at most.",
        },
    },
    "example": {"sql": "SELECT tool_name, count(*) AS calls FROM tool_calls GROUP BY tool_name ORDER BY calls DESC"},
}
_ANSWERED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["columns", "rows", "truncated"],
    "properties": {
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type"],
                "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
            },
        },
        "rows": {"type": "array", "items": {"type": "object"}},
        "truncated": {
            "enum": ["rows", "bytes", None],
            "description": "Which bound the answer met; null where it is whole.",
        },
        "withheld": {"type": "array", "items": {"type": "string"}},
    },
}

router = APIRouter(prefix="/v1/sql", tags=["sql"])


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    sql: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a client wants, and as what."""

    text: str
    rows_max: int
    media_type: str


@router.post(
    "",
    dependencies=[needs(Permission.READ_RUNS, Kind.STATEMENT)],
    response_class=Response,
    openapi_extra={"requestBody": {"required": True, "content": {JSON_MEDIA_TYPE: {"schema": _ASKED}}}},
    responses={
        200: {
            "description": "The rows.",
            "content": {JSON_MEDIA_TYPE: {"schema": _ANSWERED}}
            | {name: _BINARY for name in MEDIA_TYPES if name != JSON_MEDIA_TYPE},
        },
        **responses(406, 422, 503, 504),
    },
)
async def answer_statement(view: ViewOf, request: Request, asked: Annotated[ReadParameters, Query()]) -> Response:
    """One SELECT over the views that docs/sql.md lists, for a program's or a person's own questions.

    `Accept` chooses JSON, CSV, an Arrow stream or Parquet. What the caller may not see is null.
    """
    wanted = await _wanted(request, view)
    return await _unless_gone(request, view, wanted, asked.min_position)


async def _wanted(request: Request, view: TenantView) -> _Wanted:
    media_type = _accepted(request.headers.get("accept"))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BadQuery("sql", f"a statement has at most {TEXT_MAX_CHARS} characters")
    try:
        asked = msgspec.json.decode(bytes(body), type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadQuery("body", f'is an object {{"sql": "...", "limit": 100}}: {error}') from error
    rows_max = view.limits.sql.rows
    limit = min(ROWS_DEFAULT, rows_max) if asked.limit is None else asked.limit
    if not 1 <= limit <= rows_max:
        raise BadQuery("limit", f"is from 1 to {rows_max} (sql_rows_max), not {limit}")
    return _Wanted(asked.sql, limit, media_type)


def _accepted(accept: str | None) -> str:
    """The first of our types that a client names; JSON for one that takes anything. Raises BadQuery."""
    named = [one.partition(";")[0].strip().lower() for one in (accept or "*/*").split(",")]
    for one in named:
        if one in MEDIA_TYPES:
            return one
        if one in ("*/*", "application/*", ""):
            return JSON_MEDIA_TYPE
        if one == "text/*":
            return "text/csv"
    raise BadQuery("accept", f"is one of {', '.join(MEDIA_TYPES)}, not {accept}")


async def _unless_gone(request: Request, view: TenantView, wanted: _Wanted, min_position: str | None) -> Response:
    started: list[Statement] = []

    def answered() -> SqlAnswer:
        view.at(min_position)
        statement = view.statement(wanted.text, MEDIA_TYPES[wanted.media_type], wanted.rows_max)
        started.append(statement)
        return statement.answer()

    work = asyncio.ensure_future(run_in_threadpool(answered))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise SqlCancelled("nobody waits for the answer any more")
        return _response(view, wanted, work.result())
    finally:
        gone.cancel()
        for statement in started:
            statement.cancel()
        if not work.done():
            await asyncio.wait((work,))
            work.exception()


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(view: TenantView, wanted: _Wanted, answer: SqlAnswer) -> Response:
    headers = {"spanledger-rows": str(answer.rows)}
    if answer.truncated is not None:
        headers["spanledger-truncated"] = answer.truncated
    body = answer.body
    if view.withheld:
        withheld = sorted(view.withheld)
        headers["spanledger-withheld"] = ", ".join(withheld)
        if wanted.media_type == JSON_MEDIA_TYPE:
            body = body[:-1] + b',"withheld":' + msgspec.json.encode(withheld) + b"}"
    return Response(body, headers=headers, media_type=wanted.media_type)
