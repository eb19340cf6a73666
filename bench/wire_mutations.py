"""Mutations of a protobuf message on its wire tree: lengths stay right, so most of them are still valid messages.

They go where two decoders may differ: which of two members of a oneof counts, how two halves of a message merge, what an
unknown field hides, how a number may be spelt, how deep a value may be.
"""

import struct
from collections.abc import Callable
from random import Random
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from bench.byte_mutations import BYTE_MUTATIONS
from bench.wire_tree import (
    FIXED32,
    FIXED64,
    GROUP,
    LENGTH_DELIMITED,
    VARINT,
    WIRE_TYPES,
    Node,
    WireField,
    varint,
)

_GROWTH_DEPTH_MAX: Final = 4
_NUMBERS: Final = (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
_DOUBLES: Final = (
    *(struct.pack("<d", number) for number in (0.0, -0.0, 1.0, -1.5, 5e-324, 1.7e308, float("inf"), float("-inf"))),
    *(bytes.fromhex(nan) for nan in ("000000000000f87f", "010000000000f87f", "000000000000f8ff", "010000000000f07f")),
    bytes(range(8)),
)
_TEXTS: Final = (b"", b"\0", b"gen_ai.tool.name", "Zürich → 東京 🛫".encode(), b"x" * 300, b"e\xcc\x81\xe2\x80\x8b")
_NOT_UTF8: Final = (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ab\x80cd", b"\xe2\x82")
# Levels of arrays or maps around a value: harmless, about where the runtime stops, and far beyond.
_LEVELS: Final = (1, 2, 30, 31, 32, 33, 44, 45, 46, 47, 48, 49, 50, 99, 500)
_GROUP_LEVELS: Final = (1, 2, 90, 92, 94, 95, 96, 97, 98, 99, 100, 101)


def _some_node(random: Random, tree: Node) -> Node:
    """Some message, every kind of message as likely: a request is nearly all attributes."""
    kinds: dict[str, list[Node]] = {}
    for node in tree.walk():
        if node.descriptor is not None:
            kinds.setdefault(node.descriptor.full_name, []).append(node)
    return random.choice(kinds[random.choice(sorted(kinds))])


def _some_field(random: Random, tree: Node, suits: Callable[[WireField], bool]) -> tuple[Node, int] | None:
    """Some field that suits, by the message that holds it and its place there."""
    for _ in range(8):
        node = _some_node(random, tree)
        places = [index for index, item in enumerate(node.fields) if suits(item)]
        if places:
            return node, random.choice(places)
    return None


def _insert(random: Random, node: Node, item: WireField) -> None:
    node.fields.insert(random.randint(0, len(node.fields)), item)


def _scalar(random: Random, kind: int) -> int | bytes:
    match WIRE_TYPES.get(kind, VARINT):
        case 0:
            return random.choice(_NUMBERS)
        case 1:
            return random.choice(_DOUBLES)
        case 5:
            return random.randbytes(4)
        case _:
            return random.choice(_TEXTS)


def _field_of(random: Random, field: FieldDescriptor, depth: int) -> WireField:
    """A field of that description with some valid value."""
    if field.message_type is not None:
        return WireField(field.number, LENGTH_DELIMITED, _message(random, field.message_type, depth - 1))
    wire_type = WIRE_TYPES.get(field.type, VARINT)
    if field.is_repeated and wire_type != LENGTH_DELIMITED and random.random() < 0.7:
        return WireField(field.number, LENGTH_DELIMITED, _packed(random, field, random.randint(0, 4)))
    return WireField(field.number, wire_type, _scalar(random, field.type))


def _packed(random: Random, field: FieldDescriptor, count: int) -> bytes:
    items = [_scalar(random, field.type) for _ in range(count)]
    return b"".join(varint(item) if isinstance(item, int) else item for item in items)


def _message(random: Random, descriptor: Descriptor, depth: int) -> Node:
    node = Node(descriptor)
    if depth > 0:
        fields = list(descriptor.fields)
        node.fields = [_field_of(random, random.choice(fields), depth) for _ in range(random.randint(0, 4))]
    return node


def add_a_known_field(random: Random, tree: Node) -> None:
    node = _some_node(random, tree)
    assert node.descriptor is not None
    field = random.choice(list(node.descriptor.fields))
    _insert(random, node, _field_of(random, field, _GROWTH_DEPTH_MAX))


def add_another_member_of_a_oneof(random: Random, tree: Node) -> None:
    nodes = [node for node in tree.walk() if node.descriptor is not None and node.descriptor.oneofs]
    if nodes:
        node = random.choice(nodes)
        assert node.descriptor is not None
        field = random.choice(random.choice(list(node.descriptor.oneofs)).fields)
        _insert(random, node, _field_of(random, field, _GROWTH_DEPTH_MAX))


def add_a_default(random: Random, tree: Node) -> None:
    node = _some_node(random, tree)
    assert node.descriptor is not None
    field = random.choice(list(node.descriptor.fields))
    wire_type = WIRE_TYPES.get(field.type, VARINT)
    empty: dict[int, int | bytes] = {VARINT: 0, FIXED64: bytes(8), FIXED32: bytes(4), LENGTH_DELIMITED: b""}
    _insert(random, node, WireField(field.number, wire_type, empty[wire_type]))


def send_a_field_twice(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda _: True)
    if found:
        node, place = found
        _insert(random, node, node.fields[place])


def drop_a_field(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda _: True)
    if found:
        node, place = found
        del node.fields[place]


def drop_all_of_a_name(random: Random, tree: Node) -> None:
    name = random.choice(("resource", "scope", "schema_url", "value", "key", "trace_id", "span_id", "data_points"))
    for node in list(tree.walk()):
        if node.descriptor is not None and name in node.descriptor.fields_by_name:
            number = node.descriptor.fields_by_name[name].number
            node.fields = [item for item in node.fields if item.number != number]


def shuffle_the_fields(random: Random, tree: Node) -> None:
    for node in list(tree.walk()) if random.random() < 0.3 else [_some_node(random, tree)]:
        random.shuffle(node.fields)


def move_a_field(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: not isinstance(item.value, Node))
    if found:
        node, place = found
        item = node.fields[place] if random.random() < 0.5 else node.fields.pop(place)
        _insert(random, _some_node(random, tree), item)


def split_a_message_in_two(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: isinstance(item.value, Node))
    if found:
        node, place = found
        item = node.fields[place]
        assert isinstance(item.value, Node)
        cut = random.randint(0, len(item.value.fields))
        rest = Node(item.value.descriptor, item.value.fields[cut:])
        del item.value.fields[cut:]
        _insert(random, node, WireField(item.number, LENGTH_DELIMITED, rest))


def empty_a_field(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: item.wire_type == LENGTH_DELIMITED)
    if found:
        node, place = found
        node.fields[place] = WireField(node.fields[place].number, LENGTH_DELIMITED, b"")


def change_a_number(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: isinstance(item.value, int))
    if found:
        node, place = found
        node.fields[place].value = random.choice((*_NUMBERS, random.getrandbits(64)))


def spell_a_number_long(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: isinstance(item.value, int))
    if found:
        node, place = found
        node.fields[place].padding = random.randint(1, 10)


def change_a_text(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: item.wire_type == LENGTH_DELIMITED and isinstance(item.value, bytes))
    if found:
        node, place = found
        node.fields[place].value = random.choice(_TEXTS)


def break_a_text(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: item.wire_type == LENGTH_DELIMITED and isinstance(item.value, bytes))
    if found:
        node, place = found
        before = bytes(node.fields[place].value)
        cut = random.randint(0, len(before))
        node.fields[place].value = before[:cut] + random.choice(_NOT_UTF8) + before[cut:]


def change_a_fixed(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda item: item.wire_type == FIXED64)
    if found:
        node, place = found
        node.fields[place].value = random.choice(_DOUBLES)


def zero_the_ids(random: Random, tree: Node) -> None:
    for node in list(tree.walk()):
        names = node.descriptor.fields_by_name if node.descriptor is not None else {}
        numbers = {names[name].number for name in ("trace_id", "span_id") if name in names}
        for item in node.fields:
            if item.number in numbers and isinstance(item.value, bytes) and random.random() < 0.7:
                item.value = bytes(random.choice((len(item.value), len(item.value), 3, 0)))


def change_a_wire_type(random: Random, tree: Node) -> None:
    found = _some_field(random, tree, lambda _: True)
    if found:
        node, place = found
        number = node.fields[place].number
        node.fields[place] = random.choice(
            (
                WireField(number, VARINT, random.choice(_NUMBERS)),
                WireField(number, FIXED64, random.randbytes(8)),
                WireField(number, FIXED32, random.randbytes(4)),
                WireField(number, LENGTH_DELIMITED, random.choice(_TEXTS)),
                WireField(number, GROUP, Node(None, [WireField(number, VARINT, 1)])),
            )
        )


def add_an_unknown_field(random: Random, tree: Node) -> None:
    number = random.choice((15, 16, 100, 1000, 18999, 2**29 - 1))
    item = random.choice(
        (
            WireField(number, VARINT, random.choice(_NUMBERS), random.randint(0, 3)),
            WireField(number, FIXED64, random.randbytes(8)),
            WireField(number, FIXED32, random.randbytes(4)),
            WireField(number, LENGTH_DELIMITED, random.choice((*_TEXTS, *_NOT_UTF8))),
            WireField(number, GROUP, _groups(random, number, random.choice(_GROUP_LEVELS))),
        )
    )
    _insert(random, _some_node(random, tree), item)


def _groups(random: Random, number: int, levels: int) -> Node:
    first = WireField(random.choice((0, 1, 1)), VARINT, random.choice(_NUMBERS))
    node = Node(None, [first, WireField(2, LENGTH_DELIMITED, b"in a group")])
    for _ in range(levels - 1):
        node = Node(None, [WireField(number, GROUP, node)])
    return node


def repack_numbers(random: Random, tree: Node) -> None:
    """Packed numbers as single fields, or as two packed halves that need not end where a number does."""
    for node in list(tree.walk()):
        packed = [field.number for field in node.descriptor.fields if _is_packable(field)] if node.descriptor else []
        for place, item in reversed(list(enumerate(node.fields))):
            if item.number in packed and isinstance(item.value, bytes) and item.wire_type == LENGTH_DELIMITED:
                node.fields[place : place + 1] = _repacked(random, item.number, item.value)
        for number in packed:
            if random.random() < 0.3:
                unpacked = WireField(number, VARINT, random.choice(_NUMBERS))
                if random.random() < 0.5:
                    unpacked = WireField(number, FIXED64, random.choice(_DOUBLES))
                _insert(random, node, unpacked)


def _is_packable(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated) and WIRE_TYPES.get(field.type, VARINT) != LENGTH_DELIMITED


def _repacked(random: Random, number: int, value: bytes) -> list[WireField]:
    if random.random() < 0.5:
        return [WireField(number, FIXED64, value[at : at + 8]) for at in range(0, len(value), 8)]
    cut = random.randint(0, len(value) // 8) * 8 + random.choice((0, 0, 0, 3))
    return [WireField(number, LENGTH_DELIMITED, value[:cut]), WireField(number, LENGTH_DELIMITED, value[cut:])]


def nest_a_value(random: Random, tree: Node) -> None:
    """Put an AnyValue inside arrays and maps, around the depth at which the runtime gives up."""
    nodes = [node for node in tree.walk() if node.descriptor is not None and node.descriptor.name == "AnyValue"]
    if not nodes:
        return
    node = random.choice(nodes)
    for _ in range(random.choice(_LEVELS)):
        value = bytes(node)
        if random.random() < 0.8:
            node.fields = [WireField(5, LENGTH_DELIMITED, bytes(WireField(1, LENGTH_DELIMITED, value)))]
        else:
            pair = bytes(WireField(1, LENGTH_DELIMITED, b"k")) + bytes(WireField(2, LENGTH_DELIMITED, value))
            node.fields = [WireField(6, LENGTH_DELIMITED, bytes(WireField(1, LENGTH_DELIMITED, pair)))]


def alter_inside_a_message(random: Random, tree: Node) -> None:
    """Break the bytes of one message, while the lengths around it still fit."""
    found = _some_field(random, tree, lambda item: isinstance(item.value, Node))
    if found:
        node, place = found
        content = bytes(node.fields[place].value)
        alter = random.choice(BYTE_MUTATIONS)
        node.fields[place] = WireField(node.fields[place].number, LENGTH_DELIMITED, alter(random, content, content))


TREE_MUTATIONS: Final = (
    add_a_known_field,
    add_a_known_field,
    add_a_default,
    add_an_unknown_field,
    add_another_member_of_a_oneof,
    alter_inside_a_message,
    break_a_text,
    change_a_fixed,
    change_a_number,
    change_a_text,
    change_a_wire_type,
    drop_a_field,
    drop_all_of_a_name,
    empty_a_field,
    move_a_field,
    nest_a_value,
    repack_numbers,
    send_a_field_twice,
    shuffle_the_fields,
    spell_a_number_long,
    split_a_message_in_two,
    zero_the_ids,
)
