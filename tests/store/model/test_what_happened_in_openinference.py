"""OpenInference's captures against their scenarios: `s_oaa.py` (OpenAI Agents SDK, with `stub_openai.py` as the model and
`mcp2_server.py` as the MCP server) and `s_lc.py` (LangChain and LangGraph).
"""

from collections.abc import Callable

import pytest
from what_happened import calls, decisions, outcomes, said, tokens, told

from store.model.rows import RunRow
from tests.captured import Recorded

Happened = Callable[[str], Recorded]
REASON = "The user wants current data, so I should call the tool before answering."  # stub_openai.py
FINAL = "It is 18 degrees and sunny in Paris."
CITY = {"city": "Paris"}
REFUND = {"order_id": "ORD-42", "amount": 1200}


@pytest.fixture
def agents(happened: Happened) -> Recorded:
    return happened("openai-agents-0.24-openinference")


@pytest.fixture
def graphs(happened: Happened) -> Recorded:
    return happened("langgraph-openinference-0.1.80")


def _workflow(taken: Recorded, name: str) -> RunRow:
    [run] = [run for run in taken.runs() if run.workflow_name == name]
    return run


def test_every_workflow_of_the_agents_sdk_is_a_run_named_by_its_first_agent(agents: Recorded) -> None:
    # RunConfig(workflow_name=...) of each Runner.run, and the agent that it is given
    assert [(run.workflow_name, run.agent_name, run.status) for run in agents.runs()] == [
        ("weather-workflow", "weather-agent", "ok"),
        ("weather-stream", "weather-agent", "ok"),
        ("triage-workflow", "triage-agent", "ok"),
        ("billing-workflow", "billing-agent", "interrupted"),
        ("cc-workflow", "chat-agent", "ok"),
        ("fail-workflow", "fail-agent", "error"),
        (None, None, "ok"),  # MCPServerStdio connects before the run: a trace of its own
        ("mcp-workflow", "mcp-agent", "ok"),
    ]
    # Hole: group_id="conv-301" is dropped by the instrumentation.
    assert {run.conversation_id for run in agents.runs()} == {None}


@pytest.mark.parametrize(
    ("workflow", "question"),
    [("weather-workflow", "Weather in Paris?"), ("weather-stream", "Weather in Paris (stream)?")],
)
def test_a_weather_workflow_reasons_calls_answers(agents: Recorded, workflow: str, question: str) -> None:
    run = _workflow(agents, workflow)
    assert said(agents, run) == [
        ("system", "Answer weather."),  # instructions=
        ("user", question),
        ("thinks", REASON),
        ("calls", ("get_weather", CITY)),
        ("answers", "18C sunny"),  # def get_weather returns "18C sunny"
        ("thinks", REASON),
        ("assistant", FINAL),
    ]
    assert outcomes(agents, run) == [("get_weather", "ok", CITY, "18C sunny")]
    [call] = calls(agents, run)
    # The tool's step has no call id: it is joined to the model's request by name and order.
    assert call.requesting_step is not None
    assert call.executing_step is not None
    assert (call.tool_call_id or "").startswith("call_")
    # two calls of 120 / 45 / cached 64 / cache_write_tokens 0 / reasoning 16
    assert (run.llm_calls, tokens(run)) == (2, (240, 90, 128, 0, 32))
    assert [step.reasoning for step in agents.steps(run) if step.kind == "llm"] == [True, True]
    # @input_guardrail(name="pii_check") with tripwire_triggered=False
    [guardrail] = decisions(agents, run)
    assert (guardrail.kind, guardrail.target, guardrail.verdict) == ("guardrail", "pii_check", "allow")


def test_a_handoff_is_one_call_that_goes_on_in_the_other_agent(agents: Recorded) -> None:
    run = _workflow(agents, "triage-workflow")
    # Agent(name="triage-agent", handoffs=[weather]): the model calls transfer_to_weather_agent, which the SDK carries out
    [call] = calls(agents, run)
    assert (call.tool_name, call.tool_source, call.outcome) == ("transfer_to_weather_agent", "handoff", "ok")
    assert call.result == {"assistant": "weather-agent"}
    steps = {step.step_id: step for step in agents.steps(run)}
    assert (steps[call.executing_step or ""].kind, steps[call.executing_step or ""].tool_name) == (
        "handoff", "weather-agent",
    )  # fmt: skip
    assert [step.agent_name for step in steps.values() if step.kind == "agent" and step.agent_name] == [
        "triage-agent", "weather-agent",
    ]  # fmt: skip
    # the stub sees a tool's answer and says FINAL: weather-agent calls no tool
    assert said(agents, run)[-1] == ("assistant", FINAL)


def test_a_refund_that_waits_for_approval_is_waiting_and_what_followed_is_a_hole(agents: Recorded) -> None:
    run = _workflow(agents, "billing-workflow")
    # @function_tool(needs_approval=True) def refund: Runner.run returns r.interruptions
    assert (run.status, run.outcome_reason) == ("interrupted", "waits for approval of refund")
    assert outcomes(agents, run) == [("refund", "pending_approval", REFUND, None)]
    [asked] = decisions(agents, run)
    assert (asked.kind, asked.target, asked.verdict, asked.action) == ("human_approval", "refund", "ask", "none")
    assert asked.evidence == "inferred"  # the tool's span ended OK; that it has no result is all there is to see
    # Hole: st.approve(r.interruptions[0]); Runner.run(billing, st) executed the refund and answered. Of that second run
    # nothing was sent, so the run stays as its telemetry left it.
    assert sum(run.agent_name == "billing-agent" for run in agents.runs()) == 1
    assert told(agents, run)[-2:] == ["approval_asked refund", "run_ended interrupted"]


def test_chat_completions_reasoning_is_read_from_the_output(agents: Recorded) -> None:
    run = _workflow(agents, "cc-workflow")
    assert outcomes(agents, run) == [("get_weather", "ok", CITY, "18C sunny")]
    # stub_openai.py answered with message.reasoning_content; the indexed messages leave it out, output.value has it.
    assert [who for who, _ in said(agents, run)] == [
        "system", "user", "thinks", "calls", "answers", "thinks", "assistant",
    ]  # fmt: skip
    # Hole: its cached and reasoning tokens are not sent.
    assert tokens(run) == (240, 90, None, None, None)


def test_a_run_whose_root_is_ok_failed_with_its_agent(agents: Recorded) -> None:
    run = _workflow(agents, "fail-workflow")
    # Agent(name="fail-agent", model="gpt-fail"): the stub answers 429, Runner.run raises
    assert (run.status, run.llm_calls, run.tool_calls) == ("error", 1, 0)
    assert "429" in (run.outcome_reason or "")
    # Hole: neither the model's name nor the question is sent for a call that failed.
    assert (run.models, said(agents, run), run.completeness.content_absent) == ([], [], True)


def test_an_mcp_call_below_a_tools_step_is_the_same_call(agents: Recorded) -> None:
    run = _workflow(agents, "mcp-workflow")
    [call] = calls(agents, run)
    assert (call.tool_name, call.outcome, call.arguments) == ("get_weather", "ok", CITY)
    assert (call.tool_source, call.mcp_server, call.mcp_rounds) == ("mcp", "payments-mcp-server", 1)
    # mcp2_server.py: Weather(city=city, temp_c=18.0), as the SDK hands it on: a text item
    assert call.result["type"] == "text"
    assert '"temp_c": 18.0' in call.result["text"]
    assert None not in (call.requesting_step, call.executing_step, call.mcp_client_step, call.mcp_server_step)


def test_the_graphs_and_the_bare_model_are_five_runs_of_six_traces(graphs: Recorded) -> None:
    assert [(run.run_kind, run.agent_name, run.conversation_id, run.status) for run in graphs.runs()] == [
        ("model_call", None, "conv-9", "ok"),  # m.invoke("hi", config={"metadata": {"session_id": "conv-9", ...
        ("agent", "support_agent", "conv-501", "ok"),  # name="support_agent", thread_id "conv-501": invoke and resume
        ("agent", "broken_agent", None, "error"),  # name="broken_agent"
        ("agent", "openai_agent", None, "ok"),  # name="openai_agent"
        ("workflow", None, None, "ok"),  # sg.compile(name="two_node_graph").invoke({"x": "q"})
    ]
    workflow = graphs.runs()[4]
    assert [step.name for step in graphs.steps(workflow)] == ["two_node_graph", "plan", "act", "FakeListChatModel"]
    assert graphs.runs()[2].outcome_reason == "RuntimeError('backend down')"


def test_an_interrupted_graph_is_one_run_with_its_resumption(graphs: Recorded) -> None:
    run = graphs.runs()[1]
    # g.invoke({"messages": ...}) ends in interrupt(...); g.invoke(Command(resume={"decision": "approve", ...}))
    assert [(segment.status, segment.continues is None) for segment in run.segments] == [
        ("interrupted", True), ("ok", False),
    ]  # fmt: skip
    assert outcomes(graphs, run) == [
        # script: {"name": "get_weather", "args": {"city": "Paris"}, "id": "call_w1"}; def get_weather returns "18C"
        ("get_weather", "ok", CITY, "18C"),
        # script: refund with order_id ORD-42 and amount 1200.0 is call_r1; def refund returns f"refund decision: {d}"
        ("refund", "ok", REFUND, "refund decision: {'decision': 'approve', 'by': 'manager@acme'}"),
    ]
    assert [call.tool_call_id for call in calls(graphs, run)] == ["call_w1", "call_r1"]
    [approved] = decisions(graphs, run)
    assert (approved.target, approved.verdict, approved.action) == ("refund", "allow", "executed")
    # Hole: by="manager@acme" is only inside the tool's own answer; no attribute says who approved.
    assert approved.decided_by is None
    refunds = [step.outcome for step in graphs.steps(run) if step.tool_name == "refund"]
    assert refunds == ["interrupted", "ok"]


def test_the_graphs_thinking_and_cached_tokens_are_read_from_the_output(graphs: Recorded) -> None:
    run = graphs.runs()[1]
    # Every AIMessage of the script has a "thinking" block; the indexed messages leave it out, output.value has it.
    assert said(graphs, run) == [
        ("system", "You are a support agent"),  # system_prompt=
        ("user", "Weather and refund"),
        ("thinks", "I need the weather first."),
        ("assistant", "Let me check."),
        ("calls", ("get_weather", CITY)),
        ("answers", "18C"),
        ("thinks", "Now the refund."),
        ("calls", ("refund", REFUND)),
        ("answers", "refund decision: {'decision': 'approve', 'by': 'manager@acme'}"),
        ("thinks", "All done."),
        ("assistant", "Done."),
    ]
    assert [step.kind for step in graphs.steps(run) if step.reasoning] == ["llm"] * 3
    # U: 120 / 45, cache_read 64, reasoning 16
    assert (run.llm_calls, tokens(run)) == (3, (360, 135, 192, None, 48))


def test_the_broken_tool_failed_once_and_so_did_its_run(graphs: Recorded) -> None:
    run = graphs.runs()[2]
    assert outcomes(graphs, run) == [("broken", "error", {"x": 1}, None)]  # raise RuntimeError("backend down")
    [call] = calls(graphs, run)
    assert call.error_type == "RuntimeError"
    assert (run.tool_errors, tokens(run)[:2]) == (1, (120, 45))


def test_the_graph_over_openai_has_the_stubs_tokens(graphs: Recorded) -> None:
    run = graphs.runs()[3]
    # ChatOpenAI(model="gpt-5-mini", use_responses_api=True): two calls of 120 / 45 / 64 / 16
    assert (tokens(run), run.models) == ((240, 90, 128, 0, 32), ["gpt-5-mini"])
    assert outcomes(graphs, run) == [("get_weather", "ok", CITY, "18C")]
