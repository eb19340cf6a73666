"""Classes of content that a policy drops whole: all content, reasoning, results of some tools.

An attribute that is nothing else goes. In messages, which hold several things, what is dropped is replaced where it stands,
so that the rest keeps its shape: in JSON texts, and in arrays and maps of OTLP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from collector.redaction.classes import REASONING_MEMBERS, REASONING_TYPES

CONTENT, REASONING, TOOL_RESULT = "content", "reasoning", "tool_result"
"""The names under which marks say what was dropped."""
_RESULT_TYPES: Final = frozenset(
    {"tool_call_response", "tool_result", "function_call_output", "tool-return", "tool-result", "tool_response"}
)
_ID_MEMBERS: Final = ("id", "tool_call_id", "call_id", "tool_use_id", "toolCallId", "toolUseId")
_NAME_MEMBERS: Final = ("name", "tool_name", "toolName")
_RESULT_MEMBERS: Final = ("response", "result", "content", "output", "text")


@dataclass(frozen=True, slots=True)
class Drops:
    """What is dropped whatever it says: `tools` are patterns of names whose results are."""

    content: bool = False
    reasoning: bool = False
    tools: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.content or self.reasoning or bool(self.tools)

    def names_tool(self, name: Any) -> bool:
        """Whether a tool's results are dropped."""
        return isinstance(name, str) and any(fnmatchcase(name, pattern) for pattern in self.tools)


NOTHING: Final = Drops()
Took = list[tuple[str, int]]
"""What was dropped of a text: under which name, and how many bytes."""
_TEXTS_WITHIN_MAX: Final = 3  # JSON in a string in JSON: as often as it is seen in what instrumentations send.


def without_pieces(plain: Any, drops: Drops, took: Took) -> Any:
    """A message, or several, or what holds some, less the reasoning and the results that are dropped.

    `plain` is what JSON says, and is changed. What was dropped is added to `took`.
    """
    ids = set[str]()
    if drops.tools:
        _each(plain, lambda member: ids.update(_call_ids(member, drops)))
    return _less(plain, drops, ids, took, 0)


def less_text(text: str, drops: Drops, took: Took, depth: int = 0) -> str:
    """`without_pieces` of a JSON text; a text that is none, or of which nothing is dropped, as it is."""
    if text[:1] not in ("{", "["):
        return text
    try:
        plain = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    before = len(took)
    plain = without_pieces(plain, drops, took) if not depth else _less(plain, drops, set(), took, depth)
    return msgspec.json.encode(plain).decode() if len(took) > before else text


def _less(plain: Any, drops: Drops, ids: set[str], took: Took, depth: int) -> Any:
    if isinstance(plain, list):
        return [_less(item, drops, ids, took, depth) for item in plain]
    if isinstance(plain, str):
        return less_text(plain, drops, took, depth + 1) if depth < _TEXTS_WITHIN_MAX else plain
    if not isinstance(plain, dict):
        return plain
    dropped = _dropped_members(plain, drops, ids)
    for name, value in plain.items():
        under = dropped.get(name)
        if under is None:
            plain[name] = _less(value, drops, ids, took, depth)
        elif value not in (None, "", [], {}) and value != _said(under):
            took.append((under, len(msgspec.json.encode(value))))
            plain[name] = _said(under)
    return plain


def _dropped_members(message: dict[str, Any], drops: Drops, ids: set[str]) -> dict[str, str]:
    """Of a message or a part of one: member -> under which name it is dropped."""
    kind = message.get("type") or message.get("part_kind") or message.get("kind")
    dropped: dict[str, str] = {}
    if drops.reasoning:
        dropped |= dict.fromkeys(REASONING_MEMBERS & message.keys(), REASONING)
        if kind in REASONING_TYPES:
            dropped |= dict.fromkeys(message.keys() - {"type", "part_kind", "kind", "id", "role"}, REASONING)
    if drops.tools and (kind in _RESULT_TYPES or message.get("role") == "tool" or "tool_call_id" in message):
        is_named = any(drops.names_tool(message.get(member)) for member in _NAME_MEMBERS)
        if is_named or any(message.get(member) in ids for member in _ID_MEMBERS if message.get(member)):
            dropped |= dict.fromkeys(message.keys() & set(_RESULT_MEMBERS), TOOL_RESULT)
    return dropped


def _call_ids(message: dict[str, Any], drops: Drops) -> list[str]:
    """The ids of a tool's call, if this is one."""
    function = message.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    names = [name, *(message.get(member) for member in _NAME_MEMBERS)]
    if not any(drops.names_tool(name) for name in names):
        return []
    return [message[member] for member in _ID_MEMBERS if isinstance(message.get(member), str)]


def _each(plain: Any, visit: Callable[[dict[str, Any]], None]) -> None:
    if isinstance(plain, dict):
        visit(plain)
        for value in plain.values():
            _each(value, visit)
    elif isinstance(plain, list):
        for item in plain:
            _each(item, visit)


def _said(name: str) -> str:
    return f"[redacted:{name}]"
