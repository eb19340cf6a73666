"""The OpenTelemetry instrumentations' captures against their scenarios: `s_openai.py` (the bare OpenAI client, with
`stub_openai.py` as the model; old and new names, messages on spans and in log records) and `s_lc.py` (LangGraph).
"""

from collections.abc import Callable

import pytest
from what_happened import calls, decisions, outcomes, replay, said, tokens, told

from store.model.rows import RunRow
from tests.captured import Recorded

Happened = Callable[[str], Recorded]
V2 = ("openai-v2-2.4b0-default", "openai-v2-2.4b0-latest")
GENAI = ("openai-genai-1.3b0-latest", "openai-genai-1.3b0-eventonly")
REASON = "The user wants current data, so I should call the tool before answering."  # stub_openai.py
FINAL = "It is 18 degrees and sunny in Paris."
CITY = {"city": "Paris"}
REFUND = {"order_id": "ORD-42", "amount": 1200}
# s_openai.py: msgs and the first three calls; the third is given the same messages as the second, and streams.
CHAT = [
    ("system", "Be brief."),
    ("user", "Weather in Paris?"),
    ("calls", ("get_weather", CITY)),
    ("answers", "18C"),  # {"role": "tool", "tool_call_id": tc.id, "content": "18C"}
    ("assistant", FINAL),
    ("assistant", FINAL + " "),
]


def _only(taken: Recorded) -> RunRow:
    [run] = taken.runs()
    return run


@pytest.mark.parametrize("name", [*V2, *GENAI])
def test_one_request_of_the_application_is_one_run_of_model_calls(happened: Happened, name: str) -> None:
    run = _only(happened(name))
    # start_as_current_span("handle-request") around everything; the application catches the 429, so its request is well
    assert (run.run_kind, run.status, run.service_name, run.agent_name) == ("model_call", "ok", "openai-client", None)
    steps = happened(name).steps(run)
    assert (steps[0].name, steps[0].kind, steps[0].dialect) == ("handle-request", "other", "other")
    # c.embeddings.create(model="text-embedding-3-small", input="hello"): 6 tokens
    [embedding] = [step for step in steps if step.kind == "embedding"]
    assert (embedding.model, embedding.input_tokens) == ("text-embedding-3-small", 6)
    # c.chat.completions.create(model="gpt-fail"): 429
    [failed] = [step for step in steps if step.outcome == "error"]
    assert (failed.kind, failed.request_model, failed.input_tokens) == ("llm", "gpt-fail", None)
    assert "429" in (failed.status_message or "")
    assert sum(line.startswith("error") for line in told(happened(name), run)) == 1


@pytest.mark.parametrize("name", V2)
def test_the_old_instrumentation_tells_of_the_chat_completions_only(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _only(taken)
    # Hole: the three c.responses.create(...) are not instrumented; nor are reasoning_content, cached and reasoning tokens.
    assert (run.llm_calls, tokens(run)) == (4, (3 * 120 + 6, 3 * 45, None, None, None))
    assert said(taken, run) == CHAT
    assert not any(step.reasoning for step in taken.steps(run))


@pytest.mark.parametrize("name", GENAI)
def test_the_new_instrumentation_tells_of_all_seven_model_calls(happened: Happened, name: str) -> None:
    taken = happened(name)
    run = _only(taken)
    assert (run.llm_calls, tokens(run)) == (7, (6 * 120 + 6, 6 * 45, 6 * 64, None, 6 * 16))
    assert said(taken, run) == [
        *CHAT,
        # c.responses.create(input="Weather?", instructions="Be brief."): a message said before is not said again
        ("user", "Weather?"),
        ("thinks", REASON),
        ("calls", ("get_weather", CITY)),
        ("answers", "18C"),  # {"type": "function_call_output", ..., "output": "18C"}
        ("thinks", REASON),
        ("assistant", FINAL),
        ("user", "hi"),  # c.responses.create(input="hi", stream=True)
        ("thinks", REASON),
        ("assistant", FINAL),
    ]
    # Hole: of chat completions no reasoning is sent, though stub_openai.py answers with reasoning_content.
    llm = [step for step in taken.steps(run) if step.kind == "llm" and step.outcome == "ok"]
    assert [step.reasoning for step in llm] == [False, False, False, True, True, True]


@pytest.mark.parametrize(("name", "count"), [(name, 1) for name in V2] + [(name, 2) for name in GENAI])
def test_a_tool_that_the_application_ran_itself_was_answered_and_never_seen_running(
    happened: Happened, name: str, count: int
) -> None:
    taken = happened(name)
    run = _only(taken)
    assert outcomes(taken, run) == [("get_weather", "ok", CITY, "18C")] * count
    for call in calls(taken, run):
        assert call.requesting_step is not None
        # Hole: the application looked the weather up without a span.
        assert (call.executing_step, call.started_at, call.tool_source) == (None, None, None)
    # stub_openai.py makes a new id for every call
    assert len({call.tool_call_id for call in calls(taken, run)}) == count
    assert decisions(taken, run) == []


def test_messages_in_log_records_say_the_same_as_messages_on_spans(happened: Happened) -> None:
    for names in (V2, GENAI):
        on_spans, in_records = (said(happened(name), _only(happened(name))) for name in names)
        assert on_spans == in_records


@pytest.mark.parametrize("name", [*V2, *GENAI])
def test_a_finish_reason_is_spelt_one_way(happened: Happened, name: str) -> None:
    taken = happened(name)
    first, second = [step for step in taken.steps(_only(taken)) if step.kind == "llm"][:2]
    assert (first.finish_reason, second.finish_reason) == ("tool_call", "stop")  # stub: "tool_calls", "stop"
    messages = taken.reader.messages("default", _only(taken).run_id)
    assert [message.finish_reason for message in messages if message.direction == "output"][:2] == ["tool_call", "stop"]


@pytest.fixture
def graphs(happened: Happened) -> Recorded:
    return happened("langgraph-genai-1.3b0")


def test_the_graphs_are_four_runs_of_five_traces(graphs: Recorded) -> None:
    assert [(run.run_kind, run.agent_name, run.workflow_name, run.status) for run in graphs.runs()] == [
        ("agent", "support_agent", None, "ok"),
        ("agent", "broken_agent", None, "error"),
        ("agent", "openai_agent", None, "ok"),
        ("workflow", None, "two_node_graph", "ok"),
    ]
    # Hole: m.invoke("hi") and the model call inside two_node_graph are not sent.
    assert [run.llm_calls for run in graphs.runs()] == [3, 1, 2, 0]
    assert graphs.runs()[0].conversation_id == "conv-501"


def test_an_interrupt_that_came_as_an_error_is_an_approval(graphs: Recorded) -> None:
    run = graphs.runs()[0]
    assert [(segment.status, segment.continues is None) for segment in run.segments] == [
        ("interrupted", True), ("ok", False),
    ]  # fmt: skip
    assert outcomes(graphs, run) == [
        ("get_weather", "ok", CITY, "18C"),
        ("refund", "ok", REFUND, "refund decision: {'decision': 'approve', 'by': 'manager@acme'}"),
    ]
    assert [call.tool_call_id for call in calls(graphs, run)] == ["call_w1", "call_r1"]
    refunds = [step.outcome for step in graphs.steps(run) if step.tool_name == "refund"]
    assert refunds == ["interrupted", "ok"]  # OTLP says ERROR for the first: GraphInterrupt
    # Command(resume={"decision": "approve", "by": "manager@acme"}); hole: who approved is in no attribute
    [approved] = decisions(graphs, run)
    assert (approved.target, approved.verdict, approved.action, approved.decided_by) == (
        "refund", "allow", "executed", None,
    )  # fmt: skip
    assert (run.tool_errors, run.retries) == (0, 0)


def test_the_graph_thinks_aloud(graphs: Recorded) -> None:
    run = graphs.runs()[0]
    assert said(graphs, run) == [
        ("system", "You are a support agent"),
        ("user", "Weather and refund"),
        ("thinks", "I need the weather first."),  # script[0]: thinking, text, call
        ("assistant", "Let me check."),
        ("calls", ("get_weather", CITY)),
        ("answers", "18C"),
        ("thinks", "Now the refund."),
        ("calls", ("refund", REFUND)),
        ("answers", "refund decision: {'decision': 'approve', 'by': 'manager@acme'}"),
        ("thinks", "All done."),
        ("assistant", "Done."),
    ]
    # U: 120 / 45 / cache_read 64 / reasoning 16, three times; the agent's span repeats nothing
    assert tokens(run) == (360, 135, 192, None, 48)
    assert [line for line in told(graphs, run) if line.startswith(("approval", "decided", "tool"))] == [
        "tool_requested get_weather", "tool_executed get_weather", "tool_result get_weather",
        "tool_requested refund", "approval_asked refund", "decided refund: allow", "tool_executed refund",
        "tool_result refund",
    ]  # fmt: skip
    assert replay(graphs, run)[-1].data["status"] == "ok"


def test_the_broken_agent_and_the_openai_agent(graphs: Recorded) -> None:
    broken, openai = graphs.runs()[1:3]
    assert outcomes(graphs, broken) == [("broken", "error", {"x": 1}, None)]  # raise RuntimeError("backend down")
    assert (broken.status, broken.outcome_reason, broken.tool_errors) == ("error", "backend down", 1)
    assert outcomes(graphs, openai) == [("get_weather", "ok", CITY, "18C")]
    assert (tokens(openai), openai.models) == ((240, 90, 128, None, 32), ["gpt-5-mini-2026-07-18"])
