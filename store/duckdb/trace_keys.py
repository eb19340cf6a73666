"""What puts the steps of one trace in order, asked of the engine or held: `StoredKeys` for large runs, `HeldKeys` for others.

A statement costs a millisecond before it reads anything, and most runs are small: their keys are read once and held. The keys
of a large run are asked for by start, so that what is read does not grow with the run.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa

from store.duckdb.engine import Engine
from store.duckdb.statements import sql
from store.model.order import PlaceInTrace, placed
from store.model.paid import PAID_KINDS, REPORTED

END_OF_TIME: Final = 2**63 - 1
BEFORE_TIME: Final = -1  # No step starts before 0, which is an unset start.
_PAGES_IN_REACH: Final = 16  # A trace of more pages than these is not looked through for the reach of one.
_NEAR: Final = (4, 128)  # Times the mean distance of steps that they are first looked for.
MARKS: Final = pa.schema(
    [
        ("span_id", pa.string()), ("used", pa.bool_()), ("agent", pa.bool_()), ("truncated", pa.bool_()),
        ("redacted", pa.bool_()), ("unreported", pa.bool_()),
        ("agent_name", pa.string()), ("at_ns", pa.int64()), ("input_tokens", pa.int64()), ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TraceRange:
    """Where a trace's steps stand in the record, and what its segment said of them when it was last worked out."""

    trace_id: str
    first_sequence: int
    last_sequence: int
    steps: int
    begun_ns: int
    last_event_ns: int


@dataclass(frozen=True, slots=True)
class StepKey:
    """What is looked at of every step. `row` is its place in the engine, which stays."""

    row: int
    span_id: str
    parent_span_id: str | None
    start_ns: int
    end_ns: int
    kind: str
    outcome: str
    service_name: str | None


PlacedKey = tuple[PlaceInTrace, StepKey]


@dataclass(frozen=True, slots=True)
class Extent:
    """When a trace began (0: no start is set), ended, and started its last steps; and the span id of its root."""

    begun_ns: int
    ended_ns: int
    last_start_ns: int
    root: str | None


class TraceKeys(Protocol):
    """The current steps of one trace. Every method may raise ViewError."""

    def starting(self, low_ns: int, behind_ns: int, wanted: int) -> list[PlacedKey]:
        """Every step from a start on and not behind the `wanted` steps that start behind `behind_ns`, in order.

        With `wanted` 0 those of the start `low_ns`.
        """
        ...

    def count(self, until_ns: int) -> int:
        """How many start not later."""
        ...

    def below(self, span_ids: Iterable[str]) -> list[StepKey]:
        """The children of some steps."""
        ...

    def floor_ns(self, behind_ns: int) -> int | None:
        """The earliest start or end of the steps that start behind; None where there is none."""
        ...

    def extent(self) -> Extent:
        """When the trace was."""
        ...

    def links(self) -> pa.Table:
        """`span_id` and `parent_span_id` of every step."""
        ...

    def marks(self) -> pa.Table:
        """The steps that are agents, carry usage or were cut or redacted, as MARKS, in the order in which usage counts."""
        ...


class StoredKeys:
    """See `TraceKeys`. `asked` are the parameters that name the trace's steps."""

    def __init__(self, engine: Engine, trace: TraceRange, asked: dict[str, Any]) -> None:
        self._engine = engine
        self._trace = trace
        self._asked = asked

    def starting(self, low_ns: int, behind_ns: int, wanted: int) -> list[PlacedKey]:
        reach_ns = self._reach_ns(behind_ns, wanted) if wanted else low_ns
        if reach_ns is None:
            if low_ns > behind_ns:
                return []
            reach_ns = behind_ns
        rows = self._rows("select_step_keys", low_ns=low_ns, reach_ns=reach_ns)
        return placed(key_of(row) for row in rows)

    def count(self, until_ns: int) -> int:
        return self._rows("count_steps", until_ns=until_ns)[0]["steps"]

    def below(self, span_ids: Iterable[str]) -> list[StepKey]:
        return [key_of(row) for row in self._rows("select_steps_below", span_ids=list(span_ids))]

    def floor_ns(self, behind_ns: int) -> int | None:
        return self._rows("select_step_floor", behind_ns=behind_ns)[0]["floor_ns"]

    def extent(self) -> Extent:
        row = self._rows("select_trace_extent")[0]
        return Extent(row["begun_ns"] or 0, row["ended_ns"], row["last_start_ns"], row["root"])

    def links(self) -> pa.Table:
        return self._engine.table(sql("select_trace_links"), self._asked)

    def marks(self) -> pa.Table:
        return self._engine.table(sql("select_trace_marks"), self._asked)

    def _reach_ns(self, behind_ns: int, wanted: int) -> int | None:
        """The start of the `wanted`-th step behind a start, of the last one if there are fewer, None if there is none.

        In a large trace it is first looked for near by, where most row groups can be skipped.
        """
        trace = self._trace
        limits: list[int] = []
        if trace.steps > _PAGES_IN_REACH * wanted:
            step_ns = max(trace.last_event_ns - trace.begun_ns, 0) // trace.steps + 1
            limits = [max(behind_ns, trace.begun_ns) + near * wanted * step_ns for near in _NEAR]
        for limit_ns in (*limits, END_OF_TIME):
            asked = {"behind_ns": behind_ns, "wanted": wanted, "limit_ns": min(limit_ns, END_OF_TIME)}
            [found] = self._rows("select_step_reach", **asked)
            if found["steps"] == wanted or limit_ns == END_OF_TIME:
                return found["reach_ns"]
        return None

    def _rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._engine.rows(sql(statement), self._asked | parameters)


class HeldKeys:
    """See `TraceKeys`. `rows` are those of `select_run_keys`."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self._placed = placed(key_of(row) for row in rows)
        self._starts = [key.start_ns for _, key in self._placed]

    def starting(self, low_ns: int, behind_ns: int, wanted: int) -> list[PlacedKey]:
        reach_ns = low_ns
        if wanted:
            behind = bisect_right(self._starts, behind_ns)
            reach = self._starts[behind : behind + wanted]
            reach_ns = reach[-1] if reach else behind_ns
        return self._placed[bisect_left(self._starts, low_ns) : bisect_right(self._starts, reach_ns)]

    def count(self, until_ns: int) -> int:
        return bisect_right(self._starts, until_ns)

    def below(self, span_ids: Iterable[str]) -> list[StepKey]:
        children: defaultdict[str | None, list[StepKey]] = defaultdict(list)
        for _, key in self._placed:
            children[key.parent_span_id].append(key)
        return [key for span_id in span_ids for key in children[span_id]]

    def floor_ns(self, behind_ns: int) -> int | None:
        later = (key for _, key in self._placed[self.count(behind_ns) :])
        return min((min(key.start_ns, key.end_ns or key.start_ns) for key in later), default=None)

    def extent(self) -> Extent:
        keys = [key for _, key in self._placed]
        return Extent(
            min((key.start_ns for key in keys if key.start_ns), default=0),
            max(key.end_ns for key in keys),
            keys[-1].start_ns,
            min(((key.start_ns, key.span_id) for key in keys if key.parent_span_id is None), default=(0, None))[1],
        )

    def links(self) -> pa.Table:
        return pa.table(
            {name: pa.array([row[name] for row in self._rows], pa.string()) for name in ("span_id", "parent_span_id")}
        )

    def marks(self) -> pa.Table:
        marks = [
            {
                "span_id": row["span_id"], "used": row["used"], "agent": row["kind"] == "agent",
                "truncated": row["truncated"], "redacted": row["redacted"],
                "unreported": row["kind"] in PAID_KINDS and row["cost_source"] != REPORTED, "agent_name": row["agent_name"],
                "at_ns": row["end_ns"] or row["start_ns"],
                "input_tokens": row["input_tokens"] or 0, "output_tokens": row["output_tokens"] or 0,
                "cost_usd": row["cost_usd"] or 0.0,
            }
            for row in self._rows if row["used"] or row["truncated"] or row["redacted"] or row["kind"] == "agent"
        ]  # fmt: skip
        return pa.Table.from_pylist(sorted(marks, key=lambda mark: mark["at_ns"]), schema=MARKS)


def key_of(row: dict[str, Any]) -> StepKey:
    """A key from its row."""
    return StepKey(
        row["place"], row["span_id"], row["parent_span_id"], row["start_ns"], row["end_ns"], row["kind"], row["outcome"],
        row["service_name"],
    )  # fmt: skip
