"""A statement that somebody wrote, checked against what statements may be, and written anew.

    text -> tokens -> one tree -> every node and every function is one of the allowed -> views replaced by sources -> text

Strategy: what is not listed is refused, nodes of the tree as functions, with the position and what to use instead. What runs
is never the text that came in but what the checked tree is written as, in which every name is quoted and no table has the
name of one. Which columns are wanted is found generously, by name: a column too many costs time, and one that the caller
may not see is null however it is named.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from query.sql.functions import ALLOWED, INSTEAD
from store.questions import Condition, DocumentedView, SqlFailed, SqlNotAllowed

TEXT_MAX_CHARS: Final = 20_000  # Longer ones are made by programs; each costs some ms to read.
TOKENS_MAX: Final = 5_000
DEPTH_MAX: Final = 50  # Of parentheses: the parser takes some frames for each, and is exponential in none.
VIEWS_MAX: Final = 16  # Each is a table that is read and joined.
CONDITION_VALUES_MAX: Final = 1_000
_DIALECT: Final = "duckdb"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NODES: Final[tuple[type[exp.Expr], ...]] = (
    exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join, exp.Table,
    exp.TableAlias, exp.Alias, exp.Aliases, exp.Column, exp.Identifier, exp.Star, exp.Dot, exp.Literal, exp.RawString,
    exp.Boolean, exp.Null, exp.Where, exp.Having, exp.Qualify, exp.Group, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Order,
    exp.Ordered, exp.Limit, exp.Offset, exp.Distinct, exp.Tuple, exp.Paren, exp.Filter, exp.Window, exp.WindowSpec,
    exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls, exp.Binary, exp.Unary, exp.Between, exp.In, exp.Interval, exp.Var,
    exp.DataType, exp.DataTypeParam, exp.Bracket, exp.Slice, exp.PropertyEQ, exp.Values, exp.Unnest, exp.Lateral, exp.Escape,
    exp.JSONPath, exp.JSONPathPart, exp.AtTimeZone, exp.SetOperation,
)  # fmt: skip
# Kinds of Binary, Unary and Func that are none of an expression over rows.
_REFUSED: Final[tuple[type[exp.Expr], ...]] = (
    exp.Columns, exp.Lambda, exp.Kwarg, exp.Collate, exp.Command,   exp.Comprehension, exp.Parameter,
    exp.Placeholder, exp.SessionParameter, exp.PositionalColumn,
)  # fmt: skip
_WORDS: Final = _names(
    """select from where and or not in on using by as over filter values exists any all some when then else case end
    union intersect except distinct interval materialized with recursive having qualify limit offset join between
    like ilike is lateral exclude replace order group partition within array rollup cube sets window inner left
    right full semi anti cross"""
) | {"grouping sets", "order by", "group by", "partition by", "within group"}
_ONE_SELECT: Final = "a statement is one SELECT, with WITH and UNION as you like"
_COMMANDS: Final = frozenset(
    {"CHECKPOINT", "DEALLOCATE", "DETACH", "EXECUTE", "EXPORT", "FORCE", "IMPORT", "PREPARE", "RESET", "VACUUM"}
)
_TYPES: Final = frozenset({"decimal", "numeric", "varchar", "char", "struct", "map"})
_COMPARISONS: Final[dict[type[exp.Expr], Literal["=", "<", "<=", ">", ">="]]] = {
    exp.EQ: "=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_TIMES: Final = (
    exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ, exp.DataType.Type.TIMESTAMP_NS, exp.DataType.Type.DATE,
)  # fmt: skip
_MIRRORED: Final[dict[str, Literal["=", "<", "<=", ">", ">="]]] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SAID_OF: Final = {
    "Columns": "name the columns",
    "Lambda": "unnest the list and work on its rows",
    "Comprehension": "unnest the list and work on its rows",
    "Pivot": "use sum(...) FILTER (WHERE ...), one a column",
    "Placeholder": "write the value into the statement",
    "Parameter": "write the value into the statement",
    "TableSample": "use a condition on a hash, as md5(run_id) < '1'",
    "PositionalColumn": "name the column",
    "ByteString": "write the text without an escape",
    "Lock": "statements only read, and lock nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A place in a statement that names a view, and `name`, which stands there now."""

    name: str
    view: str
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A statement that may be run."""

    text: str
    references: tuple[Reference, ...]


def check(text: str, views: Mapping[str, DocumentedView], rows_max: int) -> Checked:
    """Check a statement. Raises SqlFailed for what is not SQL, SqlNotAllowed for what may not be."""
    tokens = _tokens(text)
    _check_beginning(tokens)
    tree = _one_tree(text)
    _check_nodes(tree)
    _check_functions(tokens, tree)
    named = _view_references(tree, views, tokens)
    references = tuple(_reference(number, table, tree, views) for number, table in enumerate(named))
    for table, one in zip(named, references, strict=True):
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        table.replace(
            exp.Table(this=exp.to_identifier(one.name, quoted=True), alias=alias, joins=table.args.get("joins"))
        )
    if tree.args.get("limit") is None:
        tree = tree.limit(rows_max + 1, copy=False)  # So that an order need not be kept of all rows.
    return Checked(text=tree.sql(dialect=_DIALECT, identify=True, comments=False), references=references)


def _tokens(text: str) -> list[Token]:
    if not text.strip():
        raise SqlFailed("the statement is empty", 0)
    if len(text) > TEXT_MAX_CHARS:
        raise SqlNotAllowed(f"a statement has at most {TEXT_MAX_CHARS} characters, this one has {len(text)}")
    try:
        tokens = sqlglot.tokenize(text, read=_DIALECT)
    except SqlglotError as error:
        raise SqlFailed(f"the statement cannot be read: {_first(str(error))}") from None
    if len(tokens) > TOKENS_MAX:
        raise SqlNotAllowed(f"a statement has at most {TOKENS_MAX} words and signs, this one has {len(tokens)}")
    depth = 0
    for token in tokens:
        if token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE):
            depth += 1
        elif token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE):
            depth -= 1
        if depth > DEPTH_MAX:
            raise SqlNotAllowed(f"parentheses are nested at most {DEPTH_MAX} deep", token.start)
    return tokens


def _check_beginning(tokens: list[Token]) -> None:
    """What a statement begins with says whether it is meant to read at all, also where it could not be parsed."""
    if not tokens:
        raise SqlFailed("the statement is empty", 0)
    first = tokens[0]
    if first.token_type in (TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN):
        return
    word = first.text.upper()
    if first.token_type is not TokenType.VAR or word in _COMMANDS:
        raise SqlNotAllowed(f"{_ONE_SELECT}; {word[:20]} is none", first.start)
    raise SqlFailed(
        f"the statement cannot be read: it begins with {first.text[:20]!r}, and not with SELECT", first.start
    )


def _one_tree(text: str) -> exp.Query:
    try:
        trees = [one for one in sqlglot.parse(text, read=_DIALECT) if one is not None]
    except sqlglot.ParseError as error:
        said = error.errors[0] if error.errors else {}
        raise SqlFailed(
            f"the statement cannot be read: {_plain(said.get('description'))}", _offset(text, said)
        ) from None
    except (SqlglotError, RecursionError) as error:
        raise SqlFailed(f"the statement cannot be read: {_first(str(error))}") from None
    if len(trees) != 1:
        raise SqlNotAllowed(f"one statement at a time; there are {len(trees)}")
    [tree] = trees
    if not isinstance(tree, exp.Query) or isinstance(tree, exp.Table):
        raise SqlNotAllowed(_ONE_SELECT, 0)
    return tree


def _offset(text: str, said: Mapping[str, object]) -> int | None:
    line, column = said.get("line"), said.get("col")
    if not (isinstance(line, int) and isinstance(column, int)):
        return None
    before = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1])
    highlight = said.get("highlight")
    return max(before + column - (len(highlight) if isinstance(highlight, str) else 1), 0)


def _plain(said: object) -> str:
    """What the parser says, in words of SQL."""
    text = said if isinstance(said, str) else "it is not SQL"
    missing = re.search(r"Required keyword: .* missing for <class '[\w.]*\.(\w+)'>", text)
    return f"something is missing behind {_words(missing[1])}" if missing else text


def _first(message: str) -> str:
    return message.partition("\n")[0][:200]


def _check_nodes(tree: exp.Expr) -> None:
    for node in tree.walk():
        refused = isinstance(node, _REFUSED) or not isinstance(node, (*_NODES, exp.Func, exp.Predicate))
        if refused:
            kind = type(node).__name__
            hint = _SAID_OF.get(kind, "docs/sql.md says what a statement may be made of")
            raise SqlNotAllowed(f"{_words(kind)} is not allowed; {hint}", _place(node))
        if isinstance(node, exp.Join) and (node.args.get("method") or "").upper() in ("POSITIONAL", "NATURAL"):
            raise SqlNotAllowed(
                f"{node.args['method']} JOIN is not allowed; say on which columns, with USING or ON", _place(node)
            )
        if isinstance(node, exp.Table):
            _check_table(node)


def _check_table(table: exp.Table) -> None:
    if not isinstance(table.this, exp.Identifier):
        name = table.this.name if isinstance(table.this, exp.Anonymous) else type(table.this).__name__
        raise SqlNotAllowed(f"{name} cannot be read from: only documented views and WITH can", _place(table))
    if table.args.get("db") or table.args.get("catalog"):
        raise SqlNotAllowed(
            f"{table.sql(dialect=_DIALECT)} names a schema; documented views have none", _place(table)
        )  # fmt: skip
    unknown = [
        name for name, value in table.args.items() if value and name not in ("this", "alias", "joins", "laterals")
    ]
    if unknown:
        raise SqlNotAllowed(f"{table.name} has {unknown[0]}, which is not allowed of a view", _place(table))


def _check_functions(tokens: list[Token], tree: exp.Expr) -> None:
    """Every name before a parenthesis, as it was written: so that nothing hides behind what a tree calls it."""
    aliases = {
        alias.this.meta.get("start")
        for alias in tree.find_all(exp.TableAlias)
        if alias.this and alias.args.get("columns")
    }
    for token, following in pairwise(tokens):
        name = token.text.lower()
        if following.token_type is not TokenType.L_PAREN or not (name[:1].isalpha() or name[:1] == "_"):
            continue
        quoted = token.token_type is TokenType.IDENTIFIER
        if token.token_type is TokenType.STRING or token.start in aliases:
            continue
        if name in ALLOWED or (not quoted and (name in _WORDS or name in _TYPES)):
            continue
        hint = INSTEAD.get(name, "docs/sql.md lists the functions")
        raise SqlNotAllowed(f"the function {token.text} is not allowed; {hint}", token.start)
    for node in tree.find_all(exp.Anonymous):
        if str(node.name).lower() not in ALLOWED:
            raise SqlNotAllowed(
                f"the function {node.name} is not allowed; docs/sql.md lists the functions", _place(node)
            )


def _view_references(tree: exp.Expr, views: Mapping[str, DocumentedView], tokens: list[Token]) -> list[exp.Table]:
    """The tables of the tree that are views; those that are neither that nor a WITH are refused."""
    ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for cte in tree.find_all(exp.CTE):
        if cte.alias.lower() in views:
            raise SqlNotAllowed(f"{cte.alias} is a documented view; give the WITH another name", _place(cte))
    found: list[exp.Table] = []
    for table in tree.find_all(exp.Table):
        name = table.name.lower()
        if name in views:
            found.append(table)
        elif name not in ctes and not _is_column_of_lateral(table):
            listed = ", ".join(views)
            raise SqlNotAllowed(f"there is no view {table.name!r}; the views are {listed}", _place(table))
    if len(found) > VIEWS_MAX:
        raise SqlNotAllowed(f"a statement names at most {VIEWS_MAX} views, this one names {len(found)}")
    return found


def _is_column_of_lateral(table: exp.Table) -> bool:
    return isinstance(table.parent, exp.Unnest)


def _reference(number: int, table: exp.Table, tree: exp.Expr, views: Mapping[str, DocumentedView]) -> Reference:
    view = views[table.name.lower()]
    names = {column.name: None for column in view.columns}
    alias = (table.alias or table.name).lower()
    wanted = names if _whole(tree, alias) else _named(tree, names)
    return Reference(
        name=f"source_{number}",
        view=view.name,
        columns=tuple(wanted),
        conditions=tuple(_conditions(table, alias, names)),
    )


def _whole(tree: exp.Expr, alias: str) -> bool:
    """Whether the statement wants every column of a view: by a star, or by the name of its row."""
    for star in tree.find_all(exp.Star):
        owner = star.parent
        if isinstance(owner, exp.Count):
            continue
        if not isinstance(owner, exp.Column) or owner.table.lower() in ("", alias):
            return True
    return any(column.name.lower() == alias and not column.table for column in tree.find_all(exp.Column))


def _named(tree: exp.Expr, names: Mapping[str, None]) -> list[str]:
    said = {one.name.lower() for one in tree.find_all(exp.Identifier)}
    return [name for name in names if name in said]


def _conditions(table: exp.Table, alias: str, names: Mapping[str, None]) -> Iterator[Condition]:
    """What the WHERE next to a table says of its columns and constants: all of it holds of every row that is shown."""
    select = table.find_ancestor(exp.Select)
    where = select.args.get("where") if select is not None else None
    if select is None or where is None or table not in _tables_of(select):
        return
    joins: list[exp.Join] = select.args.get("joins") or []
    if any((join.args.get("method") or "").upper() == "ASOF" for join in joins):
        return  # There a row that is left out lets another one be the nearest.
    alone = not joins and not select.args.get("laterals")
    same = _same_columns(select)
    for conjunct in _conjuncts(where.this):
        said = _condition(conjunct)
        if said is None or said[1].column not in names:
            continue
        column, condition = said
        place = (column.table.lower(), condition.column)
        if (
            place == (alias, condition.column)
            or (alone and not place[0])
            or any(place in group and (alias, condition.column) in group for group in same)
        ):
            yield condition


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    return [one.unnest() for one in (node.flatten() if isinstance(node, exp.And) else [node])]


def _same_columns(select: exp.Select) -> list[set[tuple[str, str]]]:
    """Columns that have the same value in every row that is shown, by alias and name: those that tables are joined on.

    A column that USING names may stand without an alias.
    """
    tables = _tables_of(select)
    joins: list[exp.Join] = select.args.get("joins") or []
    groups: list[set[tuple[str, str]]] = []
    for join in joins:
        for name in join.args.get("using") or ():
            column = name.name.lower()
            groups.append(
                {("", column), (tables[0].alias_or_name.lower(), column), (join.alias_or_name.lower(), column)}
            )
    said = [join.args["on"] for join in joins if join.args.get("on")] + [select.args["where"].this]
    for node in (one for on in said for one in _conjuncts(on)):
        if isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column):
            groups.append({(one.table.lower(), one.name.lower()) for one in (node.this, node.expression)})
    merged: list[set[tuple[str, str]]] = []
    for group in groups:
        touching = [one for one in merged if one & group]
        merged = [one for one in merged if one not in touching] + [group.union(*touching)]
    return merged


def _tables_of(select: exp.Select) -> list[exp.Expr]:
    source = select.args.get("from_") or select.args.get("from")
    return [one.this for one in ([source] if source else []) + (select.args.get("joins") or [])]


def _condition(node: exp.Expr) -> tuple[exp.Column, Condition] | None:
    if type(node) in _COMPARISONS:
        operator = _COMPARISONS[type(node)]
        left, right = node.this, node.expression
        if isinstance(right, exp.Column):
            left, right, operator = right, left, _MIRRORED[operator]
        value = _constant(right)
        if isinstance(left, exp.Column) and value is not None:
            return left, Condition(left.name.lower(), operator, (value,))
    if isinstance(node, exp.In) and isinstance(node.this, exp.Column) and not node.args.get("query"):
        values = [_constant(one) for one in node.expressions]
        found = tuple(value for value in values if value is not None)
        if found and len(found) == len(values) <= CONDITION_VALUES_MAX:
            return node.this, Condition(node.this.name.lower(), "IN", found)
    return None


def _constant(node: exp.Expr) -> str | int | None:
    """A text or an integer; a time is the text that it is written as."""
    if isinstance(node, exp.Cast) and node.to.is_type(*_TIMES):
        node = node.this
        return str(node.this) if isinstance(node, exp.Literal) and node.is_string else None
    if not isinstance(node, exp.Literal):
        return None
    if node.is_string:
        return str(node.this)
    text = str(node.this)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _place(node: exp.Expr) -> int | None:
    """Where a node stands: the first place that anything in it has."""
    places = [one.meta["start"] for one in node.walk() if "start" in one.meta]
    return min(places) if places else None


def _words(kind: str) -> str:
    return "".join(f" {letter}" if letter.isupper() else letter.upper() for letter in kind).strip().upper()
