"""The rules that a dialect's file may hold, compiled: what feeds which column, what is content, what a step is.

Data only: `dialect` reads the files and finds the dialect of a span, `plan` picks the rules that a shape of span can need,
`attributes` follows them. A path into a JSON value is a tuple of names; a number picks an item of a list, `*` all of them.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from store.model.asides import NONE, Asides

SPAN_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS: Final = "status.message"
"""What an outcome rule calls the message of the span's status."""

Path = tuple[str, ...]
Kinds = frozenset[str]


@dataclass(frozen=True, slots=True)
class KindRule:
    """A step is of `kind` (or `values[value]`) where `attribute` is there (None: any span) and all the rest fits.

    `span_kind` 0, `span_name` None, `without` None: any. `root`: only a span without a parent.
    """

    attribute: str | None
    kind: str | None
    values: dict[str, str]
    span_kind: int
    span_name: re.Pattern[str] | None
    without: str | None
    root: bool


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """A step has `outcome` where `attribute`, its own or its exception's, is there and says one of `values` or `pattern`.

    Neither of the two: any value. Truth values are written `true` and `false`. `kinds`: of the step, none for all.
    """

    attribute: str
    outcome: str
    values: frozenset[str]
    pattern: re.Pattern[str] | None
    kinds: Kinds

    def fits(self, value: Any) -> bool:
        """Whether the attribute's value is one that the rule means."""
        if value is None:
            return False
        if not self.values and self.pattern is None:
            return True
        text = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(text, str):
            return False
        return text in self.values or (self.pattern is not None and self.pattern.search(text) is not None)


@dataclass(frozen=True, slots=True)
class ContentRule:
    """The column that a content attribute feeds, its rank among the column's sources, and the step kinds it holds for.

    `only_json`: a value that is not a JSON object or array is not what the column wants. `inside` and `call_id` are paths
    into a JSON value that wraps the content, and the tool call's id with it; where none of `inside` leads anywhere the value
    is taken whole, or not at all (`or_whole`). `each_json`: the items of the list are JSON texts themselves.
    """

    column: str
    rank: int
    kinds: Kinds = frozenset()
    only_json: bool = False
    inside: tuple[Path, ...] = ()
    call_id: tuple[Path, ...] = ()
    or_whole: bool = True
    each_json: bool = False
    wraps: bool = field(init=False)
    """Whether the content is not the value itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wraps", bool(self.inside or self.each_json))


@dataclass(frozen=True, slots=True)
class InsideRule:
    """Columns that a JSON attribute feeds from the inside, for some step kinds (none: all): column -> paths, best first.

    An empty path is the value itself. `where`: another attribute and the text that it has to have.
    """

    attribute: str
    kinds: Kinds
    columns: dict[str, tuple[Path, ...]]
    where: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ReasoningRule:
    """Where a JSON attribute has the reasoning that a step's own messages leave out: paths to texts or to parts."""

    attribute: str
    kinds: Kinds
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ComposeRule:
    """A message (or a tool's arguments) that was sent in several attributes.

    `parts`: part type (`reasoning`, `text`, `tool_call`) -> the attributes that have it, best first; the first filled one is
    taken. Where `column` is `arguments` the parts are names of arguments.
    """

    column: str
    kinds: Kinds
    role: str
    parts: dict[str, tuple[str, ...]]
    finish_reason: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameRule:
    """The column that a pattern on the span's name feeds (its group `value`, or `value`), for some step kinds or roots.

    `source` is `name`, or `service_name` where the service's name is meant.
    """

    column: str
    pattern: re.Pattern[str]
    kinds: Kinds
    root: bool
    value: str | None
    source: str


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Where a run says that it waits for approvals: a JSON attribute and the path to a list in it."""

    attribute: str
    path: str
    id: str
    tool_name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolsetRule:
    """Where a model call says of which toolset the tools are that it was offered: a JSON attribute with a list `tools`.

    `name` and `toolset`: what each item calls the two. `functions`: the toolsets that hold functions of the agent's own.
    """

    attribute: str
    tools: str
    name: str
    toolset: str
    functions: frozenset[str]


@dataclass(frozen=True, slots=True)
class EventRule:
    """What a log record or span event of some name says about its step.

    `column` is fed by a message of `role`, or for `arguments` and `result` by the value itself. It stands in the event's
    attribute `value`; without one in a record's body, or (a span event has none) in its attributes. `attributes`: the event
    has a span's message attributes. `kinds`: of the span whose event it is. `request`: the record names a tool call that a
    model asked for: field of the request -> attribute. `response_id`: the attribute that says of which response it speaks:
    the step is then that model call, not the span that the record names. `cost`: the attribute that says what
    that call cost, in US dollars.
    """

    column: str | None
    role: str
    attributes: bool
    kinds: Kinds
    value: str | None
    request: dict[str, str]
    response_id: str | None
    cost: str | None


@dataclass(frozen=True, slots=True)
class MetadataRule:
    """Where an application puts what it wants to find again: attributes with a JSON object, or one attribute a member.

    `columns` are those that a member feeds where no attribute does, each with the members' names, best first.
    """

    objects: frozenset[str]
    prefixes: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect, compiled for lookup by attribute key."""

    name: str
    title: str
    scopes: tuple[str, ...]
    marker_keys: frozenset[str]
    marker_prefixes: tuple[str, ...]
    columns: dict[str, tuple[tuple[str, int], ...]]
    """Attribute key -> (column, rank among the column's sources), of every column that it feeds."""
    content: dict[str, tuple[ContentRule, ...]]
    indexed: dict[str, str]
    """Attribute prefix -> message column."""
    indexed_tools: dict[str, Path]
    """Attribute prefix -> where below each number a tool's definition stands."""
    kinds: tuple[KindRule, ...]
    outcomes: tuple[OutcomeRule, ...]
    names: tuple[NameRule, ...]
    inside: tuple[InsideRule, ...]
    reasoning: tuple[ReasoningRule, ...]
    compose: tuple[ComposeRule, ...]
    approvals: ApprovalRule | None
    asides: Asides = NONE
    toolsets: ToolsetRule | None = None
    results_always_sent: bool = False
    """A tool's step without a result did not run to its end: it stopped to ask somebody."""
    agents_call_models: bool = False
    """An agent of it does nothing without a model, so a run without model calls was not recorded whole."""
    resumes_keep_run_id: bool = False
    """What goes on with a run says that run's id again (`agent_run_id`), so nothing else need join the two."""
    arguments_are_loose: bool = False
    """What a tool's step says of its arguments is less than what the model asked for: places without names, or a part."""
    input_excludes_cache: bool = False
    """Input tokens leave out those that were read from or written to the cache."""
    events: dict[str, tuple[EventRule, ...]] = field(default_factory=dict[str, tuple[EventRule, ...]])
    metadata: MetadataRule = MetadataRule(frozenset(), (), {})
    evaluations: tuple[str, ...] = ()
    """Attributes, or prefixes ending in a dot, that say how something was judged (store/model/evaluations.py)."""
    totals_grow: bool = False
    """An agent's totals go on from those of its span before: they are not summed."""
    source: str = ""
    """The name of its file, without the ending."""
