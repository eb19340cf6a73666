r"""Text with its escapes undone, and the way back to where a piece of it stood.

JSON inside a string writes characters as `\n`, `\/`, `\"` or `\u0040`, and JSON inside JSON doubles the backslashes, as
often as it is nested. What a value is, where it begins and what stands before it shows only when that is undone.
"""

import re
from bisect import bisect_right
from typing import Final

_ESCAPE: Final = re.compile(rb"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"'/nrtbf]))")
_CHARACTERS: Final = {
    b'"': b'"', b"'": b"'", b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"
}  # fmt: skip
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
        pieces: list[bytes] = []
        # Of each escape: where its character is in `text`, how wide it was, and how much shorter the text is behind it.
        self._places: list[int] = []
        self._widths: list[tuple[int, int]] = []
        self._shorter: list[int] = []
        at = shorter = 0
        for found in _ESCAPE.finditer(original):
            start, end = found.span()
            character = _character(found)
            pieces += (original[at:start], character)
            self._places.append(start - shorter)
            self._widths.append((end - start, len(character)))
            shorter += end - start - len(character)
            self._shorter.append(shorter)
            at = end
        pieces.append(original[at:])
        self.text = b"".join(pieces)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]`, which is not empty, was in the original."""
        return self._origin(start)[0], self._origin(end - 1)[1]

    def _origin(self, place: int) -> tuple[int, int]:
        """Start and end, in the original, of what is one byte of `text`."""
        index = bisect_right(self._places, place) - 1
        if index < 0:
            return place, place + 1
        width, length = self._widths[index]
        behind = place + self._shorter[index]
        if place < self._places[index] + length:
            start = self._places[index] + self._shorter[index] - width + length
            return start, start + width
        return behind, behind + 1


def blanked(text: bytes) -> bytes:
    """The text with spaces for the escapes that end in what could be part of a word: nothing moves."""
    for escape in _LETTERED:
        text = text.replace(escape, b"  ")
    if b"\\u" in text:
        text = _NUMBERED.sub(b"      ", text)
    return text


def _character(found: re.Match[bytes]) -> bytes:
    by_number = found[1] or found[2]
    if by_number is None:
        return _CHARACTERS[found[3]]
    return chr(int(by_number, 16)).encode("utf-8", "replace")  # Half of a surrogate pair is no character.
