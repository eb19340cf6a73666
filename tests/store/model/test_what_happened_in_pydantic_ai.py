"""pydantic-ai's captures against their scenarios: each fact names the line of the program that made it so.

The scenarios are the programs that made the captures: `s_pydantic.py` (v2 and v5 are its instrumentation's formats),
`s_pydantic_openai.py` (with `stub_openai.py` as the model and `mcp2_server.py` as the MCP server).
"""

from collections.abc import Callable

import pytest
from what_happened import calls, decisions, outcomes, replay, said, tokens, told

from store.model.rows import RunRow
from tests.captured import Recorded

Happened = Callable[[str], Recorded]
FORMATS = pytest.mark.parametrize("name", ["pydantic-ai-2.68-v2", "pydantic-ai-2.68-v5"])
# s_pydantic.py: usage=RequestUsage(input_tokens=120, output_tokens=45, cache_read_tokens=64, cache_write_tokens=10,
# details={"reasoning_tokens": 16}), the same for every call of the scripted model.
A_CALL = (120, 45, 64, 10, 16)
# stub_openai.py: REASON, FINAL, CANNED["city"] and the usage of every answer.
REASON = "The user wants current data, so I should call the tool before answering."
FINAL = "It is 18 degrees and sunny in Paris."


def _by_agent(taken: Recorded) -> dict[str | None, RunRow]:
    return {run.agent_name: run for run in taken.runs()}


@FORMATS
def test_five_agent_runs_are_three_runs(happened: Happened, name: str) -> None:
    runs = _by_agent(happened(name))
    # agent = Agent(..., name="support-agent"): r, r2 and r3; err = Agent(..., name="failing-agent"); t = Agent(TestModel(),
    # name="testmodel-agent")
    assert list(runs) == ["support-agent", "failing-agent", "testmodel-agent"]
    assert [(run.run_kind, run.status) for run in runs.values()] == [
        ("agent", "ok"),
        ("agent", "error"),
        ("agent", "ok"),
    ]
    # agent.run(..., conversation_id="conv-001") three times
    assert runs["support-agent"].conversation_id == "conv-001"
    # setup(CAP, service="support-agent"), service.version 1.2.3, deployment.environment.name test in otelsetup.py
    assert {(run.service_name, run.service_version, run.environment) for run in runs.values()} == {
        ("support-agent", "1.2.3", "test")
    }


@FORMATS
def test_the_approving_and_the_denying_run_both_continue_the_one_that_asked(happened: Happened, name: str) -> None:
    run = _by_agent(happened(name))["support-agent"]
    # r2 and r3 are both run with message_history=r.all_messages()
    asked, approved, denied = run.segments
    assert [segment.status for segment in run.segments] == ["interrupted", "ok", "ok"]
    assert approved.continues == denied.continues == asked.segment_id
    assert approved.joined_by == denied.joined_by == "conversation id and a pending tool call id"
    assert run.completeness.state == "complete"


@FORMATS
def test_the_support_agents_tools_did_what_the_scenario_does(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _by_agent(taken)["support-agent"]
    assert outcomes(taken, run) == [
        # ToolCallPart("get_weather", {"city": "Paris"}, tool_call_id="call_w1"); def get_weather returns {"city", "temp_c"}
        ("get_weather", "ok", {"city": "Paris"}, {"city": "Paris", "temp_c": 18.0}),
        # ToolCallPart("refund", ..., tool_call_id="call_r1"); def refund returns f"refunded {amount} for {order_id}", in r2
        ("refund", "ok", {"order_id": "ORD-42", "amount": 1200.0}, "refunded 1200.0 for ORD-42"),
        # ToolCallPart("transfer", ..., tool_call_id="call_t1"); def transfer raises ApprovalRequired in r, returns in r2
        ("transfer", "ok", {"account": "ACC-7", "amount": 5000.0}, "transferred"),
    ]
    assert [call.tool_call_id for call in calls(taken, run)] == ["call_w1", "call_r1", "call_t1"]
    assert {call.tool_source for call in calls(taken, run)} == {"function"}
    assert (run.tool_calls, run.tool_errors, run.retries) == (3, 0, 0)


@FORMATS
def test_two_approvals_and_two_denials_of_the_same_calls_are_four_decisions(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _by_agent(taken)["support-agent"]
    found = {(d.target, d.verdict, d.action, d.reason, d.decided_by_kind) for d in decisions(taken, run)}
    assert found == {
        # r2: both calls are ToolApproved() in its DeferredToolResults
        ("refund", "allow", "executed", None, "human"),
        ("transfer", "allow", "executed", None, "human"),
        # r3: ToolDenied("over limit") for call_r1, ToolDenied("not allowed") for call_t1
        ("refund", "deny", "blocked", "over limit", "human"),
        ("transfer", "deny", "blocked", "not allowed", "human"),
    }
    assert run.decisions == len(decisions(taken, run)) == 4
    # Hole: pydantic-ai sends no verdict and not who gave it; all four are worked out from what followed.
    assert {(d.evidence, d.decided_by) for d in decisions(taken, run)} == {("inferred", None)}


@FORMATS
def test_the_conversation_holds_every_message_once_and_both_endings(happened: Happened, name: str) -> None:
    taken = happened(name)
    ending = [("thinks", "All tool results are in."), ("assistant", "It is 18C in Paris; the refund is done.")]
    assert said(taken, _by_agent(taken)["support-agent"]) == [
        ("system", "You are a support agent."),  # instructions=
        ("user", "Weather in Paris, and refund ORD-42"),  # agent.run("Weather in Paris, and refund ORD-42", ...)
        ("thinks", "I need the weather and then the refund; refund needs approval."),  # ThinkingPart
        ("assistant", "Let me check."),  # TextPart
        ("calls", ("get_weather", {"city": "Paris"})),
        ("calls", ("refund", {"order_id": "ORD-42", "amount": 1200.0})),
        ("calls", ("transfer", {"account": "ACC-7", "amount": 5000.0})),
        # r2
        ("answers", {"city": "Paris", "temp_c": 18.0}),
        ("answers", "refunded 1200.0 for ORD-42"),
        ("answers", "transferred"),
        *ending,
        # r3
        ("answers", {"city": "Paris", "temp_c": 18.0}),
        ("answers", "over limit"),
        ("answers", "not allowed"),
        *ending,
    ]


@FORMATS
def test_tokens_are_those_of_the_three_model_calls_and_not_of_the_agents_totals(happened: Happened, name: str) -> None:
    runs = _by_agent(happened(name))
    assert (runs["support-agent"].llm_calls, tokens(runs["support-agent"])) == (3, tuple(3 * count for count in A_CALL))
    assert (runs["failing-agent"].llm_calls, tokens(runs["failing-agent"])) == (1, A_CALL)
    # FunctionModel(scripted, model_name="scripted-1"); the provider is pydantic-ai's own name for a fake: nobody's
    assert runs["support-agent"].models == ["scripted-1"]


@FORMATS
def test_the_replay_asks_once_and_decides_twice(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _by_agent(taken)["support-agent"]
    lines = told(taken, run)
    assert lines[:10] == [
        "run_started support-agent",
        "message You are a support agent.",
        "message Weather in Paris, and refund ORD-42",
        "reasoning I need the weather and then the refund; refund needs approval.",
        "message Let me check.",
        "tool_requested get_weather",
        "tool_requested refund",
        "tool_requested transfer",
        "tool_executed get_weather",
        "tool_result get_weather",
    ]
    assert sorted(lines[10:12]) == ["approval_asked refund", "approval_asked transfer"]
    decided = [line for line in lines if line.startswith(("approval_asked", "decided"))]
    assert sorted(decided[2:4]) == ["decided refund: allow", "decided transfer: allow"]
    assert sorted(decided[4:]) == ["decided refund: deny", "decided transfer: deny"]
    events = replay(taken, run)
    waiting = next(event for event in events if event.type == "decided")
    assert sorted(events[events.index(waiting) - 1].state["pending_approvals"]) == ["refund", "transfer"]
    assert events[-1].state["pending_approvals"] == events[-1].state["open_calls"] == []
    assert (events[-1].state["input_tokens"], events[-1].state["output_tokens"]) == (360, 135)


@pytest.mark.parametrize(
    ("name", "transfer"),
    [
        # v5: the sibling had returned by the time that get_weather's error was raised.
        ("pydantic-ai-2.68-v5", ("transfer", "ok", {"account": "ACC-7", "amount": 5000.0}, "ok")),
        # v2: its span recorded that it was cancelled when get_weather failed. That is not an error of its own.
        ("pydantic-ai-2.68-v2", ("transfer", "interrupted", {"account": "ACC-7", "amount": 5000.0}, None)),
    ],
)
def test_the_failing_agents_run_failed_with_its_tool(happened: Happened, name: str, transfer: object) -> None:
    taken = happened(name)
    run = _by_agent(taken)["failing-agent"]
    assert (run.status, run.outcome_reason, run.tool_errors) == ("error", "RuntimeError: backend down", 1)
    assert outcomes(taken, run) == [
        ("get_weather", "error", {"city": "Paris"}, None),  # def gw: raise RuntimeError("backend down")
        ("refund", "ok", {"order_id": "ORD-42", "amount": 1200.0}, "ok"),  # def rf: return "ok"
        transfer,
    ]
    [failed, *_] = calls(taken, run)
    assert failed.error_type == "RuntimeError"
    assert decisions(taken, run) == []


@FORMATS
def test_the_test_models_run_calls_its_tool_once(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _by_agent(taken)["testmodel-agent"]
    # t.run("add") with TestModel: it calls every tool once with zeros; def add returns a + b
    assert outcomes(taken, run) == [("add", "ok", {"a": 0, "b": 0}, "0")]
    assert said(taken, run)[:2] == [("system", "sys"), ("user", "add")]  # system_prompt="sys"
    assert run.llm_calls == 2


def test_four_runs_of_one_conversation_that_left_nothing_open_are_four_runs(happened: Happened) -> None:
    runs = happened("pydantic-ai-2.68-openai-mcp").runs()
    # for M in (OpenAIChatModel, OpenAIResponsesModel): a.run(..., conversation_id="conv-77"), a.run_stream(... "conv-77")
    assert [(run.agent_name, run.conversation_id, run.status) for run in runs[:4]] == [
        ("weather-agent", "conv-77", "ok")
    ] * 4
    # OpenAIChatModel("gpt-fail"): the stub answers 429
    assert (runs[4].agent_name, runs[4].status, runs[4].llm_calls) == ("weather-agent", "error", 1)
    assert "429" in (runs[4].outcome_reason or "")
    assert tokens(runs[4]) == (None,) * 5
    # `async with a:` connects to the MCP server before the agent runs: a trace of its own
    assert (runs[5].run_kind, runs[5].steps) == ("other", 2)
    assert (runs[6].agent_name, runs[6].conversation_id, runs[6].status) == ("mcp-agent", "conv-78", "ok")
    assert len(runs) == 7


@pytest.mark.parametrize(
    ("nth", "question", "reason", "final"),
    [
        (0, "Weather in Paris?", REASON, FINAL),
        # stub_openai.py streams the first six words of REASON, each with a space behind it, and so FINAL
        (1, "Weather in Paris (stream)?", "The user wants current data, so ", FINAL + " "),
        (2, "Weather in Paris?", REASON, FINAL),
        (3, "Weather in Paris (stream)?", REASON, FINAL + " "),
    ],
)
def test_a_weather_run_reasons_calls_answers(
    happened: Happened, nth: int, question: str, reason: str, final: str
) -> None:
    taken = happened("pydantic-ai-2.68-openai-mcp")
    run = taken.runs()[nth]
    assert said(taken, run) == [
        ("system", "Be brief."),  # instructions="Be brief."
        ("user", question),
        ("thinks", reason),
        ("calls", ("get_weather", {"city": "Paris"})),  # CANNED["city"]
        ("answers", "18C sunny"),  # def get_weather returns "18C sunny"
        ("thinks", reason),
        ("assistant", final),
    ]
    assert outcomes(taken, run) == [("get_weather", "ok", {"city": "Paris"}, "18C sunny")]
    # Two calls of usage 120 / 45 / cached 64 / reasoning 16; a cache write of 0 or none is sent by no library as a count
    assert tokens(run) == (240, 90, 128, None, 32)
    assert run.models == ["gpt-5-mini-2026-07-18"]


def test_one_mcp_tool_call_of_four_spans_is_one_call(happened: Happened) -> None:
    taken = happened("pydantic-ai-2.68-openai-mcp")
    run = taken.runs()[6]
    [call] = calls(taken, run)
    # mcp2_server.py: get_weather returns Weather(city, temp_c=18.0); setup(..., service="payments-mcp-server")
    assert (call.tool_name, call.outcome, call.arguments, call.result) == (
        "get_weather", "ok", {"city": "Paris"}, {"city": "Paris", "temp_c": 18.0},
    )  # fmt: skip
    assert (call.tool_source, call.mcp_server, call.mcp_rounds) == ("mcp", "payments-mcp-server", 1)
    steps = {step.step_id: step for step in taken.steps(run)}
    found = [steps[step_id or ""] for step_id in (
        call.requesting_step, call.executing_step, call.mcp_client_step, call.mcp_server_step
    )]  # fmt: skip
    assert [(step.kind, step.scope_name, step.service_name) for step in found] == [
        ("llm", "pydantic-ai", "weather-agent"),
        ("tool", "pydantic-ai", "weather-agent"),
        ("mcp_client", "mcp-python-sdk", "weather-agent"),
        ("mcp_server", "mcp-python-sdk", "payments-mcp-server"),
    ]
    # fastmcp's client span lies between the tool step and the SDK's: of the same call, not another one.
    between = steps[found[2].parent_step_id or ""]
    assert (between.scope_name, between.parent_step_id) == ("fastmcp", call.executing_step)
    assert {step.mcp_server for step in steps.values() if step.mcp_method} == {"payments-mcp-server"}
