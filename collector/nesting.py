"""How deep an attribute value may be nested, asked of the official protobuf runtime.

The runtime refuses what is nested deeper than 100 messages, counted from the request. A later reader of the record (the
columns keep arrays and maps inside a value as bytes, which are parsed each for itself; an API's JSON; a projector in
another language) starts somewhere else and may have less, so a value has a bound of its own, lower than the runtime's.
Nearly every request is shallow as a whole, which `store.otlp.depth` finds out while it reads it. In the others each array
and map that is long enough to be too deep is put inside as many messages as the runtime's limit exceeds the bound: it is
parsed there exactly where it is within the bound.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1 import common_pb2

from collector.errors import NestedTooDeep
from store.errors import MalformedOtlp
from store.otlp.decode import Decoded
from store.otlp.depth import RUNTIME_MESSAGES_MAX, SHALLOW_MESSAGES_MAX
from store.otlp.wire import varint

_RUNTIME_SAYS_TOO_DEEP: Final = "MaxDepth"
_BYTES_PER_MESSAGE: Final = 2  # a nested message costs at least its tag and its length

_ANY_VALUE_FIELD: Final = {"array_value": 5, "kvlist_value": 6}
_LENGTH_DELIMITED: Final = 2
_ARRAY_VALUES_FIELD: Final = 1
_compute: Final[Any] = pyarrow.compute  # its functions are made at import time, so no type checker sees them


def refuse_deep_values(decoded: Decoded, messages_max: int) -> None:
    """Raise NestedTooDeep where an attribute value of a request holds more than `messages_max` nested messages."""
    if decoded.shallow and messages_max >= SHALLOW_MESSAGES_MAX:
        return
    batch = decoded.batch
    for values in _any_values([batch.column(index) for index in range(batch.num_columns)]):
        for name in _ANY_VALUE_FIELD:
            column = values.field(name)
            if column.null_count == len(column):
                continue
            could_be = np.asarray(_compute.fill_null(_compute.binary_length(column), 0)) > (
                _BYTES_PER_MESSAGE * messages_max
            )
            for index in np.flatnonzero(could_be).tolist():
                if _is_deeper(name, column[index].as_py(), messages_max):
                    raise too_deep(messages_max)


def too_deep(messages_max: int) -> NestedTooDeep:
    """The refusal, worded for the sender."""
    return NestedTooDeep(
        f"an attribute value is nested deeper than {messages_max} protobuf messages ({messages_max // 2} arrays or "
        f"{messages_max // 3} maps inside each other); send it as a JSON string, or cut it"
    )


def is_runtime_limit(error: MalformedOtlp) -> bool:
    """Whether the runtime gave up on a body because of its nesting."""
    return _RUNTIME_SAYS_TOO_DEEP in str(error)


def _is_deeper(name: str, value: bytes, messages_max: int) -> bool:
    # The value is an ArrayValue or a KeyValueList, the first message that counts; the outermost around it does not.
    around = RUNTIME_MESSAGES_MAX + 1 - messages_max
    root: type[Message] = common_pb2.AnyValue if around % 2 else common_pb2.ArrayValue
    try:
        root.FromString(_inside_messages(name, value, around))
    except DecodeError:
        return True
    return False


def _inside_messages(name: str, value: bytes, count: int) -> bytes:
    """`value` inside `count` messages, AnyValue and ArrayValue by turns, AnyValue innermost."""
    headers: list[bytes] = []
    size = len(value)
    field = _ANY_VALUE_FIELD[name]
    for level in range(count):
        if level:
            field = _ARRAY_VALUES_FIELD if level % 2 else _ANY_VALUE_FIELD["array_value"]
        header = bytes([field << 3 | _LENGTH_DELIMITED]) + varint(size)
        headers.append(header)
        size += len(header)
    return b"".join([*reversed(headers), value])


def _any_values(arrays: list[pa.Array]) -> list[pa.StructArray]:
    """Every AnyValue array below `arrays`, found by its shape."""
    found: list[pa.StructArray] = []
    while arrays:
        array = arrays.pop()
        if pa.types.is_list(array.type):
            arrays.append(array.flatten())
        elif pa.types.is_struct(array.type):
            if array.type.get_field_index("kvlist_value") >= 0:
                found.append(array)
            else:
                arrays.extend(array.field(index) for index in range(array.type.num_fields))
    return found
