"""What the engine says of a statement, for whoever wrote it: where in their own text it is, and what may have been meant.

The engine saw the statement as it was written anew, and only the columns that are wanted of each view: its own places and
guesses are of that.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

import sqlglot
from sqlglot.errors import SqlglotError

from store.questions import DocumentedView, SqlFailed

_CLOSE_MAX: Final = 5
_UNKNOWN: Final = re.compile(r'(?:Referenced column|does not have a column named) "([^"]+)"|column named "([^"]+)"')
_NAMED: Final = re.compile(r'"([^"]+)"')


def explained(error: SqlFailed, text: str, views: Iterable[DocumentedView]) -> SqlFailed:
    """The same failure with its place in `text`, and for an unknown column those that are named like it."""
    said = str(error).partition("\nCandidate bindings")[0].strip()
    unknown = _UNKNOWN.search(said)
    named = unknown or _NAMED.search(said)
    name = next(filter(None, named.groups()), None) if named else None
    if unknown and name:
        known = sorted({column.name for view in views for column in view.columns})
        close = difflib.get_close_matches(name.lower(), known, _CLOSE_MAX)
        said = f"no view here has a column {name!r}; " + (
            f"did you mean {' or '.join(close)}?" if close else "docs/sql.md lists the columns of each"
        )
    return SqlFailed(said, error.position if error.position is not None or name is None else _position(text, name))


def _position(text: str, name: str) -> int | None:
    try:
        return next(
            (one.start for one in sqlglot.tokenize(text, read="duckdb") if one.text.lower() == name.lower()), None
        )
    except SqlglotError:
        return None
