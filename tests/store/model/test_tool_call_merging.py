"""One logical call out of the places that tell of it: rules (a) to (e) of the schema, as far as mapped dialects send them."""

from dataclasses import replace
from typing import Any

import pytest
from model_bench import asks, is_told, make_span, trace_of

from store.model.call_book import CallBook
from store.model.dialect import UNKNOWN
from store.model.span import ToolAnswer, ToolRequest
from store.model.tool_calls import ToolCall
from store.model.trace import Trace

OTHER_TRACE = "f" * 32
SILENT = {"scope_name": "openinference.instrumentation.openai_agents", "dialect": "openinference", "arguments": "{}"}


def _tool(name: str = "pay", call_id: str | None = None, **given: Any) -> dict[str, Any]:
    return {"kind": "tool", "tool_name": name, "tool_call_id": call_id, **given}


def _mcp(side: str, name: str = "pay", **given: Any) -> dict[str, Any]:
    return {"kind": f"mcp_{side}", "mcp_method": "tools/call", "tool_name": name, **given}


def _calls(*traces: Trace) -> list[ToolCall]:
    return CallBook("run").read(list(traces))


def _ids(steps: list[Any]) -> list[str]:
    return [span.span_id for span in steps]


def test_a_the_same_call_id_in_a_run_is_one_call() -> None:
    [call] = _calls(
        trace_of(
            make_span("chat", at=0, **asks(("c1", "pay"), arguments="args")),
            make_span("tool", at=2, **_tool(call_id="c1", arguments="own args", result="result")),
            make_span("next", at=4, **is_told(c1="answer")),
        )
    )
    assert (call.id, call.name, call.outcome, call.source) == ("c1", "pay", "ok", "function")
    assert call.requesting is not None
    assert (call.requesting.span_id, _ids(call.executions)) == ("chat", ["tool"])
    # What ran was the tool's own account of it; what the model was told is told_in.
    assert (call.arguments, call.result) == ("own args", "result")
    assert [(told.span.span_id, told.result) for told in call.told] == [("next", "answer")]


def test_two_calls_of_one_tool_with_two_ids_are_two_calls() -> None:
    calls = _calls(
        trace_of(
            make_span("chat", **asks(("c1", "pay"), ("c2", "pay"))),
            make_span("t2", at=2, **_tool(call_id="c2")),
            make_span("t1", at=3, **_tool(call_id="c1", outcome="error")),
        )
    )
    assert [(call.id, call.outcome) for call in calls] == [("c1", "error"), ("c2", "ok")]
    assert len({call.key for call in calls}) == 2


def test_b_a_tools_step_its_mcp_clients_and_the_server_are_one_call_of_one_round() -> None:
    [call] = _calls(
        trace_of(
            make_span("chat", **asks(("c1", "pay"))),
            make_span("tool", at=2, until=9, **_tool(call_id="c1")),
            make_span("fast", "tool", at=3, **_mcp("client")),
            make_span("sdk", "fast", at=4, **_mcp("client")),
            make_span("server", "sdk", at=1, service_name="bank", **_mcp("server", outcome="error", error_type="tool_error")),
        )
    )  # fmt: skip
    assert (_ids(call.executions), _ids(call.clients), _ids(call.servers)) == (["tool"], ["fast", "sdk"], ["server"])
    assert (call.rounds, call.source, call.mcp_server) == (1, "mcp", "bank")
    assert (call.outcome, call.failed and call.failed.span_id) == ("error", "server")


def test_b_a_step_between_tool_and_client_does_not_tear_the_call_apart() -> None:
    [call] = _calls(
        trace_of(
            make_span("tool", **_tool(call_id="c1")),
            make_span("http", "tool", at=1),
            make_span("sdk", "http", at=2, **_mcp("client")),
            make_span("server", "sdk", at=3, **_mcp("server")),
        )
    )
    assert (call.id, call.rounds, _ids(call.servers)) == ("c1", 1, ["server"])


def test_b_a_server_that_calls_another_server_makes_a_call_of_its_own() -> None:
    outer, inner = _calls(
        trace_of(
            make_span("sdk", at=0, **_mcp("client", "order")),
            make_span("server", "sdk", at=1, service_name="shop", **_mcp("server", "order")),
            make_span("sdk2", "server", at=2, **_mcp("client", "charge")),
            make_span("server2", "sdk2", at=3, service_name="bank", **_mcp("server", "charge")),
        )
    )
    assert [(call.name, call.mcp_server, call.rounds) for call in (outer, inner)] == [
        ("order", "shop", 1),
        ("charge", "bank", 1),
    ]


def test_b_a_server_step_whose_client_was_never_recorded_is_a_call() -> None:
    [call] = _calls(trace_of(make_span("server", "lost", **_mcp("server"))))
    assert (call.name, call.outcome, call.rounds, call.source) == ("pay", "ok", 0, "mcp")


def test_c_without_ids_a_step_joins_the_first_request_of_its_name_in_order_of_time() -> None:
    calls = _calls(
        trace_of(
            make_span("chat", **asks(("c1", "pay"), ("c2", "pay"), ("c3", "ship"))),
            make_span("t1", at=2, **_tool("pay", arguments="first")),
            make_span("t3", at=3, **_tool("ship")),
            make_span("t2", at=4, **_tool("pay", arguments="second")),
        )
    )
    assert [(call.id, _ids(call.executions)) for call in calls] == [("c1", ["t1"]), ("c2", ["t2"]), ("c3", ["t3"])]


def test_c_a_step_of_another_name_joins_nothing() -> None:
    calls = _calls(trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("t1", at=2, **_tool("ship"))))
    assert [(call.id, call.name, call.outcome) for call in calls] == [("c1", "pay", "requested"), (None, "ship", "ok")]


def test_d_two_tools_calls_below_one_tools_step_are_two_rounds_of_one_call() -> None:
    [call] = _calls(
        trace_of(
            make_span("tool", until=9, **_tool(call_id="c1")),
            make_span("sdk1", "tool", at=1, **_mcp("client")),
            make_span("server1", "sdk1", at=2, **_mcp("server")),
            make_span("sdk2", "tool", at=3, **_mcp("client")),
            make_span("server2", "sdk2", at=4, **_mcp("server")),
        )
    )
    assert (call.rounds, _ids(call.clients), _ids(call.servers)) == (2, ["sdk1", "sdk2"], ["server1", "server2"])


def test_e_the_same_call_id_in_two_runs_is_two_calls() -> None:
    [here] = CallBook("run-1").read([trace_of(make_span("chat", **asks(("call_1", "pay"))))])
    [there] = CallBook("run-2").read([trace_of(make_span("chat", **asks(("call_1", "pay"))), trace_id=OTHER_TRACE)])
    assert here.key != there.key


def test_a_key_follows_from_the_run_and_the_call_alone() -> None:
    spans = {"chat": asks(("c1", "pay"), (None, "ship")), "tool": _tool(call_id="c1")}
    keys = [
        [call.key for call in _calls(trace_of(*(make_span(name, **spans[name]) for name in order)))]
        for order in (["chat", "tool"], ["tool", "chat"])
    ]
    assert sorted(keys[0]) == sorted(keys[1])


@pytest.mark.parametrize(
    ("outcome", "found"),
    [("ok", "ok"), ("error", "error"), ("cancelled", "interrupted"), ("running", "requested")],
)
def test_the_outcome_of_a_call_is_that_of_what_ran(outcome: str, found: str) -> None:
    [call] = _calls(trace_of(make_span("tool", **_tool(call_id="c1", outcome=outcome))))
    assert call.outcome == found


def test_a_call_that_was_asked_for_and_answered_without_a_step_is_done() -> None:
    [call] = _calls(trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("next", at=2, **is_told(c1="answer"))))
    assert (call.outcome, call.result, call.executed, call.source) == ("ok", "answer", False, None)


def test_an_agents_copy_of_what_its_model_asked_for_is_not_another_request() -> None:
    agent = {**asks((None, "pay")), "kind": "agent"}
    [call] = _calls(trace_of(make_span("agent", **agent), make_span("chat", "agent", at=1, **asks((None, "pay")))))
    assert call.requesting is not None
    assert call.requesting.span_id == "chat"


def test_an_interrupted_call_is_pending_then_denied_or_executed() -> None:
    stopped = [
        make_span("chat", **asks(("c1", "pay"))),
        make_span("t1", at=2, **_tool(call_id="c1", outcome="interrupted")),
    ]
    [pending] = _calls(trace_of(*stopped))
    assert (pending.outcome, pending.wait_ns, pending.executed) == ("pending_approval", None, False)
    told = trace_of(make_span("next", at=50, **is_told(c1="no")), trace_id=OTHER_TRACE)
    [denied] = _calls(trace_of(*stopped), told)
    assert (denied.outcome, denied.wait_ns, denied.result) == ("denied", 47_000_000, "no")
    ran = trace_of(make_span("t2", at=50, **_tool(call_id="c1", result="yes")), trace_id=OTHER_TRACE)
    [executed] = _calls(trace_of(*stopped), ran)
    assert (executed.outcome, executed.wait_ns, executed.result) == ("ok", 47_000_000, "yes")


def test_without_ids_a_resumed_step_joins_the_call_that_an_earlier_trace_interrupted() -> None:
    asked = trace_of(
        make_span("chat", **asks(("c1", "pay"), ("c2", "pay"))),
        make_span("t1", at=2, **_tool(outcome="interrupted")),
        make_span("t2", at=3, **_tool(outcome="interrupted")),
    )
    resumed = trace_of(make_span("t3", at=50, **_tool()), make_span("t4", at=51, **_tool()), trace_id=OTHER_TRACE)
    calls = _calls(asked, resumed)
    assert [(call.id, _ids(call.interruptions), _ids(call.executions)) for call in calls] == [
        ("c1", ["t1"], ["t3"]),
        ("c2", ["t2"], ["t4"]),
    ]


def test_where_results_are_always_sent_a_step_without_one_waits_for_somebody() -> None:
    chat, silent = make_span("chat", **asks(("c1", "pay"))), _tool(**SILENT)
    [waiting] = _calls(trace_of(chat, make_span("t1", at=2, **silent)))
    assert (waiting.outcome, bool(waiting.supposed_by)) == ("pending_approval", True)
    [returned_nothing] = _calls(
        trace_of(chat, make_span("t1", at=2, **silent), make_span("next", at=4, **is_told(c1="null")))
    )
    assert (returned_nothing.outcome, returned_nothing.supposed_by, returned_nothing.asked_ns) == ("ok", None, 0)
    [failed] = _calls(trace_of(chat, make_span("t1", at=2, **(silent | {"outcome": "error"}))))
    assert failed.outcome == "error"
    elsewhere = {**silent, "scope_name": "openinference.instrumentation.other"}
    [done] = _calls(trace_of(chat, make_span("t1", at=2, **elsewhere)))
    assert done.outcome == "ok"


def test_a_handoff_joins_the_transfer_that_the_model_asked_for() -> None:
    [call] = _calls(
        trace_of(
            make_span("chat", **asks(("c0", "pay"), ("c1", "transfer_to_weather_agent"))),
            make_span("handoff", at=2, kind="handoff", tool_name="weather-agent"),
        )
    )[1:]
    assert (call.id, call.name, call.source, call.outcome) == ("c1", "transfer_to_weather_agent", "handoff", "ok")


def test_a_handoff_that_nobody_asked_for_is_a_call_too() -> None:
    [call] = _calls(trace_of(make_span("handoff", kind="handoff", tool_name="weather-agent")))
    assert (call.id, call.name, call.source) == (None, "weather-agent", "handoff")


def test_calls_stand_in_the_order_they_were_asked_for_and_of_one_moment_as_the_model_named_them() -> None:
    calls = _calls(
        trace_of(
            make_span("late", at=50, **asks(("c9", "a"))),
            make_span("chat", at=0, **asks(("c3", "z"), ("c1", "y"), ("c2", "x"))),
            make_span("unasked", at=20, **_tool("w", "c8")),
        )
    )
    assert [call.id for call in calls] == ["c3", "c1", "c2", "c8", "c9"]


def test_a_thousand_calls_of_one_tool_without_ids_each_find_their_request() -> None:
    requests = [(f"c{n:04d}", "pay") for n in range(1000)]
    tools = [make_span(f"t{n:04d}", "chat", at=2 + n, **_tool()) for n in range(1000)]
    calls = _calls(trace_of(make_span("chat", **asks(*requests)), *tools))
    assert [(call.id, _ids(call.executions)) for call in calls] == [(f"c{n:04d}", [f"t{n:04d}"]) for n in range(1000)]


def test_a_call_id_that_comes_again_for_another_tool_is_another_call() -> None:
    calls = _calls(
        trace_of(
            make_span("chat", **asks(("call_1", "look"))),
            make_span("t1", at=2, **_tool("look", "call_1", result="seen")),
            make_span("chat2", at=4, kind="llm", tool_requests=[ToolRequest("call_1", "pay", None)],
                      tool_answers=[ToolAnswer("call_1", "seen", "look")]),
            make_span("t2", at=6, **_tool("pay", "call_1", result="paid")),
            make_span("end", at=8, kind="llm", tool_answers=[ToolAnswer("call_1", "paid", "pay")]),
        )
    )  # fmt: skip
    assert [(call.name, call.result, len(call.told), call.attempts) for call in calls] == [
        ("look", "seen", 1, 1),
        ("pay", "paid", 1, 1),
    ]
    assert len({call.key for call in calls}) == 2


def test_an_open_request_takes_the_id_under_which_its_answer_came() -> None:
    recalled = ToolAnswer("call_1", "18C", "weather", "args")
    asked = make_span("chat", **asks(("fc_1", "weather"), arguments="args"))
    [call] = _calls(trace_of(asked, make_span("next", at=4, kind="llm", tool_answers=[recalled])))
    assert (call.id, call.result, call.outcome, call.requesting) == ("call_1", "18C", "ok", asked)
    # Not where the arguments are others, or where something else tells of the request's own id.
    other = ToolAnswer("call_1", "18C", "weather", "other args")
    assert len(_calls(trace_of(asked, make_span("next", at=4, kind="llm", tool_answers=[other])))) == 2
    ran = make_span("t1", at=2, **_tool("weather", "fc_1", arguments="args"))
    assert len(_calls(trace_of(asked, ran, make_span("next", at=4, kind="llm", tool_answers=[recalled])))) == 2


def test_a_request_that_was_not_sent_is_known_from_the_history_before_its_answer() -> None:
    silent, tool = make_span("chat", kind="llm"), make_span("t1", at=2, **_tool("weather"))
    told = make_span("next", at=4, kind="llm", tool_answers=[ToolAnswer("c1", "18C", "weather", "args")])
    [call] = _calls(trace_of(silent, tool, told))
    assert (call.id, call.requesting, _ids(call.executions), call.arguments) == ("c1", silent, ["t1"], "args")
    # What was asked for and done before the run began is none of its calls.
    assert _calls(trace_of(told)) == []


def test_c_a_server_in_the_agents_own_process_answers_the_call_in_whose_time_it_does() -> None:
    def calls(at: int) -> list[ToolCall]:
        return _calls(
            trace_of(
                make_span("host", until=20),
                make_span("tool", "host", at=2, until=9, **_tool("mcp__bank__pay", "c1")),
                make_span("server", "host", at=at, until=at + 2, **_mcp("server")),
            )
        )

    [call] = calls(4)
    assert (call.source, _ids(call.executions), _ids(call.servers)) == ("mcp", ["tool"], ["server"])
    assert len(calls(8)) == len(calls(1)) == 2


def test_a_step_within_a_calls_step_is_no_second_execution() -> None:
    [call] = _calls(
        trace_of(
            make_span("tool", until=9, **_tool(call_id="c1")),
            make_span("inner", "tool", at=2, **_tool(call_id="c1", result="paid", outcome="error")),
        )
    )
    assert (_ids(call.executions), call.attempts, call.result, call.outcome) == (["tool"], 1, "paid", "error")


def _handoff(**given: Any) -> list[ToolCall]:
    return _calls(
        trace_of(
            make_span("agent", until=20, kind="agent", agent_name="triage"),
            make_span("chat", "agent", at=1, **asks(("c1", "look"), ("c2", "transfer_to_weather_agent"))),
            make_span("handoff", "agent", at=3, kind="handoff", **given),
        )
    )


def test_a_handoff_that_does_not_say_to_whom_is_the_one_that_its_agent_asked_for() -> None:
    for given in ({}, {"tool_name": "weather-agent"}):
        assert [(call.id, call.source, len(call.executions)) for call in _handoff(**given)] == [
            ("c1", None, 0),
            ("c2", "handoff", 1),
        ]
    assert [call.id for call in _handoff(tool_name="billing-agent")] == ["c1", "c2", None]


def _attempts(first: dict[str, Any], second: dict[str, Any]) -> list[ToolCall]:
    one = trace_of(make_span("a1", **_tool("look")), make_span("a2", at=4, **_tool("pay", **first)))
    two = trace_of(make_span("b1", at=50, **_tool(**second)), trace_id=OTHER_TRACE)
    return CallBook("run", {OTHER_TRACE: one.trace_id}).read([one, two])


def test_what_an_attempt_did_last_and_the_next_one_does_again_is_one_call_that_was_made_twice() -> None:
    [_, paid] = _attempts({}, {"name": "pay"})
    assert (paid.attempts, _ids(paid.executions)) == (2, ["a2", "b1"])
    # What had ended before the attempt's last step is not done again; the next of its kind is another call.
    assert [call.attempts for call in _attempts({}, {"name": "look"})] == [1, 1, 1]
    assert [call.attempts for call in _attempts({"arguments": "a"}, {"name": "pay", "arguments": "b"})] == [1, 1, 1]
    alone = trace_of(make_span("b1", at=50, **_tool()), trace_id=OTHER_TRACE)
    assert len(_calls(trace_of(make_span("a2", at=4, **_tool())), alone)) == 2


def test_attempts_within_a_step_count_with_its_executions() -> None:
    [call] = _calls(trace_of(make_span("t1", **_tool(attempts_failed=2))))
    assert (call.attempts, call.outcome) == (3, "ok")


def test_where_a_resume_keeps_the_runs_id_an_execution_that_comes_again_had_stopped_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (
        trace_of(make_span("t1", **_tool(call_id="c1"))),
        trace_of(make_span("t2", at=50, **_tool(call_id="c1")), trace_id=OTHER_TRACE),
    )
    [twice] = _calls(first, second)
    assert (twice.attempts, twice.interruptions) == (2, [])
    monkeypatch.setattr(
        "store.model.call_judging.dialect_of_scope", lambda _scope: replace(UNKNOWN, resumes_keep_run_id=True)
    )
    [asked] = _calls(first, second)
    assert (_ids(asked.interruptions), _ids(asked.executions), asked.attempts) == (["t1"], ["t2"], 1)
    assert asked.asking is not None
    assert asked.outcomes() == {f"{asked.asking.trace_id}-t1": "interrupted"}
    assert "again" in (asked.supposed_by or "")
