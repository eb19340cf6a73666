"""What of a run depends on which step stands below which, however far: the usage that counts, and agents below agents.

It is worked out from every step's parent, so it is read whole, as columns: some 50 bytes a step while it is read, and little
of it stays. The rules are those of `store.model.trace.usage_leaves` and `store.model.trace.Trace.ancestors`.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from store.duckdb.run_steps import RunSteps
from store.model.replay import Usage

_AT_ONCE: Final = 4096  # Rows of columns that are made Python objects.
_NOBODY: Final = -1
_USAGE: Final = [field.name for field in fields(Usage)]
_compute: Final[Any] = pyarrow.compute


class Tree:
    """Who stands below whom in one trace. Steps are numbered as they come."""

    def __init__(self, span_ids: Any, parents: "array[int]") -> None:
        self._span_ids = span_ids
        self._parents = parents

    @classmethod
    def read(cls, steps: RunSteps, number: int) -> "Tree":
        """The tree of a trace of the run."""
        links = steps.keys[number].links()
        above = _compute.index_in(links["parent_span_id"], value_set=links["span_id"]).fill_null(_NOBODY)
        parents = array("i")
        parents.frombytes(above.to_numpy().astype(np.int32).tobytes())
        return cls(links["span_id"], parents)

    def numbers(self, span_ids: Any) -> list[int]:
        """The numbers of some steps of the trace."""
        return _compute.index_in(span_ids, value_set=self._span_ids).to_pylist()

    def topmost(self, steps: list[int]) -> set[int]:
        """Those that have one of these below them; and everything else that has."""
        found: set[int] = set()
        for start in steps:
            at = self._parents[start]
            while at not in (_NOBODY, start) and at not in found:
                found.add(at)
                at = self._parents[at]
        return found

    def above(self, steps: list[int]) -> set[int]:
        """Everything that has one of these below it. In a circle nothing is below itself, but below every other one of it."""
        found: set[int] = set()
        spared: dict[int, int] = {}  # By step of a circle: the one that its own walk left out, until another comes by.
        for start in steps:
            path: list[int] = []
            at = self._parents[start]
            while at not in (_NOBODY, start) and at not in found:
                found.add(at)
                path.append(at)
                at = self._parents[at]
            if at == start and start not in found:
                spared.update(dict.fromkeys(path, start))
            elif spared.get(at, start) != start:
                found.add(spared[at])
        return found

    def nearest(self, start: int, wanted: dict[int, Any]) -> int | None:
        """The first of the wanted above a step."""
        seen = {start}
        at = self._parents[start]
        while at != _NOBODY and at not in seen:
            if at in wanted:
                return at
            seen.add(at)
            at = self._parents[at]
        return None


@dataclass(frozen=True, slots=True)
class Hanging:
    """What hangs on the tree of one trace: the usage of its leaves in order of time, and its agents below agents.

    Beside it the ids of its spans of which something was cut, or redacted.
    """

    usage: pa.Table
    sub_agents: set[str]
    truncated: set[str]
    redacted: set[str]

    @classmethod
    def read(cls, steps: RunSteps, number: int, paid: dict[str, float]) -> "Hanging":
        """Read the parents of every step of the trace, and what it marks (see select_trace_marks.sql).

        `paid`: what log records say that steps cost, by span id.
        """
        tree = Tree.read(steps, number)
        marks = steps.keys[number].marks()
        bearing = marks.filter(marks["used"])
        numbers = tree.numbers(bearing["span_id"])
        above = tree.topmost(numbers)
        leaves = pa.array([one not in above for one in numbers], pa.bool_())
        agents = marks.filter(marks["agent"])
        truncated, redacted = (
            set(marks.filter(marks[mark])["span_id"].to_pylist()) for mark in ("truncated", "redacted")
        )
        usage = _with_bills(bearing, paid) if paid else bearing
        return cls(usage.select(_USAGE).filter(leaves), _sub_agents(tree, agents), truncated, redacted)


def _with_bills(bearing: pa.Table, paid: dict[str, float]) -> pa.Table:
    """The costs of steps with what log records say in place of those that no span reports."""
    rows = zip(*(bearing[name].to_pylist() for name in ("span_id", "cost_usd", "unreported")), strict=True)
    costs = [paid.get(span_id, usd) if unreported else usd for span_id, usd, unreported in rows]
    return bearing.set_column(
        bearing.schema.get_field_index("cost_usd"), "cost_usd", pa.array(costs, pa.float64())
    )  # fmt: skip


def usage_of(hanging: list[Hanging]) -> Iterator[Usage]:
    """What the leaves of a run used, in order of time."""
    table = pa.concat_tables([one.usage for one in hanging])
    order = np.argsort(table["at_ns"].to_numpy(), kind="stable")
    for first in range(0, len(order), _AT_ONCE):
        for row in table.take(order[first : first + _AT_ONCE]).to_pylist():
            yield Usage(**row)


def _sub_agents(tree: Tree, agents: pa.Table) -> set[str]:
    """Agents that run below another one: a second span about the same agent is not a second agent."""
    span_ids: list[str] = agents["span_id"].to_pylist()
    names = dict(zip(tree.numbers(agents["span_id"]), agents["agent_name"].to_pylist(), strict=True))
    nearest = ((span_id, names[one], tree.nearest(one, names)) for span_id, one in zip(span_ids, names, strict=True))
    return {span_id for span_id, name, above in nearest if above is not None and names[above] != name}
