"""Dialects as data: how each library names what it did. One TOML file a dialect; this compiles them.

A span's dialect is found from its scope name, then from the attributes it carries; never from schema_url, which lies. What
no dialect knows keeps its attributes and is of kind `other`.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from store.model.asides import NONE, Asides, compile_asides

NORMALISER_VERSION: Final = 2
"""Raised whenever the same record would be read differently: views of another version are rebuilt."""

OTHER: Final = "other"
_VOCABULARY: Final = "vocabulary"
_SPAN_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


@dataclass(frozen=True, slots=True)
class KindRule:
    """A step is of `kind` (or `values[value]`) where `attribute` is present and span kind and name fit (0, None: any)."""

    attribute: str
    kind: str | None
    values: dict[str, str]
    span_kind: int
    span_name: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """A step has `outcome` where `attribute`, its own or its exception's, is there and, given `values`, one of them."""

    attribute: str
    outcome: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class ContentRule:
    """The column that a content attribute feeds, its rank among the column's sources, and the step kinds it holds for.

    `only_json`: a value that is not a JSON object or array is not what the column wants. `inside` and `call_id` are paths
    into a JSON value that wraps the content, and the tool call's id with it; leading nowhere, the value is taken whole.
    """

    column: str
    rank: int
    kinds: frozenset[str] = frozenset()
    only_json: bool = False
    inside: tuple[str, ...] = ()
    call_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpanNameRule:
    """The column that the group `value` of a pattern on the span's name feeds, for some step kinds (none: all) or roots."""

    column: str
    pattern: re.Pattern[str]
    kinds: frozenset[str]
    root: bool


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Where a run says that it waits for approvals: a JSON attribute and the path to a list in it."""

    attribute: str
    path: str
    id: str
    tool_name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class EventRule:
    """How a log record carries messages: its body is one (`body` column, `role`), or its attributes are a span's."""

    body: str | None
    role: str
    attributes: bool


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect, compiled for lookup by attribute key."""

    name: str
    title: str
    scopes: tuple[str, ...]
    marker_keys: frozenset[str]
    marker_prefixes: tuple[str, ...]
    columns: dict[str, tuple[str, int]]
    """Attribute key -> (column, rank among the column's sources)."""
    content: dict[str, ContentRule]
    indexed: dict[str, str]
    """Attribute prefix -> message column."""
    kinds: tuple[KindRule, ...]
    outcomes: tuple[OutcomeRule, ...]
    span_names: tuple[SpanNameRule, ...]
    approvals: ApprovalRule | None
    results_always_sent: bool = False
    """A tool's step without a result did not run to its end: it stopped to ask somebody."""
    events: dict[str, EventRule] = field(default_factory=dict[str, EventRule])
    asides: Asides = NONE
    resumes_keep_run_id: bool = False
    """What goes on with a run says that run's id again (`agent_run_id`), so nothing else need join the two."""
    agents_call_models: bool = False
    """An agent of it does nothing without a model: a run that tells of no model call is not all there."""

    def marks(self, keys: Iterable[str]) -> bool:
        """Whether one of these attribute keys gives the dialect away."""
        return any(key in self.marker_keys or key.startswith(self.marker_prefixes) for key in keys)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Common spellings of providers and finish reasons."""

    provider: dict[str, str]
    finish_reason: dict[str, str]
    frameworks: frozenset[str]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("store.model.dialects").joinpath(f"{name}.toml").read_text())


def _compile(name: str) -> Dialect:
    own = _read(name)
    base = _compile(own["extends"]) if "extends" in own else None
    columns = dict(base.columns) if base else {}
    for column, keys in own.get("columns", {}).items():
        columns = {key: (fed, rank) for key, (fed, rank) in columns.items() if fed != column}
        columns.update({key: (column, rank) for rank, key in enumerate(keys)})
    content = dict(base.content) if base else {}
    for column, spec in own.get("content", {}).items():
        content = {key: rule for key, rule in content.items() if rule.column != column}
        content.update(_content_rules(column, spec))
    kinds = tuple(
        KindRule(
            rule["attribute"],
            rule.get("kind"),
            rule.get("values", {}),
            _SPAN_KINDS.get(rule.get("span_kind", ""), 0),
            re.compile(rule["span_name"]) if "span_name" in rule else None,
        )
        for rule in own.get("kind", [])
    )
    outcomes = tuple(
        OutcomeRule(rule["attribute"], rule["outcome"], frozenset(rule.get("values", ())))
        for rule in own.get("outcome", [])
    )
    span_names = tuple(
        SpanNameRule(
            rule["column"], re.compile(rule["pattern"]), frozenset(rule.get("kinds", ())), rule.get("root", False)
        )
        for rule in own.get("span_name", [])
    )
    events = {
        event: EventRule(rule.get("body"), rule.get("role", ""), rule.get("attributes", False))
        for event, rule in own.get("events", {}).items()
    }
    markers: list[str] = own.get("markers", [])
    return Dialect(
        name=own["name"],
        title=own["title"],
        scopes=tuple(own.get("scopes", ())),
        marker_keys=frozenset(marker for marker in markers if not marker.endswith(".")),
        marker_prefixes=tuple(marker for marker in markers if marker.endswith(".")),
        columns=columns,
        content=content,
        indexed=(base.indexed if base else {})
        | {prefix: column for column, prefix in own.get("indexed_messages", {}).items()},
        kinds=kinds + (base.kinds if base else ()),
        outcomes=outcomes + (base.outcomes if base else ()),
        span_names=span_names + (base.span_names if base else ()),
        approvals=ApprovalRule(**own["approvals"]) if "approvals" in own else (base.approvals if base else None),
        results_always_sent=own.get("results_always_sent", False),
        events={**(base.events if base else {}), **events},
        asides=compile_asides(own, base.asides if base else NONE),
        resumes_keep_run_id=own.get("resumes_keep_run_id", False),
        agents_call_models=own.get("agents_call_models", False),
    )


def _content_rules(column: str, spec: Any) -> dict[str, ContentRule]:
    """The rules of one column: a list of keys, or a table of keys and what holds for them."""
    said: dict[str, Any] = spec if isinstance(spec, dict) else {"keys": spec}
    return {
        key: ContentRule(
            column,
            rank,
            frozenset(said.get("kinds", ())),
            said.get("only_json", False),
            tuple(said["inside"].split(".")) if "inside" in said else (),
            tuple(said["call_id"].split(".")) if "call_id" in said else (),
        )
        for rank, key in enumerate(said["keys"])
    }


def _every_dialect() -> dict[str, Dialect]:
    """Every file of the folder but the vocabulary, by its name, in the order of `precedence`."""
    files = (path.name for path in resources.files("store.model.dialects").iterdir())
    names = [name.removesuffix(".toml") for name in files if name.endswith(".toml")]
    names.remove(_VOCABULARY)
    return {name: _compile(name) for name in sorted(names, key=lambda name: (_read(name)["precedence"], name))}


DIALECTS: Final[dict[str, Dialect]] = _every_dialect()
UNKNOWN: Final = Dialect(
    OTHER, "not mapped", (), frozenset(), (), {"error.type": ("error_type", 0)}, {}, {}, (), (), (), None
)


def _vocabulary() -> Vocabulary:
    words = _read(_VOCABULARY)
    return Vocabulary(words["provider"], words["finish_reason"], frozenset(words["frameworks_as_provider"]["names"]))


VOCABULARY: Final = _vocabulary()


@lru_cache(maxsize=1024)
def dialect_of_scope(scope_name: str) -> Dialect | None:
    """The dialect whose scope patterns name this instrumentation scope."""
    for dialect in DIALECTS.values():
        if any(fnmatchcase(scope_name, pattern) for pattern in dialect.scopes):
            return dialect
    return None


def dialect_of(scope_name: str, keys: Iterable[str]) -> Dialect:
    """The dialect of a span or log record: by scope, then by the attributes it carries."""
    known = dialect_of_scope(scope_name)
    if known is not None:
        return known
    listed = list(keys)
    return next((dialect for dialect in DIALECTS.values() if dialect.marks(listed)), UNKNOWN)
