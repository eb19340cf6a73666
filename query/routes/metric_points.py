"""`/v1/metric-points`: the data points of metrics that were sent to us (not our own: those are at `/metrics`)."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import MetricPointList, answer
from query.guard import needs
from query.parameters import MetricPointsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/metric-points", tags=["metric points"])


@router.get(
    "",
    response_model=MetricPointList,
    dependencies=[needs(Permission.READ_METRICS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_metric_points(view: ViewOf, asked: Annotated[MetricPointsParameters, Query()]) -> Response:
    """Metric points, newest first. All conditions hold together."""
    page = view.at(asked.min_position).metric_points(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, MetricPointList(metric_points=page.rows, next_cursor=page.next_cursor))
