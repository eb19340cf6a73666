"""Where a tool lives that was asked for and never ran: by the toolset that the model call was offered it in."""

import json
from typing import Any

import pytest
from model_bench import make_span, normalise_one, trace_of

from store.model.call_book import CallBook
from store.model.span import Span, ToolRequest
from store.model.tool_calls import ToolCall


def _offer(**toolsets: Any) -> str:
    return json.dumps({"function_tools": [{"name": name, "toolset_id": found} for name, found in toolsets.items()]})


def _asked(offer: Any, *names: str) -> list[ToolRequest]:
    parts = [{"type": "tool_call", "id": f"c-{name}", "name": name, "arguments": {}} for name in names]
    said = json.dumps([{"role": "assistant", "parts": parts}])
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": said, "model_request_parameters": offer}
    return normalise_one(attributes, scope="pydantic-ai").span.tool_requests


def _chat(*requests: tuple[str, str | None], **given: Any) -> Span:
    asked = [ToolRequest(f"c-{name}", name, None, toolset=toolset) for name, toolset in requests]
    return make_span("chat", kind="llm", tool_requests=asked, **given)


def _ran(name: str, server: str | None = None, at: int = 2) -> list[Span]:
    tool = make_span(name, at=at, until=at + 4, kind="tool", tool_name=name, tool_call_id=f"c-{name}")
    if server is None:
        return [tool]
    client = make_span(f"{name}-client", name, at=at + 1, until=at + 3, kind="mcp_client", tool_name=name,
                       mcp_method="tools/call")  # fmt: skip
    answered = make_span(f"{name}-server", f"{name}-client", at=at + 2, kind="mcp_server", tool_name=name,
                         mcp_method="tools/call", service_name=server)  # fmt: skip
    return [tool, client, answered]


def _calls(*spans: Span) -> dict[str | None, ToolCall]:
    return {call.name: call for call in CallBook("run").read([trace_of(*spans)])}


def _lives(call: ToolCall) -> tuple[str | None, str | None]:
    return call.source, call.mcp_server


@pytest.mark.parametrize("long", [False, True])
def test_a_request_says_the_toolset_that_its_tool_was_offered_in(long: bool) -> None:
    filler = {"filler": "x" * 70_000} if long else {}
    offer = json.loads(_offer(pay="shop", find="<agent>", odd=None)) | filler
    for sent in (json.dumps(offer), offer):
        asked = _asked(sent, "pay", "find", "odd", "unknown")
        assert [(one.name, one.toolset, one.type) for one in asked] == [
            ("pay", "shop", None), ("find", "<agent>", "function"), ("odd", None, None), ("unknown", None, None),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "offer",
    ["", "{", "null", "[]", 7, '{"function_tools": {"name": "pay"}}',
     '{"function_tools": [7, {"name": ["pay"], "toolset_id": "x"}]}',
     '{"function_tools": [{"name": "pay", "toolset_id": ""}]}', "[" * 500],
)  # fmt: skip
def test_an_offer_that_cannot_be_read_says_nothing(offer: Any) -> None:
    [request] = _asked(offer, "pay")
    assert (request.name, request.toolset, request.type) == ("pay", None, None)


def test_equal_requests_of_two_offers_have_each_its_own_toolset() -> None:
    """What a message says is read once, however many steps say it."""
    assert [_asked(_offer(pay=toolset), "pay")[0].toolset for toolset in ("one", "two", "one")] == ["one", "two", "one"]


def test_a_call_that_was_never_made_lives_where_its_toolset_ran() -> None:
    calls = _calls(_chat(("find", "shop"), ("pay", "shop"), ("mail", "post")), *_ran("find", "shop-server"))
    assert _lives(calls["pay"]) == _lives(calls["find"]) == ("mcp", "shop-server")
    assert _lives(calls["mail"]) == (None, None)  # Nothing of its toolset ran.


def test_a_call_that_stopped_to_ask_lives_there_too() -> None:
    stopped = make_span("pay", at=1, kind="tool", tool_name="pay", tool_call_id="c-pay", outcome="interrupted")
    calls = _calls(_chat(("find", "shop"), ("pay", "shop")), stopped, *_ran("find", "shop-server"))
    assert _lives(calls["pay"]) == ("mcp", "shop-server")


def test_where_a_toolset_ran_in_several_places_nothing_is_supposed() -> None:
    asked = _chat(("find", "shop"), ("look", "shop"), ("pay", "shop"))
    calls = _calls(asked, *_ran("find", "one"), *_ran("look", "two", at=9))
    assert _lives(calls["pay"]) == ("mcp", None)
    calls = _calls(asked, *_ran("find", "one"), *_ran("look", at=9))
    assert _lives(calls["pay"]) == (None, None)


def test_functions_of_the_agents_own_are_functions_also_where_none_ran() -> None:
    asked = ToolRequest("c-pay", "pay", None, "function", "<agent>")
    assert _lives(_calls(make_span("chat", kind="llm", tool_requests=[asked]))["pay"]) == ("function", None)
