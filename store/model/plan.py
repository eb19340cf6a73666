"""How to read a span, worked out once for each shape: an instrumentation sends the same keys again and again.

A shape is a scope name and the keys of a span's attributes. Its plan says which dialect it is, which keys feed which column
in which order, which are content, which rules can apply at all, and what stays an attribute.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from store.model.asides import Asides
from store.model.columns import READERS, read_text
from store.model.dialect import dialect_of
from store.model.rules import (
    STATUS,
    ApprovalRule,
    ComposeRule,
    ContentRule,
    Dialect,
    InsideRule,
    KindRule,
    NameRule,
    OutcomeRule,
    Path,
    ReasoningRule,
)
from store.model.span import PARTICULARS
from store.otlp.values import unique

MESSAGE_COLUMNS: Final = frozenset(
    {"input_messages", "output_messages", "system_instructions", "tool_definitions", "all_messages"}
)
PLAN_KEYS_MAX: Final = 200_000
"""Keys of all remembered shapes: some 30 MB. A few hundred shapes of thirty keys are usual; hostile ones have thousands."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A rule for a message that was sent in pieces: the places of each part, and of the finish reason."""

    rule: ComposeRule
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    finish_reason: tuple[int, ...]


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
    """Those of one rule, the best sources first."""
    shared: tuple[tuple[int, tuple[ContentRule, ...]], ...]
    """Those that feed several columns, as the kind of the step will have it."""
    kept: tuple[int, ...]
    """Those that are never content. Those of `content` whose kinds do not fit are kept, too."""
    kinds: tuple[tuple[int, KindRule], ...]
    """A rule that asks for no attribute has the place -1."""
    outcomes: tuple[OutcomeRule, ...]
    """Those of the span's own attributes. `dialect.outcomes` also speak of the exception that it recorded."""
    asides: Asides | None
    names: tuple[NameRule, ...]
    """Those for columns that no key of the shape feeds."""
    inside: tuple[tuple[int, InsideRule], ...]
    indexed: tuple[tuple[str, str], ...]
    indexed_tools: tuple[tuple[str, Path], ...]
    reasoning: tuple[tuple[int, ReasoningRule], ...]
    compose: tuple[Composed, ...]
    approvals: ApprovalRule | None
    toolsets: int | None
    """The place of the attribute that `dialect.toolsets` reads."""
    conversation: tuple[int, ...]
    """The sources of the conversation id, where the dialect's best is not the only one: which of them it is from is said."""
    particulars: tuple[tuple[str, Callable[[Any], Any], tuple[int, ...]], ...]
    metadata: tuple[tuple[int, str], ...]
    """Attributes with metadata: the name of the member that one is, empty for one that holds an object of them."""
    evaluations: tuple[int, ...]
    is_plain: bool = field(init=False)
    """Whether no column stands in a name or in a JSON value."""
    speaks_oddly: bool = field(init=False)
    """Whether messages or calls are spread over several attributes."""
    is_particular: bool = field(init=False)
    """Whether there is anything for `read_particulars` in spans of this shape."""

    def __post_init__(self) -> None:
        plain = not (self.names or self.inside or self.dialect.input_excludes_cache)
        object.__setattr__(self, "is_plain", plain)
        oddly = bool(self.indexed or self.indexed_tools or self.compose or self.approvals)
        object.__setattr__(self, "speaks_oddly", oddly)
        particular = bool(self.particulars or self.metadata or self.conversation)
        object.__setattr__(self, "is_particular", particular)


class PlanMemory:
    """Plans by shape, within `PLAN_KEYS_MAX`. Beyond it all are forgotten: making one again is cheap."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, tuple[str, ...]], Plan] = {}
        self._keys = 0

    def plan_of(self, scope_name: str, keys: tuple[str, ...]) -> Plan:
        """The plan for spans of this scope with these attribute keys."""
        found = self._plans.get((scope_name, keys))
        if found is None:
            self._keys += len(keys) + 1  # A shape without any key takes room, too.
            if self._keys > PLAN_KEYS_MAX:
                self._plans.clear()
                self._keys = len(keys) + 1
            named = tuple(unique((key, None) for key in keys))
            found = self._plans[scope_name, keys] = _make(dialect_of(scope_name, named), named)
        return found

    def __len__(self) -> int:
        return len(self._plans)


plan_of: Final = PlanMemory().plan_of
"""The plan for spans of a scope with some attribute keys."""


def _make(dialect: Dialect, keys: tuple[str, ...]) -> Plan:
    place = {key: at for at, key in enumerate(keys)}
    sources = _sources(dialect, keys, place)
    rules = [(place[key], dialect.content[key]) for key in keys if key in dialect.content]
    single = [(at, given[0]) for at, given in rules if len(given) == 1]
    plain = {column: found for column, found in sources.items() if column not in PARTICULARS}
    return Plan(
        dialect=dialect,
        keys=keys,
        texts=tuple((column, found) for column, found in plain.items() if column not in READERS),
        others=tuple((column, READERS[column], found) for column, found in plain.items() if column in READERS),
        content=tuple(sorted(single, key=lambda one: one[1].rank)),
        shared=tuple((at, given) for at, given in rules if len(given) > 1),
        kept=tuple(place[key] for key in keys if key not in dialect.content),
        kinds=tuple(
            (-1 if rule.attribute is None else place[rule.attribute], rule)
            for rule in dialect.kinds
            if (rule.attribute is None or rule.attribute in place) and rule.without not in place
        ),
        outcomes=tuple(rule for rule in dialect.outcomes if rule.attribute in place or rule.attribute == STATUS),
        names=tuple(rule for rule in dialect.names if rule.column not in sources),
        inside=tuple(
            (place[rule.attribute], rule)
            for rule in dialect.inside
            if rule.attribute in place and (rule.where is None or rule.where[0] in place)
        ),
        indexed=tuple(
            (prefix, column)
            for prefix, column in dialect.indexed.items()
            if any(key.startswith(prefix) for key in keys)
        ),
        indexed_tools=tuple(
            (prefix, path)
            for prefix, path in dialect.indexed_tools.items()
            if any(key.startswith(prefix) for key in keys)
        ),
        reasoning=tuple((place[rule.attribute], rule) for rule in dialect.reasoning if rule.attribute in place),
        compose=tuple(found for rule in dialect.compose if (found := _composed(rule, place)).parts),
        asides=dialect.asides.of_shape(keys),
        approvals=dialect.approvals if dialect.approvals and dialect.approvals.attribute in place else None,
        toolsets=place.get(dialect.toolsets.attribute) if dialect.toolsets else None,
        conversation=_conversation(dialect, keys, sources),
        particulars=tuple(
            (column, READERS.get(column, read_text), found)
            for column, found in sources.items()
            if column in PARTICULARS
        ),
        metadata=tuple(_metadata(dialect, keys)),
        evaluations=tuple(_judging(dialect, keys)),
    )


def _conversation(dialect: Dialect, keys: tuple[str, ...], sources: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    found = sources.get("conversation_id", ())
    only_best = len(found) == 1 and ("conversation_id", 0) in dialect.columns[keys[found[0]]]
    return () if only_best else found


def _sources(dialect: Dialect, keys: tuple[str, ...], place: dict[str, int]) -> dict[str, tuple[int, ...]]:
    fed: dict[str, list[tuple[int, int]]] = {}
    for key in keys:
        for column, rank in dialect.columns.get(key, ()):
            fed.setdefault(column, []).append((rank, place[key]))
    return {column: tuple(at for _, at in sorted(ranked)) for column, ranked in fed.items()}


def _composed(rule: ComposeRule, place: dict[str, int]) -> Composed:
    parts = ((kind, tuple(place[key] for key in keys if key in place)) for kind, keys in rule.parts.items())
    return Composed(
        rule,
        tuple((kind, places) for kind, places in parts if places),
        tuple(place[key] for key in rule.finish_reason if key in place),
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
