"""`spanledger sql`: the rows of an answer, as a table for people, NDJSON for programs, or a file of columns.

What an answer lacks (rows past a bound, columns that the key may not see) is said on stderr, so that a pipe holds rows alone.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.table import Table
from rich.text import Text

from spanledger.errors import FrontDoorError, UsageError
from spanledger.reading import RunRecord, SqlResult
from spanledger.rendering.phrases import printable
from spanledger.showing import console, pipe
from store.questions import ResultForm

CELL_CHARS_MAX: Final = 120  # A message in a cell would fill the screen; NDJSON and files have it whole.
_BINARY: Final = (ResultForm.ARROW, ResultForm.PARQUET)


class SqlForm(StrEnum):
    """How an answer is written."""

    AUTO = "auto"
    TEXT = "text"
    NDJSON = "ndjson"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"

    def of_server(self) -> ResultForm:
        """The form that is asked for: tables and NDJSON are made of JSON."""
        return ResultForm(self.value) if self in (SqlForm.CSV, SqlForm.ARROW, SqlForm.PARQUET) else ResultForm.JSON


def show_sql(record: RunRecord, text: str, *, form: SqlForm, limit: int | None, output: Path | None) -> None:
    """Ask a statement and write its answer. Raises FrontDoorError, UsageError."""
    wanted = form.of_server()
    if wanted in _BINARY and output is None and sys.stdout.isatty():
        raise UsageError(f"--format {form.value} is not for a terminal", "give --output FILE, or pipe it")
    result = record.sql(text, wanted, limit)
    _say(result)
    if output is not None:
        _save(output, result.body if wanted is not ResultForm.JSON else b"".join(_lines(result)))
        return
    with pipe():
        if wanted is not ResultForm.JSON:
            sys.stdout.buffer.write(result.body)
        elif form is SqlForm.TEXT or (form is SqlForm.AUTO and sys.stdout.isatty()):
            _print(result)
        else:
            for line in _lines(result):
                sys.stdout.buffer.write(line)


def _say(result: SqlResult) -> None:
    if result.truncated == "rows":
        print("There are more rows than these; --limit gives more.", file=sys.stderr)
    elif result.truncated is not None:
        print("The answer was cut where it became too large: name fewer columns, or add conditions.", file=sys.stderr)
    if result.withheld:
        print(f"Not shown to this key: {result.withheld}.", file=sys.stderr)


def _save(output: Path, body: bytes) -> None:
    try:
        output.write_bytes(body)
    except OSError as error:
        raise FrontDoorError(
            f"{output} cannot be written: {error.strerror}", "name a file that this user can write"
        ) from error


def _lines(result: SqlResult) -> list[bytes]:
    return [msgspec.json.encode(row) + b"\n" for row in msgspec.json.decode(result.body)["rows"]]


def _print(result: SqlResult) -> None:
    answer: dict[str, Any] = msgspec.json.decode(result.body)
    out = console()
    if not answer["rows"]:
        out.print("No rows.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    names = list(answer["rows"][0])
    for name in names:
        number = all(isinstance(row[name], int | float) or row[name] is None for row in answer["rows"])
        table.add_column(Text(printable(name)), justify="right" if number else "left", overflow="fold")
    for row in answer["rows"]:
        table.add_row(*(_cell(row[name]) for name in names))
    out.print(table)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", "dim")
    text = printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return Text(text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…")
