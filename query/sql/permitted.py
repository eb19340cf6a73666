"""Which columns of the documented views are for whom: as the API's rows have it, and withheld where nobody said.

A column that a row of the API has takes what that field takes (`query.withholding`); of the others the view says it
themselves. A column that a caller may not see is null in what the statement reads, so that no function can learn of it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from access.permissions import Permission, Principal
from query.sql.checking import Reference
from query.withholding import CONTENT, METADATA, RAW, needed
from store.model.rows import (
    ContentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    MetricPointRow,
    RunRow,
    SegmentRow,
    StepRow,
    ToolCallRow,
)
from store.questions import DocumentedView, Source

SAID: Final = CONTENT | {Permission.READ_REASONING}
_ROWS: Final[dict[str, type]] = {
    "runs": RunRow,
    "steps": StepRow,
    "tool_calls": ToolCallRow,
    "decisions": DecisionRow,
    "messages": MessageRow,
    "contents": ContentRow,
    "events": EventRow,
    "evaluations": EvaluationRow,
    "metric_points": MetricPointRow,
}
_TAKES: Final[Mapping[str, frozenset[Permission]]] = {
    "metadata": frozenset(),
    "content": CONTENT,
    "said": SAID,
    "raw": RAW,
}
_VIEWS: Final = {"metric_points": Permission.READ_METRICS}


def takes(view: DocumentedView, column: str) -> frozenset[Permission]:
    """The permissions that a column takes beside those of the call."""
    declared = next(one.needs for one in view.columns if one.name == column)
    if declared is not None:
        return _TAKES[declared]
    if view.name == "segments":  # They stand whole in every run's row.
        return frozenset() if column in SegmentRow.__dataclass_fields__ else RAW
    kind = _ROWS[view.name]
    return needed(kind, column) if column in METADATA[kind] or column in kind.__dataclass_fields__ else RAW


def sources_of(
    references: Iterable[Reference], views: Mapping[str, DocumentedView], who: Principal, withheld: set[str]
) -> tuple[Source, ...]:
    """The sources of a statement as `who` may read them; what is not shown of them goes into `withheld`, as `view.column`.

    Raises Forbidden for a view that takes a permission that the caller has not.
    """
    found: list[Source] = []
    for one in references:
        if one.view in _VIEWS:
            who.require(_VIEWS[one.view])
        hidden = frozenset(
            column for column in one.columns if not takes(views[one.view], column) <= who.permissions
        )  # fmt: skip
        withheld.update(f"{one.view}.{column}" for column in hidden)
        conditions = tuple(condition for condition in one.conditions if condition.column not in hidden)
        found.append(
            Source(name=one.name, view=one.view, columns=one.columns, hidden=hidden, conditions=conditions)
        )  # fmt: skip
    return tuple(found)
