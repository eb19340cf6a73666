"""The rows of an answer as JSON, CSV, an Arrow stream or Parquet, up to its bounds.

JSON writes what the API writes: times as RFC 3339 with nanoseconds, integers whole however large, floats that JSON cannot
say (`NaN`, `Infinity`) as texts, bytes as base64.
"""

import base64
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from store.model.times import rfc3339
from store.questions import ResultForm

_EPOCH: Final = "1970-01-01T00:00:00.000000000Z"  # For which 0 usually stands for none; here it was worked out.
_FLOATS: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Bound:
    """Of an answer: rows, and bytes as it is sent."""

    rows: int
    size: int


def encoded(reader: Any, types: list[str], form: ResultForm, bound: Bound) -> tuple[bytes, dict[str, Any]]:
    """The answer and what there is to say of it: `rows`, and by which bound it was `truncated` (null: by none)."""
    schema = _renamed(reader.schema)
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader)
    cut = _Cut(bound)
    if form is ResultForm.JSON:
        body = _json(schema, types, cut.rows(_json_rows(schema, batches)))
    else:
        body = _WRITERS[form](pa.Table.from_batches(cut.batches(batches), schema=schema))
    tail = b',"truncated":' + _encoder.encode(cut.by) + b"}" if form is ResultForm.JSON else b""
    return body + tail, {"rows": cut.shown, "truncated": cut.by}


class _Cut:
    """Ends a stream of rows where a bound is met, and remembers which."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self.by: str | None = None
        self.shown = 0

    def rows(self, rows: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for row in rows:
            size += len(row) + 1
            if self.shown == self._bound.rows or size > self._bound.size:
                self.by = "rows" if self.shown == self._bound.rows else "bytes"
                return
            self.shown += 1
            yield row

    def batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        size = 0
        for batch in batches:
            left = self._bound.rows - self.shown
            size += batch.nbytes
            if size > self._bound.size:
                self.by = "bytes"
                return
            self.shown += min(batch.num_rows, left)
            yield batch.slice(0, left)
            if batch.num_rows > left:
                self.by = "rows"
                return


def _renamed(schema: Any) -> Any:
    """The schema with every name once: a second `name` is `name_2`."""
    names: list[str] = []
    for field in schema:
        name, number = field.name, 1
        while name in names:
            number += 1
            name = f"{field.name}_{number}"
        names.append(name)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def _json(schema: Any, types: list[str], rows: Iterator[bytes]) -> bytes:
    columns = [{"name": name, "type": kind} for name, kind in zip(schema.names, types, strict=True)]
    return b'{"columns":' + _encoder.encode(columns) + b',"rows":[' + b",".join(rows) + b"]"


def _json_rows(schema: Any, batches: Iterator[Any]) -> Iterator[bytes]:
    plain = pa.schema([pa.field(field.name, _integers(field.type)) for field in schema])
    shown = [_shown(field.type) for field in schema]
    for batch in batches:
        columns = [
            column.cast(kind) if column.type != kind else column
            for column, kind in zip(batch.columns, plain.types, strict=True)
        ]
        values = [column.to_pylist() for column in columns]
        for row in zip(*values, strict=True):
            yield _encoder.encode(
                {name: one if one is None else how(one) for name, how, one in zip(plain.names, shown, row, strict=True)}
            )


def _integers(kind: Any) -> Any:
    """A type with its times as integers: Python's own have no nanoseconds."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_map(kind):
        return pa.map_(_integers(kind.key_type), _integers(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_integers(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _integers(field.type)) for field in kind])
    return kind


_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _shown(kind: Any) -> Callable[[Any], Any]:
    """How a value of a type is written."""
    nested = _shown_nested(kind)
    if nested is not None:
        return nested
    if pa.types.is_timestamp(kind):
        times = 1_000_000_000 // _PER_SECOND[kind.unit]
        return lambda value: rfc3339(value * times) if value else _EPOCH
    if pa.types.is_floating(kind):
        return lambda value: value if math.isfinite(value) else _FLOATS.get(value, "NaN")
    plain = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind)
    how = _decimal if pa.types.is_decimal(kind) else _base64 if _is_binary(kind) else str
    return (lambda value: value) if plain else how


def _shown_nested(kind: Any) -> Callable[[Any], Any] | None:
    if pa.types.is_map(kind):
        key, item = _shown(kind.key_type), _shown(kind.item_type)
        return lambda value: {str(key(one)): None if of is None else item(of) for one, of in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        one = _shown(kind.value_type)
        return lambda value: [None if item is None else one(item) for item in value]
    if pa.types.is_struct(kind):
        members = {field.name: _shown(field.type) for field in kind}
        return lambda value: {name: None if of is None else members[name](of) for name, of in value.items()}
    return None


def _is_binary(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _base64(value: bytes) -> str:
    return base64.standard_b64encode(value).decode("ascii")


def _decimal(value: Decimal) -> Any:
    """Sums of integers come as decimals without a fraction: they are integers."""
    return int(value) if value == value.to_integral_value() else value


def _csv(table: Any) -> bytes:
    flat = [column if _is_flat(column.type) else _as_json(column) for column in table.columns]
    out = io.BytesIO()
    pyarrow.csv.write_csv(pa.table(flat, names=table.column_names), out)
    return out.getvalue()


def _is_flat(kind: Any) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_timestamp(kind) or _is_binary(kind))


def _as_json(column: Any) -> Any:
    """What CSV cannot say, as JSON writes it: times bare, lists and maps as JSON."""
    kind, how = column.type, _shown(column.type)
    values = (None if value is None else how(value) for value in column.cast(_integers(kind)).to_pylist())
    return pa.array(
        [one if one is None or isinstance(one, str) else _encoder.encode(one).decode() for one in values], pa.string()
    )


def _arrow(table: Any) -> bytes:
    out = io.BytesIO()
    with pyarrow.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _parquet(table: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


_WRITERS: Final[dict[ResultForm, Callable[[Any], bytes]]] = {
    ResultForm.CSV: _csv,
    ResultForm.ARROW: _arrow,
    ResultForm.PARQUET: _parquet,
}
