"""Cuts what is too large out of one message of the official runtime, and says what was cut.

A value keeps its beginning: a string up to the last whole character within the bound, bytes up to the bound, an array or
a map its first items and the beginning of the first one that does not fit. A list keeps its first items. What a `Cut` says
is about what came: `length` and `sha256` are those of a string's UTF-8, of bytes as they are, of an array's or map's
protobuf (an ArrayValue or KeyValueList); and where items of a list were dropped, of the protobuf of a message of the
list's own kind that holds the dropped items and nothing else, fields that OTLP does not know left out. All of it as the
official runtime writes it.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry.proto.common.v1 import common_pb2

from store.otlp.truncation import MARK, SENT_MARK

_PLACE_KEY_CHARACTERS_MAX: Final = 256  # A key may be as long as a request; the attribute itself has the whole of it.
# Of an array or map that is cut. Walking 16 MiB of empty items, two bytes each, would take seconds of a core.
_ITEMS_KEPT_MAX: Final = 65_536
_UTF8_BYTES_MAX: Final = 4
_UINT32_MAX: Final = 2**32 - 1
# A tag and a length of up to 256 MiB, which is past what a request may have by default, and one byte to spare.
_FRAME_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Cut:
    """One thing that was cut: see the module. `count` is the number of dropped items, None where a value was cut."""

    place: str
    length: int
    sha256: str
    reason: str
    count: int | None = None


def cut_value(value: common_pb2.AnyValue, place: str, bytes_max: int, reason: str) -> Cut | None:
    """Cut an attribute's value in place to `bytes_max`; None where it fits."""
    member = value.WhichOneof("value")
    match member:
        case "string_value":
            text = value.string_value
            if len(text) * _UTF8_BYTES_MAX <= bytes_max:
                return None
            whole = text.encode()
        case "bytes_value":
            whole = value.bytes_value
        case "array_value" | "kvlist_value":
            whole = getattr(value, member).SerializeToString()
        case _:
            return None
    if len(whole) <= bytes_max:
        return None
    _shrink(value, bytes_max)
    return Cut(place, len(whole), sha256(whole).hexdigest(), reason)


def drop_tail(holder: Message, name: str, kept: int, place: str, reason: str) -> Cut | None:
    """Drop what a repeated field of `holder` has beyond `kept` items; None where it has no more."""
    items: Any = getattr(holder, name)
    count = len(items) - kept
    if count <= 0:
        return None
    # By way of a copy, because a slice would be a Python object for each of what may be millions of items.
    dropped = type(holder)()
    dropped.CopyFrom(holder)
    dropped.DiscardUnknownFields()
    for field, _ in dropped.ListFields():
        if field.name != name:
            dropped.ClearField(field.name)
    del getattr(dropped, name)[:kept]
    del items[kept:]
    whole = dropped.SerializeToString()
    return Cut(place, len(whole), sha256(whole).hexdigest(), reason, count)


def raise_count(holder: Any, name: str, by: int) -> None:
    """Add to a count of dropped items that OTLP has a field for; some messages have none."""
    if name in holder.DESCRIPTOR.fields_by_name:
        setattr(holder, name, min(getattr(holder, name) + by, _UINT32_MAX))


def place_of(within: str, key: str, nth: int) -> str:
    """Where an attribute stands: a key that comes again is named as every reader shows it, `key#2`."""
    shown = key if len(key) <= _PLACE_KEY_CHARACTERS_MAX else f"{key[:_PLACE_KEY_CHARACTERS_MAX]}..."
    return f"{within}/{shown}" if nth == 1 else f"{within}/{shown}#{nth}"


def rename_sent_mark(attributes: Any) -> None:
    """What a sender says under the mark's name is recorded under another."""
    for pair in attributes:
        if pair.key == MARK:
            pair.key = SENT_MARK


def write_mark(attributes: Any, cuts: list[Cut]) -> None:
    """Say in `attributes` what was cut."""
    if not cuts:
        return
    entries: Any = attributes.add(key=MARK).value.array_value.values
    for cut in cuts:
        said: Any = entries.add().kvlist_value.values
        said.add(key="place").value.string_value = cut.place
        said.add(key="length").value.int_value = cut.length
        said.add(key="sha256").value.string_value = cut.sha256
        said.add(key="reason").value.string_value = cut.reason
        if cut.count is not None:
            said.add(key="count").value.int_value = cut.count


def _shrink(value: common_pb2.AnyValue, room: int) -> None:
    """Cut a value to at most `room` bytes of text, bytes, or items with their framing."""
    match value.WhichOneof("value"):
        case "string_value":
            # What came is UTF-8, so only a character that the cut went through is ignored.
            value.string_value = value.string_value.encode()[:room].decode(errors="ignore")
        case "bytes_value":
            value.bytes_value = value.bytes_value[:room]
        case "array_value":
            _shrink_items(value.array_value.values, room)
        case "kvlist_value":
            _shrink_items(value.kvlist_value.values, room)
        case _:
            value.Clear()  # A number that does not fit any more.


def _shrink_items(items: Any, room: int) -> None:
    """Keep the first items that fit, and of the one after them its beginning."""
    for index, item in enumerate(items):
        size = item.ByteSize() + _FRAME_BYTES
        if size <= room and index < _ITEMS_KEPT_MAX:
            room -= size
            continue
        is_pair = isinstance(item, common_pb2.KeyValue)
        room -= 2 * _FRAME_BYTES  # The item's own, and that of the value's member.
        room -= len(item.key.encode()) + 2 * _FRAME_BYTES if is_pair else 0
        if room <= 0 or index >= _ITEMS_KEPT_MAX:
            del items[index:]
            return
        _shrink(item.value if is_pair else item, room)
        del items[index + 1 :]
        return
