"""`/v1/analytics`: counts, rates and quantiles over runs, tool calls and decisions, as JSON or as an Arrow stream."""

from typing import Annotated, Any, Final

import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response

from access.permissions import Permission
from query.documents import FigureList, answer
from query.guard import needs
from query.parameters import ApprovalFiguresParameters, RunFiguresParameters, ToolFiguresParameters
from query.problems import responses
from query.trail import Kind
from query.view import TenantView, ViewOf
from store.contract import FIGURES_MAX, FiguresFilter

ARROW_MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"

router = APIRouter(prefix="/v1/analytics", tags=["analytics"])

_DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {ARROW_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
    **responses(422, 503, 504),
}


@router.get(
    "/runs",
    response_model=FigureList,
    dependencies=[needs(Permission.READ_RUNS, Kind.METADATA)],
    responses=_DESCRIBED,
)
def count_runs(request: Request, view: ViewOf, asked: Annotated[RunFiguresParameters, Query()]) -> Response:
    """Runs: errors, denials, steps, calls, tokens, cost, durations, by up to two of their properties."""
    return _answered(request, view, asked.filter(), asked.min_position)


@router.get(
    "/tools",
    response_model=FigureList,
    dependencies=[needs(Permission.READ_RUNS, Kind.METADATA)],
    responses=_DESCRIBED,
)
def count_tools(request: Request, view: ViewOf, asked: Annotated[ToolFiguresParameters, Query()]) -> Response:
    """Logical tool calls, each once: errors, denials, durations, by up to two of their properties."""
    return _answered(request, view, asked.filter(), asked.min_position)


@router.get(
    "/approvals",
    response_model=FigureList,
    dependencies=[needs(Permission.READ_RUNS, Kind.METADATA)],
    responses=_DESCRIBED,
)
def count_approvals(request: Request, view: ViewOf, asked: Annotated[ApprovalFiguresParameters, Query()]) -> Response:
    """Approvals and other decisions: verdicts and waiting times, by up to two of their properties."""
    return _answered(request, view, asked.filter(), asked.min_position)


def _answered(request: Request, view: TenantView, where: FiguresFilter, min_position: str | None) -> Response:
    rows = view.at(min_position).figures(where, limit=FIGURES_MAX + 1)
    shown, truncated = rows[:FIGURES_MAX], len(rows) > FIGURES_MAX
    if ARROW_MEDIA_TYPE in request.headers.get("accept", ""):
        return _arrow(shown, truncated=truncated)
    return answer(view, FigureList(figures=shown, truncated=truncated))


def _arrow(rows: list[dict[str, Any]], *, truncated: bool) -> Response:
    """`truncated` stands in the schema's metadata."""
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"truncated": str(truncated).lower()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW_MEDIA_TYPE)
