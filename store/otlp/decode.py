"""OTLP protobuf to Arrow, with the same answer as the official protobuf runtime.

Strategy: the Arrow decoder (ptars, Rust) reads the body. Where it read every byte, writing the batch back gives as many
bytes as came in; then the body is what it seems. Where the lengths differ (a field sent twice, an unknown field, an
explicit default) or two members of one AnyValue are set, bytes could hide from the decoded form: the official runtime
then parses the body, and its own serialisation, unknown fields included, takes the body's place. Values that the
trimmed descriptor defers are parsed by the official runtime before anybody calls the body good.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1 import common_pb2

from store.errors import MalformedOtlp
from store.otlp.schema import LEVELS, REQUEST_HANDLERS, REQUEST_MESSAGES
from store.record import Signal

_compute: Final[Any] = pyarrow.compute  # its functions are made at import time, so no type checker sees them
_DEFERRED_MESSAGES: Final = {"array_value": common_pb2.ArrayValue, "kvlist_value": common_pb2.KeyValueList}


@dataclass(frozen=True, slots=True)
class Decoded:
    """One request, decoded. `body` is the protobuf the batch was read from: what came in, or its canonical form."""

    signal: Signal
    body: bytes
    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one or more requests side by side, each with the indexes of what encloses it.

    `records` is a struct array of spans, log records or metrics; `resources` and `scopes` hold the enclosing
    structs, each with its `schema_url`; `frame`, `resource`, `scope` are int arrays, one entry a record; `ordinal`
    counts the records of a request from 0 in body order.
    """

    signal: Signal
    records: pa.StructArray
    resources: pa.StructArray
    scopes: pa.StructArray
    frame: np.ndarray[Any, np.dtype[np.int64]]
    resource: np.ndarray[Any, np.dtype[np.int64]]
    scope: np.ndarray[Any, np.dtype[np.int64]]
    ordinal: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.records)


def decode(signal: Signal, body: bytes) -> Decoded:
    """Decode one request body. Raises MalformedOtlp where the official protobuf runtime would refuse it."""
    handler = REQUEST_HANDLERS[signal]
    try:
        batch = handler.list_to_record_batch([body])
        faithful = len(handler.record_batch_to_array(batch)[0].as_py()) == len(body) and not _ambiguous(batch)
    except (ValueError, pa.ArrowInvalid) as error:
        raise MalformedOtlp(f"not an OTLP {signal.label} request: {error}") from error
    if not faithful:
        body = _canonical(signal, body)
        batch = handler.list_to_record_batch([body])
    _check_deferred(batch)
    return Decoded(signal, body, batch)


def decode_bodies(signal: Signal, bodies: list[bytes]) -> pa.RecordBatch:
    """Decode bodies that `decode` has accepted before, many at once: one row a body."""
    try:
        return REQUEST_HANDLERS[signal].list_to_record_batch(bodies)
    except (ValueError, pa.ArrowInvalid) as error:
        raise MalformedOtlp(f"a recorded {signal.label} body cannot be decoded: {error}") from error


def records_of(signal: Signal, batch: pa.RecordBatch) -> Records:
    """Flatten a decoded batch to its records, remembering what encloses each."""
    outer_name, scope_name, record_name = LEVELS[signal]
    outer = batch.column(outer_name)
    outer_frame = _compute.list_parent_indices(outer).to_numpy(zero_copy_only=False).astype(np.int64)
    outer_items = outer.flatten()
    scope_lists = outer_items.field(scope_name)
    scope_outer = _compute.list_parent_indices(scope_lists).to_numpy(zero_copy_only=False).astype(np.int64)
    scope_items = scope_lists.flatten()
    record_lists = scope_items.field(record_name)
    scope = _compute.list_parent_indices(record_lists).to_numpy(zero_copy_only=False).astype(np.int64)
    resource = scope_outer[scope] if len(scope) else scope
    frame = outer_frame[resource] if len(scope) else scope
    starts = np.searchsorted(frame, np.arange(batch.num_rows))
    return Records(
        signal=signal,
        records=record_lists.flatten(),
        resources=_with_schema_url(outer_items, "resource"),
        scopes=_with_schema_url(scope_items, "scope"),
        frame=frame,
        resource=resource,
        scope=scope,
        ordinal=np.arange(len(frame)) - starts[frame] if len(frame) else frame,
    )


def _with_schema_url(items: pa.StructArray, name: str) -> pa.StructArray:
    return pa.StructArray.from_arrays([items.field(name), items.field("schema_url")], [name, "schema_url"])


def _canonical(signal: Signal, body: bytes) -> bytes:
    try:
        return REQUEST_MESSAGES[signal].FromString(body).SerializeToString()
    except DecodeError as error:
        raise MalformedOtlp(f"not an OTLP {signal.label} request: {error}") from error


def _any_values(array: pa.Array) -> list[pa.StructArray]:
    """Every AnyValue array below `array`, found by its shape."""
    if pa.types.is_list(array.type):
        return _any_values(array.flatten())
    if not pa.types.is_struct(array.type):
        return []
    if array.type.get_field_index("kvlist_value") >= 0:
        return [array]
    names = [field.name for field in array.type]
    return [found for name in names for found in _any_values(array.field(name))]


def _any_value_arrays(batch: pa.RecordBatch) -> list[pa.StructArray]:
    return [found for column in batch.columns for found in _any_values(column)]


def _ambiguous(batch: pa.RecordBatch) -> bool:
    """Whether some AnyValue has two members set: only the official runtime knows which came last."""
    for values in _any_value_arrays(batch):
        members = [values.field(i) for i in range(values.type.num_fields)]
        counts = sum(np.asarray(member.is_valid(), dtype=np.int8) for member in members)
        if np.any(counts > 1):
            return True
    return False


def _check_deferred(batch: pa.RecordBatch) -> None:
    for values in _any_value_arrays(batch):
        for name, message in _DEFERRED_MESSAGES.items():
            column = values.field(name)
            if column.null_count == len(column):
                continue
            for value in column.drop_null().to_pylist():
                try:
                    message.FromString(value)
                except DecodeError as error:
                    raise MalformedOtlp(f"an attribute's {name} is malformed: {error}") from error
