"""Where a tool lives that was asked for and never ran: in the place of the toolset that it was offered in.

What a model is offered with a call may name the toolset of each tool (`[toolsets]` in a dialect's file). A request takes the
name along, and when a run's calls are put together, a call that was never made is told to live where the tools of its toolset
ran. Which toolset holds an agent's own functions its library documents; of another nothing is known before a tool of it ran.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from store.model.nesting import NotJson, read_json
from store.model.rules import ToolsetRule
from store.model.span import Span
from store.model.tool_calls import FUNCTION, ToolCall

_REMEMBERED: Final = 64  # An agent offers the same tools with every call.
_REMEMBERED_CHARACTERS_MAX: Final = 65_536
"""Within both bounds 4 MB at most; longer offers are read each time."""


def take_toolsets(span: Span, rule: ToolsetRule, offer: Any) -> None:
    """Let the requests of a step say the toolset of their tool. `offer` is the value of the rule's attribute."""
    if not isinstance(offer, str):
        named = _named(offer, rule)
    else:
        named = (_remembered if len(offer) <= _REMEMBERED_CHARACTERS_MAX else _read)(offer, rule)
    if named:
        # Requests are shared by all steps that repeat a message.
        span.tool_requests = [
            request
            if (toolset := named.get(request.name or "")) is None
            else replace(request, toolset=toolset, type=FUNCTION if toolset in rule.functions else request.type)
            for request in span.tool_requests
        ]


def settle_toolsets(calls: list[ToolCall]) -> None:
    """Say of calls that were never made where they live: where the tools of their toolset ran, if that is one place."""
    ran: dict[tuple[str | None, str], list[ToolCall]] = {}
    for call in calls:
        if call.toolset and call.executed:
            ran.setdefault((_service(call), call.toolset), []).append(call)
    for call in calls:
        if not call.toolset or call.executed:
            continue
        others = ran.get((_service(call), call.toolset), [])
        sources = {other.source for other in others}
        servers = {other.mcp_server for other in others if other.mcp_server}
        if len(sources) == 1:
            call.supposed_source = sources.pop()
            if len(servers) == 1:
                call.server = call.server or servers.pop()


def _service(call: ToolCall) -> str | None:
    return call.requesting.service_name if call.requesting else None


def _read(offer: str, rule: ToolsetRule) -> dict[str, str]:
    try:
        return _named(read_json(offer), rule)
    except NotJson:
        return {}


_remembered: Final = lru_cache(maxsize=_REMEMBERED)(_read)


def _named(offer: Any, rule: ToolsetRule) -> dict[str, str]:
    """The toolset of each tool, by the tool's name."""
    tools = offer.get(rule.tools) if isinstance(offer, dict) else None
    return {
        tool[rule.name]: tool[rule.toolset]
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict)
        and isinstance(tool.get(rule.name), str)
        and isinstance(tool.get(rule.toolset), str)
        and tool[rule.toolset]
    }
