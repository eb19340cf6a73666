"""What the dialects' documentation says and no capture shows: small spans in the words of each library."""

import json
from typing import Any

import pytest
from model_bench import Normalised, asks, make_span, normalise_one, normalised, request_of, trace_of

from store.model.call_book import CallBook
from store.model.messages import read_message
from store.model.span import Span

PARENT = bytes(7) + b"\x09"


def _messages(taken: Normalised, ids: list[str] | None) -> list[dict[str, Any]]:
    return [read_message(taken.texts[piece], "assistant") for piece in ids or ()]


def _said(taken: Normalised) -> list[dict[str, Any]]:
    return [part for message in _messages(taken, taken.span.output_messages) for part in message["parts"]]


def _tokens(span: Span) -> tuple[int | None, ...]:
    return (
        span.input_tokens, span.output_tokens, span.cache_read_tokens, span.cache_write_tokens, span.reasoning_tokens,
    )  # fmt: skip


# Kinds, by dialects.md


@pytest.mark.parametrize(
    ("scope", "attributes", "name", "kind"),
    [
        ("gen_ai", {"gen_ai.operation.name": "agent_step"}, "step 1", "turn"),
        ("gen_ai", {"gen_ai.operation.name": "embeddings"}, "embeddings", "embedding"),
        ("ai", {"ai.operationId": "ai.streamObject"}, "ai.streamObject", "agent"),
        ("ai", {"ai.operationId": "ai.embedMany.doEmbed"}, "ai.embedMany.doEmbed", "embedding"),
        ("mlflow.tracing.provider", {"mlflow.spanType": '"RETRIEVER"'}, "docs", "retrieval"),
        ("mlflow.tracing.provider", {"mlflow.spanType": "CHAIN"}, "chain", "workflow"),
        ("mlflow.tracing.provider", {"mlflow.spanType": '"UNKNOWN"'}, "x", "other"),
        ("langfuse-sdk", {"langfuse.observation.type": "evaluator"}, "judge", "evaluator"),
        ("langfuse-sdk", {"langfuse.observation.type": "span"}, "x", "other"),
        ("traceloop.tracer", {"traceloop.span.kind": "task"}, "plan.task", "workflow"),
        ("opentelemetry.instrumentation.langchain", {"gen_ai.operation.name": "execute_task"}, "node", "workflow"),
        ("opentelemetry.instrumentation.openai.v1", {"llm.request.type": "rerank"}, "rerank", "rerank"),
        ("langsmith", {"langsmith.span.kind": "chain"}, "LangGraph", "workflow"),
        ("langsmith", {"langsmith.span.kind": "chain", "langsmith.metadata.lc_agent_name": "a"}, "a", "agent"),
        ("langsmith", {"langsmith.span.kind": "retriever", "gen_ai.operation.name": "retriever"}, "r", "retrieval"),
        ("temporalio.contrib.opentelemetry._interceptor", {"temporalWorkflowID": "w"}, "StartWorkflow:Pay",
         "workflow_engine"),
        ("temporalio.contrib.opentelemetry._interceptor", {"temporalRunID": "r"}, "RunWorkflow:Pay", "workflow_engine"),
        ("temporalio.contrib.opentelemetry._interceptor", {"temporalActivityID": "1"}, "RunActivity:pay", "tool"),
        ("temporalio.contrib.opentelemetry._interceptor", {}, "HandleSignal:approve", "approval_wait"),
        ("temporalio.contrib.opentelemetry._interceptor", {}, "SignalWorkflow:approve", "workflow_engine"),
        ("dbos-tracer", {"operationUUID": "w"}, "sleep", "workflow_engine"),
        ("agent_framework", {}, "workflow.run", "workflow"),
        ("agent_framework", {"executor.id": "e"}, "executor.process e", "turn"),
        ("agent_framework", {"gen_ai.operation.name": "chat"}, "workflow.run", "llm"),
        ("com.anthropic.claude_code.tracing", {"span.type": "hook"}, "claude_code.hook", "other"),
        ("com.anthropic.sdk.python", {"gen_ai.operation.name": "invoke_agent"}, "anthropic.messages.tool_runner", "agent"),
        ("pydantic-ai", {"agent_name": "a"}, "agent run", "agent"),
        ("pydantic-ai", {"gen_ai.tool.name": "t"}, "running tool", "tool"),
        ("pydantic-evals", {"gen_ai.operation.name": "experiment"}, "evaluate", "workflow"),
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "invoke_swarm"}, "invoke_swarm", "workflow"),
        ("openinference.instrumentation.openai_agents", {"openinference.span.kind": "AGENT"}, "billing", "workflow"),
        ("openinference.instrumentation.openai_agents", {"openinference.span.kind": "AGENT", "agent.name": "a"}, "a",
         "agent"),
        ("opentelemetry.instrumentation.mcp.instrumentation", {"traceloop.span.kind": "tool"}, "refund.tool",
         "mcp_client"),
        ("opentelemetry.instrumentation.mcp.instrumentation", {}, "ResponseStreamWriter", "other"),
    ],
)  # fmt: skip
def test_the_kind_of_a_step(scope: str, attributes: dict[str, Any], name: str, kind: str) -> None:
    assert normalise_one(attributes, scope=scope, name=name).span.kind == kind


# Vercel


def test_vercels_answer_in_three_attributes_is_one_message_and_its_tools_are_read_from_texts() -> None:
    tool = {"type": "function", "name": "pay", "inputSchema": {"type": "object"}}
    taken = normalise_one(
        {
            "ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "openai.responses",
            "ai.response.reasoning": "Think.", "ai.response.text": "Paying.", "ai.response.finishReason": "tool-calls",
            "ai.response.toolCalls": '[{"toolCallId":"c1","toolName":"pay","input":"{\\"a\\":1}"}]',
            "ai.prompt.tools": [json.dumps(tool), "{cut"],
            "ai.usage.inputTokens": 5, "ai.usage.cachedInputTokens": 2,
        },
        scope="ai",
    )  # fmt: skip
    assert _said(taken) == [
        {"type": "reasoning", "content": "Think."},
        {"type": "text", "content": "Paying."},
        {"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"a": 1}},
    ]
    span = taken.span
    assert (span.provider, span.finish_reason, span.reasoning, _tokens(span)[:3]) == (
        "openai", "tool_call", True, (5, None, 2),
    )  # fmt: skip
    assert [(request.id, request.name) for request in span.tool_requests] == [("c1", "pay")]
    assert [taken.json(piece) for piece in span.tool_definitions or ()] == [tool, "{cut"]


@pytest.mark.parametrize("calls", ["{cut", "[1, null]", 5, ["a"], {"toolCallId": "c"}])
def test_vercels_calls_of_another_form_are_no_crash_and_the_text_is_read(calls: Any) -> None:
    sent = {"ai.operationId": "ai.generateText.doGenerate", "ai.response.text": "hi", "ai.response.toolCalls": calls}
    taken = normalise_one(sent, scope="ai")
    assert _said(taken)[0] == {"type": "text", "content": "hi"}
    assert taken.attributes() == sent


def test_vercels_older_names_are_read_where_the_newer_are_not_sent() -> None:
    sent = {"ai.operationId": "ai.generateText.doGenerate", "ai.result.text": "hi", "ai.usage.promptTokens": 4,
            "ai.usage.completionTokens": 2, "ai.finishReason": "stop", "ai.telemetry.metadata.sessionId": "s-1"}  # fmt: skip
    span = normalise_one(sent, scope="ai").span
    assert (_tokens(span)[:2], span.finish_reason, span.conversation_id) == ((4, 2), "stop", "s-1")


# MLflow


@pytest.mark.parametrize(
    ("outputs", "parts", "reason"),
    [
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "hi"}],
          "stop_reason": "end_turn"}, [("reasoning", "Hm."), ("text", "hi")], "stop"),
        ({"output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                     {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}]},
         [("reasoning", "Hm."), ("text", "hi")], None),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "hi"}]},
                          "finish_reason": "STOP"}]}, [("reasoning", "Hm."), ("text", "hi")], "stop"),
        ({"generations": [[{"text": "hi", "generation_info": {"finish_reason": "stop"}}]]}, [("text", "hi")], "stop"),
        ("hi", [("text", "hi")], None),
    ],
)  # fmt: skip
def test_mlflow_holds_the_answers_of_several_libraries(
    outputs: Any, parts: list[tuple[str, str]], reason: str | None
) -> None:
    sent = {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanOutputs": json.dumps(outputs)}
    taken = normalise_one(sent, scope="mlflow.tracing.provider")
    assert [(part["type"], part["content"]) for part in _said(taken)] == parts
    assert taken.span.finish_reason == reason
    assert taken.attributes() == sent


def test_mlflows_values_are_json_also_where_they_are_mere_texts() -> None:
    sent = {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"m-1"', "mlflow.llm.provider": '"OpenAI"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 2}',
            "mlflow.llm.cost": '{"total_cost": 0.5}'}  # fmt: skip
    span = normalise_one(sent, scope="mlflow.tracing.provider").span
    assert (span.response_model, span.provider, _tokens(span)[:2], span.cost_usd) == ("m-1", "openai", (3, 2), 0.5)


# Langfuse and LangSmith


def test_langfuses_usage_is_read_in_both_spellings_and_a_wrong_type_is_not() -> None:
    usage = {"input": 9, "output": "two", "output_tokens": 4, "input_cached_tokens": 3, "output_reasoning_tokens": 1}
    sent = {"langfuse.observation.type": "generation", "langfuse.observation.level": "ERROR",
            "langfuse.observation.status_message": "boom",
            "langfuse.observation.usage_details": json.dumps(usage)}  # fmt: skip
    span = normalise_one(sent, scope="langfuse-sdk").span
    assert _tokens(span) == (
        9,
        None,
        3,
        None,
        1,
    )  # `output` is there, and is no count: nothing is guessed from another.
    assert (span.outcome, span.status_message) == ("error", "boom")


LANGCHAIN_ANSWER = {
    "generations": [[{
        "text": "", "type": "ChatGeneration", "generation_info": {"finish_reason": "tool_calls"},
        "message": {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {
            "type": "ai", "content": [{"type": "thinking", "thinking": "Hm."}],
            "tool_calls": [{"name": "pay", "args": {"a": 1}, "id": "c1", "type": "tool_call"}],
            "response_metadata": {"model_name": "m-1"}, "additional_kwargs": {},
            "usage_metadata": {"input_tokens": 7, "output_tokens": 3, "output_token_details": {"reasoning": 2}},
        }},
    }]],
}  # fmt: skip


def test_langsmiths_serialised_messages_are_read() -> None:
    human = {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "hi"}}
    sent = {"langsmith.span.kind": "llm", "gen_ai.system": "langchain", "langsmith.metadata.ls_provider": "openai",
            "gen_ai.prompt": json.dumps({"messages": [[human]]}),
            "gen_ai.completion": json.dumps(LANGCHAIN_ANSWER)}  # fmt: skip
    taken = normalise_one(sent, scope="langsmith")
    assert _messages(taken, taken.span.input_messages) == [
        {"role": "user", "parts": [{"type": "text", "content": "hi"}]}
    ]
    assert [(part["type"], part.get("content", part.get("name"))) for part in _said(taken)] == [
        ("reasoning", "Hm."), ("tool_call", "pay"),
    ]  # fmt: skip
    span = taken.span
    assert (span.provider, span.response_model, span.finish_reason) == ("openai", "m-1", "tool_call")
    assert _tokens(span) == (7, 3, None, None, 2)
    assert taken.attributes() == sent


def test_langsmiths_tool_knows_the_calls_id_and_an_interrupt_is_no_error() -> None:
    output = {"output": {"type": "tool", "content": "18C", "tool_call_id": "c1"}}
    sent = {
        "langsmith.span.kind": "tool",
        "gen_ai.prompt": '{"input": "{\'city\': 1}"}',
        "gen_ai.completion": json.dumps(output),
    }
    taken = normalise_one(sent, scope="langsmith", name="get_weather")
    span = taken.span
    assert (span.tool_name, span.tool_call_id, taken.texts[span.result or ""]) == ("get_weather", "c1", "18C")
    stopped = [("exception", {"exception.message": "GraphInterrupt((Interrupt(value={'ask': 1}),))"})]
    request = request_of({"attributes": {"langsmith.span.kind": "tool"}, "status": {"code": 2}, "events": stopped},
                         scope="langsmith")  # fmt: skip
    assert normalised(request).span.outcome == "interrupted"


def test_langgraphs_interrupt_over_traceloop_is_no_error() -> None:
    status = {"code": 2, "message": "(Interrupt(value={'action': 'refund'}, id='x'),)"}
    sent = {"traceloop.span.kind": "tool", "gen_ai.tool.name": "refund"}
    assert (
        normalise_one(sent, scope="opentelemetry.instrumentation.langchain", status=status).span.outcome
        == "interrupted"
    )


# Temporal, ADK, Strands, Claude Code, Anthropic


def test_a_temporal_activity_is_a_tool_of_its_workflow() -> None:
    sent = {"temporalWorkflowID": "w-1", "temporalRunID": "r-1", "temporalActivityID": "7"}
    span = normalise_one(sent, scope="temporalio.contrib.opentelemetry", name="RunActivity:charge_card").span
    assert (span.tool_name, span.tool_call_id, span.conversation_id, span.agent_run_id, span.workflow_id, span.operation) == (
        "charge_card", "7", "w-1", "r-1", "w-1", "RunActivity",
    )  # fmt: skip
    root = normalise_one({}, scope="temporalio.contrib.opentelemetry", name="RunWorkflow:Payout").span
    assert (root.kind, root.workflow_name) == ("workflow_engine", "Payout")


@pytest.mark.parametrize("key", ["gen_ai.tool.call.result", "gcp.vertex.agent.tool_response"])
def test_adks_tool_that_wants_a_confirmation_is_interrupted(key: str) -> None:
    sent = {
        "gen_ai.operation.name": "execute_tool",
        key: '{"error": "This tool call requires confirmation, please approve."}',
    }
    assert normalise_one(sent, scope="gcp.vertex.agent").span.outcome == "interrupted"
    sent[key] = '{"error": "no such order"}'
    assert normalise_one(sent, scope="gcp.vertex.agent").span.outcome == "ok"


def test_adks_whole_request_and_answer_are_read_where_nothing_else_is_sent() -> None:
    request = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "config": {"system_instruction": "Be brief."}}
    answer = {"content": {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "pay", "args": {"a": 1}}}]},
              "finish_reason": "STOP"}  # fmt: skip
    sent = {"gen_ai.operation.name": "generate_content", "gcp.vertex.agent.llm_request": json.dumps(request),
            "gcp.vertex.agent.llm_response": json.dumps(answer), "gcp.vertex.agent.invocation_id": "e-1"}  # fmt: skip
    taken = normalise_one(sent, scope="gcp.vertex.agent")
    assert _messages(taken, taken.span.input_messages)[0]["parts"] == [{"type": "text", "content": "hi"}]
    assert _said(taken) == [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"a": 1}}]
    assert (taken.span.agent_run_id, taken.span.finish_reason) == ("e-1", "stop")
    assert [taken.texts[piece] for piece in taken.span.system_instructions or ()] == ['"Be brief."']


def test_strands_latest_conventions_put_everything_into_one_kind_of_event() -> None:
    details = "gen_ai.client.inference.operation.details"

    def event(direction: str, *messages: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return details, {f"gen_ai.{direction}.messages": json.dumps(messages)}

    call = {"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"a": 1}}
    thought = {"type": "reasoningContent", "reasoningContent": {"reasoningText": {"text": "Hm."}}}
    answer = {"type": "tool_call_response", "id": "c1", "response": [{"text": "paid"}]}
    chat, tool = normalised(
        request_of(
            {"attributes": {"gen_ai.operation.name": "chat"}, "events": [
                event("input", {"role": "user", "parts": [{"type": "text", "content": "pay"}]}),
                event("output", {"role": "assistant", "parts": [thought, call], "finish_reason": "tool_use"}),
            ]},
            {"attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.id": "c1"}, "events": [
                event("input", {"role": "tool", "parts": [call]}), event("output", {"role": "tool", "parts": [answer]}),
            ]},
            scope="strands.telemetry.tracer",
        )
    ).spans  # fmt: skip
    assert (chat.reasoning, chat.finish_reason, len(chat.input_messages or ())) == (True, "tool_call", 1)
    assert [(request.id, request.name) for request in chat.tool_requests] == [("c1", "pay")]
    assert (tool.arguments is not None, tool.result is not None, tool.input_messages) == (True, True, None)
    assert tool.arguments == chat.tool_requests[0].arguments


def test_what_a_span_says_itself_stands_against_what_its_events_say() -> None:
    sent = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": '[{"role":"assistant","content":"own"}]'}
    events = [("gen_ai.choice", {"message": "event"}), ("gen_ai.user.message", {"content": "hi"})]
    taken = normalised(request_of({"attributes": sent, "events": events}, scope="strands.telemetry.tracer"))
    assert [part["content"] for part in _said(taken)] == ["own"]
    assert [message["parts"][0]["content"] for message in _messages(taken, taken.span.input_messages)] == ["hi"]


def test_the_conventions_first_span_events_hold_the_prompt_and_the_completion() -> None:
    events = [("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role":"user","content":"hi"}]'}),
              ("gen_ai.content.completion", {"gen_ai.completion": '[{"role":"assistant","content":"ho"}]'})]  # fmt: skip
    sent = {"gen_ai.operation.name": "chat"}
    taken = normalised(
        request_of({"attributes": sent, "events": events}, scope="opentelemetry.instrumentation.openai_v2")
    )
    assert [part["content"] for part in _said(taken)] == ["ho"]


def test_claude_codes_input_leaves_out_the_cache_and_a_failed_request_says_why() -> None:
    sent = {"span.type": "llm_request", "input_tokens": 20, "output_tokens": 5, "cache_read_tokens": 64,
            "cache_creation_tokens": 10, "success": False, "error": "overloaded"}  # fmt: skip
    span = normalise_one(sent, scope="com.anthropic.claude_code.tracing").span
    assert _tokens(span) == (94, 5, 64, 10, None)
    assert (span.outcome, span.status_message) == ("error", "overloaded")


def test_anthropics_tool_result_has_a_name_of_its_own() -> None:
    sent = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "anthropic.tool_result.content": "18C"}
    taken = normalise_one(sent, scope="com.anthropic.sdk.python")
    assert taken.texts[taken.span.result or ""] == "18C"
    usage = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.cache_write.input_tokens": 4,
    }
    assert _tokens(normalise_one(usage, scope="com.anthropic.sdk.python").span) == (9, None, None, 4, None)


# Traceloop


def test_traceloops_numbered_messages_may_have_gaps_reasoning_and_parts() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    sent = {
        "llm.request.type": "chat", "gen_ai.system": "OpenAI", "llm.usage.reasoning_tokens": 8,
        "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.", "gen_ai.prompt.7.role": "user",
        "gen_ai.prompt.7.content": "bye", "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": json.dumps(parts),
        "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.reasoning": "Hm.",
        "gen_ai.completion.0.content": "hi", "gen_ai.completion.0.finish_reason": "stop",
        "llm.request.functions.0.name": "pay", "llm.request.functions.0.parameters": "{}",
    }  # fmt: skip
    taken = normalise_one(sent, scope="opentelemetry.instrumentation.openai.v1")
    given = _messages(taken, taken.span.input_messages)
    assert [message["role"] for message in given] == ["system", "user", "user"]
    assert [part["type"] for part in given[1]["parts"]] == ["text", "image_url"]
    assert given[2]["parts"] == [{"type": "text", "content": "bye"}]
    assert [(part["type"], part["content"]) for part in _said(taken)] == [("reasoning", "Hm."), ("text", "hi")]
    span = taken.span
    assert (span.provider, span.finish_reason, span.reasoning, span.reasoning_tokens) == ("openai", "stop", True, 8)
    assert taken.attributes() == sent


def test_a_call_over_traceloops_mcp_is_one_call() -> None:
    scope = "opentelemetry.instrumentation.mcp.instrumentation"
    sent = {"traceloop.span.kind": "tool", "traceloop.entity.name": "refund",
            "traceloop.entity.input": '{"tool_name": "refund", "arguments": {"a": 1}}',
            "traceloop.entity.output": '{"result": "done"}'}  # fmt: skip
    taken = normalised(
        request_of(
            {"attributes": {}, "name": "initialize.mcp"},
            {"attributes": sent, "name": "refund.tool"},
            {"attributes": {"traceloop.span.kind": "server"}, "name": "mcp.server", "parent_span_id": (2).to_bytes(8, "big")},
            {"attributes": sent, "name": "refund.tool", "parent_span_id": (3).to_bytes(8, "big")},
            scope=scope,
        )
    )  # fmt: skip
    assert [(span.kind, span.mcp_method, span.tool_name) for span in taken.spans] == [
        ("mcp_client", "initialize", None), ("mcp_client", "tools/call", "refund"), ("mcp_server", "tools/call", None),
        ("mcp_client", "tools/call", "refund"),
    ]  # fmt: skip
    [call] = CallBook("run").read([trace_of(*taken.spans)])
    assert (call.name, call.source, call.rounds, taken.json(call.arguments)) == ("refund", "mcp", 1, {"a": 1})
    assert taken.texts[call.result or ""] == "done"


def test_arguments_by_place_do_not_replace_what_the_model_asked_for() -> None:
    asked = make_span("model", **asks((None, "pay"), arguments="by-name"))
    ran = make_span("tool", at=5, kind="tool", tool_name="pay", arguments="by-place", scope_name="traceloop.tracer")
    [call] = CallBook("run").read([trace_of(asked, ran)])
    assert (call.arguments, call.executed) == ("by-name", True)
    ran.scope_name = "some.scope"
    [call] = CallBook("run").read([trace_of(asked, ran)])
    assert call.arguments == "by-place"


def test_a_part_of_an_execution_that_is_a_step_of_its_own_is_no_retry() -> None:
    outer = make_span("outer", kind="tool", tool_name="Bash", tool_call_id="c1", until=9)
    inner = make_span("inner", "outer", at=1, kind="tool", tool_call_id="c1")
    [call] = CallBook("run").read([trace_of(outer, inner)])
    assert [span.span_id for span in call.executions] == ["outer"]


# Old and new names, wrong types, depth


def test_old_and_new_names_together_the_new_one_counts_and_both_are_kept() -> None:
    sent = {"gen_ai.operation.name": "chat", "gen_ai.system": "az.ai.openai", "gen_ai.provider.name": "openai",
            "gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.input_tokens": 2, "gen_ai.usage.completion_tokens": 3,
            "gen_ai.usage.cache_read_input_tokens": 4, "gen_ai.usage.cache_read.input_tokens": 5,
            "gen_ai.prompt": "old", "gen_ai.input.messages": '[{"role":"user","content":"new"}]'}  # fmt: skip
    taken = normalise_one(sent, scope="opentelemetry.instrumentation.openai_v2")
    assert (taken.span.provider, _tokens(taken.span)[:3]) == ("openai", (2, 3, 5))
    [message] = _messages(taken, taken.span.input_messages)
    assert message["parts"][0]["content"] == "new"
    assert taken.attributes() == sent


@pytest.mark.parametrize(
    "odd", [["many"], {"a": {"b": 1}}, True, -5, 1.5, "", "x" * 2000, "{cut", '"', "[" * 5000, None], ids=repr
)
@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ("gen_ai", "gen_ai.usage.input_tokens"), ("ai", "ai.prompt.messages"), ("ai", "ai.response.text"),
        ("mlflow.tracing.provider", "mlflow.spanType"), ("mlflow.tracing.provider", "mlflow.spanOutputs"),
        ("langfuse-sdk", "langfuse.observation.usage_details"), ("langsmith", "gen_ai.completion"),
        ("traceloop.tracer", "gen_ai.prompt.0.role"), ("gcp.vertex.agent", "gcp.vertex.agent.llm_response"),
        ("com.anthropic.claude_code.tracing", "input_tokens"), ("dbos-tracer", "operationType"),
    ],
)  # fmt: skip
def test_a_wrong_type_on_a_known_key_is_kept_as_it_was_sent(scope: str, key: str, odd: Any) -> None:
    sent = {"span.type": "llm_request", "ai.operationId": "ai.generateText.doGenerate", "langsmith.span.kind": "llm",
            "langfuse.observation.type": "generation", "llm.request.type": "chat"} | {key: odd}  # fmt: skip
    taken = normalise_one(sent, scope=scope)
    assert taken.attributes() == sent


def test_a_value_thirty_levels_deep_is_kept_and_a_path_through_it_is_read() -> None:
    deep: Any = "bottom"
    for _ in range(14):
        deep = {"a": [deep]}
    outputs = {"usage": {"prompt_tokens": 3}, "deep": deep}
    sent = {"mlflow.spanType": '"LLM"', "mlflow.spanOutputs": outputs, "note": deep}
    taken = normalise_one(sent, scope="mlflow.tracing.provider")
    assert taken.attributes() == sent
    assert taken.span.input_tokens == 3


def test_ten_thousand_numbered_messages_on_one_span() -> None:
    sent = {f"gen_ai.prompt.{n}.content": f"m{n}" for n in range(10_000)} | {"llm.request.type": "chat"}
    taken = normalise_one(sent, scope="opentelemetry.instrumentation.openai.v1")
    assert len(taken.span.input_messages or ()) == 10_000
    assert _messages(taken, taken.span.input_messages)[-1]["parts"][0]["content"] == "m9999"
    assert len(taken.attributes()) == 10_001


def test_langsmith_says_for_whom_it_ran_and_with_what() -> None:
    sent = {"langsmith.span.kind": "chain", "langsmith.metadata.user_id": "u-1", "langsmith.metadata.tenant_id": "acme",
            "langsmith.metadata.ticket": "OPS-1"}  # fmt: skip
    told = normalise_one(sent, scope="langsmith").span.told()
    assert (told.user_id, told.end_user_tenant) == ("u-1", "acme")
    assert json.loads(told.metadata or "") == {"user_id": "u-1", "tenant_id": "acme", "ticket": "OPS-1"}


@pytest.mark.parametrize(
    ("answer", "tokens", "reason"),
    [
        ({"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
          "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6},
                    "completion_tokens_details": {"reasoning_tokens": 3}}}, (9, 4, 6, None, 3), "stop"),
        ({"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}],
          "usage": {"input_tokens_details": {"cached_tokens": 6}, "output_tokens_details": {"reasoning_tokens": 3}}},
         (9, 4, 6, None, 3), None),
        ({"role": "assistant", "content": [{"type": "text", "text": "hi"}], "stop_reason": "tool_use",
          "usage": {"input_tokens": 1, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 2}},
         (9, 4, 6, 2, None), "tool_call"),
    ],
)  # fmt: skip
def test_langsmith_holds_the_answers_of_wrapped_clients(
    answer: dict[str, Any], tokens: tuple[int | None, ...], reason: str | None
) -> None:
    sent = {"langsmith.span.kind": "llm", "gen_ai.completion": json.dumps(answer), "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 4,
            "gen_ai.prompt": json.dumps({"system": "Be brief.", "messages": []})}  # fmt: skip
    taken = normalise_one(sent, scope="langsmith")
    assert (_tokens(taken.span), taken.span.finish_reason) == (tokens, reason)
    assert _said(taken) == [{"type": "text", "content": "hi"}]
    assert [taken.json(piece) for piece in taken.span.system_instructions or ()] == ["Be brief."]


def test_traceloops_thought_of_a_role_of_its_own_is_reasoning() -> None:
    sent = {
        "llm.request.type": "completion", "gen_ai.system": "Anthropic",
        "gen_ai.completion.0.role": "thinking", "gen_ai.completion.0.content": "Look first.",
        "gen_ai.completion.1.role": "assistant", "gen_ai.completion.1.finish_reason": "tool_use",
        "gen_ai.completion.1.tool_calls.0.id": "t1", "gen_ai.completion.1.tool_calls.0.name": "look",
    }  # fmt: skip
    taken = normalise_one(sent, scope="opentelemetry.instrumentation.anthropic")
    assert [message["role"] for message in _messages(taken, taken.span.output_messages)] == ["assistant", "assistant"]
    assert _said(taken)[0] == {"type": "reasoning", "content": "Look first."}
    assert (taken.span.reasoning, taken.span.finish_reason) == (True, "tool_call")


def test_vercels_result_that_is_a_mere_text_is_told_without_its_quotes() -> None:
    for key in ("ai.toolCall.result", "ai.toolCall.output"):
        taken = normalise_one({"ai.operationId": "ai.toolCall", key: '"18C"'}, scope="ai")
        assert taken.texts[taken.span.result or ""] == "18C"
        assert taken.attributes()[key] == '"18C"'
    whole = normalise_one({"ai.operationId": "ai.toolCall", "ai.toolCall.result": '{"c": 18}'}, scope="ai")
    assert whole.json(whole.span.result) == {"c": 18}
