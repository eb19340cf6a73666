"""Escapes are undone alike whether they are few or millions, and each piece is known by where it stood."""

from random import Random

import pytest

from collector.redaction import escapes
from collector.redaction.escapes import Unescaped

PIECES = [
    "\\",
    "\\",
    "u0041",
    "u00e9",
    "ud83d",
    "u20ac",
    "u004",
    "x41",
    "x4",
    "n",
    "/",
    '"',
    "'",
    "a",
    "é",
    "q",
    "u",
    "\0",
]


def test_many_escapes_are_undone_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(1)
    for _ in range(5_000):
        original = ("\\" + "".join(rng.choices(PIECES, k=rng.randrange(14)))).encode()
        few = Unescaped(original)
        monkeypatch.setattr(escapes, "MANY", 1)
        many = Unescaped(original)
        monkeypatch.undo()
        assert many.text == few.text, original
        for start in range(len(few.text)):
            end = rng.randrange(start, len(few.text)) + 1
            assert many.span(start, end) == few.span(start, end), (original, start, end)


def test_a_text_of_escapes_is_undone_from_its_first_to_its_last() -> None:
    plain = Unescaped(rb"\u0041\\\/\u20ac\ud83d" * escapes.MANY)
    assert plain.text == "A/€?".encode() * escapes.MANY
    assert plain.span(0, 1) == (0, 6)
    assert plain.span(2, 5) == (10, 16)
    assert plain.span(len(plain.text) - 1, len(plain.text)) == (22 * escapes.MANY - 6, 22 * escapes.MANY)
