"""Tools that the model's provider runs (web search, code): request and result come in one answer, and nothing else tells."""

import json
from typing import Any

import pytest
from model_bench import normalise_one, trace_of

from store.model.call_book import CallBook
from store.model.tool_calls import ToolCall
from store.model.trace import Trace

QUERY, FOUND = {"query": "tides"}, [{"title": "Tides"}]
OTEL = [
    {"type": "server_tool_call", "id": "s1", "name": "web_search", "server_tool_call": QUERY},
    {"type": "server_tool_call_response", "id": "s1", "server_tool_call_response": FOUND},
]
PYDANTIC_AI = [
    {"type": "tool_call", "id": "s1", "name": "web_search", "arguments": QUERY, "builtin": True},
    {"type": "tool_call_response", "id": "s1", "name": "web_search", "result": FOUND, "builtin": True},
]
ANTHROPIC = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": QUERY},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": FOUND},
]


def _read(scope: str, parts: list[dict[str, Any]], key: str = "parts") -> tuple[Trace, list[ToolCall], dict[str, str]]:
    said = json.dumps([{"role": "assistant", key: [*parts, {"type": "text", "content": "High at noon."}]}])
    taken = normalise_one({"gen_ai.operation.name": "chat", "gen_ai.output.messages": said}, scope=scope)
    trace = trace_of(taken.span)
    return trace, CallBook("run").read([trace]), taken.texts


@pytest.mark.parametrize(
    ("scope", "parts", "key"),
    [
        ("opentelemetry.util.genai.handler", OTEL, "parts"), ("com.anthropic.sdk.python", OTEL, "parts"),
        ("pydantic-ai", PYDANTIC_AI, "parts"), ("opentelemetry.instrumentation.anthropic", ANTHROPIC, "content"),
    ],
)  # fmt: skip
def test_a_tool_that_the_provider_ran_is_one_call_with_its_result(
    scope: str, parts: list[dict[str, Any]], key: str
) -> None:
    trace, [call], texts = _read(scope, parts, key)
    assert (call.id, call.name, call.source, call.outcome, call.unexecuted) == (
        "s1", "web_search", "provider_hosted", "ok", False,
    )  # fmt: skip
    assert json.loads(texts[call.arguments or ""]) == QUERY
    assert json.loads(texts[call.result or ""]) == FOUND
    [span] = trace.spans.values()
    assert (call.requested_ns, call.answered_ns) == (span.end_ns, span.end_ns)  # Not answered before it was asked for.


def test_a_tool_of_the_providers_without_a_result_is_no_hole_in_the_record() -> None:
    _, [call], _ = _read("pydantic-ai", PYDANTIC_AI[:1])
    assert (call.source, call.outcome, call.unexecuted) == ("provider_hosted", "requested", False)
    _, [own], _ = _read("pydantic-ai", [PYDANTIC_AI[0] | {"builtin": False}])
    assert (own.source, own.outcome, own.unexecuted) == (None, "requested", True)
