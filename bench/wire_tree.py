"""A protobuf message as a tree of wire fields, read along its descriptor, written back as it is.

What the official runtime hides is here to be changed: the order of fields, a field sent twice, the wire type of each, how
a number is spelt. Lengths are made when a tree is written, so whatever is done to it, they stay consistent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
GROUP: Final = 3
GROUP_END: Final = 4
FIXED32: Final = 5

WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
    FieldDescriptor.TYPE_SFIXED64: FIXED64,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
    FieldDescriptor.TYPE_SFIXED32: FIXED32,
    FieldDescriptor.TYPE_FLOAT: FIXED32,
    FieldDescriptor.TYPE_STRING: LENGTH_DELIMITED,
    FieldDescriptor.TYPE_BYTES: LENGTH_DELIMITED,
    FieldDescriptor.TYPE_MESSAGE: LENGTH_DELIMITED,
}


@dataclass(slots=True)
class Node:
    """One message: its fields in the order of the wire. Without a descriptor it is an unknown group."""

    descriptor: Descriptor | None
    fields: list["WireField"] = field(default_factory=list["WireField"])

    def __bytes__(self) -> bytes:
        return b"".join(map(bytes, self.fields))

    def walk(self) -> Iterator["Node"]:
        """The message itself and every one inside it."""
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(item.value for item in node.fields if isinstance(item.value, Node))


@dataclass(slots=True)
class WireField:
    """One field: a number (varint), bytes (fixed or length-delimited) or a message (length-delimited or group)."""

    number: int
    wire_type: int
    value: int | bytes | Node
    padding: int = 0
    """Bytes that a varint is longer than it need be."""

    def __bytes__(self) -> bytes:
        tag = varint(self.number << 3 | self.wire_type)
        if isinstance(self.value, int):
            return tag + varint(self.value, self.padding)
        content = bytes(self.value)
        if self.wire_type == GROUP:
            return tag + content + varint(self.number << 3 | GROUP_END)
        return tag + varint(len(content)) + content if self.wire_type == LENGTH_DELIMITED else tag + content


def parse(descriptor: Descriptor, data: bytes) -> Node:
    """Read a valid message without groups. Raises ValueError or IndexError where it is not one."""
    node = Node(descriptor)
    known = descriptor.fields_by_number
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
            node.fields.append(WireField(number, wire_type, value))
            continue
        size = 8 if wire_type == FIXED64 else 4
        if wire_type == LENGTH_DELIMITED:
            size, at = _read_varint(data, at)
        elif wire_type not in (FIXED64, FIXED32):
            raise ValueError(f"wire type {wire_type} at byte {at}")
        content = data[at : at + size]
        at += size
        expected = known.get(number)
        if wire_type == LENGTH_DELIMITED and expected is not None and expected.message_type is not None:
            node.fields.append(WireField(number, wire_type, parse(expected.message_type, content)))
        else:
            node.fields.append(WireField(number, wire_type, content))
    return node


def varint(number: int, padding: int = 0) -> bytes:
    """An unsigned number, seven bits a byte; `padding` more bytes than needed."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    if not padding:
        return bytes([*groups, number])
    return bytes([*groups, number | 0x80, *[0x80] * (padding - 1), 0])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
