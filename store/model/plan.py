"""How to read a span, worked out once for each shape: an instrumentation sends the same keys again and again.

A shape is a scope name and the keys of a span's attributes. Its plan says which dialect it is, which keys feed which column
in which order, which are content, which rules can apply at all, and what stays an attribute.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from store.model.columns import READERS, read_text
from store.model.dialect import (
    ApprovalRule,
    ContentRule,
    Dialect,
    KindRule,
    OutcomeRule,
    SpanNameRule,
    dialect_of,
)
from store.model.span import PARTICULARS
from store.otlp.values import unique

MESSAGE_COLUMNS: Final = frozenset(
    {"input_messages", "output_messages", "system_instructions", "tool_definitions", "unread_messages"}
)
PLANS_MAX: Final = 10_000  # Shapes are a few hundred in practice; hostile key names must not fill the memory.


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module. Attributes are meant by their place among the span's own.

    `texts` are columns that are read as text, `others` have readers of their own.
    """

    dialect: Dialect
    keys: tuple[str, ...]
    """The names of the attributes, a repeated one under a name of its own."""
    texts: tuple[tuple[str, tuple[int, ...]], ...]
    others: tuple[tuple[str, Callable[[Any], Any], tuple[int, ...]], ...]
    content: tuple[tuple[int, ContentRule], ...]
    kept: tuple[int, ...]
    """Those that are never content. Those of `content` whose kinds do not fit are kept, too."""
    kinds: tuple[tuple[int, KindRule], ...]
    outcomes: tuple[OutcomeRule, ...]
    """Those of the span's own attributes. `dialect.outcomes` also speak of the exception that it recorded."""
    indexed: tuple[tuple[str, str], ...]
    approvals: ApprovalRule | None
    span_names: tuple[SpanNameRule, ...]
    """Those for columns that no key of the shape feeds."""
    conversation: tuple[int, ...]
    """The sources of the conversation id, where the dialect's best is not the only one: which of them it is from is said."""
    particulars: tuple[tuple[str, Callable[[Any], Any], tuple[int, ...]], ...]
    metadata: tuple[tuple[int, str], ...]
    """Attributes with metadata: the name of the member that one is, empty for one that holds an object of them."""
    evaluations: tuple[int, ...]
    is_particular: bool
    """Whether there is anything for `AttributeReader.read_particulars` in spans of this shape."""


_plans: dict[tuple[str, tuple[str, ...]], Plan] = {}


def plan_of(scope_name: str, keys: tuple[str, ...]) -> Plan:
    """The plan for spans of this scope with these attribute keys."""
    found = _plans.get((scope_name, keys))
    if found is None:
        if len(_plans) >= PLANS_MAX:
            _plans.clear()
        named = tuple(unique((key, None) for key in keys))
        found = _plans[scope_name, keys] = _make(dialect_of(scope_name, named), named)
    return found


def _make(dialect: Dialect, keys: tuple[str, ...]) -> Plan:
    fed: dict[str, list[tuple[int, str]]] = {}
    for key in keys:
        if key in dialect.columns:
            column, rank = dialect.columns[key]
            fed.setdefault(column, []).append((rank, key))
    place = {key: at for at, key in enumerate(keys)}
    sources = {column: tuple(place[key] for _, key in sorted(ranked)) for column, ranked in fed.items()}
    content = sorted(
        ((key, dialect.content[key]) for key in keys if key in dialect.content), key=lambda one: one[1].rank
    )
    present = frozenset(keys)
    particulars = tuple(
        (column, READERS.get(column, read_text), found) for column, found in sources.items() if column in PARTICULARS
    )
    only_best = [rank for rank, _ in fed.get("conversation_id", [])] == [0]
    conversation = () if only_best else sources.get("conversation_id", ())
    metadata, judged = tuple(_metadata(dialect, keys)), tuple(_judging(dialect, keys))
    return Plan(
        dialect=dialect,
        keys=keys,
        texts=tuple(
            (column, found) for column, found in sources.items() if column not in READERS and column not in PARTICULARS
        ),
        others=tuple(
            (column, READERS[column], found)
            for column, found in sources.items()
            if column in READERS and column not in PARTICULARS
        ),
        content=tuple((place[key], rule) for key, rule in content),
        kept=tuple(place[key] for key in keys if key not in dialect.content),
        kinds=tuple((place[rule.attribute], rule) for rule in dialect.kinds if rule.attribute in present),
        outcomes=tuple(rule for rule in dialect.outcomes if rule.attribute in present),
        indexed=tuple(
            (prefix, column)
            for prefix, column in dialect.indexed.items()
            if any(key.startswith(prefix) for key in keys)
        ),
        approvals=dialect.approvals if dialect.approvals and dialect.approvals.attribute in present else None,
        span_names=tuple(rule for rule in dialect.span_names if rule.column not in sources),
        conversation=conversation,
        particulars=particulars,
        metadata=metadata,
        evaluations=judged,
        is_particular=bool(particulars or metadata or conversation),
    )


def _metadata(dialect: Dialect, keys: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    for at, key in enumerate(keys):
        if key in dialect.metadata.objects:
            yield at, ""
        for prefix in dialect.metadata.prefixes:
            if key.startswith(prefix) and key != prefix:
                yield at, key[len(prefix) :]


def _judging(dialect: Dialect, keys: tuple[str, ...]) -> Iterator[int]:
    prefixes = tuple(name for name in dialect.evaluations if name.endswith("."))
    for at, key in enumerate(keys):
        if key in dialect.evaluations or key.startswith(prefixes):
            yield at
