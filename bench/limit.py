"""The limit: what decoding and DuckDB alone can do with the same bodies, with nothing promised to anybody.

One process, no HTTP, no journal, no acknowledgement, no normalising, no digests, no deduplication, no runs:

    a few bodies -> ptars (`store.otlp.decode`) -> one column an attribute key -> INSERT into one table, one transaction

The columns are all a span has: ids, name, kind, times, status, every attribute under its own name and type, events,
links, resource and scope as they came. Text columns are zstd, which DuckDB both writes faster and stores smaller here
than what it would pick. The clock runs from the first decoding to the last commit; the final checkpoint is not in it.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute

from bench.load import Bodies
from store.otlp.decode import Records, decode_bodies, records_of
from store.record import Signal

# OTLP bytes in one transaction: for each workload the fastest of 8, 24, 48 and 96 MB.
BATCH_BYTES: Final = {"history": 48_000_000, "small": 96_000_000}
# Of the members of an AnyValue, the one that most attributes have first.
_MEMBERS: Final = ("string_value", "int_value", "double_value", "bool_value", "array_value", "kvlist_value")
_compute: Final[Any] = pyarrow.compute


@dataclass(frozen=True, slots=True)
class Inserted:
    """What the limit run did. `rows` is counted by DuckDB afterwards, `bytes_on_disk` after a checkpoint."""

    rows: int
    seconds: float
    decode_seconds: float
    bytes_on_disk: int

    @property
    def spans_per_second(self) -> float:
        return self.rows / self.seconds


def insert_bare(bodies: Bodies, database: Path, *, batch_bytes: int) -> Inserted:
    """Decode and insert every body into a fresh database, about `batch_bytes` of OTLP a transaction.

    Raises store.errors.MalformedOtlp, duckdb.Error.
    """
    decode_seconds = 0.0
    columns: dict[str, str] = {}
    with closing(duckdb.connect(database)) as connection:
        started = time.perf_counter()
        for some in _batches(bodies, batch_bytes):
            before = time.perf_counter()
            batch = _as_columns(records_of(Signal.TRACES, decode_bodies(Signal.TRACES, some)))
            decode_seconds += time.perf_counter() - before
            connection.register("batch", batch)
            connection.begin()
            _make_room(connection, columns)
            connection.execute("INSERT INTO spans BY NAME SELECT * FROM batch")
            connection.commit()
            connection.unregister("batch")
        seconds = time.perf_counter() - started
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT count(*) FROM spans").fetchone()
    assert row is not None
    return Inserted(row[0], seconds, decode_seconds, database.stat().st_size)


def _batches(bodies: Bodies, batch_bytes: int) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    size = 0
    for index in range(len(bodies)):
        some.append(bodies[index])
        size += len(some[-1])
        if size >= batch_bytes:
            yield some
            some, size = [], 0
    if some:
        yield some


def _make_room(connection: duckdb.DuckDBPyConnection, columns: dict[str, str]) -> None:
    """Make the table, or the columns that this batch is the first to have."""
    for name, type_name, *_ in connection.execute("DESCRIBE SELECT * FROM batch").fetchall():
        if name in columns:
            continue
        compression = " USING COMPRESSION zstd" if type_name == "VARCHAR" else ""
        declaration = f'"{name}" {type_name}{compression}'
        if columns:
            connection.execute(f"ALTER TABLE spans ADD COLUMN {declaration}")
        else:
            connection.execute(f"CREATE TABLE spans ({declaration})")
        columns[name] = type_name


def _as_columns(records: Records) -> pa.Table:
    spans = records.records
    columns = {field.name: spans.field(field.name) for field in spans.type if field.name != "attributes"}
    columns |= _attribute_columns(spans.field("attributes"))
    columns["resource"] = records.resources.take(pa.array(records.resource))
    columns["scope"] = records.scopes.take(pa.array(records.scope))
    return pa.table(columns)


def _attribute_columns(attributes: pa.ListArray) -> dict[str, pa.Array]:
    """One column a key. A value of another member than the key's first value has becomes null: no workload has any."""
    rows = _compute.list_parent_indices(attributes).to_numpy()
    flat = attributes.flatten()
    keys = flat.field("key").dictionary_encode()
    codes = keys.indices.to_numpy()
    values = flat.field("value")
    columns: dict[str, pa.Array] = {}
    for code, key in enumerate(keys.dictionary.to_pylist()):
        places = np.flatnonzero(codes == code)
        member = next(name for name in _MEMBERS if values.field(name)[int(places[0])].is_valid)
        place_of_row = np.full(len(attributes), -1, dtype=np.int64)
        place_of_row[rows[places]] = places
        columns[key] = values.field(member).take(pa.array(place_of_row, mask=place_of_row < 0))
    return columns
