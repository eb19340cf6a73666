"""The steps of one run, a page or a batch at a time: order first, over few columns, then everything else of their own.

A trace's steps are found by the range of sequence numbers that its segment names, so that row groups outside it are
skipped. Their order needs no more than the steps of the same start (`store.model.order`): a page reads all steps from the
start where the last one ended to the start that the page reaches, and its cursor names its last step.

Ids go to the engine in `RunSteps.asked`, and come back in `store.duckdb.trace_keys` and `store.duckdb.rows`, as hex.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from store.duckdb.engine import Engine
from store.duckdb.rows import event_of, span_of
from store.duckdb.statements import sql
from store.duckdb.trace_keys import (
    BEFORE_TIME,
    END_OF_TIME,
    HeldKeys,
    StepKey,
    StoredKeys,
    TraceKeys,
    TraceRange,
)
from store.model.order import PlaceInTrace
from store.model.span import Event, Span

HELD_STEPS_MAX: Final = 2000  # Of a run: their keys take some 10 ms to read, and asking twice takes 2.
BATCH_STEPS_MIN: Final = 128  # The first of a run are there at once ...
BATCH_STEPS_MAX: Final = 2048  # ... and the rest in few statements, each of some MB.
_BATCH_GROWTH: Final = 2
_TOGETHER: Final = 1000  # Frames between two traces that are still read in one go.


@dataclass(frozen=True, slots=True)
class Placed:
    """A step of the run: its trace, by its number in the run; its place in it."""

    trace: int
    at: PlaceInTrace
    key: StepKey


@dataclass(frozen=True, slots=True)
class StepNames:
    """What log records name a step by: its span, or (a model call) its response."""

    trace_id: str
    span_id: str
    response_id: str | None

    @classmethod
    def of(cls, trace_id: str, span_id: str, kind: str, response_id: str | None) -> "StepNames":
        return cls(trace_id, span_id, response_id if kind == "llm" else None)


@dataclass(frozen=True, slots=True)
class RunSteps:
    """The current steps of a run's traces, in their order: trace by trace, each as `store.model.order` says."""

    engine: Engine
    tenant: str
    traces: list[TraceRange]
    keys: list[TraceKeys]
    held: bool
    until: int

    @classmethod
    def of(cls, engine: Engine, tenant: str, run: dict[str, Any], *, until: int = END_OF_TIME) -> "RunSteps":
        """The steps of a row of `runs`, as they were known at a sequence number."""
        ranges = {
            row["trace_id"]: row
            for row in engine.rows(sql("select_traces"), {"trace_ids": run["trace_ids"]})
            if row["tenant"] == tenant
        }
        segments: list[dict[str, Any]] = msgspec.json.decode(run["segments"])
        traces = [
            TraceRange(
                one["trace_id"], ranges[one["trace_id"]]["first_sequence"],
                min(ranges[one["trace_id"]]["last_sequence"], until), one["steps"], one["start_ns"], one["last_event_ns"],
            )
            for one in segments if one["trace_id"] in ranges
        ]  # fmt: skip
        if sum(trace.steps for trace in traces) <= HELD_STEPS_MAX:
            held = _held(engine, tenant, traces)
            return cls(engine, tenant, traces, [held[trace.trace_id] for trace in traces], held=True, until=until)
        stored: list[TraceKeys] = [StoredKeys(engine, trace, _asked(tenant, trace)) for trace in traces]
        return cls(engine, tenant, traces, stored, held=False, until=until)

    def page(self, after: tuple[int, PlaceInTrace] | None, wanted: int) -> list[Placed]:
        """The next `wanted` steps behind a place, fewer only at the end of the run."""
        number, at = after or (0, None)
        found: list[Placed] = []
        while len(found) < wanted and number < len(self.traces):
            from_ns = BEFORE_TIME if at is None else at[0]
            starting = self._starting(number, from_ns, from_ns, wanted - len(found))
            found += [one for one in starting if at is None or one.at > at]
            number, at = number + 1, None
        return found[:wanted]

    def batches(self, number: int, first_ns: int, last_ns: int) -> Iterator[list[Placed]]:
        """The steps of a trace that start between two moments, and perhaps some behind, in order.

        A start is never divided, so a batch may be larger than most.
        """
        behind_ns, size = first_ns - 1, BATCH_STEPS_MIN
        while behind_ns < last_ns and (found := self._starting(number, behind_ns + 1, behind_ns, size)):
            yield found
            behind_ns, size = found[-1].key.start_ns, min(size * _BATCH_GROWTH, BATCH_STEPS_MAX)

    def number_of(self, one: Placed) -> int:
        """How many steps of the run stand before one."""
        start_ns = one.at[0]
        earlier = sum(self.keys[number].count(END_OF_TIME) for number in range(one.trace))
        same_start = self.starting_at(one.trace, start_ns)
        before = sum(1 for other in same_start if other.at < one.at)
        return earlier + self.keys[one.trace].count(start_ns - 1) + before

    def starting_at(self, number: int, start_ns: int) -> list[Placed]:
        """The steps of a trace that start at a moment, in order."""
        return self._starting(number, start_ns, start_ns, 0)

    def place_of(self, number: int, span_id: str, start_ns: int) -> Placed:
        """The place of a step of a trace."""
        return next(one for one in self.starting_at(number, start_ns) if one.key.span_id == span_id)

    def spans(self, steps: Iterable[Placed]) -> list[Span]:
        """The steps themselves, in the same order."""
        rows = [one.key.row for one in steps]
        found = {row["place"]: span_of(row) for row in self.engine.rows(sql("select_steps_at"), {"places": rows})}
        return [found[row] for row in rows]

    def speaking_events(self, steps: list[StepNames]) -> dict[tuple[str, str], list[Event]]:
        """The log records that speak for some steps, by trace id and span id: see `Trace.step_of`."""
        if not steps:
            return {}
        found: dict[tuple[str, str], list[Event]] = {(step.trace_id, step.span_id): [] for step in steps}
        rows = self.engine.rows(sql("select_step_events"), {
            "tenant": self.tenant, "trace_ids": list({step.trace_id for step in steps}), "until": self.until,
            "span_ids": [step.span_id for step in steps],
            "response_ids": [step.response_id for step in steps if step.response_id],
        })  # fmt: skip
        answering = self.answering((row["trace_id"], row["response_id"]) for row in rows)
        for row in rows:
            span_id = answering.get((row["trace_id"], row["response_id"]), row["span_id"]) or ""
            if (row["trace_id"], span_id) in found:
                found[row["trace_id"], span_id].append(event_of(row))
        return found

    def answering(self, responses: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], str]:
        """The span ids of the model calls that gave some responses, by trace id and response id: of several the last."""
        wanted: dict[str, set[str]] = {}
        for trace_id, response_id in responses:
            if response_id is not None:
                wanted.setdefault(trace_id, set()).add(response_id)
        found: dict[tuple[str, str | None], str] = {}
        for number, trace in enumerate(self.traces):
            if trace.trace_id not in wanted:
                continue
            asked = self.asked(number) | {"response_ids": sorted(wanted[trace.trace_id])}
            last: dict[str, list[tuple[int, str]]] = {}
            for row in self.engine.rows(sql("select_answering_steps"), asked):
                last.setdefault(row["response_id"], []).append((row["start_ns"], row["span_id"]))
            found |= {(trace.trace_id, one): self._last(number, steps) for one, steps in last.items()}
        return found

    def _last(self, number: int, steps: list[tuple[int, str]]) -> str:
        """The span id of the last of some steps, by start and span id, of a trace."""
        start_ns = max(steps)[0]
        latest = {span_id for at_ns, span_id in steps if at_ns == start_ns}
        if len(latest) == 1:
            return latest.pop()
        return [one.key.span_id for one in self.starting_at(number, start_ns) if one.key.span_id in latest][-1]

    def mcp_servers(self, number: int, clients: Iterable[str]) -> dict[str, str | None]:
        """The service that answered each of some MCP client steps: see `Trace.mcp_servers`, but from the client down."""
        first: dict[str, tuple[int, str, str | None]] = {}
        below = {client: {client} for client in clients}  # By step: the clients that it is below of.
        seen = {client: set(above) for client, above in below.items()}
        while below:
            next_below: dict[str, set[str]] = {}
            for key in self.keys[number].below(below):
                above, span_id = below[key.parent_span_id or ""], key.span_id
                if key.kind == "mcp_server":
                    found = (key.start_ns, span_id, key.service_name)
                    first.update({one: found for one in above if one not in first or found[:2] < first[one][:2]})
                    continue
                fresh = above - seen.get(span_id, set())
                if fresh:
                    seen.setdefault(span_id, set()).update(fresh)
                    next_below.setdefault(span_id, set()).update(fresh)
            below = next_below
        return {client: found[2] for client, found in first.items()}

    def asked(self, number: int) -> dict[str, Any]:
        """The parameters that name a trace's steps."""
        return _asked(self.tenant, self.traces[number])

    def _starting(self, number: int, low_ns: int, behind_ns: int, wanted: int) -> list[Placed]:
        return [Placed(number, at, key) for at, key in self.keys[number].starting(low_ns, behind_ns, wanted)]


def _asked(tenant: str, trace: TraceRange) -> dict[str, Any]:
    return {
        "tenant": tenant, "trace_id": trace.trace_id, "first_sequence": trace.first_sequence,
        "last_sequence": trace.last_sequence,
    }  # fmt: skip


def _held(engine: Engine, tenant: str, traces: list[TraceRange]) -> dict[str, HeldKeys]:
    """The keys of every step by trace id. Traces that stand close together in the record are read in one statement."""
    found: dict[str, list[dict[str, Any]]] = {trace.trace_id: [] for trace in traces}
    waiting = sorted(traces, key=lambda trace: trace.first_sequence, reverse=True)
    while waiting:
        together = [waiting.pop()]
        last = together[0].last_sequence
        while waiting and waiting[-1].first_sequence <= last + _TOGETHER:
            together.append(waiting.pop())
            last = max(last, together[-1].last_sequence)
        asked = {
            "tenant": tenant, "trace_ids": [trace.trace_id for trace in together],
            "first_sequence": together[0].first_sequence, "last_sequence": last,
        }  # fmt: skip
        for row in engine.rows(sql("select_run_keys"), asked):
            found[row["trace_id"]].append(row)
    return {trace_id: HeldKeys(rows) for trace_id, rows in found.items()}
