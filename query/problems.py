"""Errors as RFC 9457 problem documents: one table from cause to status, so that no route makes its own.

`type` is a URN that a program can compare; `detail` is for people and says what failed and what to do. A failure of
ours (500) tells nothing of our insides: the traceback goes to the log of the server that runs the app.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from access.errors import (
    AccessError,
    AccessUnknown,
    CredentialInUrl,
    Forbidden,
    HostRefused,
    RateExceeded,
)
from store.errors import BadQuery, NotFound, PastBusy, PastNotReached, StoreError, ViewError
from store.questions import SqlBusy, SqlCancelled, SqlError, SqlFailed, SqlNotAllowed, SqlTimeout, SqlTooLarge

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:spanledger:problem:"

_log: Final = structlog.stdlib.get_logger(__name__)


class NotYetVisible(StoreError):
    """The view did not reach the position asked for in time. Retryable."""

    retryable = True


class CannotWait(StoreError):
    """As many reads as may wait for the view are waiting already, or the service is stopping. Retryable."""

    retryable = True


class Problem(BaseModel):
    """An RFC 9457 problem document (here for the API description only)."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    missing: str | None = None
    errors: list[dict[str, Any]] | None = None
    position: int | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI shall say of the errors of a route."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    always = (401, 403, 429)  # Of the door that every call passes.
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted((*always, *statuses))
    }


def problem(
    status: int, kind: str, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """One problem document. `members` are its extensions."""
    document = {"type": _TYPE_PREFIX + kind, "title": title, "status": status, "detail": detail, **members}
    return Response(msgspec.json.encode(document), status, dict(headers or {}), PROBLEM_MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(AccessError, _access)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(BadQuery, _bad_query)
    app.add_exception_handler(SqlError, _sql)
    app.add_exception_handler(ViewError, _view_failed)
    app.add_exception_handler(NotYetVisible, _not_yet_visible)
    app.add_exception_handler(CannotWait, _cannot_wait)
    app.add_exception_handler(PastNotReached, _not_yet_visible)
    app.add_exception_handler(PastBusy, _cannot_wait)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)


async def _access(request: Request, error: Exception) -> Response:
    refused = cast(AccessError, error)
    await request.scope["refused"](request.scope, refused)  # Counted as what the door itself refuses.
    return access_problem(refused)


def access_problem(error: AccessError) -> Response:
    """Why somebody is not let in. Nothing of what was presented is repeated."""
    detail = str(error)
    match error:
        case Forbidden():
            return problem(403, "forbidden", "Not permitted", detail, missing=error.missing)
        case CredentialInUrl():
            return problem(400, "credential-in-url", "A credential in the URL", detail)
        case HostRefused():
            return problem(421, "host-refused", "Not this server's name", detail)
        case RateExceeded():
            headers = {"Retry-After": str(error.retry_after_seconds)}
            return problem(429, "rate-exceeded", "The key's rate is used up", detail, headers=headers)
        case AccessUnknown():
            return problem(503, "access-unknown", "Access cannot be checked", detail, headers={"Retry-After": "2"})
        case _:
            headers = {"WWW-Authenticate": 'Bearer realm="spanledger"'}
            return problem(401, "unauthenticated", "Not authenticated", detail, headers=headers)


def unrecordable_problem(error: Exception) -> Response:
    """Why content is not shown although its reader may see it."""
    detail = (
        f"who reads content is recorded before it is shown, and now it cannot be: {error}. Metadata is answered all the "
        "same: ask with the header `spanledger-withhold: content`. Free disk space or restart the server for the rest"
    )
    return problem(503, "access-unrecordable", "The access cannot be recorded", detail, headers={"Retry-After": "5"})


def too_many_streams_problem(streams_max: int) -> Response:
    """Why another stream is not begun."""
    detail = f"there are {streams_max} streams already, which is as many as may be; end one, or come again in a while"
    return problem(503, "too-many-streams", "Too many streams", detail, headers={"Retry-After": "5"})


def bad_parameter(error: BadQuery) -> Response:
    """A parameter or header that cannot be used."""
    return _bad_parameters([{"parameter": error.parameter, "detail": str(error)}])


async def _sql(_: Request, error: Exception) -> Response:
    """What came of a statement instead of an answer. `position` counts its characters from 0; null where none is known."""
    detail = str(error)
    match error:
        case SqlFailed():
            return problem(422, "bad-sql", "The statement fails", detail, position=error.position)
        case SqlNotAllowed():
            return problem(422, "sql-not-allowed", "The statement is not allowed", detail, position=error.position)
        case SqlTooLarge():
            return problem(422, "sql-too-large", "The statement needs too much memory", detail)
        case SqlTimeout():
            return problem(504, "sql-timeout", "The statement took too long", detail)
        case SqlBusy() | SqlCancelled():
            return problem(503, "sql-busy", "No statement can be taken now", detail, headers={"Retry-After": "5"})
        case _:
            raise error


async def _not_found(_: Request, error: Exception) -> Response:
    return problem(404, "not-found", "No such record", str(error))


async def _bad_query(_: Request, error: Exception) -> Response:
    return bad_parameter(cast(BadQuery, error))


async def _view_failed(request: Request, error: Exception) -> Response:
    _log.error("view_failed", path=request.url.path, error=str(error), exc_info=error)
    detail = f"the view cannot answer: {error}. The record is not affected; see /readyz, and try again."
    return problem(503, "view-failed", "The view failed", detail, headers={"Retry-After": "5"})


async def _not_yet_visible(_: Request, error: Exception) -> Response:
    return problem(504, "not-yet-visible", "The view has not reached that position", str(error))


async def _cannot_wait(_: Request, error: Exception) -> Response:
    headers = {"Retry-After": "1"}
    return problem(503, "cannot-wait", "The read cannot wait for the view now", str(error), headers=headers)


async def _invalid_request(request: Request, error: Exception) -> Response:
    errors: list[dict[str, Any]] = []
    for item in cast(RequestValidationError, error).errors():
        name = str(item["loc"][-1])
        if item["type"] == "extra_forbidden":
            detail = f"is not a parameter of {request.url.path}; {_known_parameters(request)}"
        else:
            detail = str(item["msg"]).removeprefix("Value error, ")
        errors.append({"parameter": name, "detail": detail})
    return _bad_parameters(errors)


def _known_parameters(request: Request) -> str:
    """The parameters of the route that refused, from the model it declares them with."""
    for parameter in getattr(getattr(request.scope.get("route"), "dependant", None), "query_params", []):
        model = getattr(parameter.field_info, "annotation", None)
        if isinstance(model, type) and issubclass(model, BaseModel):
            return "it takes " + ", ".join(sorted(model.model_fields))
    return "see /openapi.json for those it takes"


def _bad_parameters(errors: list[dict[str, Any]]) -> Response:
    detail = "; ".join(f"{item['parameter']}: {item['detail']}" for item in errors)
    first = errors[0]["parameter"]
    return problem(422, "bad-parameter", "A parameter cannot be used", detail, parameter=first, errors=errors)


async def _http_error(request: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    phrase = HTTPStatus(refused.status_code).phrase
    match refused.status_code:
        case 404:
            detail = f"there is nothing at {request.url.path}; /openapi.json lists the paths"
        case 405:
            detail = f"{request.method} is not allowed on {request.url.path}: this service only reads, and /v1/sql takes POST"
        case _:
            detail = str(refused.detail)
    kind = phrase.lower().replace(" ", "-")
    return problem(refused.status_code, kind, phrase, detail, headers=refused.headers)


async def _internal_error(_: Request, __: Exception) -> Response:
    detail = "the request failed for a reason on the server's side; its log says more. Nothing recorded is affected."
    return problem(500, "internal", "Internal error", detail)
