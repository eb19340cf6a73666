"""What of a request may be repeated in a message about it. Messages go to the sender and into the log, past redaction.

A wrong path, type or encoding is most quickly put right by whoever sees it, and is made of words. What is not may be a key in
the wrong place: of that its length is told.
"""

import json
import re
from typing import Any, Final

_WORD: Final = "(?:[a-z]{1,16}|v?[0-9])"
_WORDS: Final = re.compile(f"/?{_WORD}(?:[/,; .+_-]{{1,2}}{_WORD}){{0,7}}/?")
_SHORT_CHARACTERS_MAX: Final = 6  # Too few for a key, or for a number of a card, a phone or a person.


def quoted(text: str) -> str:
    """A header's value or a path: in quotes where it is empty or a few lower-case words, else how long it is."""
    return repr(text) if not text or _WORDS.fullmatch(text) else f"... ({len(text):,} characters)"


def described(value: Any) -> str:
    """A value of JSON that is neither object nor array: itself where it is short, else what it is."""
    text = json.dumps(value)
    if len(text) <= _SHORT_CHARACTERS_MAX:
        return text
    return (
        f"a string of {len(value):,} characters" if isinstance(value, str) else f"a number of {len(text):,} characters"
    )
