"""A question in SQL, as the query service hands it to an engine; and what may come of it.

Strategy: the statement has been checked and written anew before it gets here, and names no table: where it named a documented
view it names a `Source`, which says of which view, with which columns, and which of them the caller may not see. The engine
makes the sources, of one tenant, so that isolation does not hang on the statement.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

from store.errors import StoreError

ROWS_DEFAULT: Final = 10_000  # Of an answer, unless more is asked for: what a person or a page can do something with.
RESULT_BYTES_MAX: Final = 32 * 1024 * 1024  # Of an answer as it is sent: it stands in memory once.
CONTENTS_MAX: Final = 100_000
"""Pieces of content that one statement may look up for its rows: their ids are held while they are looked for."""

Needs = Literal["metadata", "content", "said", "raw"]
"""What a column takes: nothing more than the call, content, content with the reasoning in it, or raw telemetry."""


class ResultForm(StrEnum):
    """How an answer is written."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewColumn:
    """A documented column. `needs` is None where the API's row of that name says what it takes."""

    name: str
    type: str
    means: str
    needs: Needs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedView:
    """A view that statements may name."""

    name: str
    says: str
    columns: tuple[ViewColumn, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of a source's rows besides: `column` `operator` one of `values` (more than one only with IN).

    The statement says it as well, so an engine may use it to read less, or leave it.
    """

    column: str
    operator: Literal["=", "<", "<=", ">", ">=", "IN"]
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What stands in the statement where a view stood, under `name`. `columns` are those that may be asked for."""

    name: str
    view: str
    columns: tuple[str, ...]
    hidden: frozenset[str] = frozenset()
    """Columns that the caller may not see: they are null, and are not read."""
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlLimits:
    """Bounds that the front door may set."""

    seconds: float = 10.0
    rows: int = 100_000
    memory_mb: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlQuestion:
    """One statement, checked. `functions` are the names that may be called in it."""

    text: str
    sources: tuple[Source, ...]
    functions: frozenset[str]
    form: ResultForm
    rows_max: int
    limits: SqlLimits = field(default_factory=SqlLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlAnswer:
    """`body` is the answer in the form that was asked for; as JSON it is an object with `columns`, `rows` and `truncated`.

    `truncated` is None where the answer is whole, else which bound it met: `rows` or `bytes`.
    """

    body: bytes
    rows: int
    truncated: Literal["rows", "bytes"] | None


class Asking(Protocol):
    """A question on its way."""

    def answer(self) -> SqlAnswer:
        """Wait for the answer. Raises SqlFailed, SqlTooLarge, SqlTimeout, SqlCancelled, ViewError."""
        ...

    def cancel(self) -> None:
        """Nobody wants the answer any more. Any thread's; safe at any time."""
        ...


class SqlError(StoreError):
    """A statement was not answered."""


class SqlFailed(SqlError):
    """The statement is not SQL, names what is not there, or fails on what it reads. `position` counts characters from 0."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class SqlNotAllowed(SqlError):
    """The statement asks for something that statements may not do."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class SqlTimeout(SqlError):
    """The statement took longer than it may."""


class SqlTooLarge(SqlError):
    """The statement needs more memory than it may have."""


class SqlBusy(SqlError):
    """As many statements are under way as may be. Retryable."""

    retryable = True


class SqlCancelled(SqlError):
    """Whoever asked has gone, or the service stops."""
