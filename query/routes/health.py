"""`/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus.

Liveness says only that the process answers. Readiness says whether the view keeps up; how far it is and why it is behind it
says to callers who are known. Probes and scrapers add parameters of their own, so these routes refuse none.
"""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from access.permissions import Permission
from query.documents import JSON_MEDIA_TYPE, line
from query.guard import KnownCaller, anybody, needs_unless_open
from query.view import WaiterOf

router = APIRouter(tags=["health"])


@router.get("/healthz", dependencies=[anybody()])
async def healthz() -> Response:
    """The process is alive."""
    return Response(line({"status": "ok"}), media_type=JSON_MEDIA_TYPE)


@router.get("/readyz", dependencies=[anybody()], responses={503: {"description": "Not ready; `reasons` says why."}})
def readyz(waiter: WaiterOf, known: KnownCaller) -> Response:
    """Whether the view keeps up: `ready`, and for callers with a credential `journal_position`, `view_position`, `lag_ms`,
    `reasons`.
    """
    readiness = waiter.readiness()
    said = readiness if known else {"ready": readiness["ready"]}
    return Response(line(said), 200 if readiness["ready"] else 503, media_type=JSON_MEDIA_TYPE)


@router.get("/metrics", dependencies=[needs_unless_open(Permission.SCRAPE)])
def metrics(request: Request) -> Response:
    """Metrics of the process itself, of all tenants, for Prometheus."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.registry), headers={"Content-Type": content_type})
