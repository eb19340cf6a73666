"""A rule: how a kind of secret or personal data is found, and what is done with it. The built-in ones are rules.toml."""

import re
import tomllib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, Final

from collector.redaction.errors import ExpressionRefused
from collector.redaction.expressions import Prefilter, compiled, without_anchors
from collector.redaction.validators import VALIDATORS, Validator

REACH_BYTES: Final = 96
"""How far around a prefilter's match is looked first unless the rule says otherwise; what comes to the edge of that is looked
at again with more around it."""
OWN_MATCHES_MAX: Final = 200
"""Of an own rule in one text. Each search may look to the end of the text before it knows what matches, so that their number
must be bounded for all of them to take linear time."""
_FILE: Final = "rules.toml"
_PART: Final = re.compile(r"(?<!\?P)<([a-z_]+)>")  # The name of a group stands behind `?P`.
_GROUPS: Final = ("secret", "other", "third", "fourth", "fifth", "sixth")  # A name can stand once in a pattern.


class Action(StrEnum):
    """What becomes of a value that a rule finds."""

    MASK = "mask"
    """`[redacted:RULE]` in its place."""
    PSEUDONYM = "pseudonym"
    """`[RULE:0123456789abcdef]` in its place: the same for the same value, for who has the key."""
    DROP = "drop"
    """Nothing in its place: an attribute goes, a text is emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, compiled. By `expression` in any text, or by attribute: the whole value of those that are called so."""

    name: str
    why: str
    action: Action = Action.MASK
    on: bool = True
    pattern: bytes = b""
    expression: Any = None
    """Of RE2, over UTF-8; None where only `keys` count."""
    groups: tuple[int, ...] = (0,)
    """Groups of the expression of which the first that took part is the value."""
    prefilters: tuple[bytes, ...] = ()
    validator: Validator | None = None
    reach_bytes: int = REACH_BYTES
    """How far around a prefilter's match is looked first; 0 is the whole text."""
    keys: frozenset[bytes] = frozenset()
    matches_max: int = 0
    """In one text; with more, all of the text is the value. 0 is any number, for patterns that are known not to look far."""

    def having(self, action: Action) -> "Rule":
        return replace(self, action=action)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """The built-in rules by name, those that are off among them, and the version that they are named by."""

    version: str
    rules: dict[str, Rule]


def rule_of(
    name: str,
    *,
    pattern: str = "",
    prefilter: str | list[str] | None = None,
    keys: list[str] | None = None,
    validator: str | None = None,
    reach: int = REACH_BYTES,
    action: str = Action.MASK,
    on: bool = True,
    why: str = "",
) -> Rule:
    """A rule from what a file says. Raises ExpressionRefused."""
    rule = Rule(
        name=name, why=why, action=Action(action), on=on, keys=frozenset(key.encode() for key in keys or ()),
        validator=VALIDATORS[validator] if validator else None, reach_bytes=reach,
    )  # fmt: skip
    if not pattern:
        return rule
    source = pattern.encode()
    expression = compiled(source)
    if expression.search(b""):
        raise ExpressionRefused("it matches the empty text; say what must be there")
    named = expression.groupindex
    given = [prefilter] if isinstance(prefilter, str) else prefilter or []
    groups = tuple(
        named[group.encode() if group.encode() in named else group] for group in _GROUPS if _has(named, group)
    )
    return replace(
        rule,
        pattern=source,
        expression=expression,
        groups=groups or (0,),
        prefilters=tuple(one.encode() for one in given) or (without_anchors(source),),
    )


def _has(named: Any, group: str) -> bool:
    return group in named or group.encode() in named


@cache
def built_in() -> BuiltIn:
    """The rules of rules.toml."""
    said = tomllib.loads(resources.files("collector.redaction").joinpath(_FILE).read_text())
    parts: dict[str, str] = said.pop("parts")
    version: str = said.pop("version")

    rules: dict[str, Rule] = {}
    for name, table in said.items():
        table["pattern"] = _with_parts(table.get("pattern", ""), parts)
        rules[name] = rule_of(name, **table)
    return BuiltIn(f"builtin-{version}", rules)


def _with_parts(pattern: str, parts: dict[str, str]) -> str:
    return _PART.sub(lambda found: parts[found[1]], pattern)


def own_rule(name: str, *, pattern: str, keys: list[str], why: str) -> Rule:
    """A rule that somebody wrote: whatever it looks like, it takes linear time. Raises ExpressionRefused."""
    rule = rule_of(name, pattern=pattern, keys=keys, why=why, reach=0)
    if not pattern:
        return rule
    for prefilter in rule.prefilters:
        Prefilter([prefilter])  # Here it is known whose pattern is refused.
    return replace(rule, matches_max=OWN_MATCHES_MAX)
