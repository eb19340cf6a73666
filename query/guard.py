"""The door of the API: nobody gets to a route who is not known, and no route exists that does not say what it takes.

    Host -> URL -> credential -> rate -> [route: its permission -> TenantView] -> recorded -> answer, while the key lives

The first half is `Guarded`, plain ASGI around the whole application, so that it holds for paths that do not exist, too. The
second half is what a route declares among its dependencies (`needs`, `anybody`, `needs_unless_open`): its permission, and
which kind of access it is; `check_declared` refuses an application in which one does not. Between the two an answer that
shows more than metadata is held until it is recorded (`query.trail`).
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Final, cast

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.errors import AccessError, AccessUnknown, Unauthenticated
from access.gate import Gate
from access.permissions import Permission, Principal
from access.refusals import refusal_of
from query.problems import access_problem, bad_parameter, unrecordable_problem
from query.trail import (
    DOOR,
    PURPOSE_HEADER,
    WITHHOLD_HEADER,
    Kind,
    Note,
    Trail,
    Unrecordable,
    asked_of,
    call_of,
    peer_of,
    purpose_of,
    without_content,
)
from store.errors import BadQuery

STILL_SECONDS: Final = 0.25  # Between two looks whether the key of a stream is still valid.
# What a stranger may ask for, literally: whatever else a path can be written as is not on the list.
_PUBLIC: Final = frozenset({"/healthz", "/readyz"})
_METRICS: Final = "/metrics"
_WITHHOLD: Final = WITHHOLD_HEADER.encode()
_PURPOSE: Final = PURPOSE_HEADER.encode()
_FIRST_ERROR: Final = 400
LOG_SECONDS: Final = 1.0  # Between two lines of one reason: strangers must not fill the disk with wrong keys.

_log: Final = structlog.stdlib.get_logger(__name__)


class UndeclaredRoute(Exception):
    """A route does not say which permission it takes. It is a defect, found when the application is made."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a route takes and is. `permission` None: nothing. `unless_open`: nothing either where the setting says so.
    `kind` None is a defect.
    """

    permission: Permission | None
    kind: Kind | None
    unless_open: bool = False

    async def __call__(self, request: Request) -> None:
        """Raises Unauthenticated, Forbidden."""
        request.scope["kind"] = self.kind
        if self.permission is None or (self.unless_open and request.app.state.gate.metrics_open):
            return
        who: Principal | None = request.scope.get("principal")
        if who is None:
            raise Unauthenticated("a credential is needed: send `Authorization: Bearer` and a key", "missing")
        who.require(self.permission)


def needs(permission: Permission, kind: Kind | None = None) -> Any:
    """The route is for callers with a permission, and this kind of access: an application is not made without."""
    return Depends(Declaration(permission, kind))


def needs_unless_open(permission: Permission) -> Any:
    """The route is for callers with a permission, or for everybody where `metrics_access` says so. It has no content."""
    return Depends(Declaration(permission, Kind.METADATA, unless_open=True))


def anybody() -> Any:
    """The route is for everybody, known or not. It has no content."""
    return Depends(Declaration(None, Kind.METADATA))


async def _known(request: Request) -> bool:
    return request.scope.get("principal") is not None


KnownCaller = Annotated[bool, Depends(_known)]


def declared(app: FastAPI) -> dict[str, Declaration]:
    """What each `METHOD path` of an application takes. Raises UndeclaredRoute."""
    found: dict[str, Declaration] = {}
    for route in iter_route_contexts(app.routes):
        path = route.path or repr(route.route)
        stated = _stated(route)
        if len(stated) != 1:
            raise UndeclaredRoute(
                f"{path} declares {len(stated)} permissions: a route has one of needs(...), anybody() and "
                "needs_unless_open(...) among its dependencies"
            )
        if stated[0].kind is None:
            raise UndeclaredRoute(
                f"{path} declares no kind of access: say needs(permission, Kind...), so that what it shows is recorded"
            )
        found |= {f"{method} {path}": stated[0] for method in route.methods or ()}
    return found


def check_declared(app: FastAPI) -> None:
    """Refuse an application with a route that does not say what it takes. Raises UndeclaredRoute."""
    declared(app)


def _stated(route: RouteContext) -> list[Declaration]:
    """What a route declares. One that is not of FastAPI (a mount, a static file) cannot declare anything."""
    dependant = getattr(route, "dependant", None)
    return [one.call for one in dependant.dependencies if isinstance(one.call, Declaration)] if dependant else []


class Guarded:
    """An ASGI application behind a gate."""

    def __init__(self, app: ASGIApp, gate: Gate, trail: Trail) -> None:
        self._app = app
        self._gate = gate
        self._trail = trail
        self._said: dict[str, tuple[float, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["refused"] = self._refused
        try:
            who = await self._admitted(scope)
        except AccessError as error:
            await self._refused(scope, error)
            await access_problem(error)(scope, receive, send)
            return
        except BadQuery as error:
            await bad_parameter(error)(scope, receive, send)
            return
        if who is None:
            await self._app(scope, receive, send)
            return
        await _Stream(self._app, self._gate, self._trail, who).run(scope, receive, send)

    async def _admitted(self, scope: Scope) -> Principal | None:
        """Who asks; None for a stranger who may."""
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        path: str = scope["path"]
        public = path in _PUBLIC or (path == _METRICS and self._gate.metrics_open)
        if not public:  # Orchestrators and scrapers ask by whatever address they found.
            self._gate.check_host(headers.get(b"host", []))
        raw: bytes = scope.get("raw_path") or b""
        self._gate.check_target(path + "?" + raw.decode("latin-1"), scope["query_string"])
        try:
            found = self._gate.admit(headers.get(b"authorization", []), other_header=b"x-api-key" in headers)
            who = await asyncio.wrap_future(found) if isinstance(found, Future) else found
        except (Unauthenticated, AccessUnknown):
            if public:
                return None
            raise
        scope["principal"] = who
        self._gate.rates.spend_request(who)
        scope["purpose"] = purpose_of([value for name, value in scope["headers"] if name.lower() == _PURPOSE])
        withheld = [value for name, value in scope["headers"] if name.lower() == _WITHHOLD]
        if withheld:
            who = scope["principal"] = without_content(who, withheld)
        return who

    async def _refused(self, scope: Scope, error: AccessError) -> None:
        """Count an attempt that was refused, here or by a route."""
        self._log_refusal(error)
        who: Principal | None = scope.get("principal")
        await self._trail.refused(refusal_of(error, door=DOOR, peer=peer_of(scope), who=who, call=call_of(scope)))

    def _log_refusal(self, error: AccessError) -> None:
        """Say why, and nothing of what was presented: not even the path, in which a credential may stand."""
        reason = error.reason if isinstance(error, Unauthenticated) else type(error).__name__
        at, unsaid = self._said.get(reason, (float("-inf"), 0))
        now = monotonic()
        if now - at < LOG_SECONDS:
            self._said[reason] = (at, unsaid + 1)
            return
        self._said[reason] = (now, 0)
        _log.info("request_refused", reason=reason, since_last_line=unsaid)


class _Stream:
    """One request of somebody who was let in: it begins when it is recorded, and ends where the credential does."""

    def __init__(self, app: ASGIApp, gate: Gate, trail: Trail, who: Principal) -> None:
        self._app = app
        self._gate = gate
        self._trail = trail
        self._who = who
        self._watch: asyncio.Task[None] | None = None
        self._over = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns without completing the response where it was cut: the server then closes the connection."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        note = scope["note"] = Note()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._keep(scope, note, ok=message["status"] < _FIRST_ERROR)
            if message["type"] == "http.response.body" and message.get("more_body", False) and self._watch is None:
                self._watch = asyncio.create_task(self._until_over(task))
            await send(message)

        try:
            unrecorded = await self._answered(scope, receive, sending)
            if unrecorded is not None:
                await unrecordable_problem(unrecorded)(scope, receive, send)
        except asyncio.CancelledError:
            if not self._over:
                raise
            task.uncancel()
            _log.info("stream_ended", cause="its credential is not valid any more", caller=self._who.name)
        finally:
            if self._watch is not None:
                self._watch.cancel()

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> Unrecordable | None:
        """Let the application answer; why it could not be recorded, if so: then nothing was sent."""
        unrecorded: list[Unrecordable] = []
        try:
            await self._app(scope, receive, send)
        except* Unrecordable as found:  # A stream's may come in a group of its tasks.
            unrecorded += _leaves(found)
        return unrecorded[0] if unrecorded else None

    async def _keep(self, scope: Scope, note: Note, *, ok: bool) -> None:
        # An answer that no route declared is taken for content: there is none today, and it must not be the way around.
        kind: Kind = scope.get("kind") or Kind.CONTENT
        await self._trail.keep(self._who, kind, asked_of(scope), note, ok=ok)

    async def _until_over(self, task: "asyncio.Task[Any]") -> None:
        while self._gate.is_valid(self._who):
            await asyncio.sleep(STILL_SECONDS)
        self._over = True
        task.cancel()


def _leaves(group: BaseExceptionGroup[Unrecordable]) -> Iterator[Unrecordable]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one
