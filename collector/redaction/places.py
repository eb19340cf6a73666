"""Where in a request a byte stands: in which text, of which field, of which record.

A canonical request is walked along the descriptors of OTLP, and only into the messages that hold a candidate, so that a hit
costs what stands beside it and not what the request holds. Fields that OTLP does not know have no descriptor; they are
told apart, because nobody can say which of their bytes are text.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from sys import maxsize
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from collector.redaction.expressions import NEAR_BYTES, Candidate
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

ID_BYTES_MAX: Final = 16
"""An id of up to so many bytes is random bytes; a longer one is no id, and is looked at like any text."""
_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_VARINT, _FIXED64, _DELIMITED, _GROUP, _GROUP_END, _FIXED32 = range(6)

Step = tuple[str, int]
"""A field, and which of its items; -1 for a field that has one."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string or bytes field with candidates. Places are relative to it."""

    path: tuple[Step, ...]
    content: bytes
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something with candidates that OTLP does not know: the fields of the message at `path`."""

    path: tuple[Step, ...]
    content: bytes
    candidates: list[Candidate]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    is_repeated: bool
    is_text: bool
    is_id: bool
    message: Descriptor | None


@cache
def _fields(message: Descriptor) -> dict[int, _Field]:
    """By number, the fields that have a length."""
    return {
        field.number: _Field(
            field.name,
            field.is_repeated,
            field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES),
            field.name in _IDS and field.type == FieldDescriptor.TYPE_BYTES,
            field.message_type,
        )
        for field in message.fields
    }


def texts_with(signal: Signal, body: bytes, candidates: list[Candidate]) -> Iterator[Text | Unknown]:
    """The texts of a canonical request that candidates lie in, in the order of the body."""
    root: Any = REQUEST_MESSAGES[signal].DESCRIPTOR
    return texts_in(root, body, candidates)


def texts_in(message: Descriptor, body: bytes, candidates: list[Candidate]) -> Iterator[Text | Unknown]:
    """As `texts_with`, of any message that the official runtime wrote."""
    if candidates:
        yield from _Walk(body, candidates).within(message, 0, len(body), ())


class _Walk:
    def __init__(self, body: bytes, candidates: list[Candidate]) -> None:
        self._body = body
        self._candidates = candidates
        self._firsts = [first for first, _, _ in candidates]
        self._spots = _spots(candidates)
        self._spot = 0

    def within(self, message: Descriptor, start: int, end: int, path: tuple[Step, ...]) -> Iterator[Text | Unknown]:
        body, fields, spots = self._body, _fields(message), self._spots
        seen: dict[int, int] = {}
        at = start
        while at < end:
            tag_start = at
            tag = body[at]
            at += 1
            if tag > 0x7F:
                tag, at = read_varint(body, tag_start)
            number, kind = tag >> 3, tag & 7
            field = fields.get(number)
            if kind == _DELIMITED:
                length = body[at]
                at += 1
                if length > 0x7F:
                    length, at = read_varint(body, at - 1)
                content, at = at, at + length
            else:
                content, at = at, behind(body, at, kind, number)
            if field is None or kind != _DELIMITED:
                if field is None and kind in (_DELIMITED, _GROUP):
                    yield from self._unknown(tag_start, at, path)
                continue
            index = -1
            if field.is_repeated:
                index = seen.get(number, 0)
                seen[number] = index + 1
            while spots[self._spot][1] < content:
                self._spot += 1
            if spots[self._spot][0] >= at:
                continue
            if field.message is not None:
                yield from self.within(field.message, content, at, (*path, (field.name, index)))
            elif field.is_text and not (field.is_id and at - content <= ID_BYTES_MAX):
                yield Text((*path, (field.name, index)), body[content:at], self._between(content, at))

    def _unknown(self, start: int, end: int, path: tuple[Step, ...]) -> Iterator[Unknown]:
        candidates = self._between(start, end)
        if candidates:
            yield Unknown(path, self._body[start:end], candidates)

    def _between(self, start: int, end: int) -> list[Candidate]:
        low, high = bisect_left(self._firsts, start - NEAR_BYTES), bisect_left(self._firsts, end)
        return [
            (max(first - start, 0), min(last, end - 1) - start, pattern)
            for first, last, pattern in self._candidates[low:high]
            if last >= start
        ]


def _spots(candidates: list[Candidate]) -> list[tuple[int, int]]:
    """Where candidates are, first and last byte, apart and in order; behind them one that nothing comes to."""
    spots: list[tuple[int, int]] = []
    for first, last, _ in candidates:
        if spots and first <= spots[-1][1]:
            spots[-1] = spots[-1][0], max(spots[-1][1], last)
        else:
            spots.append((first, last))
    spots.append((maxsize, maxsize))
    return spots


def read_varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and where it ends."""
    number = body[at]
    at += 1
    if number > 0x7F:
        number &= 0x7F
        shift = 7
        while (group := body[at]) > 0x7F:
            number |= (group & 0x7F) << shift
            shift += 7
            at += 1
        number |= group << shift
        at += 1
    return number, at


def behind(body: bytes, at: int, kind: int, number: int) -> int:
    """Where a field without a length ends, of which the content is at `at`."""
    if kind == _VARINT:
        return read_varint(body, at)[1]
    if kind == _FIXED64:
        return at + 8
    if kind == _FIXED32:
        return at + 4
    while True:  # A group: its fields, up to the end that has its number.
        tag, at = read_varint(body, at)
        if tag & 7 == _GROUP_END:
            if tag >> 3 == number:
                return at
            continue
        if tag & 7 == _DELIMITED:
            length, at = read_varint(body, at)
            at += length
        else:
            at = behind(body, at, tag & 7, tag >> 3)
