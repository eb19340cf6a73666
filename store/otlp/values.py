"""OTLP's AnyValue as plain Python, and plain Python as JSON that loses nothing.

Strings, booleans, integers, arrays and maps are themselves. What JSON cannot say is written the way OTLP's own JSON
mapping does: bytes as `{"bytesValue": base64}`, non-finite doubles as "NaN", "Infinity", "-Infinity". A string given as
the index of a table that only profiles have is `{"stringValueStrindex": index}`: it is no number of the sender's.
"""

import base64
import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from opentelemetry.proto.common.v1 import common_pb2

_ENCODER: Final = msgspec.json.Encoder()
_compute: Final[Any] = pyarrow.compute  # Its functions are made at import time, so no type checker sees them.
_SCALARS: Final = ("bool_value", "int_value", "double_value", "bytes_value", "string_value_strindex")


def any_value(message: common_pb2.AnyValue) -> Any:
    """One AnyValue of the official runtime as Python."""
    match message.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [any_value(item) for item in message.array_value.values]
        case "kvlist_value":
            return key_values(message.kvlist_value.values)
        case member:
            return _scalar(member, getattr(message, member))


def key_values(pairs: Any) -> dict[str, Any]:
    """A list of KeyValue as a dict; a key that comes again is kept under `key#2`, `key#3`."""
    return unique((pair.key, any_value(pair.value)) for pair in pairs)


def unique(pairs: Any) -> dict[str, Any]:
    """A dict of (key, value) pairs in which no repeated key is lost."""
    result: dict[str, Any] = {}
    counts: dict[str, int] = {}  # Where the search for a free name goes on: a key may come thousands of times.
    for key, value in pairs:
        if key not in result:
            result[key] = value
            continue
        count = counts.get(key, 2)
        while f"{key}#{count}" in result:
            count += 1
        counts[key] = count + 1
        result[f"{key}#{count}"] = value
    return result


def any_values(values: pa.StructArray) -> list[Any]:
    """A column of AnyValue structs (trimmed form) as Python values, one a row."""
    result: list[Any] = values.field("string_value").to_pylist()
    for name in _SCALARS:
        column = values.field(name)
        if column.null_count < len(column):
            for index in np.flatnonzero(np.asarray(column.is_valid())).tolist():
                result[index] = _scalar(name, column[index].as_py())
    for name, message in (("array_value", common_pb2.ArrayValue), ("kvlist_value", common_pb2.KeyValueList)):
        column = values.field(name)
        if column.null_count < len(column):
            for index in np.flatnonzero(np.asarray(column.is_valid())).tolist():
                parsed: Any = message.FromString(column[index].as_py()).values
                result[index] = key_values(parsed) if name == "kvlist_value" else [any_value(item) for item in parsed]
    return result


@dataclass(frozen=True, slots=True)
class AttributeColumn:
    """A column of attribute lists, flat: those of row i are `keys` and `values` from `offsets[i]` to `offsets[i + 1]`.

    A key may come again within a row (see `unique`). `long` holds the places of values of more than `long_bytes` bytes,
    and `has_long` says of each row whether it has one.
    """

    keys: list[str]
    values: list[Any]
    offsets: list[int]
    long: frozenset[int]
    has_long: list[bool]


def attribute_column(attributes: pa.ListArray, *, long_bytes: int) -> AttributeColumn:
    """A column of attribute lists as flat Python lists."""
    items = attributes.flatten()
    offsets = np.asarray(attributes.offsets)
    offsets = offsets - offsets[0]
    places = np.flatnonzero(_value_bytes(items.field("value")) > long_bytes)
    has_long = np.searchsorted(places, offsets[1:]) > np.searchsorted(places, offsets[:-1])
    return AttributeColumn(
        _interned(items.field("key")),
        any_values(items.field("value")),
        offsets.tolist(),
        frozenset(places.tolist()),
        has_long.tolist(),
    )


def _value_bytes(values: pa.StructArray) -> Any:
    """How many bytes each value's text, bytes, array or map takes."""
    total = np.zeros(len(values), dtype=np.int64)
    for name in ("string_value", "bytes_value", "array_value", "kvlist_value"):
        column = values.field(name)
        if column.null_count < len(column):
            total += _compute.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return total


def attribute_dicts(attributes: pa.ListArray) -> list[dict[str, Any]]:
    """A column of attribute lists as one dict a row."""
    items = attributes.flatten()
    keys = _interned(items.field("key"))
    values = any_values(items.field("value"))
    offsets = np.asarray(attributes.offsets)
    offsets = (offsets - offsets[0]).tolist()
    rows: list[dict[str, Any]] = []
    for start, end in pairwise(offsets):
        row = dict(zip(keys[start:end], values[start:end], strict=True))
        rows.append(row if len(row) == end - start else unique(zip(keys[start:end], values[start:end], strict=True)))
    return rows


def _interned(column: pa.StringArray) -> list[str]:
    """Keys as Python strings, equal ones as one object: a batch has few, and their hashes are then computed once."""
    encoded = column.dictionary_encode()
    known = np.array([sys.intern(key) for key in encoded.dictionary.to_pylist()], dtype=object)
    return known[encoded.indices.to_numpy()].tolist() if len(known) else []


def to_json(value: Any) -> str:
    """Plain Python, as `any_value` gives it, as compact JSON."""
    return to_json_bytes(value).decode()


def to_json_bytes(value: Any) -> bytes:
    """The same as UTF-8."""
    return _ENCODER.encode(value)


def finite(value: Any) -> Any:
    """A number as JSON can say it: OTLP's own names stand for what is not finite."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _scalar(member: str, value: Any) -> Any:
    match member:
        case "double_value":
            return finite(value)
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value).decode()}
        case "string_value_strindex":
            return {"stringValueStrindex": value}
        case _:
            return value
