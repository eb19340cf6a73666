"""The query service as one ASGI app: request -> route -> reader -> response.

Strategy: it knows the store's contract and its rows, no engine and no journal. Routes are plain functions that run in
worker threads, because a Reader blocks; the replay streams. Answers are the store's dataclasses, encoded by msgspec.
There is no CORS, no documentation page that would load scripts from elsewhere, and no banner.
"""

from typing import Final

from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry

from query import problems
from query.measure import Measured
from query.parameters import refuse_repeated
from query.routes import (
    agents,
    contents,
    evaluations,
    events,
    health,
    metric_points,
    prompts,
    replay,
    runs,
    steps,
    tools,
)
from query.view import ReadLimits, View
from store.contract import Reader, Waiter

API_VERSION: Final = "1"
_READS: Final = (runs, replay, steps, events, metric_points, evaluations, agents, tools, prompts, contents)


def create_app(
    *, reader: Reader, waiter: Waiter, registry: CollectorRegistry, limits: ReadLimits | None = None
) -> FastAPI:
    """The service over one view. `registry` is what `/metrics` shows; the app adds its own request times to it."""
    app = FastAPI(
        title="Spanledger",
        version=API_VERSION,
        description="The flight recorder for AI agents: runs, their steps, and their replay.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.view = View(reader, waiter, limits or ReadLimits())
    app.state.registry = registry
    for module in _READS:
        app.include_router(module.router, dependencies=[Depends(refuse_repeated)])
    app.include_router(health.router)
    problems.install(app)
    app.add_middleware(Measured, registry=registry)
    return app
