"""The documented views as this engine makes them: what stands in `store/duckdb/views/*.toml`, read once.

Each file is a view: what it is of (`from`), what may be joined to it, and its columns, each with its expression. Names ending
in `_texts` and `base_...` are the tables that a statement's sandbox is given (`store.duckdb.sources`). `push` names the base
column whose values a column shows unchanged, `push_ns` the one that it shows as a time, `run` those whose rows all belong to
one run; `whole` says that a column is worked out from rows that a condition would leave out.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from store.questions import DocumentedView, ViewColumn

# As docs/sql.md and the design list them.
_ORDER: Final = (
    "runs", "segments", "steps", "tool_calls", "decisions", "messages", "contents", "events", "evaluations",
    "metric_points",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeColumn:
    """How a column is made."""

    documented: ViewColumn
    sql: str
    joins: tuple[str, ...] = ()
    push: str | None = None
    push_ns: str | None = None
    run: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeView:
    """How a view is made."""

    documented: DocumentedView
    of: str
    group_by: str | None
    joins: dict[str, str]
    columns: dict[str, MadeColumn]


@cache
def made_views() -> dict[str, MadeView]:
    """Every documented view by its name, in the order of the documentation."""
    return {name: _view(name) for name in _ORDER}


@cache
def documented_views() -> dict[str, DocumentedView]:
    """The same, as the query service knows them."""
    return {name: made.documented for name, made in made_views().items()}


def _view(name: str) -> MadeView:
    said: dict[str, Any] = tomllib.loads(resources.files("store.duckdb.views").joinpath(f"{name}.toml").read_text())
    columns = {column: _column(column, how) for column, how in said["columns"].items()}
    documented = DocumentedView(
        name=name, says=said["says"], columns=tuple(column.documented for column in columns.values())
    )
    return MadeView(
        documented=documented,
        of=said["from"],
        group_by=said.get("group_by"),
        joins=said.get("joins", {}),
        columns=columns,
    )


def _column(name: str, how: dict[str, Any]) -> MadeColumn:
    return MadeColumn(
        documented=ViewColumn(name=name, type=how["type"], means=how["means"], needs=how.get("needs")),
        sql=how["sql"],
        joins=tuple(how.get("joins", ())),
        push=how.get("push"),
        push_ns=how.get("push_ns"),
        run=tuple(how.get("run", "").split()),
        whole=how.get("whole", False),
    )
