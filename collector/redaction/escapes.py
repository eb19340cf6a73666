r"""Text with its escapes undone, and the way back to where a piece of it stood.

JSON inside a string writes characters as `\n`, `\/`, `\"` or `\u0040`, and JSON inside JSON doubles the backslashes, as
often as it is nested. What a value is, where it begins and what stands before it shows only when that is undone.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import numpy as np

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Integers = np.ndarray[Any, np.dtype[np.int32]]

MANY: Final = 150
"""Backslashes from which on arrays are faster: 16 MB of escapes are millions, at half a microsecond when handled alone."""
_ESCAPE: Final = re.compile(rb"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"'/nrtbf]))")
_CHARACTERS: Final = dict(zip(b"\"'/nrtbf", b"\"'/\n\r\t\b\f", strict=True))
_DIGITS: Final = {ord("u"): 4, ord("x"): 2}
_BACKSLASH: Final = ord("\\")
_NONE: Final = 0xFF
_NO_CHARACTER: Final = ord("?")
"""For half of a surrogate pair."""


def _table(known: dict[int, int]) -> _Bytes:
    return np.array([known.get(byte, _NONE) for byte in range(256)], np.uint8)


_CODES: Final = _table(_CHARACTERS)
_NIBBLES: Final = _table({byte: int(chr(byte), 16) for byte in b"0123456789abcdefABCDEF"})
_LETTERED: Final = (rb"\n", rb"\r", rb"\t", rb"\b", rb"\f")
_NUMBERED: Final = re.compile(rb"\\u[0-9a-fA-F]{4}")
HIDING: Final = (
    rb"\\u00[2-7][0-9a-fA-F]",
    rb"\\u0[0-7][0-9a-fA-F]{2}[0-9A-Za-z._%+-]{0,64}(?:@|%40)",
    rb"(?:@|%40)[0-9A-Za-z.-]{0,64}\\{1,8}u0[0-7]",
    rb"\\/",
)
"""Patterns of a prefilter for escapes that hide text from whoever does not undo them: of ASCII, which nobody needs to escape,
of letters in an address, and of slashes, which some writers of JSON escape and which stand within what is base64."""


class Unescaped:
    """A text with its escapes undone: `text`, and where its pieces were in the original."""

    def __init__(self, original: bytes) -> None:
        # Of each escape: where its character is in `text`, how wide the escape is and how long its character, and how much
        # shorter the text is behind it.
        self._places: Sequence[int]
        self._widths: Sequence[int]
        self._lengths: Sequence[int]
        self._shorter: Sequence[int]
        if original.count(b"\\") < MANY:
            self._undo_few(original)
        else:
            self._undo_many(original)

    def _undo_few(self, original: bytes) -> None:
        pieces: list[bytes] = []
        places, widths, lengths, shorter_behind = list[int](), list[int](), list[int](), list[int]()
        at = shorter = 0
        for found in _ESCAPE.finditer(original):
            start, end = found.span()
            character = _character(found)
            pieces += (original[at:start], character)
            places.append(start - shorter)
            widths.append(end - start)
            lengths.append(len(character))
            shorter += end - start - len(character)
            shorter_behind.append(shorter)
            at = end
        pieces.append(original[at:])
        self.text = b"".join(pieces)
        self._places, self._widths, self._lengths, self._shorter = places, widths, lengths, shorter_behind

    def _undo_many(self, original: bytes) -> None:
        data = np.frombuffer(original, np.uint8)
        starts, ends, codes = _escapes(data)
        lengths = 1 + (codes >= 0x80).astype(np.int32) + (codes >= 0x800)
        # The bytes of a character stand in the last places of its escape; what is before them there goes.
        edges = np.zeros(len(data) + 1, np.int8)
        edges[starts] = 1
        edges[ends] -= 1
        kept = np.cumsum(edges[:-1], dtype=np.int8) == 0
        changed = data.copy()
        for places, encoded in _encoded(ends, codes, lengths):
            changed[places] = encoded
            kept[places] = True
        self.text = changed[kept].tobytes()
        shorter = np.cumsum(ends - starts - lengths, dtype=np.int32)
        self._places = cast("Sequence[int]", ends - lengths - shorter)
        self._widths = cast("Sequence[int]", ends - starts)
        self._lengths, self._shorter = cast("Sequence[int]", lengths), cast("Sequence[int]", shorter)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]`, which is not empty, was in the original."""
        return self._origin(start)[0], self._origin(end - 1)[1]

    def _origin(self, place: int) -> tuple[int, int]:
        """Start and end, in the original, of what is one byte of `text`."""
        index = bisect_right(self._places, place) - 1
        if index < 0:
            return place, place + 1
        behind = place + int(self._shorter[index])
        length = int(self._lengths[index])
        if place < self._places[index] + length:
            end = int(self._places[index]) + length + int(self._shorter[index])
            return end - int(self._widths[index]), end
        return behind, behind + 1


def _character(found: re.Match[bytes]) -> bytes:
    by_number = found[1] or found[2]
    if by_number is None:
        return bytes((_CHARACTERS[found[3][0]],))
    return chr(int(by_number, 16)).encode("utf-8", "replace")


def _escapes(data: _Bytes) -> tuple[_Integers, _Integers, _Integers]:
    """Of every escape in order: where it starts and ends, and its character's code."""
    backslashes = np.flatnonzero(data == _BACKSLASH).astype(np.int32)
    # A run of them is one escape, or none: what it means stands behind the last.
    apart = np.diff(backslashes) != 1
    starts = backslashes[np.concatenate(([True], apart))]
    letters = backslashes[np.concatenate((apart, [True]))] + 1
    padded = np.concatenate((data, np.zeros(1 + max(_DIGITS.values()), np.uint8)))
    said = padded[letters]
    codes, ends = _CODES[said].astype(np.int32), letters + 1
    is_escape = codes != _NONE
    for letter, digits in _DIGITS.items():
        at = np.flatnonzero(said == letter)
        first = ends[at]
        number, is_number = np.zeros(len(at), np.int32), np.ones(len(at), np.bool_)
        for digit in range(digits):
            nibble = _NIBBLES[padded[first + digit]]
            is_number &= nibble != _NONE
            number = number << 4 | nibble
        codes[at], is_escape[at] = number, is_number
        ends[at] += digits
    codes[(codes >= 0xD800) & (codes < 0xE000)] = _NO_CHARACTER
    return starts[is_escape], ends[is_escape], codes[is_escape]


def _encoded(ends: _Integers, codes: _Integers, lengths: _Integers) -> Iterator[tuple[_Integers, _Integers]]:
    """Places and bytes of the characters in UTF-8, each at the end of its escape."""
    for length, head in ((1, 0), (2, 0xC0), (3, 0xE0)):
        of_length = lengths == length
        first, code = ends[of_length] - length, codes[of_length]
        for index in range(length if len(first) else 0):
            bits = code >> 6 * (length - 1 - index)
            yield first + index, bits | head if index == 0 else bits & 0x3F | 0x80


def blanked(text: bytes) -> bytes:
    """The text with spaces for the escapes that end in what could be part of a word: nothing moves."""
    for escape in _LETTERED:
        text = text.replace(escape, b"  ")
    if b"\\u" in text:
        text = _NUMBERED.sub(b"      ", text)
    return text
