"""The query service as one ASGI app: request -> route -> reader -> response.

Strategy: it knows the store's contract and its rows, no engine and no journal. Routes are plain functions that run in
worker threads, because a Reader blocks; the replay streams. Answers are the store's dataclasses, encoded by msgspec.
There is no CORS, no documentation page that would load scripts from elsewhere, and no banner.
"""

from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from access.gate import Gate
from access.permissions import Permission
from query import problems
from query.documents import JSON_MEDIA_TYPE, line
from query.guard import Guarded, check_declared, declared, needs
from query.live import LiveHub, LiveLimits
from query.measure import Measured
from query.parameters import refuse_repeated
from query.routes import (
    access,
    agents,
    analytics,
    contents,
    evaluations,
    events,
    health,
    live,
    metric_points,
    prompts,
    replay,
    runs,
    sql,
    steps,
    tools,
)
from query.trail import Kind, Trail
from query.view import ReadLimits, View
from store.contract import Reader, Waiter

API_VERSION: Final = "1"
_READS: Final = (
    runs,
    replay,
    live,
    steps,
    events,
    metric_points,
    evaluations,
    agents,
    tools,
    prompts,
    contents,
    access,
    sql,
    analytics,
)


def create_app(
    *,
    reader: Reader,
    waiter: Waiter,
    registry: CollectorRegistry,
    gate: Gate,
    trail: Trail,
    limits: ReadLimits | None = None,
    live_limits: LiveLimits | None = None,
) -> FastAPI:
    """The service over one view. `registry` is what `/metrics` shows; the app adds its own request times to it.

    `gate` says who may ask, `trail` records who did. Raises UndeclaredRoute where a route does not say what it takes and is.
    """
    app = FastAPI(
        title="Spanledger",
        version=API_VERSION,
        description="The flight recorder for AI agents: runs, their steps, and their replay.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.view = view = View(reader, waiter, limits or ReadLimits())
    app.state.live = LiveHub(waiter, view.closing.is_set, live_limits)
    app.state.registry = registry
    app.state.gate = gate
    for module in _READS:
        app.include_router(module.router, dependencies=[Depends(refuse_repeated)])
    app.include_router(health.router)
    app.include_router(_description)
    check_declared(app)
    problems.install(app)
    app.add_middleware(Guarded, gate=gate, trail=trail)
    app.add_middleware(Measured, registry=registry)
    return app


_description = APIRouter()


@_description.get("/openapi.json", include_in_schema=False, dependencies=[needs(Permission.DESCRIBE, Kind.METADATA)])
async def openapi(request: Request) -> Response:
    """The description for programs, with the permission that each call takes."""
    return Response(line(described(request.app)), media_type=JSON_MEDIA_TYPE)


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application. `x-permission` is what a call takes, null where that is nothing; `x-access`
    which kind of access it is.
    """
    document = app.openapi()
    takes = declared(app)
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            stated = takes[f"{method.upper()} {path}"]
            said |= {"x-permission": stated.permission, "x-access": stated.kind}
    return document
