"""Writes view batches: rows are appended from Arrow, runs are replaced whole, and the position goes with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from store.duckdb.engine import Engine
from store.duckdb.rows import (
    BODY_FIELDS,
    EVALUATION_FIELDS,
    EVENT_FIELDS,
    RUN_FIELDS,
    SPAN_FIELDS,
    access_row,
    call_row,
    columns,
    decision_row,
    event_of,
    facts_of_row,
    segment_row,
    span_of,
    table,
)
from store.duckdb.statements import sql
from store.model.dialect import NORMALISER_VERSION
from store.model.trace import Trace
from store.record import Position
from store.view import SCHEMA_VERSION, StoredSegment, ViewBatch

_POINT_TABLE = "metric_points"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as Arrow tables, and what goes before they come. `owed_anew`: what is owed has changed."""

    sequence: int
    tables: dict[str, pa.Table]
    gone_runs: list[str]
    gone_segments: list[str]
    owed_anew: bool


class DuckDbWriter:
    """See `store.view.Writer`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._schemas: dict[str, pa.Schema] = {}
        self._owed: frozenset[tuple[str, str]] = frozenset()

    def position(self) -> Position | None:
        rows = self._engine.rows(sql("select_meta"))
        return Position(rows[0]["journal_id"], rows[0]["sequence"]) if rows else None

    def begin(self, journal_id: str) -> None:
        with self._engine.transaction() as cursor:
            cursor.execute(sql("insert_meta"), {
                "schema_version": SCHEMA_VERSION, "normaliser_version": NORMALISER_VERSION, "journal_id": journal_id,
            })  # fmt: skip

    def traces(self, keys: Iterable[tuple[str, str]]) -> list[Trace]:
        wanted = set(keys)
        trace_ids = sorted({trace_id for _, trace_id in wanted})
        found: dict[tuple[str, str], Trace] = {}
        segments = [
            row for row in self._engine.rows(sql("select_traces"), {"trace_ids": trace_ids})
            if (row["tenant"], row["trace_id"]) in wanted
        ]  # fmt: skip
        if segments:
            spread = {
                "trace_ids": sorted({row["trace_id"] for row in segments}),
                "first_sequence": min(row["first_sequence"] for row in segments),
                "last_sequence": max(row["last_sequence"] for row in segments),
            }
            for row in self._engine.rows(sql("select_trace_versions"), spread):
                key = (row["tenant"], row["trace_id"])
                if key in wanted:
                    found.setdefault(key, Trace(*key)).admit(span_of(row))
        for row in self._engine.rows(sql("select_trace_events"), {"trace_ids": trace_ids}):
            key = (row["tenant"], row["trace_id"])
            if key in wanted:
                found.setdefault(key, Trace(*key)).hear(event_of(row))
        return list(found.values())

    def segments(self, keys: Iterable[tuple[str, str]]) -> list[StoredSegment]:
        wanted = set(keys)
        rows = self._engine.rows(sql("select_segments"), {"trace_ids": sorted({trace_id for _, trace_id in wanted})})
        return [
            StoredSegment(facts_of_row(row), row["run_id"])
            for row in rows
            if (row["tenant"], row["trace_id"]) in wanted
        ]

    def tied(self, ties: Iterable[int]) -> list[StoredSegment]:
        wanted = sorted(set(ties))
        rows = self._engine.rows(sql("select_tied"), {"ties": wanted}) if wanted else []
        return [StoredSegment(facts_of_row(row), row["run_id"]) for row in rows]

    def owed(self) -> frozenset[tuple[str, str]]:
        self._owed = frozenset((row["tenant"], row["trace_id"]) for row in self._engine.rows(sql("select_owed")))
        return self._owed

    def trace_keys(self) -> Iterator[tuple[str, str]]:
        for batch in self._engine.batches(sql("select_trace_keys")):
            yield from zip(batch["tenant"].to_pylist(), batch["trace_id"].to_pylist(), strict=True)

    def ties(self) -> Iterator[int]:
        for batch in self._engine.batches(sql("select_ties")):
            yield from batch["tie"].to_pylist()

    def known_events(self, ids: list[str]) -> set[str]:
        return (
            {row["event_id"] for row in self._engine.rows(sql("select_known_events"), {"ids": ids})} if ids else set()
        )

    def known_points(self, ids: list[str]) -> set[str]:
        return (
            {row["point_id"] for row in self._engine.rows(sql("select_known_points"), {"ids": ids})} if ids else set()
        )

    def known_accesses(self, ids: list[str]) -> set[str]:
        return (
            {row["access_id"] for row in self._engine.rows(sql("select_known_accesses"), {"ids": ids})}
            if ids
            else set()
        )

    def prepare(self, batch: ViewBatch) -> Prepared:
        owed_anew = batch.owed != self._owed
        prepared = Prepared(
            batch.sequence, self._tables(batch), sorted(batch.gone_runs), sorted(batch.gone_segments), owed_anew
        )
        self._owed = batch.owed
        return prepared

    def commit(self, prepared: Prepared) -> None:
        with self._engine.transaction() as cursor:
            if prepared.gone_runs:
                for name in ("delete_runs", "delete_tool_calls", "delete_decisions"):
                    cursor.execute(sql(name), {"run_ids": prepared.gone_runs})
            if prepared.gone_segments:
                cursor.execute(sql("delete_segments"), {"segment_ids": prepared.gone_segments})
            if prepared.owed_anew:
                cursor.execute(sql("delete_owed"))
            for name, rows in prepared.tables.items():
                _insert(cursor, name, rows)
            cursor.execute(sql("update_position"), {"sequence": prepared.sequence})

    def write(self, batch: ViewBatch) -> None:
        self.commit(self.prepare(batch))

    def tidy(self) -> None:
        self._engine.tidy()

    def _tables(self, batch: ViewBatch) -> dict[str, pa.Table]:
        """The batch as Arrow tables, by table name; empty ones left out. Made before the transaction begins."""
        spans, bodies = [span for span, _ in batch.steps], [body for _, body in batch.steps]
        runs = [whole.run for whole in batch.runs]
        values: dict[str, dict[str, Sequence[Any]]] = {
            "step_versions": columns(spans, SPAN_FIELDS) | columns(bodies, BODY_FIELDS),
            "superseded": columns([span for span, _ in batch.superseded], ("tenant", "trace_id", "span_id", "revision"))
            | {"sequence": [sequence for _, sequence in batch.superseded]},
            "events": columns(batch.events, EVENT_FIELDS),
            _POINT_TABLE: columns(batch.points, self._schema(_POINT_TABLE).names),
            "evaluations": columns(batch.evaluations, EVALUATION_FIELDS),
            "contents": columns(batch.contents, ("tenant", "content_id", "media_type", "text")),
            "runs": columns(runs, RUN_FIELDS),
            "owed": _transposed([{"tenant": tenant, "trace_id": trace_id} for tenant, trace_id in sorted(batch.owed)])
            if batch.owed != self._owed
            else {},
            "access_records": _transposed([access_row(one) for one in batch.accesses]),
            "quarantine": columns(batch.quarantined, ("sequence", "signal", "tenant", "error")),
            "segments": _transposed([segment_row(segment) for whole in batch.runs for segment in whole.segments]),
            "tool_calls": _transposed(
                [call_row(whole.run, call, i) for whole in batch.runs for i, call in enumerate(whole.calls)]
            ),
            "decisions": _transposed(
                [decision_row(whole.run, one, i) for whole in batch.runs for i, one in enumerate(whole.decisions)]
            ),
        }
        return {
            name: table(found, self._schema(name))
            for name, found in values.items()
            if found and next(iter(found.values()))
        }

    def _schema(self, name: str) -> pa.Schema:
        if name not in self._schemas:
            # The name is one of ours, never from outside.
            self._schemas[name] = self._engine.cursor().sql(f"SELECT * FROM {name} LIMIT 0").to_arrow_table().schema  # noqa: S608
        return self._schemas[name]


def _insert(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    cursor.register("incoming", rows)
    try:
        cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")  # noqa: S608 - the name is one of ours
    finally:
        cursor.unregister("incoming")


def _transposed(rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
