"""Whose record something is, for policies that differ by agent."""

from collections.abc import Iterable
from typing import Any, Final

from collector.redaction.places import Step
from collector.redaction.policy import RuleSet, TenantPolicy
from store.otlp.decode import Decoded
from store.otlp.schema import LEVELS

AGENT_KEY: Final = "gen_ai.agent.name"
SERVICE_KEY: Final = "service.name"
_RECORD: Final = 3


class Agents:
    """The rules for the records of one request."""

    def __init__(self, policy: TenantPolicy, decoded: Decoded) -> None:
        self._policy = policy
        self._decoded = decoded
        self._known: dict[tuple[Step, ...], RuleSet] = {}

    def rules_at(self, path: tuple[Step, ...]) -> RuleSet:
        """What holds for a place in the request: by its record's agent, then by its resource's service."""
        policy = self._policy
        if not policy.agents or not path:
            return policy.general
        record = path[:_RECORD]
        rules = self._known.get(record)
        if rules is None:
            rules = self._known[record] = policy.of(self._names(record))
        return rules

    def _names(self, path: tuple[Step, ...]) -> list[str]:
        _, scope_name, record_name = LEVELS[self._decoded.signal]
        outer: Any = getattr(self._decoded.request, path[0][0])[path[0][1]]
        names = _texts(outer.resource.attributes, (SERVICE_KEY, AGENT_KEY))
        if len(path) == _RECORD and path[1][0] == scope_name and path[2][0] == record_name:
            record: Any = getattr(getattr(outer, scope_name)[path[1][1]], record_name)[path[2][1]]
            names = [*_texts(getattr(record, "attributes", ()), (AGENT_KEY,)), *names]
        return names


def _texts(attributes: Iterable[Any], keys: tuple[str, ...]) -> list[str]:
    return [pair.value.string_value for pair in attributes if pair.key in keys and pair.value.string_value]
