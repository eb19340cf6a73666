import pytest
from model_bench import normalise_one

from store.model.dialect import DIALECTS, UNKNOWN, dialect_of

LONG = "x" * 2000


@pytest.mark.parametrize(
    ("scope", "dialect"),
    [
        ("pydantic-ai", "pydantic_ai"),
        ("logfire.openai", "pydantic_ai"),
        ("pydantic-evals", "pydantic_ai"),
        ("mcp-python-sdk", "mcp"),
        ("fastmcp", "mcp"),
        ("openinference.instrumentation.openai", "openinference"),
        ("openinference.instrumentation.langchain", "openinference"),
        ("openinference.instrumentation.openai_agents", "openinference"),
        ("opentelemetry.instrumentation.openai_v2", "otel"),
        ("opentelemetry.instrumentation.genai.langchain", "otel"),
        ("opentelemetry.util.genai.handler", "otel"),
        ("traceloop.tracer", "traceloop"),
        ("opentelemetry.instrumentation.openai.v1", "traceloop"),
        ("opentelemetry.instrumentation.langchain", "traceloop"),
        ("opentelemetry.instrumentation.mcp.instrumentation", "traceloop"),
        ("opentelemetry.instrumentation.openai_agents", "traceloop"),
        ("langfuse-sdk", "langfuse"),
        ("langsmith", "langsmith"),
        ("mlflow.tracing.provider", "mlflow"),
        ("gcp.vertex.agent", "adk"),
        ("strands.telemetry.tracer", "strands"),
        ("agent_framework", "agent_framework"),
        ("com.anthropic.claude_code.tracing", "claude_code"),
        ("com.anthropic.claude_code.events", "claude_code"),
        ("com.anthropic.sdk.python", "anthropic"),
        ("ai", "vercel_legacy"),
        ("gen_ai", "vercel"),
        ("temporalio.contrib.opentelemetry._interceptor", "temporal"),
        ("dbos-tracer", "dbos"),
        ("dbos", "dbos"),
    ],
)
def test_the_scope_tells_the_dialect_whatever_the_attributes_say(scope: str, dialect: str) -> None:
    assert dialect_of(scope, ["openinference.span.kind", "gen_ai.system", "mcp.method.name"]).name == dialect
    assert dialect_of(scope, []).name == dialect


@pytest.mark.parametrize(
    ("key", "dialect"),
    [
        ("openinference.span.kind", "openinference"),
        ("llm.model_name", "openinference"),
        ("pydantic_ai.all_messages", "pydantic_ai"),
        ("mcp.method.name", "mcp"),
        ("gen_ai.operation.name", "otel"),
        ("traceloop.span.kind", "traceloop"),
        ("llm.request.type", "traceloop"),
        ("langfuse.observation.type", "langfuse"),
        ("ai.operationId", "vercel_legacy"),
        ("mlflow.spanType", "mlflow"),
        ("langsmith.span.kind", "langsmith"),
        ("gen_ai.system", "otel"),
        ("llm.something", "openinference"),
        ("gen_ai", "other"),
        ("llm", "other"),
        ("http.method", "other"),
    ],
)
def test_without_a_known_scope_an_attribute_gives_the_dialect_away(key: str, dialect: str) -> None:
    assert dialect_of("my.own.agent", ["a", key]).name == dialect


def test_markers_of_the_special_dialect_win_over_those_of_the_general() -> None:
    assert dialect_of("x", ["gen_ai.tool.name", "mcp.method.name"]).name == "mcp"
    assert dialect_of("x", ["gen_ai.usage.input_tokens", "llm.model_name"]).name == "openinference"


def test_what_no_dialect_knows_is_other_and_keeps_every_attribute() -> None:
    sent = {"http.method": "GET", "db.rows": 12, "note": LONG, "list": [1, [2, None]], "map": {"a": {"b": b"\x00"}}}
    taken = normalise_one(sent)
    assert (taken.span.dialect, taken.span.kind, taken.span.outcome) == ("other", "other", "ok")
    assert taken.attributes() == sent | {"map": {"a": {"b": {"bytesValue": "AA=="}}}}


def test_every_dialect_can_be_told_by_a_scope_and_says_what_it_is() -> None:
    bare = DIALECTS["openinference_bare"]
    assert all(dialect.title and (dialect.scopes or dialect is bare) for dialect in DIALECTS.values())
    assert UNKNOWN.name == "other"


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.operation.name": "chat"}, "llm"),
        ({"gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"gen_ai.operation.name": "invoke_agent"}, "agent"),
        ({"gen_ai.operation.name": "a new one"}, "other"),
        ({"gen_ai.operation.name": ["chat"]}, "other"),
        ({"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool"}, "mcp_client"),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval"),
        ({"openinference.span.kind": "PROMPT"}, "other"),
    ],
)
def test_the_kind_of_a_step_follows_the_rules_of_its_dialect(attributes: dict[str, object], kind: str) -> None:
    assert normalise_one(attributes, kind=3).span.kind == kind


def test_an_mcp_span_of_kind_server_is_the_servers() -> None:
    assert normalise_one({"mcp.method.name": "tools/call"}, kind=2).span.kind == "mcp_server"


@pytest.mark.parametrize("name", ["MCP send tools/call get weather", "tools/call get weather"])
def test_an_mcp_clients_tool_is_read_from_its_name(name: str) -> None:
    taken = normalise_one({"mcp.method.name": "tools/call"}, name=name, scope="mcp-python-sdk")
    assert taken.span.tool_name == "get weather"


def test_a_name_does_not_overrule_an_attribute() -> None:
    sent = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "told"}
    assert normalise_one(sent, name="tools/call named", scope="mcp-python-sdk").span.tool_name == "told"


def test_an_agent_of_langgraph_is_named_by_its_span_and_an_inner_node_is_not() -> None:
    scope = "openinference.instrumentation.langchain"
    assert normalise_one({"openinference.span.kind": "AGENT"}, name="graph", scope=scope).span.agent_name == "graph"
    assert normalise_one({"openinference.span.kind": "CHAIN"}, name="tools", scope=scope).span.agent_name is None


def test_only_a_root_names_a_workflow_of_the_agents_sdk() -> None:
    scope, sent = "openinference.instrumentation.openai_agents", {"openinference.span.kind": "CHAIN"}
    assert normalise_one(sent, name="billing", scope=scope).span.workflow_name == "billing"
    below = normalise_one(sent, name="turn", scope=scope, parent_span_id=bytes(7) + b"\x01")
    assert below.span.workflow_name is None


def test_a_bare_text_is_not_a_langchain_tools_arguments_but_its_result_is_unwrapped() -> None:
    scope = "openinference.instrumentation.langchain"
    sent = {
        "openinference.span.kind": "TOOL",
        "input.value": "Paris",
        "output.value": '{"type": "tool", "data": {"content": "18C", "tool_call_id": "call_1"}}',
    }
    taken = normalise_one(sent, scope=scope)
    assert (taken.span.arguments, taken.span.tool_call_id) == (None, "call_1")
    assert taken.texts[taken.span.result or ""] == "18C"
    assert taken.attributes() == sent


@pytest.mark.parametrize("output", ["18C", "[1, 2]", '{"type": "tool"}', "{broken", ""])
def test_a_langchain_result_that_is_not_wrapped_is_taken_whole(output: str) -> None:
    sent = {"openinference.span.kind": "TOOL", "output.value": output}
    taken = normalise_one(sent, scope="openinference.instrumentation.langchain")
    assert taken.texts.get(taken.span.result or "", "") == output
    assert taken.attributes() == sent
