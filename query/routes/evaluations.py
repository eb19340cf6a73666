"""`/v1/evaluations`: how steps, runs and answers were judged."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import EvaluationList, answer
from query.guard import needs
from query.parameters import EvaluationsParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])


@router.get(
    "",
    response_model=EvaluationList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_evaluations(view: ViewOf, asked: Annotated[EvaluationsParameters, Query()]) -> Response:
    """Evaluations, newest first. All conditions hold together."""
    page = view.at(asked.min_position).evaluations(asked.filter(), limit=asked.limit, cursor=asked.cursor)
    return answer(view, EvaluationList(evaluations=page.rows, next_cursor=page.next_cursor))
