import json
from typing import Any

from model_bench import MS, NOON_NS, make_span, trace_of
from whole import conversation, replay

from store.model.replay import Times
from store.model.rows import ReplayEvent
from tests.builders import make_decision, make_run, make_tool_call

HI = json.dumps({"role": "user", "content": "hi"})
ANSWER = json.dumps({"role": "assistant", "parts": [
    {"type": "thinking", "content": "hm"}, {"type": "tool_call", "id": "c1", "name": "pay"},
    {"type": "text", "content": "ok"},
]})  # fmt: skip
TOLD = json.dumps({"role": "tool", "tool_call_id": "c1", "content": "paid"})
TEXTS = {text: text for text in (HI, ANSWER, TOLD)}


def _at(ms: int) -> int:
    return NOON_NS + ms * MS


def _agent(**given: Any) -> Any:
    return make_span("agent", until=100, kind="agent", agent_name="release-manager", **given)


def _chat(name: str, at: int, until: int, given: str, said: str | None = None, **fields: Any) -> Any:
    span = make_span(name, "agent", at=at, until=until, kind="llm", **fields)
    span.input_messages, span.output_messages = [given], [said] if said else []
    return span


def _events(*spans: Any, **given: Any) -> list[ReplayEvent]:
    traces = [trace_of(*spans)]
    fields: dict[str, Any] = {"run": make_run(), "calls": [], "decisions": []} | given
    return replay(traces=traces, messages=list(conversation(traces, TEXTS)), **fields)


def test_what_causes_stands_before_what_follows_and_the_end_is_last() -> None:
    call = (make_tool_call(tool_call_id="c1", tool_name="pay"), Times(_at(20), _at(20), _at(20)))
    decision = (make_decision(tool_call_key="call-1", target="pay"), Times(_at(20), 0, _at(20)))
    late = make_span("late", "agent", at=200, until=300)
    events = _events(
        _agent(),
        _chat("chat", 10, 20, HI, ANSWER),
        _chat("next", 20, 30, TOLD),
        late,
        calls=[call],
        decisions=[decision],
    )
    assert [event.type for event in events] == [
        "run_started", "message", "reasoning", "message", "tool_requested", "approval_asked", "decided", "tool_executed",
        "tool_result", "run_ended",
    ]  # fmt: skip
    assert [event.position for event in events] == list(range(len(events)))
    assert [event.data.get("text") for event in events[1:4]] == ["hi", "hm", "ok"]


def test_the_state_runs_along() -> None:
    call = (make_tool_call(tool_call_id="c1", tool_name="pay"), Times(_at(20), _at(50), _at(60)))
    decision = (make_decision(tool_call_key="call-1", target="pay"), Times(_at(30), 0, _at(50)))
    events = _events(
        _agent(input_tokens=999),
        _chat("chat", 10, 20, HI, ANSWER, input_tokens=10, output_tokens=1, cost_usd=0.5),
        _chat("next", 70, 80, TOLD, input_tokens=20, output_tokens=2),
        calls=[call],
        decisions=[decision],
    )
    states = {event.type: event.state for event in events}
    assert [states[kind]["input_tokens"] for kind in ("run_started", "tool_requested", "tool_result", "run_ended")] == [
        0, 10, 10, 30,
    ]  # fmt: skip
    assert (states["run_ended"]["output_tokens"], states["run_ended"]["cost_usd"]) == (3, 0.5)
    assert states["run_started"]["elapsed_ns"] == 0
    assert states["tool_result"]["elapsed_ns"] == 60 * MS
    assert [states[kind]["open_calls"] for kind in ("run_started", "tool_requested", "tool_executed", "tool_result")] == [
        [], ["pay"], ["pay"], [],
    ]  # fmt: skip
    assert [states[kind]["pending_approvals"] for kind in ("tool_requested", "approval_asked", "decided")] == [
        [], ["pay"], [],
    ]  # fmt: skip


def test_a_call_that_never_ended_stays_open_to_the_end() -> None:
    waiting = make_tool_call(tool_call_id="c1", tool_name="pay", outcome="pending_approval")
    asked = make_decision(tool_call_key="call-1", target="pay", verdict="ask")
    events = _events(_agent(), calls=[(waiting, Times(_at(20), 0, _at(20)))], decisions=[(asked, Times(_at(30), 0, 0))])
    assert [event.type for event in events] == ["run_started", "tool_requested", "approval_asked", "run_ended"]
    assert (events[-1].state["open_calls"], events[-1].state["pending_approvals"]) == (["pay"], ["pay"])


def test_a_question_that_was_answered_without_a_word_in_the_telemetry_waits_no_longer() -> None:
    asked = make_decision(kind="elicitation", verdict="ask", target="pay")
    events = _events(_agent(), decisions=[(asked, Times(_at(30), 0, _at(40)))])
    assert [event.type for event in events] == ["run_started", "approval_asked", "run_ended"]
    assert [event.state["pending_approvals"] for event in events] == [[], ["pay"], []]
    assert [event.position for event in events] == [0, 1, 2]


def test_one_question_with_two_answers_is_asked_once() -> None:
    allow = make_decision("d1", target="pay", verdict="allow")
    deny = make_decision("d2", target="pay", verdict="deny", reason="too much")
    events = _events(_agent(), decisions=[(allow, Times(_at(30), 0, _at(40))), (deny, Times(_at(30), 0, _at(50)))])
    assert [event.data.get("verdict") for event in events[1:-1]] == [None, "allow", "deny"]
    assert [event.state["pending_approvals"] for event in events] == [[], ["pay"], [], [], []]


def test_an_answer_is_told_by_its_call_and_not_again_by_the_message_that_carries_it() -> None:
    known = (make_tool_call(tool_call_id="c1", tool_name="pay"), Times(_at(20), _at(21), _at(22)))
    with_call = _events(_agent(), _chat("next", 30, 40, TOLD), calls=[known])
    without = _events(_agent(), _chat("next", 30, 40, TOLD))
    assert sum(event.type == "message" for event in with_call) == 0
    assert [event.data["part"]["response"] for event in without if event.type == "message"] == ["paid"]


def test_a_failed_call_is_an_error_with_its_result_and_a_failed_step_is_an_error() -> None:
    failed = make_tool_call(tool_call_id="c1", tool_name="pay", outcome="error", error_type="Boom", result="no money")
    events = _events(
        _agent(),
        make_span("tool", "agent", at=20, kind="tool", outcome="error"),
        make_span("chat", "agent", at=40, kind="llm", outcome="error", error_type="RateLimit", status_message="429"),
        calls=[(failed, Times(_at(10), _at(20), _at(21)))],
    )
    errors = [event.data for event in events if event.type == "error"]
    assert [(data.get("tool_name"), data["error_type"], data["message"]) for data in errors] == [
        ("pay", "Boom", "no money"),
        (None, "RateLimit", "429"),
    ]


def test_an_agent_below_another_is_a_run_below_the_run_and_a_second_span_of_the_same_is_not() -> None:
    events = _events(
        _agent(),
        make_span("twin", "agent", at=5, kind="agent", agent_name="release-manager"),
        make_span("other", "twin", at=10, kind="agent", agent_name="billing"),
    )
    assert [event.data["agent_name"] for event in events if event.type == "sub_run"] == ["billing"]


def test_a_run_that_has_not_ended_is_not_told_to_have() -> None:
    assert [event.type for event in _events(_agent(), run=make_run(ended_at=None))] == ["run_started"]
