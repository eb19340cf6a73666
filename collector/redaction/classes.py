"""What is content, reasoning or a tool's result in what the dialects send: attribute keys, prefixes and event names.

Gathered from the dialects' files, all of them together: what one library calls a message is dropped whoever sends it, because
a span's dialect is what its sender says.
"""

from typing import Final

from store.model.dialect import DIALECTS
from store.model.rules import EventRule

_RESULT: Final = "result"


def _content_keys() -> dict[str, frozenset[str]]:
    """By attribute key, the columns that it feeds."""
    found: dict[str, set[str]] = {}
    for dialect in DIALECTS.values():
        for key, rules in dialect.content.items():
            found.setdefault(key, set()).update(rule.column for rule in rules)
        for inside in dialect.inside:
            found.setdefault(inside.attribute, set()).update(inside.columns)
        for reasoning in dialect.reasoning:
            found.setdefault(reasoning.attribute, set()).add("reasoning")
        for compose in dialect.compose:
            for key in (key for keys in compose.parts.values() for key in keys):
                found.setdefault(key, set()).add(compose.column)
        for rules in dialect.events.values():
            for rule in rules:
                for key in (rule.value, rule.request.get("arguments")):
                    if key:
                        found.setdefault(key, set()).add(rule.column or "arguments")
    return {key: frozenset(columns) for key, columns in found.items()}


def _events() -> dict[str, list[EventRule]]:
    found: dict[str, list[EventRule]] = {}
    for dialect in DIALECTS.values():
        for name, rules in dialect.events.items():
            found.setdefault(name, []).extend(rules)
    return found


_KEYS: Final = _content_keys()
CONTENT_KEYS: Final = frozenset(_KEYS)
"""Attributes that are content, or hold it as JSON."""
RESULT_KEYS: Final = frozenset(key for key, columns in _KEYS.items() if _RESULT in columns)
"""Attributes in which a tool's step has its result."""
CONTENT_PREFIXES: Final = tuple(
    sorted({prefix for dialect in DIALECTS.values() for prefix in (*dialect.indexed, *dialect.indexed_tools)})
)
"""Of attributes that have one piece of a message each."""
CONTENT_EVENTS: Final = frozenset(_events())
"""Span events and log records that are content: their body, and attributes that are not known otherwise."""
TOOL_NAME_KEYS: Final = frozenset(
    key
    for dialect in DIALECTS.values()
    for key, fed in dialect.columns.items()
    if any(c == "tool_name" for c, _ in fed)
)
REASONING_MEMBERS: Final = frozenset({"reasoning", "reasoning_content", "thinking", "reasoning_details"})
"""Members of a message, or the last part of an attribute's key, whose value is reasoning."""
REASONING_TYPES: Final = frozenset({"reasoning", "thinking", "redacted_thinking"})
"""Types of a message's part that is reasoning."""
EVENT_NAME_KEY: Final = "event.name"


def is_content(key: str) -> bool:
    """Whether an attribute is content by its key."""
    return key in CONTENT_KEYS or key.startswith(CONTENT_PREFIXES) or is_reasoning(key)


def is_reasoning(key: str) -> bool:
    """Whether an attribute is reasoning and nothing else, by its key."""
    return key.rpartition(".")[2] in REASONING_MEMBERS
