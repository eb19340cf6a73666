"""Takes found values out of one record, through the official runtime, and says what it took.

A record here is whatever carries a mark of its own: a span, log record, data point, metric, resource or scope. Keys of
attributes are rewritten before values, so that the place of a value cannot tell a secret that was in its key.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from collector.cutting import place_of
from collector.redaction.finding import Found
from collector.redaction.marking import Redaction
from collector.redaction.places import Step, Text
from collector.redaction.rules import Action, Rule

Token = Callable[[bytes], str]
"""The pseudonym of a value."""

_PAIRS: Final = frozenset({"attributes", "metadata", "filtered_attributes"})
_NUMBER_BEFORE: Final = frozenset(b":[,")
_NUMBER_BEHIND: Final = frozenset(b",]}")


def replacement(rule: Rule, value: bytes, token: Token) -> bytes:
    """What stands in a value's place."""
    if rule.action is Action.PSEUDONYM:
        return f"[{rule.name}:{token(value)}]".encode()
    return f"[redacted:{rule.name}]".encode()


def rewritten(text: bytes, found: list[Found], token: Token) -> bytes:
    """A text with what was found replaced; empty where a rule drops it."""
    if any(one.rule.action is Action.DROP for one in found):
        return b""
    pieces: list[bytes] = []
    at = 0
    for one in found:
        said = replacement(one.rule, one.value, token)
        if _is_json_number(text, one):
            said = b'"' + said + b'"'
        pieces += (text[at : one.start], said)
        at = one.end
    pieces.append(text[at:])
    return b"".join(pieces)


def _is_json_number(text: bytes, one: Found) -> bool:
    """Whether a value is a number in a JSON text, which must stay JSON."""
    if text[:1] not in (b"{", b"[") or not text[one.start : one.end].isdigit():
        return False
    before, behind = text[: one.start].rstrip()[-1:], text[one.end :].lstrip()[:1]
    return bool(before and behind) and before[0] in _NUMBER_BEFORE and behind[0] in _NUMBER_BEHIND


class Record:
    """A record that is being redacted. Places are told as in `store.otlp.redaction`."""

    def __init__(self, message: Any, token: Token) -> None:
        self._message = message
        self._token = token
        self._deleted: dict[tuple[Step, ...], set[int]] = {}
        self._ordinals: dict[tuple[Step, ...], list[int]] = {}

    def redact(self, items: list[tuple[Text, list[Found]]]) -> list[Redaction]:
        """Rewrite the texts in which something was found. Their paths are from the record on."""
        redacted: list[Redaction] = []
        for text, found in sorted(items, key=lambda item: item[0].path[-1][0] != "key"):
            place = self.place(text.path)
            parent = self.at(text.path[:-1])
            new = rewritten(text.content, found, self._token)
            if not new:
                self._drop(text.path)
            _assign(parent, text.path[-1], new)
            if text.path[-1][0] == "key":
                place = self.place(text.path)
            redacted += [Redaction(place, one.rule.name, str(one.rule.action), one.end - one.start) for one in found]
        return redacted

    def redact_value(self, path: tuple[Step, ...], rule: Rule) -> list[Redaction]:
        """Take out the whole value of the attribute at `path`, of whatever kind it is."""
        pair: Any = self.at(path)
        kind = pair.value.WhichOneof("value")
        if kind is None:
            return []
        whole = _bytes_of(pair.value, kind)
        said = replacement(rule, whole, self._token)
        if kind == "string_value" and whole == said:
            return []
        place = self.place((*path, ("value", -1)))
        if rule.action is Action.DROP:
            self._drop((*path, ("value", -1), ("string_value", -1)))
            pair.value.Clear()
        else:
            pair.value.string_value = said.decode()
        return [Redaction(place, rule.name, str(rule.action), len(whole))]

    def finish(self) -> None:
        """Remove the attributes that were dropped."""
        for path, indexes in self._deleted.items():
            items: Any = getattr(self.at(path[:-1]), path[-1][0])
            for index in sorted(indexes, reverse=True):
                del items[index]

    def at(self, path: tuple[Step, ...]) -> Any:
        """The message at a path from the record on."""
        message = self._message
        for name, index in path:
            message = getattr(message, name) if index < 0 else getattr(message, name)[index]
        return message

    def text_at(self, path: tuple[Step, ...]) -> bytes:
        """The text at a path from the record on, as it is now."""
        name, index = path[-1]
        held: Any = getattr(self.at(path[:-1]), name)
        text: str | bytes = held if index < 0 else held[index]
        return text if isinstance(text, bytes) else text.encode()

    def place(self, path: tuple[Step, ...]) -> str:
        """How a place in the record is told."""
        said = ""
        message = self._message
        for depth, (name, index) in enumerate(path):
            items = getattr(message, name)
            if index < 0:
                message = items
                if name == "key":
                    return f"{said} (key)"
                if name not in ("value", "string_value", "bytes_value", "array_value", "kvlist_value") or not said:
                    said = f"{said}/{name}" if said else name
                continue
            message = items[index]
            if name in _PAIRS:
                said = place_of(
                    f"{said}/{name}" if said else name, message.key, self._nth(path[:depth], name, items, index)
                )
            elif name == "values" and hasattr(message, "key"):
                said = place_of(said, message.key, 1)
            elif name == "values":
                said = f"{said}/{index}"
            else:
                said = f"{said}/{name}/{index}" if said else f"{name}/{index}"
        return said

    def _nth(self, holder: tuple[Step, ...], name: str, items: Any, index: int) -> int:
        """Which of the attributes with its key an attribute is, from 1 on."""
        path = (*holder, (name, -1))
        ordinals = self._ordinals.get(path)
        if ordinals is None:
            seen: Counter[str] = Counter()
            ordinals = self._ordinals[path] = []
            for pair in items:
                seen[pair.key] += 1
                ordinals.append(seen[pair.key])
        return ordinals[index]

    def _drop(self, path: tuple[Step, ...]) -> None:
        """Have an attribute go whose whole value is the text at `path`; any other text is emptied."""
        if len(path) >= 3 and path[-3][0] in _PAIRS and path[-2] == ("value", -1):
            self._deleted.setdefault((*path[:-3], (path[-3][0], -1)), set()).add(path[-3][1])


def _bytes_of(value: Any, kind: str) -> bytes:
    """A value as bytes: text in UTF-8, numbers as they are written, arrays and maps as protobuf."""
    plain = getattr(value, kind)
    if isinstance(plain, bytes):
        return plain
    if isinstance(plain, str):
        return plain.encode()
    return str(plain).encode() if isinstance(plain, bool | int | float) else plain.SerializeToString()


def _assign(parent: Any, step: Step, new: bytes) -> None:
    name, index = step
    old = getattr(parent, name) if index < 0 else getattr(parent, name)[index]
    value = new if isinstance(old, bytes) else new.decode(errors="replace")
    if index < 0:
        setattr(parent, name, value)
    else:
        getattr(parent, name)[index] = value
