"""What the official protobuf runtime reads in a request, held against what `store.otlp` makes of the same bytes.

Both forms are brought to nested Python and compared field by field: a field that can be unset is None when it is, doubles
are compared by their bits (so that NaN equals itself and -0.0 is not 0.0), values that the Arrow form defers are read by
the official runtime first. Everything else that a reader of the record calls must then work on the accepted batch.
For OTLP/JSON, which the runtime does not speak, the oracle is the way back: what was accepted, written as JSON again, is
read as the same request.
"""

import json
import struct
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.common.v1 import common_pb2

from bench.json_mutations import to_otlp_json
from bench.mutants import Body
from collector.errors import MalformedBody
from collector.otlp_json import to_protobuf
from store.errors import MalformedOtlp
from store.otlp.decode import Decoded, Records, decode, decode_bodies, records_of
from store.otlp.leaves import leaves_of, leaves_of_request, root_of
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.otlp.values import any_value as any_value_of
from store.otlp.values import any_values, attribute_dicts, key_values, to_json
from store.record import Signal

_DEFERRED: Final = {"array_value": common_pb2.ArrayValue, "kvlist_value": common_pb2.KeyValueList}
_PANIC: Final = "PanicException"  # a panic in Rust; the class cannot be imported, and it is no Exception

Nested = dict[str, Any]


class Difference(Exception):
    """The two decoders disagree, or ours failed otherwise than by a refusal."""


def compare(signal: Signal, body: bytes) -> bool:
    """Whether both accept the body; then everything they read in it is equal. Raises Difference."""
    try:
        official = REQUEST_MESSAGES[signal].FromString(body)
    except DecodeError:
        official = None
    try:
        decoded = decode(signal, body)
        _ = decoded.batch
    except MalformedOtlp as error:
        if official is not None:
            raise Difference(f"only we refuse it: {error}") from error
        return False
    except BaseException as error:
        raise _failure("decode", error) from error
    if official is None:
        raise Difference("only the official runtime refuses it")
    expected = nested(official)
    _same("values", arrow_nested(cast("Descriptor", official.DESCRIPTOR), decoded.batch), expected)
    if decoded.body != body:
        recorded = REQUEST_MESSAGES[signal].FromString(decoded.body)
        _same("values of the recorded body", nested(recorded), expected)
        _same("unknown fields of the recorded body", unknown_fields(recorded), unknown_fields(official))
    try:
        _read_as_the_record_is_read(decoded, official, expected)
    except Difference:
        raise
    except BaseException as error:
        raise _failure("a reader of the batch", error) from error
    return True


def check_json(signal: Signal, body: bytes) -> bool:
    """Whether the JSON decoder accepts the body; then it gave a request that both protobuf decoders read alike."""
    try:
        request = to_protobuf(signal, body)
    except MalformedBody:
        return False
    except BaseException as error:
        raise _failure("to_protobuf", error) from error
    if not compare(signal, request):
        raise Difference("what came from JSON is refused as protobuf")
    again = to_protobuf(signal, json.dumps(to_otlp_json(Body(signal, request))).encode())
    _same("request written as JSON and read again", again, request)
    return True


def official_leaves(signal: Signal, request: Message) -> list[bytes]:
    """The leaf of every record as `store.otlp.leaves` defines it, from the official runtime's bytes."""
    outer_name, scope_name, record_name = LEVELS[signal]
    leaves: list[bytes] = []
    for outer in getattr(request, outer_name):
        resource = _enclosing(outer.resource, outer.schema_url)
        for inner in getattr(outer, scope_name):
            scope = _enclosing(inner.scope, inner.schema_url)
            leaves += [
                sha256(b"\x00" + resource + scope + _without_negative_zeros(record).SerializeToString()).digest()
                for record in getattr(inner, record_name)
            ]
    return leaves


def _without_negative_zeros(record: Any) -> Any:
    """A record as the Arrow encoder writes it: where a double has no presence, it takes -0.0 for the default, 0.0."""
    if record.DESCRIPTOR.name != "Metric":
        return record
    metric = type(record)()
    metric.CopyFrom(record)
    for point in metric.exponential_histogram.data_points if metric.HasField("exponential_histogram") else []:
        point.zero_threshold = point.zero_threshold or 0.0
    for point in metric.summary.data_points if metric.HasField("summary") else []:
        point.sum = point.sum or 0.0
        for item in point.quantile_values:
            item.quantile, item.value = item.quantile or 0.0, item.value or 0.0
    return metric


def _enclosing(message: Message, schema_url: str) -> bytes:
    content = message.SerializeToString()
    return sha256(struct.pack(">Q", len(content)) + content + schema_url.encode()).digest()


def nested(message: Message) -> Nested:
    """A message as dicts and lists; unknown fields left out."""
    result: Nested = {}
    for name, plan in _plans(message.DESCRIPTOR).items():
        value = getattr(message, name)
        if plan.repeated:
            result[name] = [plan.official(item) for item in value]
        else:
            result[name] = plan.official(value) if not plan.presence or message.HasField(name) else None
    return result


def arrow_nested(descriptor: Descriptor, batch: Any) -> Nested:
    """A batch of one row in the same form. Raises Difference where its columns are not the descriptor's fields."""
    (row,) = batch.to_pylist()
    return _arrow_struct(descriptor, row)


def unknown_fields(message: Message) -> list[Any]:
    """Every unknown field of a message and of those inside it, with the way there."""
    found: list[Any] = [_unknown(UnknownFieldSet(message))]
    for field, value in message.ListFields():
        if field.message_type is not None:
            items: Any = value if field.is_repeated else [value]
            found.append((field.name, [unknown_fields(item) for item in items]))
    return found


def _any_unknown(found: list[Any]) -> bool:
    own, *inside = found
    return bool(own) or any(_any_unknown(item) for _, items in inside for item in items)


def _unknown(fields: Any) -> list[Any]:
    return [
        (item.field_number, item.wire_type, item.data if isinstance(item.data, int | bytes) else _unknown(item.data))
        for item in fields
    ]


class _Plan:
    """How to bring one field to the common form, decided once a field."""

    __slots__ = ("arrow", "official", "presence", "repeated")

    def __init__(self, field: FieldDescriptor) -> None:
        self.repeated = bool(field.is_repeated)
        self.presence = bool(field.has_presence)
        self.official: Callable[[Any], Any] = _itself
        self.arrow: Callable[[Any], Any] = _itself
        message = field.message_type
        if message is not None:
            self.official = nested
            deferred = _DEFERRED.get(field.name)
            if deferred is not None:
                self.arrow = lambda value: nested(deferred.FromString(value))
            else:
                self.arrow = lambda value: _arrow_struct(message, value)
        elif field.type == FieldDescriptor.TYPE_DOUBLE:
            self.official = self.arrow = _bits


@cache
def _plans(descriptor: Descriptor) -> dict[str, _Plan]:
    return {field.name: _Plan(field) for field in descriptor.fields}


def _itself(value: Any) -> Any:
    return value


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)


def _arrow_struct(descriptor: Descriptor, row: dict[str, Any]) -> Nested:
    plans = _plans(descriptor)
    if row.keys() != plans.keys():
        raise Difference(f"columns of {descriptor.name}: {sorted(row)}, expected {sorted(plans)}")
    result: Nested = {}
    for name, plan in plans.items():
        value = row[name]
        if plan.repeated:
            result[name] = [plan.arrow(item) for item in value]
        else:
            result[name] = None if value is None and plan.presence else plan.arrow(value)
    return result


def _read_as_the_record_is_read(decoded: Decoded, official: Message, expected: Nested) -> None:
    signal = decoded.signal
    records = records_of(signal, decoded.batch)
    outer_name, scope_name, record_name = LEVELS[signal]
    flat = [
        (outer_index, outer, scope, record)
        for outer_index, outer in enumerate(getattr(official, outer_name))
        for scope in getattr(outer, scope_name)
        for record in getattr(scope, record_name)
    ]
    _same("count of records", len(records), len(flat))
    _same("ordinals", records.ordinal.tolist(), list(range(len(flat))))
    _same("resources of records", records.resource.tolist(), [place[0] for place in flat])
    leaves = leaves_of(records)
    _same("count of leaves", len(leaves), len(flat))
    if not _any_unknown(unknown_fields(official)):  # the columns have no place for them, so neither have the leaves
        _same("leaves", leaves, official_leaves(signal, official))
    _same("leaves of the request as it is", leaves_of_request(decoded), leaves)
    root_of(leaves)
    _same_attributes(signal, records, flat)
    # A projector reads many bodies at once: what one of them holds must not reach into its neighbour.
    pair = decode_bodies(signal, [decoded.body, decoded.body])
    for index in range(2):
        row = arrow_nested(cast("Descriptor", official.DESCRIPTOR), pair.slice(index, 1))
        _same(f"values beside another body, row {index}", row, expected)
    both = records_of(signal, pair)
    _same("leaves beside another body", leaves_of(both), leaves * 2)
    _same("frames", both.frame.tolist(), [0] * len(flat) + [1] * len(flat))
    _same("ordinals beside another body", both.ordinal.tolist(), [*range(len(flat))] * 2)


def _same_attributes(signal: Signal, records: Records, flat: list[tuple[int, Any, Any, Any]]) -> None:
    if not flat:
        return
    if signal is Signal.LOGS:
        bodies = [any_value_of(record.body) for *_, record in flat]
        _same_json("log bodies", any_values(records.records.field("body")), bodies)
    if signal is not Signal.METRICS:
        attributes = [key_values(record.attributes) for *_, record in flat]
        _same_json("attributes", attribute_dicts(records.records.field("attributes")), attributes)
    resources = records.resources.field("resource").field("attributes").take(records.resource)
    _same_json(
        "resource attributes",
        attribute_dicts(resources),
        [key_values(outer.resource.attributes) for _, outer, _, _ in flat],
    )
    scopes = records.scopes.field("scope").field("attributes").take(records.scope)
    _same_json(
        "scope attributes", attribute_dicts(scopes), [key_values(scope.scope.attributes) for _, _, scope, _ in flat]
    )


def _same_json(what: str, ours: Any, expected: Any) -> None:
    # As JSON, because Python holds 1, 1.0 and True for equal.
    _same(what, to_json(ours), to_json(expected))


def _same(what: str, ours: Any, expected: Any) -> None:
    if ours != expected:
        raise Difference(f"{what}: {_first_difference(ours, expected)}")


def _first_difference(ours: Any, expected: Any, path: str = "") -> str:
    if isinstance(ours, dict) and isinstance(expected, dict):
        for name in expected:
            if name not in ours or ours[name] != expected[name]:
                return _first_difference(ours.get(name), expected[name], f"{path}.{name}")
    if isinstance(ours, list) and isinstance(expected, list) and len(ours) == len(expected):
        for index, (one, other) in enumerate(zip(ours, expected, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{path}[{index}]")
    return f"at {path or '.'} ours is {str(ours)[:200]!r}, official is {str(expected)[:200]!r}"


def _failure(where: str, error: BaseException) -> BaseException:
    """A crash of ours as a Difference; an interrupt stays what it is."""
    if isinstance(error, Exception) or type(error).__name__ == _PANIC:
        return Difference(f"{where} failed: {type(error).__name__}: {error}")
    return error
