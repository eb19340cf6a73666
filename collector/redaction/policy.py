"""A policy, ready to be applied: which rules hold for which tenant and agent, what is allowed, what is dropped whole.

A tenant has one finder for the rules of all its agents, so that a request is scanned once whoever is in it. Which rules count
for a record is asked where one of them may have found something.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Any, Final

from collector.redaction.dropping import NOTHING, Drops
from collector.redaction.finding import Finder
from collector.redaction.rules import Action, Rule, built_in
from store.otlp.redaction import MARK
from store.otlp.wire import varint

FINDERS_KEPT: Final = 128
"""Compiled, of the policy in force and of the one before it. One takes 100 KB and half a second."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Values that no rule takes out, or none of `rules`: one by its text, or by an expression that matches all of it."""

    value: bytes | None = None
    expression: Any = None
    rules: frozenset[str] = frozenset()

    def holds_for(self, rule: str, value: bytes) -> bool:
        if self.rules and rule not in self.rules:
            return False
        if self.expression is not None:
            return self.expression.fullmatch(value) is not None
        return value == self.value


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What holds for one agent: the rules that are on, with their actions, in the order in which they have precedence."""

    rules: Mapping[str, Rule]
    allowed: tuple[Allowed, ...] = ()
    drops: Drops = NOTHING

    def is_allowed(self, rule: str, value: bytes) -> bool:
        return any(one.holds_for(rule, value) for one in self.allowed)


@dataclass(frozen=True, slots=True)
class ForAgents:
    """Rules for the agents whose name or service has one of these patterns (`*` and `?`)."""

    patterns: tuple[str, ...]
    rules: RuleSet

    def names(self, agents: Iterable[str]) -> bool:
        return any(fnmatchcase(agent, pattern) for agent in agents for pattern in self.patterns)


@dataclass(frozen=True)
class TenantPolicy:
    """What holds for a tenant: for the first entry of `agents` that names the agent, or else `general`."""

    version: str
    general: RuleSet
    agents: tuple[ForAgents, ...] = ()

    def of(self, agents: Iterable[str]) -> RuleSet:
        """The rules for a record of any of these names: its agent's, its service's."""
        names = list(agents)
        return next((one.rules for one in self.agents if one.names(names)), self.general)

    @cached_property
    def drops(self) -> bool:
        """Whether something is dropped whole for one agent at least."""
        return any(rules.drops for rules in self._sets())

    @cached_property
    def key_rules(self) -> frozenset[bytes]:
        """The attribute keys that a rule names for one agent at least."""
        return frozenset(key for rules in self._sets() for rule in rules.rules.values() for key in rule.keys)

    @cached_property
    def finder(self) -> Finder:
        """Finds what any of the rules finds; and keys: of rules, and of the mark that a sender must not set."""
        # Tenants that differ by actions only share one: what it looks for is the same.
        rules = {rule.name: rule.having(Action.MASK) for one in self._sets() for rule in one.rules.values()}
        order = {name: at for at, name in enumerate([*built_in().rules, *rules])}
        return _finder(tuple(sorted(rules.values(), key=lambda rule: order[rule.name])), self.key_rules)

    def _sets(self) -> list[RuleSet]:
        return [self.general, *(one.rules for one in self.agents)]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy: `tenants` by name, and what holds for all others."""

    version: str
    others: TenantPolicy
    tenants: Mapping[str, TenantPolicy] = field(default_factory=dict[str, TenantPolicy])

    def of(self, tenant: str) -> TenantPolicy:
        return self.tenants.get(tenant, self.others)

    def every(self) -> list[TenantPolicy]:
        return [self.others, *self.tenants.values()]


def built_in_policy() -> Policy:
    """Every built-in rule that is on, with its own action; the same for all tenants and agents."""
    rules = built_in()
    on = {name: rule for name, rule in rules.rules.items() if rule.on}
    return Policy(rules.version, TenantPolicy(rules.version, RuleSet(on)))


@lru_cache(maxsize=FINDERS_KEPT)
def _finder(rules: tuple[Rule, ...], keys: frozenset[bytes]) -> Finder:
    # Keys as protobuf has them: the first field of a pair, its length, the key.
    return Finder(rules, [_escaped(b"\n" + varint(len(key)) + key) for key in [*sorted(keys), MARK.encode()]])


def _escaped(literal: bytes) -> bytes:
    """A pattern that matches these bytes and no others."""
    return b"".join(b"\\x%02x" % one for one in literal)
