"""From the sources of a question to what has to be read for them, and no more.

Each source becomes a SELECT over base tables (`made`), with the columns that are wanted and the joins that those take. What
these SELECTs name is what is read from the view's tables, by statements that bind the tenant: so a column that nobody asked
for, or that the caller may not see, never leaves the engine. Conditions that a statement puts on its rows are used here to
read fewer, where they cannot change anything but the time it takes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any, Final

import sqlglot
from sqlglot import exp

from store.duckdb.documented import MadeView, made_views
from store.questions import Condition, Source

CURRENT_STEPS: Final = "base_current_steps"
_STEPS: Final = "base_step_versions"
_SUPERSEDED: Final = "base_superseded"
_VERSION: Final = frozenset({"trace_id", "span_id", "revision"})
_SCHEMA: Final = "view.main"
# Columns that are worked out while they are read.
_READ_AS: Final = {("base_contents", "bytes"): "strlen(text)"}
_LARGEST: Final = (_STEPS, "base_contents", "base_events", "base_metric_points", "base_tool_calls", "base_runs")
_MESSAGES: Final = ("system_instructions", "input_messages", "output_messages")
# Tables of content: the base tables and columns that hold the ids of what is wanted.
TEXTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "base_call_texts": (("base_tool_calls", "arguments"), ("base_tool_calls", "result")),
    "base_reason_texts": (("base_decisions", "reason"),),
    "base_message_texts": (
        *((_STEPS, column) for column in _MESSAGES), *(("base_events", column) for column in _MESSAGES),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A base table that is read: the statement for it and what it binds, beside `$tenant`.

    `texts_of`: by which columns of tables read before its rows are found; `$ids` has them.
    """

    base: str
    sql: str
    columns: tuple[str, ...]
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    texts_of: tuple[tuple[str, str], ...] = ()
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class OfRuns:
    """A parameter that stands for the traces of some runs; with `_first` and `_last` behind its name, where in the record
    they begin and end, so that row groups outside are skipped.
    """

    run_ids: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read, in order, and the views that are made of it: name and SELECT."""

    scans: tuple[Scan, ...]
    views: tuple[tuple[str, str], ...]


def plan_of(sources: tuple[Source, ...]) -> Plan:
    """What has to be read for the sources of a question."""
    views = made_views()
    made = [(source, made_sql(views[source.view], source)) for source in sources]
    wanted: dict[str, set[str]] = {}
    for _, text in made:
        for base, columns in base_columns(text).items():
            wanted.setdefault(base, set()).update(columns)
    _with_what_they_take(wanted)
    numbers = count()
    conditions = {base: _conditions(base, views, made, numbers) for base in wanted}
    streamed = _streamed(wanted)
    names = sorted(wanted, key=lambda base: (base == streamed, base in TEXTS, base))
    if CURRENT_STEPS in names:
        names.remove(CURRENT_STEPS)
    scans = tuple(
        _scan(base, sorted(wanted[base]), *conditions.get(base, ("", {})), streamed=base == streamed) for base in names
    )
    return Plan(scans, tuple((source.name, text) for source, text in made))


def made_sql(view: MadeView, source: Source) -> str:
    """The SELECT that makes a source of base tables."""
    joins: dict[str, None] = {}
    expressions: list[str] = []
    for name in source.columns:
        column = view.columns[name]
        if name in source.hidden:
            expressions.append(f"CAST(NULL AS {column.documented.type}) AS {_quoted(name)}")
            continue
        joins.update(dict.fromkeys(column.joins))
        expressions.append(f"{column.sql} AS {_quoted(name)}")
    shown = ", ".join(expressions) or "true AS nothing"
    text = f"SELECT {shown} FROM {view.of} {' '.join(view.joins[join] for join in joins)}"  # noqa: S608 - our own words
    return text + (f" GROUP BY {view.group_by}" if view.group_by else "")


@cache
def base_columns(text: str) -> dict[str, frozenset[str]]:
    """The columns of base tables that one of our SELECTs names. There every column stands behind its table's alias."""
    tree = sqlglot.parse_one(text, read="duckdb")
    aliases: dict[str, set[str]] = {}
    found: dict[str, set[str]] = {}
    for table in tree.find_all(exp.Table):
        if table.name.startswith("base_"):
            aliases.setdefault(table.alias, set()).add(table.name)
            found.setdefault(table.name, set())
    for column in tree.find_all(exp.Column):
        # Of `p.s.status` the first name is the table's, the second the column's, and the rest is within it.
        names = [part.name for part in column.parts]
        for base in aliases.get(names[0], ()) if len(names) > 1 else ():
            found[base].add(names[1])
    return {base: frozenset(columns) for base, columns in found.items()}


def _with_what_they_take(wanted: dict[str, set[str]]) -> None:
    """Add what tables are made of: current steps of versions, texts of the ids that name them."""
    for texts, places in TEXTS.items():
        if texts in wanted:
            wanted[texts] |= {"content_id"}
            for base, column in places:
                wanted.setdefault(CURRENT_STEPS if base == _STEPS else base, set()).add(column)
    if CURRENT_STEPS in wanted:
        wanted.setdefault(_STEPS, set()).update(wanted[CURRENT_STEPS] | _VERSION)
        wanted.setdefault(_SUPERSEDED, set()).update(_VERSION)
    for base, columns in wanted.items():
        if not columns and base != CURRENT_STEPS:
            columns.add("tenant")  # Something has to be read, to count rows by.


def _scan(base: str, columns: list[str], where: str, parameters: dict[str, Any], *, streamed: bool) -> Scan:
    texts = TEXTS.get(base, ())
    table = "contents" if texts else base.removeprefix("base_")
    shown = ", ".join(
        f"{_READ_AS[base, name]} AS {_quoted(name)}" if (base, name) in _READ_AS else _quoted(name) for name in columns
    )
    text = f"SELECT {shown} FROM {_SCHEMA}.{table} WHERE tenant = $tenant"  # noqa: S608 - our own words
    if texts:
        text += " AND content_id IN (SELECT unnest($ids))"
    if where:
        text += f" AND ({where})"
    return Scan(
        base=base, sql=text, columns=tuple(columns), parameters=parameters, texts_of=texts, streamed=streamed
    )  # fmt: skip


def _conditions(
    base: str, views: dict[str, MadeView], made: list[tuple[Source, str]], numbers: "count[int]"
) -> tuple[str, dict[str, Any]]:
    """What holds of every row of a base table that any source shows: one of what each of them asks for."""
    asked: list[str] = []
    parameters: dict[str, Any] = {}
    of = CURRENT_STEPS if base == _STEPS else base
    for source, text in made:
        if of not in base_columns(text):
            continue
        view = views[source.view]
        once = text.count(f"{of} AS ") == 1 and not any(
            view.columns[name].whole for name in source.columns if name not in source.hidden
        )
        said = [_pushed(of, view, one, parameters, numbers, once=once) for one in source.conditions]
        kept = [one for one in said if one]
        if not kept:
            return "", {}
        asked.append("(" + " AND ".join(kept) + ")")
    return " OR ".join(asked), parameters


def _pushed(
    base: str, view: MadeView, one: Condition, parameters: dict[str, Any], numbers: "count[int]", *, once: bool
) -> str | None:
    """A condition on a column of a view as one on a base table; None where it is none."""
    column = view.columns[one.column]
    values: list[Any] = list(one.values)
    run = next((place for place in column.run if place.startswith(f"{base}.")), None)
    direct = run or (column.push if once else None) or (column.push_ns if once else None)
    if direct is None or not direct.startswith(f"{base}."):
        return None
    if direct == column.push_ns:
        values = [nanoseconds(value) for value in values]
    elif any(isinstance(value, str) != (column.documented.type == "VARCHAR") for value in values):
        return None
    if None in values or (run and one.operator not in ("=", "IN")):
        return None
    name = f"p{next(numbers)}"
    target = _quoted(direct.partition(".")[2])
    if run:
        parameters[name] = OfRuns(one.values)
        said = f"{target} IN (SELECT unnest(${name}))"
        # Log records may come long before or after the spans of their trace.
        return f"{said} AND sequence BETWEEN ${name}_first AND ${name}_last" if base == CURRENT_STEPS else said
    parameters[name] = values if one.operator == "IN" else values[0]
    bound = f"(SELECT unnest(${name}))" if one.operator == "IN" else f"${name}"
    return f"{target} {one.operator} {bound}"


def _streamed(wanted: dict[str, set[str]]) -> str | None:
    """The largest table, which a sandbox may read while it comes in. Where ids are taken of it, others come behind it."""
    asked_first = {base for texts in TEXTS if texts in wanted for base, _ in TEXTS[texts]}
    return next((base for base in _LARGEST if base in wanted and base not in asked_first), None)


def nanoseconds(value: Any) -> int | None:
    """A time as statements write it, `2026-07-01 12:00:00.5`, in UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    whole, _, fraction = value.partition(".")
    if fraction and not (fraction.isascii() and fraction.isdigit() and len(fraction) <= 9):
        return None
    try:
        at = datetime.fromisoformat(whole)
    except ValueError:
        return None
    if at.tzinfo is not None:
        return None
    return int(at.replace(tzinfo=UTC).timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
