from typing import Any

from model_bench import NOON_NS, asks, is_told, make_event, make_span, trace_of

from store.model.call_book import CallBook
from store.model.decisions import Decision, decisions_of
from store.model.span import ToolRequest, Verdict
from store.model.trace import Trace

SECOND, THIRD = "b" * 32, "c" * 32
STOPPED = {"kind": "tool", "tool_name": "pay", "tool_call_id": "c1", "outcome": "interrupted"}
RAN = {"kind": "tool", "tool_name": "pay", "tool_call_id": "c1", "result": "paid"}


def _decisions(*traces: Trace) -> list[Decision]:
    return decisions_of("run", CallBook("run").read(list(traces)), list(traces))


def _asked() -> Trace:
    return trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("t1", at=2, **STOPPED))


def _verdicts(*traces: Trace) -> list[tuple[str, str, str | None]]:
    return [(one.verdict, one.action, one.reason) for one in _decisions(*traces)]


def test_a_question_without_an_answer_is_asked_and_said_by_the_run_itself() -> None:
    [asked] = _decisions(_asked())
    assert (asked.kind, asked.target, asked.verdict, asked.action) == ("human_approval", "pay", "ask", "none")
    assert (asked.evidence, asked.decided_by_kind, asked.decided_ns, asked.decide_step) == ("explicit", None, 0, None)
    assert asked.requested_ns == NOON_NS + 3_000_000


def test_an_execution_afterwards_is_an_approval() -> None:
    [allowed] = _decisions(_asked(), trace_of(make_span("t2", at=50, **RAN), trace_id=SECOND))
    assert (allowed.verdict, allowed.action, allowed.evidence) == ("allow", "executed", "inferred")
    assert (allowed.decide_step, allowed.decided_ns) == (f"{SECOND}-t2", NOON_NS + 50_000_000)


def test_an_answer_without_an_execution_is_a_denial_with_its_reason() -> None:
    told = trace_of(make_span("next", at=50, **is_told(c1="too much")), trace_id=SECOND)
    assert _verdicts(_asked(), told) == [("deny", "blocked", "too much")]


def test_the_answer_of_an_execution_is_not_a_denial() -> None:
    ran = make_span("t2", at=50, **RAN)
    same = trace_of(ran, make_span("next", at=60, **is_told(c1="paid")), trace_id=SECOND)
    assert _verdicts(_asked(), same) == [("allow", "executed", None)]
    crashed = trace_of(make_span("t2", at=50, **RAN), trace_id=SECOND)
    retried = trace_of(make_span("next", at=90, **is_told(c1="paid")), trace_id=THIRD)
    assert _verdicts(_asked(), crashed, retried) == [("allow", "executed", None)]


def test_two_continuations_of_one_question_decide_twice_in_either_order() -> None:
    def allowing(trace_id: str, at: int) -> Trace:
        return trace_of(
            make_span(f"t{at}", at=at, **RAN), make_span(f"n{at}", at=at + 2, **is_told(c1="paid")), trace_id=trace_id
        )

    def denying(trace_id: str, at: int) -> Trace:
        return trace_of(make_span(f"n{at}", at=at, **is_told(c1="too much")), trace_id=trace_id)

    allow, deny = ("allow", "executed", None), ("deny", "blocked", "too much")
    assert _verdicts(_asked(), allowing(SECOND, 50), denying(THIRD, 90)) == [allow, deny]
    assert _verdicts(_asked(), denying(SECOND, 50), allowing(THIRD, 90)) == [deny, allow]
    found = _decisions(_asked(), allowing(SECOND, 50), denying(THIRD, 90))
    assert len({one.decision_id for one in found}) == 2
    assert {one.requested_ns for one in found} == {NOON_NS + 3_000_000}


def test_a_later_turn_that_is_given_the_same_answer_again_decides_nothing() -> None:
    second = trace_of(make_span("t2", at=50, **RAN), make_span("n2", at=60, **is_told(c1="paid")), trace_id=SECOND)
    third = trace_of(make_span("n3", at=90, **is_told(c1="paid")), trace_id=THIRD)
    assert _verdicts(_asked(), second, third) == [("allow", "executed", None)]


def test_what_an_agent_says_it_waits_for_is_asked_at_its_end() -> None:
    agent = make_span("agent", until=9, kind="agent", approvals=[ToolRequest("c1", "pay", None)])
    [asked] = _decisions(trace_of(agent, make_span("chat", "agent", at=1, **asks(("c1", "pay")))))
    assert (asked.verdict, asked.requested_ns, asked.request_step) == (
        "ask",
        NOON_NS + 9_000_000,
        f"{agent.trace_id}-agent",
    )


def test_a_silent_step_is_asked_as_far_as_can_be_supposed() -> None:
    silent: dict[str, Any] = {
        "kind": "tool", "tool_name": "pay", "scope_name": "openinference.instrumentation.openai_agents",
        "arguments": "{}",
    }  # fmt: skip
    [asked] = _decisions(trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("t1", at=2, **silent)))
    assert (asked.verdict, asked.evidence) == ("ask", "inferred")
    assert "without a result" in asked.evidence_rule


def test_an_elicitation_is_a_question_about_the_call_it_came_from() -> None:
    trace = trace_of(
        make_span("sdk", kind="mcp_client", mcp_method="tools/call", tool_name="pay", until=9),
        make_span("server", "sdk", at=1, until=8, kind="mcp_server", mcp_method="tools/call", tool_name="pay"),
        make_span("ask", "server", at=2, until=7, kind="mcp_client", mcp_method="elicitation/create"),
        make_span("asked", "ask", at=3, until=6, kind="mcp_server", mcp_method="elicitation/create"),
    )
    [question] = _decisions(trace)
    assert (question.kind, question.target, question.verdict) == ("elicitation", "pay", "ask")
    assert question.decided_ns - question.requested_ns == 5_000_000


def test_a_guardrail_that_fails_blocks() -> None:
    trace = trace_of(make_span("pii", kind="guardrail"), make_span("spam", at=5, kind="guardrail", outcome="error"))
    assert [(one.target, one.verdict, one.action) for one in _decisions(trace)] == [
        ("pii", "allow", "none"),
        ("spam", "deny", "blocked"),
    ]
    assert (
        len(
            {
                one.decision_id
                for one in _decisions(trace, trace_of(make_span("pii", kind="guardrail"), trace_id=SECOND))
            }
        )
        == 3
    )


def test_calls_that_nobody_was_asked_about_are_no_decisions() -> None:
    assert _decisions(trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("t1", at=2, **RAN))) == []


def test_what_a_guardrail_says_within_a_call_is_its_own_decision_and_not_the_calls() -> None:
    guardrail = make_span("pii", "t1", at=3, kind="guardrail", verdicts=[Verdict(None, "warn", reason="flagged")])
    [flagged] = _decisions(trace_of(make_span("chat", **asks(("c1", "pay"))), make_span("t1", at=2, **RAN), guardrail))
    assert (flagged.kind, flagged.verdict, flagged.action, flagged.reason) == ("guardrail", "warn", "none", "flagged")


def _resumed(*verdicts: Verdict, ran: bool = True, **agent: Any) -> Trace:
    tool = [make_span("t2", "agent", at=52, **RAN)] if ran else []
    agent_step = make_span("agent", at=50, until=60, kind="agent", verdicts=list(verdicts), **agent)
    return trace_of(agent_step, *tool, trace_id=SECOND)


def test_a_verdict_that_was_sent_is_explicit_with_its_reason_and_who_gave_it() -> None:
    [allowed] = _decisions(_asked(), _resumed(Verdict("c1", "allow", reason="fine")))
    assert (allowed.verdict, allowed.action, allowed.reason, allowed.evidence) == (
        "allow",
        "executed",
        "fine",
        "explicit",
    )
    assert (allowed.decided_ns, allowed.wait_ns) == (NOON_NS + 50_000_000, 47_000_000)
    [unseen] = _decisions(_asked(), _resumed(Verdict("c1", "allow"), ran=False))
    assert (unseen.verdict, unseen.action) == ("allow", "none")
    [denied] = _decisions(_asked(), _resumed(Verdict("c1", "deny"), ran=False))
    assert (denied.verdict, denied.action, denied.evidence) == ("deny", "blocked", "explicit")


def test_an_approved_call_that_never_shows_up_is_still_to_be_executed() -> None:
    [call] = CallBook("run").read([_asked(), _resumed(Verdict("c1", "allow"), ran=False)])
    assert (call.outcome, call.unexecuted) == ("requested", True)
    told = trace_of(
        make_span("agent", at=50, until=60, kind="agent", verdicts=[Verdict("c1", "allow")]),
        make_span("next", "agent", at=55, **is_told(c1="paid")),
        trace_id=SECOND,
    )
    [call] = CallBook("run").read([_asked(), told])
    assert (call.outcome, call.unexecuted, call.result) == ("ok", True, "paid")


def test_what_was_answered_without_saying_what_it_means_is_the_reason_of_what_followed() -> None:
    [allowed] = _decisions(_asked(), _resumed(Verdict(None, None, reason='{"decision": "approve"}')))
    assert (allowed.verdict, allowed.evidence, allowed.reason) == ("allow", "inferred", '{"decision": "approve"}')


def _blocked(verdict: Verdict, **tool: Any) -> Trace:
    return trace_of(
        make_span("tool", until=9, kind="tool", tool_name="pay", tool_call_id="c1", **tool),
        make_span("wait", "tool", at=1, until=6, kind="approval_wait", verdicts=[verdict]),
    )


def test_a_step_of_waiting_within_a_calls_step_decides_on_that_call() -> None:
    [allowed] = _decisions(_blocked(Verdict(None, "allow"), result="paid"))
    assert (allowed.kind, allowed.target, allowed.verdict, allowed.action) == (
        "human_approval",
        "pay",
        "allow",
        "executed",
    )
    assert (allowed.requested_ns, allowed.decided_ns) == (NOON_NS + 1_000_000, NOON_NS + 6_000_000)
    trace = _blocked(Verdict(None, "deny"))
    [denied], [call] = _decisions(trace), CallBook("run").read([trace])
    assert (denied.verdict, denied.action, call.outcome, call.executions) == ("deny", "blocked", "denied", [])
    assert call.outcomes() == {f"{trace.trace_id}-tool": "denied"}


def test_a_rule_that_lets_a_call_run_made_nobody_wait() -> None:
    trace = _blocked(Verdict(None, "allow", "permission_rule", "config"), result="ok")
    [decision], [call] = _decisions(trace), CallBook("run").read([trace])
    assert (decision.kind, decision.decided_by_kind, call.wait_ns) == ("permission_rule", "config", None)


def test_a_record_and_a_step_of_one_verdict_are_one_decision() -> None:
    trace = _blocked(Verdict(None, "allow"), result="ok")
    trace.hear(make_event("e1", at=6, verdicts=[Verdict("c1", "allow")]))
    [decision] = _decisions(trace)
    assert (decision.wait_ns, decision.decide_step) == (5_000_000, f"{trace.trace_id}-wait")
    alone = trace_of(make_span("tool", until=9, kind="tool", tool_name="pay", tool_call_id="c1", result="ok"))
    alone.hear(make_event("e1", at=6, verdicts=[Verdict("c1", "allow")]))
    [told] = _decisions(alone)
    assert (told.verdict, told.decided_ns, told.decide_step) == ("allow", NOON_NS + 6_000_000, None)


def test_a_workflow_that_waits_for_word_from_outside_is_a_question_that_is_inferred() -> None:
    [wait] = _decisions(trace_of(make_span("flow", until=9, kind="workflow_engine"),
                                 make_span("recv", "flow", at=1, until=6, kind="approval_wait")))  # fmt: skip
    assert (wait.verdict, wait.action, wait.evidence, wait.wait_ns) == ("ask", "none", "inferred", 5_000_000)


def test_a_guardrail_decides_by_its_name_and_as_it_says() -> None:
    said = make_span("check", kind="guardrail", verdicts=[Verdict(None, "warn", "guardrail", reason="flagged")])
    silent = make_span("filter", at=1, kind="guardrail", outcome="error")
    told = [(one.decided_by, one.verdict, one.reason, one.evidence) for one in _decisions(trace_of(said, silent))]
    assert told == [("check", "warn", "flagged", "explicit"), ("filter", "deny", None, "inferred")]


def test_a_call_waited_as_long_as_somebody_was_asked_while_it_ran() -> None:
    trace = trace_of(
        make_span("sdk", kind="mcp_client", mcp_method="tools/call", tool_name="pay", until=9),
        make_span("ask", "sdk", at=2, until=7, kind="mcp_server", mcp_method="elicitation/create"),
    )
    [call] = (calls := CallBook("run").read([trace]))
    assert call.wait_ns is None
    decisions_of("run", calls, [trace])
    assert call.wait_ns == 5_000_000
