"""OTLP protobuf to Arrow, with the same answer as the official protobuf runtime.

Strategy: the official runtime reads the body first and writes it again. As long as nobody touches every field of it in
Python that costs less than the Arrow decoder (ptars, Rust) does. So the refusals are the runtime's own, down to the
nesting it allows, and nothing can hide from the decoded form: a field sent twice, two members of one oneof, an explicit
default, an over-long number are settled in its canonical form, which is what the Arrow decoder then reads and what the
record keeps. Most senders' bodies are canonical and come out as they went in. Unknown fields stay in the body; the Arrow
form has no place for them.

Columns pay for many records at once, which is how the view is made. Of a single request they are made only when somebody
asks for them: their fixed cost is that of a hundred spans.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from google.protobuf.message import DecodeError, Message

from store.errors import MalformedOtlp
from store.otlp.depth import shallow_request
from store.otlp.schema import LEVELS, REQUEST_HANDLERS, REQUEST_MESSAGES
from store.record import Signal

_compute: Final[Any] = pyarrow.compute  # its functions are made at import time, so no type checker sees them


@dataclass(frozen=True, eq=False)
class Decoded:
    """One request that the official runtime takes. `body` is its protobuf: what came in, or its canonical form."""

    signal: Signal
    body: bytes
    request: Any
    """The Export*ServiceRequest, without the fields that OTLP does not know. Not to be changed."""
    plain: bool
    """Whether `body` holds no field that OTLP does not know, so that it is `request` as the runtime writes it."""
    shallow: bool
    """Whether no message in it is nested deeper than `store.otlp.depth.SHALLOW_MESSAGES_MAX`."""

    @cached_property
    def batch(self) -> pa.RecordBatch:
        """The columns, made when they are asked for. Raises MalformedOtlp where the Arrow decoder cannot make them."""
        return _columns(self.signal, [self.body])


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
    """Decode one request body. Raises MalformedOtlp where the official protobuf runtime refuses it."""
    request = shallow_request(signal, body)
    shallow = request is not None
    if request is None:
        request = _parsed(signal, body)
    request.DiscardUnknownFields()
    known = request.SerializeToString()
    if known == body:  # The caller holds `body`: of equal copies one is enough.
        return Decoded(signal, body, request, plain=True, shallow=shallow)
    canonical = _parsed(signal, body).SerializeToString()
    if canonical == known:
        return Decoded(signal, known, request, plain=True, shallow=shallow)
    return Decoded(signal, body if canonical == body else canonical, request, plain=False, shallow=shallow)


def decode_bodies(signal: Signal, bodies: list[bytes]) -> pa.RecordBatch:
    """Decode bodies that `decode` has accepted before, many at once: one row a body. Raises MalformedOtlp."""
    return _columns(signal, bodies)


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


def _parsed(signal: Signal, body: bytes) -> Message:
    try:
        return REQUEST_MESSAGES[signal].FromString(body)
    except DecodeError as error:
        raise MalformedOtlp(f"not an OTLP {signal.label} request: {error}") from error


def _columns(signal: Signal, bodies: list[bytes]) -> pa.RecordBatch:
    handler = REQUEST_HANDLERS[signal]
    try:
        return handler.list_to_record_batch(bodies)
    except (ValueError, pa.ArrowInvalid):
        known = [_without_unknown_fields(signal, body) for body in bodies]
    # In an unknown group the runtime lets things pass that the Arrow decoder does not (a field number 0). Columns have
    # no place for unknown fields, so without them they are the same.
    try:
        return handler.list_to_record_batch(known)
    except (ValueError, pa.ArrowInvalid) as error:
        raise MalformedOtlp(f"an OTLP {signal.label} request that cannot be kept as columns: {error}") from error


def _without_unknown_fields(signal: Signal, body: bytes) -> bytes:
    message = _parsed(signal, body)
    message.DiscardUnknownFields()
    return message.SerializeToString()
