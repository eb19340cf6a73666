"""`/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus.

Liveness says only that the process answers. Readiness says whether the view keeps up, with the reasons where it does
not. Probes and scrapers add parameters of their own, so these routes refuse none.
"""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from query.documents import JSON_MEDIA_TYPE, answer, line
from query.view import ViewOf

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process is alive."""
    return answer({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "Not ready; `reasons` says why."}})
def readyz(view: ViewOf) -> Response:
    """Whether the view keeps up: `journal_position`, `view_position`, `lag_ms` and, where not ready, `reasons`."""
    readiness = view.waiter.readiness()
    return Response(line(readiness), 200 if readiness["ready"] else 503, media_type=JSON_MEDIA_TYPE)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Metrics of the process itself, for Prometheus."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.registry), headers={"Content-Type": content_type})
