"""A policy from a YAML file. docs/redaction.md says what it may hold.

A level (all tenants, a tenant, an agent) takes over what the level around it says and changes it: actions of rules and
classes to drop by name, own rules and what is allowed in addition.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from collector.redaction.dropping import Drops
from collector.redaction.errors import ExpressionRefused, PolicyUnusable
from collector.redaction.expressions import compiled
from collector.redaction.policy import Allowed, ForAgents, Policy, RuleSet, TenantPolicy
from collector.redaction.rules import Action, Rule, built_in, own_rule
from collector.redaction.yaml_reading import Node, read_yaml

OWN_RULES_MAX: Final = 200
"""Of a file. Each is compiled twice and takes part in every scan; lists of words belong into one pattern."""
ALLOWED_MAX: Final = 1000
"""Of a level: each is compared with every value that is found."""
TENANTS_MAX: Final = 100
"""With rules of their own: 100 KB and half a second of compiling each."""
VERSION_DIGITS: Final = 12
_OFF: Final = "off"
_LEVEL: Final = frozenset({"rules", "own_rules", "allow", "drop"})
_TENANT: Final = _LEVEL | {"agents"}
_ROOT: Final = _TENANT | {"tenants"}
_OWN: Final = frozenset({"name", "pattern", "keys", "action", "why"})
_ALLOW: Final = frozenset({"value", "pattern", "rules"})
_DROP: Final = frozenset({"content", "reasoning", "tool_results"})
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_NAME_CHARACTERS_MAX: Final = 64


def read_policy(path: Path, *, has_key: bool) -> Policy:
    """`has_key` is whether pseudonyms can be made. Raises PolicyUnusable, with the line."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PolicyUnusable(f"policy {path}: {error.strerror}; name a YAML file that can be read") from error
    version = sha256(built_in().version.encode() + b"\n" + text).hexdigest()[:VERSION_DIGITS]
    return _Reader(version, has_key=has_key).policy(read_yaml(text, str(path)))


class _Reader:
    def __init__(self, version: str, *, has_key: bool) -> None:
        self._version = version
        self._has_key = has_key
        self._own: dict[int, Rule] = {}
        self._names: set[str] = set()

    def policy(self, root: Node) -> Policy:
        members = root.members(_ROOT)
        on = {name: rule for name, rule in built_in().rules.items() if rule.on}
        shared = list(_items(members, "agents"))
        others = self._tenant({**members, "agents": None}, RuleSet(on), shared)
        tenants: dict[str, TenantPolicy] = {}
        if "tenants" in members:
            for name, node in members["tenants"].members().items():
                if len(tenants) >= TENANTS_MAX:
                    raise node.refused(f"more than {TENANTS_MAX} tenants have entries", "put what they share above")
                tenants[name] = self._tenant(node.members(_TENANT), others.general, shared)
        return Policy(self._version, others, tenants)

    def _tenant(self, members: Mapping[str, Node | None], around: RuleSet, shared: list[Node]) -> TenantPolicy:
        """`shared` are the entries for agents of all tenants. One of the tenant's own is asked before them."""
        general = self._level(members, around)
        agents: list[ForAgents] = []
        for node in [*_items(members, "agents"), *shared]:
            said = node.members(_LEVEL | {"match"})
            if "match" not in said:
                raise node.refused("this entry names no agent", "add `match:` with names of agents or services")
            agents.append(ForAgents(tuple(said["match"].texts()), self._level(said, general)))
        return TenantPolicy(self._version, general, tuple(agents))

    def _level(self, members: Mapping[str, Node | None], around: RuleSet) -> RuleSet:
        rules = dict(around.rules)
        for node in _items(members, "own_rules"):
            rule = self._own_rule(node)
            rules[rule.name] = rule
        said = members.get("rules")
        if said is not None:
            for name, node in said.members().items():
                known = rules.get(name) or built_in().rules.get(name)
                if known is None:
                    names = ", ".join(sorted({*built_in().rules, *rules}))
                    raise node.refused(f"there is no rule `{name}`", f"rules are {names}")
                action = node.choice(*Action, _OFF)
                if action == _OFF:
                    rules.pop(name, None)
                else:
                    rules[name] = self._acting(known, Action(action), node)
        allowed = (*around.allowed, *self._allowed(members, rules))
        return RuleSet(rules, allowed, self._drops(members, around.drops))

    def _own_rule(self, node: Node) -> Rule:
        known = self._own.get(node.place)
        if known is not None:  # An entry for agents is read for each tenant that it holds for.
            return known
        if len(self._own) >= OWN_RULES_MAX:
            raise node.refused(f"this is one more than {OWN_RULES_MAX} own rules", "join patterns with `|`")
        said = node.members(_OWN)
        if "name" not in said:
            raise node.refused("this rule has no name", "add `name:`; it stands in what it redacts")
        name = said["name"].text()
        if not name or not _NAME_CHARACTERS.issuperset(name) or len(name) > _NAME_CHARACTERS_MAX:
            raise said["name"].refused(f"{name!r} cannot be a name", "use a-z, 0-9 and _, 64 of them at most")
        if name in built_in().rules or name in self._names:
            raise said["name"].refused(f"there is a rule `{name}` already", "choose another name")
        self._names.add(name)
        if ("pattern" in said) == ("keys" in said):
            raise node.refused(f"rule `{name}` needs a pattern or keys", "add `pattern:` or `keys:`, one of the two")
        where = said.get("pattern", node)
        try:
            rule = own_rule(
                name,
                pattern=said["pattern"].text() if "pattern" in said else "",
                keys=said["keys"].texts() if "keys" in said else [],
                why=said["why"].text() if "why" in said else "",
            )
        except ExpressionRefused as error:
            what, _, remedy = str(error).partition("; ")
            raise where.refused(f"the pattern of `{name}`: {what}", remedy or "write another") from error
        action = Action(said["action"].choice(*Action)) if "action" in said else Action.MASK
        self._own[node.place] = self._acting(rule, action, said.get("action", node))
        return self._own[node.place]

    def _acting(self, rule: Rule, action: Action, node: Node) -> Rule:
        if action is Action.PSEUDONYM and not self._has_key:
            raise node.refused("pseudonyms need a key", "set pseudonym_key_file (docs/redaction.md says how), or mask")
        return replace(rule, action=action)

    def _allowed(self, members: Mapping[str, Node | None], rules: Iterable[str]) -> list[Allowed]:
        allowed: list[Allowed] = []
        for node in _items(members, "allow"):
            if len(allowed) >= ALLOWED_MAX:
                raise node.refused(f"more than {ALLOWED_MAX} entries", "join them in a pattern")
            said = node.members(_ALLOW)
            if ("value" in said) == ("pattern" in said):
                raise node.refused("an entry needs a value or a pattern", "write one of the two")
            named = said["rules"].texts() if "rules" in said else []
            for name in named:
                if name not in built_in().rules and name not in rules:
                    raise said["rules"].refused(f"there is no rule `{name}`", "correct its name")
            if "value" in said:
                allowed.append(Allowed(said["value"].text().encode(), None, frozenset(named)))
                continue
            try:
                expression = compiled(said["pattern"].text().encode())
            except ExpressionRefused as error:
                what, _, remedy = str(error).partition("; ")
                raise said["pattern"].refused(what, remedy) from error
            allowed.append(Allowed(None, expression, frozenset(named)))
        return allowed

    def _drops(self, members: Mapping[str, Node | None], around: Drops) -> Drops:
        drop = members.get("drop")
        if drop is None:
            return around
        said = drop.members(_DROP)
        return Drops(
            content=said["content"].truth() if "content" in said else around.content,
            reasoning=said["reasoning"].truth() if "reasoning" in said else around.reasoning,
            tools=tuple(said["tool_results"].texts()) if "tool_results" in said else around.tools,
        )


def _items(members: Mapping[str, Node | None], name: str) -> Iterator[Node]:
    node = members.get(name)
    return node.items() if node else iter(())
