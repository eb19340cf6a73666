"""What carries the mark for a place of a request: its span, log record, data point, metric, resource or scope."""

from dataclasses import dataclass

from collector.redaction.places import Step
from store.otlp.schema import LEVELS
from store.record import Signal

Path = tuple[Step, ...]
_POINTS = "data_points"
_OUTER, _INNER = 1, 2
_RECORD, _POINT = 3, 5


@dataclass(frozen=True, slots=True)
class Holder:
    """The message at `path` is rewritten as one; what was redacted stands in `marks` of the message at `mark_path`."""

    path: Path
    mark_path: Path
    marks: str = "attributes"


def holder_of(signal: Signal, path: Path) -> Holder | None:
    """Of a place in a request; None for the request itself, which has nothing that could carry a mark."""
    if not path:
        return None
    return _record_of(signal, path) or _enclosing(signal, path)


def _enclosing(signal: Signal, path: Path) -> Holder:
    """The resource or the scope, of which also the schema URL is, that stands beside it."""
    scope_name = LEVELS[signal][1]
    outer, inner = path[:_OUTER], path[:_INNER]
    if len(path) > _OUTER and path[_OUTER][0] == "resource":
        return Holder(inner, inner)
    if len(path) > _INNER and path[_INNER][0] == "scope":
        return Holder(path[:_RECORD], path[:_RECORD])
    if len(path) > _OUTER and path[_OUTER][0] == scope_name:
        return Holder(inner, (*inner, ("scope", -1)))
    return Holder(outer, (*outer, ("resource", -1)))


def _record_of(signal: Signal, path: Path) -> Holder | None:
    if len(path) < _RECORD or path[_INNER][0] != LEVELS[signal][2]:
        return None
    record = path[:_RECORD]
    if signal is not Signal.METRICS:
        return Holder(record, record)
    if len(path) >= _POINT and path[_RECORD + 1][0] == _POINTS:
        return Holder(path[:_POINT], path[:_POINT])
    return Holder(record, record, "metadata")
