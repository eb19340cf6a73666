"""What stands above a step: asked for many steps of a trace, each step on the way is looked at once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from store.model.span import Span
from store.model.trace import Trace

Found = TypeVar("Found")


class Above(Generic[Found]):
    """The nearest thing above a step of a trace, where `found` says of a step what it has, None for nothing.

    In a circle of parents (telemetry can lie) the way ends where it began.
    """

    def __init__(self, trace: Trace, found: Callable[[Span], Found | None]) -> None:
        self._spans = trace.spans
        self._found = found
        self._known: dict[str, Found | None] = {}

    def of(self, span: Span) -> Found | None:
        """What the nearest step above has."""
        path: list[str] = []
        nearest: Found | None = None
        at = span
        while True:
            if at.span_id in self._known:
                nearest = self._known[at.span_id]
                break
            self._known[at.span_id] = None
            path.append(at.span_id)
            parent = self._spans.get(at.parent_span_id or "")
            if parent is None:
                break
            nearest = self._found(parent)
            if nearest is not None:
                break
            at = parent
        self._known.update(dict.fromkeys(path, nearest))
        return nearest
