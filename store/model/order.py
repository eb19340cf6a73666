"""The order of a trace's steps: by start; of the same start, parents before children; then by span id.

Clocks are coarse, so that a parent and its children often start at the same moment. How far a step stands below another
one of the same start (its level) is all that is looked at, not where it stands in the whole trace: so a page of a run's
steps needs the steps of its own starts and no others, whatever the size of the run.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Protocol, TypeAlias, TypeVar

PlaceInTrace: TypeAlias = tuple[int, int, str]
"""Start in ns, level, span id: places of one trace compare as its steps are ordered."""


class Ordered(Protocol):
    """What is looked at of a step."""

    @property
    def span_id(self) -> str: ...
    @property
    def parent_span_id(self) -> str | None: ...
    @property
    def start_ns(self) -> int: ...


Step = TypeVar("Step", bound=Ordered)


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The current steps of one trace in their order."""
    by_start = sorted(steps, key=attrgetter("start_ns", "span_id"))
    if len({step.start_ns for step in by_start}) == len(by_start):
        return by_start
    return [step for _, step in placed(by_start)]


def placed(steps: Iterable[Step]) -> list[tuple[PlaceInTrace, Step]]:
    """The steps in their order, each with its place. All steps of a start must be among them."""
    found: list[tuple[PlaceInTrace, Step]] = []
    by_start = sorted(steps, key=attrgetter("start_ns", "span_id"))
    for start_ns, same_start in groupby(by_start, key=attrgetter("start_ns")):
        group = list(same_start)
        if len(group) == 1:
            found.append(((start_ns, 0, group[0].span_id), group[0]))
            continue
        parents = {step.span_id: step.parent_span_id for step in group}
        if not any(parent in parents for parent in parents.values()):
            found += (((start_ns, 0, step.span_id), step) for step in group)
            continue
        levels = depths(parents)
        found += sorted(
            (((start_ns, levels[step.span_id], step.span_id), step) for step in group), key=lambda pair: pair[0]
        )
    return found


def depths(parents: Mapping[str, str | None]) -> dict[str, int]:
    """How far each of these is below the topmost above it; in a cycle all are on top. Every parent is looked at once."""
    found: dict[str, int] = {}
    for start in parents:
        path: dict[str, None] = {}  # In order, and quick to look into.
        at: str | None = start
        while at is not None and at in parents and at not in found and at not in path:
            path[at] = None
            at = parents[at]
        below = list(path)
        if at is not None and at in path:
            cycle = below.index(at)
            found.update(dict.fromkeys(below[cycle:], 0))
            below = below[:cycle]
        depth = found[at] + 1 if at is not None and at in found else 0
        for offset, span_id in enumerate(reversed(below)):
            found[span_id] = depth + offset
    return found
