"""Dialects as data: how each library names what it did. One TOML file a dialect; this compiles them.

A span's dialect is found from its scope name, then from the attributes it carries; never from schema_url, which lies. What
no dialect knows keeps its attributes and is of kind `other`. A dialect that `extends` another one has that one's rules behind
its own; where it names the sources of a column, only those count.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

from store.model.asides import compile_asides
from store.model.rules import (
    SPAN_KINDS,
    ApprovalRule,
    ComposeRule,
    ContentRule,
    Dialect,
    EventRule,
    InsideRule,
    KindRule,
    MetadataRule,
    NameRule,
    OutcomeRule,
    Path,
    ReasoningRule,
    ToolsetRule,
)

NORMALISER_VERSION: Final = 5
"""Raised whenever the same record would be read differently: views of another version are rebuilt."""

OTHER: Final = "other"
_VOCABULARY: Final = "vocabulary"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Common spellings of providers and finish reasons, and what resources are called."""

    provider: dict[str, str]
    finish_reason: dict[str, str]
    frameworks: frozenset[str]
    resource: dict[str, list[str]]


@cache
def read_dialect(name: str) -> dict[str, Any]:
    """A dialect's file as it stands."""
    return tomllib.loads(resources.files("store.model.dialects").joinpath(f"{name}.toml").read_text())


def _compile(name: str) -> Dialect:
    own = read_dialect(name)
    base = _compile(own["extends"]) if "extends" in own else _NOTHING
    markers: list[str] = own.get("markers", [])
    return Dialect(
        name=own["name"],
        title=own["title"],
        scopes=tuple(own.get("scopes", ())),
        marker_keys=frozenset(marker for marker in markers if not marker.endswith(".")),
        marker_prefixes=tuple(marker for marker in markers if marker.endswith(".")),
        columns=_columns(own.get("columns", {}), base.columns),
        content=_content(own.get("content", {}), base.content),
        indexed=base.indexed | {prefix: column for column, prefix in own.get("indexed_messages", {}).items()},
        indexed_tools=base.indexed_tools
        | {prefix: _path(path) for prefix, path in own.get("indexed_tools", {}).items()},
        kinds=tuple(_kind_rule(rule) for rule in own.get("kind", [])) + base.kinds,
        outcomes=tuple(_outcome_rule(rule) for rule in own.get("outcome", [])) + base.outcomes,
        names=tuple(_name_rule(rule) for rule in own.get("span_name", [])) + base.names,
        inside=tuple(_inside_rule(rule) for rule in own.get("inside", [])) + base.inside,
        reasoning=tuple(
            ReasoningRule(rule["attribute"], _kinds(rule), _paths(rule["paths"])) for rule in own.get("reasoning", [])
        )
        + base.reasoning,
        compose=tuple(_compose_rule(rule) for rule in own.get("compose", [])) + base.compose,
        approvals=ApprovalRule(**own["approvals"]) if "approvals" in own else base.approvals,
        toolsets=_toolset_rule(own["toolsets"]) if "toolsets" in own else base.toolsets,
        results_always_sent=own.get("results_always_sent", False),
        asides=compile_asides(own, base.asides),
        resumes_keep_run_id=own.get("resumes_keep_run_id", False),
        agents_call_models=own.get("agents_call_models", False),
        arguments_are_loose=own.get("arguments_are_loose", False),
        input_excludes_cache=own.get("input_excludes_cache", False),
        events=base.events | {event: _event_rules(rules) for event, rules in own.get("events", {}).items()},
        metadata=_metadata_rule(own["metadata"]) if "metadata" in own else base.metadata,
        evaluations=tuple(own.get("evaluations", base.evaluations)),
        totals_grow=own.get("totals_grow", False),
        source=name,
    )


def _columns(own: dict[str, list[str]], base: dict[str, Any]) -> dict[str, tuple[tuple[str, int], ...]]:
    fed = {key: [one for one in columns if one[0] not in own] for key, columns in base.items()}
    for column, keys in own.items():
        for rank, key in enumerate(keys):
            fed.setdefault(key, []).append((column, rank))
    return {key: tuple(columns) for key, columns in fed.items() if columns}


def _content(own: dict[str, Any], base: dict[str, tuple[ContentRule, ...]]) -> dict[str, tuple[ContentRule, ...]]:
    found = {key: [rule for rule in rules if rule.column not in own] for key, rules in base.items()}
    for column, spec in own.items():
        rank = 0
        for said in spec if isinstance(spec, list) else [spec]:
            rule: dict[str, Any] = said if isinstance(said, dict) else {"keys": [said]}
            for key in rule["keys"]:
                found.setdefault(key, []).append(_content_rule(column, rank, rule))
                rank += 1
    return {key: tuple(rules) for key, rules in found.items() if rules}


def _content_rule(column: str, rank: int, rule: dict[str, Any]) -> ContentRule:
    return ContentRule(
        column, rank, _kinds(rule), rule.get("only_json", False), _paths(rule.get("inside", ())),
        _paths(rule.get("call_id", ())), rule.get("or_whole", True), rule.get("each_json", False),
    )  # fmt: skip


def _kind_rule(rule: dict[str, Any]) -> KindRule:
    return KindRule(
        rule.get("attribute"), rule.get("kind"), rule.get("values", {}), SPAN_KINDS.get(rule.get("span_kind", ""), 0),
        re.compile(rule["span_name"]) if "span_name" in rule else None, rule.get("without"), rule.get("root", False),
    )  # fmt: skip


def _outcome_rule(rule: dict[str, Any]) -> OutcomeRule:
    pattern = re.compile(rule["pattern"]) if "pattern" in rule else None
    return OutcomeRule(rule["attribute"], rule["outcome"], frozenset(rule.get("values", ())), pattern, _kinds(rule))


def _name_rule(rule: dict[str, Any]) -> NameRule:
    return NameRule(
        rule["column"], re.compile(rule.get("pattern", "^(?P<value>.+)$")), _kinds(rule), rule.get("root", False),
        rule.get("value"), rule.get("source", "name"),
    )  # fmt: skip


def _inside_rule(rule: dict[str, Any]) -> InsideRule:
    columns = {column: _paths(paths) for column, paths in rule["columns"].items()}
    where = next(iter(rule.get("where", {}).items()), None)
    return InsideRule(rule["attribute"], _kinds(rule), columns, where)


def _compose_rule(rule: dict[str, Any]) -> ComposeRule:
    return ComposeRule(
        rule["column"], _kinds(rule), rule.get("role", ""),
        {kind: tuple(keys) for kind, keys in rule["parts"].items()}, tuple(rule.get("finish_reason", ())),
    )  # fmt: skip


def _metadata_rule(said: dict[str, Any]) -> MetadataRule:
    columns = {column: tuple(members) for column, members in said.get("columns", {}).items()}
    return MetadataRule(frozenset(said.get("objects", ())), tuple(said.get("prefixes", ())), columns)


def _toolset_rule(rule: dict[str, Any]) -> ToolsetRule:
    return ToolsetRule(
        rule["attribute"], rule["tools"], rule["name"], rule["toolset"], frozenset(rule.get("functions", ()))
    )  # fmt: skip


def _event_rules(rules: Any) -> tuple[EventRule, ...]:
    return tuple(
        EventRule(
            rule.get("column"), rule.get("role", ""), rule.get("attributes", False), _kinds(rule), rule.get("value"),
            rule.get("request", {}), rule.get("response_id"), rule.get("cost"),
        )
        for rule in (rules if isinstance(rules, list) else [rules])
    )  # fmt: skip


def _kinds(rule: dict[str, Any]) -> frozenset[str]:
    return frozenset(rule.get("kinds", ()))


def _paths(paths: Any) -> tuple[Path, ...]:
    return tuple(_path(path) for path in ([paths] if isinstance(paths, str) else paths))


def _path(path: str) -> Path:
    return tuple(path.split(".")) if path else ()


def _every_dialect() -> dict[str, Dialect]:
    """Every file of the folder but the vocabulary, by its name, in the order of `precedence`."""
    files = (path.name for path in resources.files("store.model.dialects").iterdir())
    names = [name.removesuffix(".toml") for name in files if name.endswith(".toml")]
    names.remove(_VOCABULARY)
    return {name: _compile(name) for name in sorted(names, key=lambda name: (read_dialect(name)["precedence"], name))}


_GENERAL_COLUMNS: Final = {
    "error.type": (("error_type", 0),), "user.id": (("user_id", 0),), "enduser.id": (("user_id", 1),),
}  # fmt: skip
_NOTHING: Final = Dialect(
    OTHER, "not mapped", (), frozenset(), (), {}, {}, {}, {}, (), (), (), (), (), (), None
)  # fmt: skip
UNKNOWN: Final = Dialect(
    OTHER, "not mapped", (), frozenset(), (), _GENERAL_COLUMNS, {}, {}, {}, (), (), (), (), (), (), None
)  # fmt: skip
DIALECTS: Final[dict[str, Dialect]] = _every_dialect()


def _vocabulary() -> Vocabulary:
    words = read_dialect(_VOCABULARY)
    return Vocabulary(
        words["provider"], words["finish_reason"], frozenset(words["frameworks_as_provider"]["names"]),
        words["resource"],
    )  # fmt: skip


VOCABULARY: Final = _vocabulary()


@lru_cache(maxsize=1024)
def conversation_source(scope_name: str | None, dialect_name: str) -> str | None:
    """The attribute that conversation ids of a step are from where the step itself does not name another."""
    named = next((dialect for dialect in DIALECTS.values() if dialect.name == dialect_name), UNKNOWN)
    dialect = dialect_of_scope(scope_name or "") or named
    return next((key for key, fed in dialect.columns.items() if ("conversation_id", 0) in fed), None)


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
    return next((dialect for dialect in DIALECTS.values() if marks(dialect, listed)), UNKNOWN)


def marks(dialect: Dialect, keys: Iterable[str]) -> bool:
    """Whether one of these attribute keys gives the dialect away."""
    return any(key in dialect.marker_keys or key.startswith(dialect.marker_prefixes) for key in keys)
