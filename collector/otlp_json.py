"""OTLP/JSON to OTLP protobuf.

OTLP departs from protobuf's own JSON mapping: trace and span ids are hexadecimal, not base64. So a body is first walked
along the official descriptors: ids are rewritten, and every value is held to its type, because `json_format` (which then
does the mapping) takes a string where an object belongs, drops an enum name it does not know, and skips characters
that are not base64. The walk knows where it is, so a refusal names the field: `resourceSpans[0].scopeSpans[0].spans[3]`.
Unknown fields are ignored, as the specification asks.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from collector.errors import MalformedBody
from collector.quoting import described
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

MESSAGES_DEEP_MAX: Final = 100  # the official runtime's own limit, counted from the request

_ID_BYTES: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,5})?")
_NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")
_INTEGER_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_ENUM_RANGE: Final = _INTEGER_RANGES[FieldDescriptor.CPPTYPE_INT32]


class _Wrong(Exception):
    """A value that does not fit; `path` grows from the inside out while the walk unwinds."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path: list[str] = []


class _RepeatedKey(dict[str, Any]):
    """An object in which a key came twice. JSON leaves open which one counts, so neither does."""


class _Constant(str):
    """NaN, Infinity or -Infinity without quotes: Python reads it, JSON does not have it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Field:
    json_name: str
    repeated: bool
    message: Descriptor | None
    scalar: Callable[[Any], Any]


def to_protobuf(signal: Signal, body: bytes) -> bytes:
    """One OTLP/JSON request as OTLP protobuf. Raises MalformedBody with what is wrong and where."""
    request = REQUEST_MESSAGES[signal]()
    constants: list[str] = []
    value = _parsed(signal, body, constants)
    try:
        _fit_message(value, cast("Descriptor", request.DESCRIPTOR), 1)
    except _Wrong as error:
        where = "".join(reversed(error.path)).lstrip(".") or "the request"
        raise MalformedBody(f"not an OTLP/JSON {signal.label} request: {where}: {error}") from error
    if constants:  # the walk has not met them: they are inside a field that is not known
        raise MalformedBody(f"the body is not JSON: it has {constants[0]} without quotes")
    try:
        json_format.ParseDict(value, request, ignore_unknown_fields=True, max_recursion_depth=MESSAGES_DEEP_MAX)
        return request.SerializeToString()
    except (json_format.ParseError, ValueError) as error:
        raise MalformedBody(f"not an OTLP/JSON {signal.label} request: {_last_cause(error)}") from error


def _parsed(signal: Signal, body: bytes, constants: list[str]) -> Any:
    if not body.strip():
        raise MalformedBody(
            f"the body is empty: an OTLP/JSON {signal.label} request is at least {{}} "
            "(only as protobuf is an empty body an empty request)"
        )

    def constant(name: str) -> _Constant:
        constants.append(name)
        return _Constant(name)

    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not JSON: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedBody(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno} (character {error.pos})"
        ) from error
    except RecursionError as error:
        raise MalformedBody(f"the body is not OTLP/JSON: nested deeper than {MESSAGES_DEEP_MAX} messages") from error
    except ValueError as error:  # an integer of thousands of digits
        raise MalformedBody("the body is not JSON that can be read: a number is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _RepeatedKey(pairs)


def _fit_message(value: Any, descriptor: Descriptor, depth: int) -> None:
    """Hold an object to its message and rewrite it in place to what `json_format` maps. Raises _Wrong."""
    if type(value) is not dict:
        raise _wrong("an object in which no key comes twice" if type(value) is _RepeatedKey else "an object", value)
    if depth > MESSAGES_DEEP_MAX:
        raise _Wrong(f"nested deeper than {MESSAGES_DEEP_MAX} messages")
    fields = _fields(descriptor)
    for name in value.keys() - fields.keys():
        del value[name]  # Unknown fields are ignored, and the runtime does not take every name that JSON can write.
    for name, item in value.items():
        field = fields[name]
        if item is None:
            continue
        try:
            _refuse_second_name(name, field, value)
            if field.repeated:
                _fit_list(item, field, depth)
            elif field.message is not None:
                _fit_message(item, field.message, depth + 1)
            else:
                value[name] = field.scalar(item)
        except _Wrong as error:
            error.path.append(f".{name}")
            raise


def _refuse_second_name(name: str, field: _Field, value: dict[str, Any]) -> None:
    if name != field.json_name and field.json_name in value:
        raise _Wrong(f"given twice, as {name} and as {field.json_name}")


def _fit_list(items: Any, field: _Field, depth: int) -> None:
    if type(items) is not list:
        raise _wrong("an array", items)
    index = 0
    try:
        for index, item in enumerate(items):
            if field.message is not None:
                _fit_message(item, field.message, depth + 1)
            else:
                items[index] = field.scalar(item)
    except _Wrong as error:
        error.path.append(f"[{index}]")
        raise


@cache
def _fields(descriptor: Descriptor) -> dict[str, _Field]:
    """A message's fields by both names that protobuf's JSON mapping accepts."""
    result: dict[str, _Field] = {}
    for field in descriptor.fields:
        plan = _Field(field.json_name, field.is_repeated, field.message_type, _scalar(field))
        result[field.name] = plan
        result[field.json_name] = plan
    return result


def _scalar(field: FieldDescriptor) -> Callable[[Any], Any]:
    """The check of a scalar field: it returns the value as `json_format` wants it or raises _Wrong."""
    if field.cpp_type in _INTEGER_RANGES:
        return lambda value: _integer(value, *_INTEGER_RANGES[field.cpp_type])
    if field.enum_type is not None:
        enum = field.enum_type
        return lambda value: _enum(value, enum)
    if field.type == FieldDescriptor.TYPE_BYTES:
        size = _ID_BYTES.get(field.name)
        return _base64 if size is None else lambda value: _hex_id(value, size)
    return {
        FieldDescriptor.CPPTYPE_DOUBLE: _double,
        FieldDescriptor.CPPTYPE_BOOL: _bool,
        FieldDescriptor.CPPTYPE_STRING: _string,
    }.get(field.cpp_type, _wrong_kind)


def _wrong_kind(value: Any) -> Any:
    # OTLP has no float field; messages never come here.
    raise _Wrong("a kind of field this version does not read")


def _hex_id(value: Any, size: int) -> str:
    expected = f"{size * 2} hexadecimal digits"
    if type(value) is not str or not _HEX.fullmatch(value):
        raise _wrong(expected, value)
    if len(value) not in (0, size * 2):
        raise _Wrong(f"is {len(value)} digits long, not {expected}")
    return base64.b64encode(bytes.fromhex(value)).decode()


def _base64(value: Any) -> str:
    if type(value) is not str or not _BASE64.fullmatch(value) or len(value.rstrip("=")) % 4 == 1:
        raise _wrong("a base64 string", value)
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _wrong("a string", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Wrong(f"holds half of a surrogate pair at character {error.start}") from error
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong("true or false", value)
    return value


def _integer(value: Any, low: int, high: int) -> int:
    match value:
        case bool():
            raise _wrong("an integer", value)
        case int():
            number = value
        case float() if value.is_integer():
            number = int(value)
        case str() if _INTEGER.fullmatch(value):
            number = int(value)
        case _:
            raise _wrong("an integer, as a number or as a decimal string", value)
    if not low <= number <= high:
        raise _wrong(f"an integer from {low} to {high}", value)
    return number


def _double(value: Any) -> float | str:
    match value:
        case bool() | _Constant():
            raise _wrong("a number, with NaN and infinities in quotes", value)
        case str() if value in _NOT_FINITE:
            return value
        case int() | float():
            pass
        case str() if _NUMBER.fullmatch(value):
            pass
        case _:
            raise _wrong("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise _wrong("a number that a double can hold", value)
    return number


def _enum(value: Any, enum: EnumDescriptor) -> int:
    if type(value) is str:
        known = enum.values_by_name.get(_string(value))
        if known is None:
            raise _wrong(f"a number or a name of {enum.name}", value)
        return known.number
    return _integer(value, *_ENUM_RANGE)


def _wrong(expected: str, value: Any) -> _Wrong:
    kinds = {dict: "an object", _RepeatedKey: "one with a repeated key", list: "an array", type(None): "null"}
    got = kinds.get(type(value))
    if got is None:
        got = str(value) if isinstance(value, _Constant) else described(value)
    return _Wrong(f"must be {expected}, not {got}")


def _last_cause(error: Exception) -> str:
    """`json_format` nests its messages once a level: the innermost says it."""
    causes: Iterable[str] = str(error).split(" field: ")
    *_, last = causes
    return last[-500:].rstrip(".")
