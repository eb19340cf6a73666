"""Whether any of very many values stands in plaintext in bytes, files, a journal or a view: one pass, however many values.

A value is sought in the forms in which it could have been written: as it is, with JSON's escapes, nested, percent-encoded,
in base64 at any offset, and, where it is long, its end alone, because half of a key is a leak too. Hyperscan's compiler of
literals takes 100,000 of them, and nothing but the exact bytes matches. Journals are read through the product's own reader,
which decompresses them; views through SQL, which decompresses columns.
"""

import base64
import contextlib
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb
import hyperscan

from store.errors import JournalCorrupt
from store.folder import JOURNAL, VIEW
from store.journal.reader import SegmentReader
from store.journal.segments import list_segments

PIECE_BYTES: Final = 64 * 1024 * 1024
"""Of a file at a time. Pieces overlap by the longest form, so that nothing is cut in two."""
END_CHARACTERS: Final = 16
"""Of a long value, how much of its end is sought alone: as random as 80 bits, so that it stands nowhere by chance."""
LONG_CHARACTERS: Final = 32
NESTINGS_MAX: Final = 3
"""Of JSON in JSON: a message whose text is JSON, in an attribute, in an OTLP/JSON request."""
_BASE64_CHARACTERS_MIN: Final = 10
_ROWS: Final = 2048

Place = str
"""Where it was looked, as `journal/00000000000000000001.segment` or `view: steps.attributes`."""


def forms(secret: str) -> frozenset[bytes]:
    """The forms in which a value could have been written."""
    said = {secret}
    for _ in range(NESTINGS_MAX):
        said |= {json.dumps(one, ensure_ascii=plain)[1:-1] for one in said for plain in (True, False)}
    for backslashes in ("\\", "\\\\", "\\\\\\\\"):  # Some writers escape slashes, and the at sign of an address.
        slashed = {one.replace("/", f"{backslashes}/") for one in said}
        said |= slashed | {one.replace("@", f"{backslashes}u0040") for one in slashed}
    said |= {quote(secret, safe=""), quote(secret, safe="").lower()}
    if len(secret) >= LONG_CHARACTERS:
        said.add(secret[-END_CHARACTERS:])
    return frozenset({one.encode() for one in said} | set(_in_base64(secret.encode())))


def _in_base64(value: bytes) -> Iterator[bytes]:
    """The characters of base64 that follow from the value alone, for each of the three offsets at which it may begin."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + value)
        first = -(-before * 8 // 6)
        kept = whole[first : (before + len(value)) * 8 // 6]
        if len(kept) >= _BASE64_CHARACTERS_MIN:
            yield kept
            yield kept.translate(bytes.maketrans(b"+/", b"-_"))


class Plaintext:
    """Finds values by their forms. One thread's."""

    def __init__(self, sought: Sequence[Iterable[bytes]]) -> None:
        """`sought` has the forms of each value; its place there is its number. Two values may have a form in common."""
        numbers: dict[bytes, list[int]] = {}
        for number, written in enumerate(sought):
            for form in written:
                numbers.setdefault(form, []).append(number)
        self._literals = list(numbers)
        self._numbers = list(numbers.values())
        self._overlap = max(map(len, self._literals))
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        # Digits alone also stand within longer numbers, so each place must be looked at; of the rest one place is enough.
        flags = [0 if literal.isdigit() else hyperscan.HS_FLAG_SINGLEMATCH for literal in self._literals]
        self._database.compile(
            expressions=self._literals, ids=list(range(len(flags))), elements=len(flags), flags=flags, literal=True
        )

    def in_bytes(self, data: bytes) -> set[int]:
        """The numbers of the values that are there."""
        found: set[int] = set()

        def hear(index: int, _start: int, end: int, _flags: int, _context: object) -> None:
            literal = self._literals[index]
            before = end - len(literal) - 1
            # Nine digits within nineteen are a part of a time, and not a citizen's number.
            if not (literal.isdigit() and before >= 0 and data[before : before + 1].isdigit()):
                found.update(self._numbers[index])

        self._database.scan(data, match_event_handler=hear)
        return found

    def in_file(self, path: Path) -> set[int]:
        """As `in_bytes`, of all of a file."""
        found: set[int] = set()
        with path.open("rb") as file:
            rest = b""
            while piece := file.read(PIECE_BYTES):
                data = rest + piece
                found |= self.in_bytes(data)
                rest = data[-self._overlap :]
        return found

    def in_folder(self, folder: Path) -> dict[Place, set[int]]:
        """Of every file in a data folder as it is, whoever writes it: journal, view and its log, control store, lock."""
        found: dict[Place, set[int]] = {}
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # A checkpoint removes the view's log at any moment.
                if path.is_file():
                    found[str(path.relative_to(folder))] = self.in_file(path)
        return found

    def in_journal(self, data: Path) -> dict[Place, set[int]]:
        """Of the bodies of every frame, decompressed. What stands behind a torn frame is cut at the next start."""
        found: dict[Place, set[int]] = {}
        for segment in list_segments(data / JOURNAL):
            name = f"frames of {segment.path.name}"
            found[name] = set()
            frames: Generator[Any, None, None] = SegmentReader(segment).frames(segment.header.first_sequence - 1)
            with closing(frames), contextlib.suppress(JournalCorrupt):
                for frame in frames:
                    found[name] |= self.in_bytes(frame.body)
        return found

    def in_view(self, data: Path) -> dict[Place, set[int]]:
        """Of every column of every table, as text. No server may have the folder."""
        found: dict[Place, set[int]] = {}
        with closing(duckdb.connect(str(data / VIEW), read_only=True)) as connection:
            columns = connection.execute(
                "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY ALL"
            ).fetchall()
            for table, column, kind in columns:
                values: set[int] = set()
                rows = connection.execute(f'SELECT {_as_text(column, kind)} FROM "{table}"')
                while chunk := rows.fetchmany(_ROWS):
                    texts = (value if isinstance(value, bytes) else str(value).encode() for (value,) in chunk)
                    values |= self.in_bytes(b"\n".join(texts))
                found[f"view: {table}.{column}"] = values
        return found


def _as_text(column: str, kind: str) -> str:
    """An expression that quotes and escapes nothing: a list's own text would."""
    if kind == "VARCHAR[]":
        return f'array_to_string("{column}", chr(10))'
    return f'"{column}"' if kind in ("VARCHAR", "BLOB") else f'CAST("{column}" AS VARCHAR)'


def together(found: Iterable[Mapping[Place, set[int]]]) -> Counter[int]:
    """Of each value, in how many places it was found."""
    return Counter(number for one in found for numbers in one.values() for number in numbers)
