"""`/v1/steps`: steps in the order of the record, and one step with everything its span said."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from access.permissions import Permission
from query.documents import NewStepList, StepDocument, answer
from query.guard import needs
from query.new_steps import new_steps
from query.parameters import NewStepsParameters, ReadParameters
from query.problems import responses
from query.trail import Kind
from query.view import ViewOf
from store.errors import BadQuery
from store.record import Position

router = APIRouter(prefix="/v1/steps", tags=["steps"])


@router.get(
    "",
    response_model=NewStepList,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(422, 503, 504),
)
def list_new_steps(view: ViewOf, asked: Annotated[NewStepsParameters, Query()]) -> Response:
    """Steps recorded after a position, oldest first, for pollers. The steps of one request come together."""
    reader = view.at(asked.min_position)
    after = None
    if asked.after is not None:
        try:
            after = Position.parse(asked.after)
        except BadQuery as error:
            raise BadQuery("after", str(error)) from error
    steps = new_steps(lambda start, rows: reader.new_steps(start, limit=rows), after, limit=asked.limit)
    return answer(view, NewStepList(steps=steps, next_position=steps[-1].position if steps else asked.after))


@router.get(
    "/{step_id}",
    response_model=StepDocument,
    dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)],
    responses=responses(404, 422, 503, 504),
)
def get_step(view: ViewOf, step_id: str, asked: Annotated[ReadParameters, Query()]) -> Response:
    """One step: its row, and every attribute, event and link of its span."""
    return answer(view, StepDocument.of(view.at(asked.min_position).step(step_id)))
