"""Which traces are one run, what a run's status and tokens are, and that nothing of it depends on the order of arrival."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_bench import NOON_NS, asks, is_told, make_span, trace_of

from store.model.dialect import UNKNOWN, dialect_of_scope
from store.model.ids import segment_id
from store.model.joining import RULE_NAMES, Rule, SegmentFacts, facts_of, join, rule_of, tie
from store.model.runs import CLOCK_SKEW_NS, IDLE_NS, status_at, whole_run
from store.model.span import Span
from store.model.trace import Trace, usage_leaves

FIRST, SECOND, THIRD = "a" * 32, "b" * 32, "c" * 32


def _facts(
    trace_id: str,
    start: int,
    *,
    shared: str = "",
    pending: str = "",
    handled: str = "",
    rule: Rule = Rule.CONVERSATION_CALL,
    by: Rule = Rule.RUN,
) -> SegmentFacts:
    """A segment with ties of a rule for each name: `shared` by another rule."""
    shares, leaves, takes = (
        frozenset(tie(made_by, "acme", name) for name in names.split())
        for made_by, names in ((by, shared), (rule, pending), (rule, handled))
    )
    return SegmentFacts(
        "acme", trace_id, segment_id("acme", trace_id), "conv", start, 1, 1, shares, leaves, takes
    )  # fmt: skip


def _run(*traces: Trace) -> Any:
    by_id = {trace.trace_id: trace for trace in traces}
    [segments] = join([facts_of(trace) for trace in traces])
    return whole_run(segments, by_id).run


def test_a_trace_that_takes_up_a_pending_call_of_its_conversation_continues_that_run() -> None:
    [run] = join([_facts(FIRST, 1, pending="c1 c2"), _facts(SECOND, 2, handled="c2")])
    assert [(one.segment_no, one.continues, one.rule) for one in run] == [
        (1, None, None),
        (2, run[0].facts.segment_id, "conversation id and a pending tool call id"),
    ]
    assert {one.run_id for one in run} == {run[0].facts.segment_id}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pending": "c1"}, {"handled": "c2"}),
        ({"pending": "c1"}, {}),
        ({}, {"handled": "c1"}),
        ({"pending": "c1"}, {"handled": "c1", "rule": Rule.CALL}),
        ({"shared": "r1"}, {"shared": "r2"}),
        ({"shared": "r1"}, {"shared": "r1", "by": Rule.WORKFLOW}),
    ],
)
def test_what_does_not_meet_by_one_rule_joins_nothing(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert len(join([_facts(FIRST, 1, **first), _facts(SECOND, 2, **second)])) == 2


def test_what_was_pending_later_does_not_explain_what_was_handled_before() -> None:
    assert len(join([_facts(FIRST, 2, pending="c1"), _facts(SECOND, 1, handled="c1")])) == 2


def test_of_two_that_left_the_same_call_open_the_later_one_is_continued() -> None:
    runs = join([_facts(FIRST, 1, pending="c1"), _facts(SECOND, 2, pending="c1"), _facts(THIRD, 3, handled="c1")])
    assert [[one.facts.trace_id for one in run] for run in runs] == [[FIRST], [SECOND, THIRD]]


def test_a_chain_of_continuations_is_one_run_named_by_its_first_segment() -> None:
    chain = [
        _facts(FIRST, 1, pending="c1"),
        _facts(SECOND, 2, handled="c1", pending="c2"),
        _facts(THIRD, 3, handled="c2"),
    ]
    for order in permutations(chain):
        [run] = join(list(order))
        assert [one.facts.trace_id for one in run] == [FIRST, SECOND, THIRD]
        assert run[2].continues == run[1].facts.segment_id
        assert {one.run_id for one in run} == {segment_id("acme", FIRST)}


SEGMENTS = st.lists(
    st.builds(
        lambda n, start, shared, pending, handled, rule, by: _facts(
            f"{n:032x}", start, shared=" ".join(shared), pending=" ".join(pending), handled=" ".join(handled),
            rule=rule, by=by,
        ),
        st.integers(1, 50), st.integers(0, 5), st.sets(st.sampled_from("rs"), max_size=1), st.sets(st.sampled_from("xyz")),
        st.sets(st.sampled_from("xyz")), st.sampled_from((Rule.CONVERSATION_CALL, Rule.RESPONSE_CALL, Rule.CALL)),
        st.sampled_from((Rule.RUN, Rule.WORKFLOW)),
    ),
    max_size=7, unique_by=lambda facts: facts.trace_id,
)  # fmt: skip


@given(SEGMENTS, st.randoms())
def test_the_order_of_arrival_changes_no_run_and_every_segment_is_in_exactly_one(
    segments: list[SegmentFacts], random: Any
) -> None:
    shuffled = segments[:]
    random.shuffle(shuffled)
    runs = join(segments)
    assert sorted(map(repr, runs)) == sorted(map(repr, join(shuffled)))
    assert sorted(one.facts.trace_id for run in runs for one in run) == sorted(one.trace_id for one in segments)
    for run in runs:
        assert run[0].run_id == run[0].facts.segment_id
        assert [one.segment_no for one in run] == list(range(1, len(run) + 1))


@given(SEGMENTS)
def test_what_shares_no_tie_with_a_run_changes_nothing_of_it(segments: list[SegmentFacts]) -> None:
    """A projection looks up what shares ties, and what shares ties with that: the rest may stay in the view."""
    whole = {run[0].run_id: run for run in join(segments)}
    for start in segments:
        reached, ties = {start.trace_id: start}, start.ties
        while more := [one for one in segments if one.ties & ties and one.trace_id not in reached]:
            reached |= {one.trace_id: one for one in more}
            ties = ties.union(*(one.ties for one in more))
        for run in join(reached.values()):
            assert run == whole[run[0].run_id]


def test_segments_that_share_an_id_are_one_run_whatever_lies_between() -> None:
    first, between, last = (
        _facts(FIRST, 1, shared="wf"), _facts(SECOND, 2, shared="other"), _facts(THIRD, 3, shared="wf")
    )  # fmt: skip
    runs = join([last, between, first])
    assert [[one.facts.trace_id for one in run] for run in runs] == [[FIRST, THIRD], [SECOND]]
    assert [(one.continues, one.rule) for one in runs[0]] == [
        (None, None),
        (first.segment_id, RULE_NAMES[Rule.RUN]),
    ]


def test_a_call_alone_joins_only_where_one_run_can_have_left_it() -> None:
    left = [_facts(FIRST, 1, pending="c1", rule=Rule.CALL), _facts(SECOND, 2, pending="c1", rule=Rule.CALL)]
    taken = _facts(THIRD, 3, handled="c1", rule=Rule.CALL)
    assert len(join([left[0], taken])) == 1
    assert len(join([*left, taken])) == 3
    # One that took it up, and left it open once more, is the same run: there is but one.
    again = _facts(SECOND, 2, pending="c1", handled="c1", rule=Rule.CALL)
    [run] = join([left[0], again, taken])
    assert [one.continues for one in run] == [None, left[0].segment_id, again.segment_id]


def _asked(trace_id: str = FIRST, call_id: str = "c1", arguments: str | None = "args", **agent: Any) -> Trace:
    return trace_of(
        make_span("agent", until=9, kind="agent", agent_name="biller", **agent),
        make_span("chat", "agent", at=1, response_id="r1", **asks((call_id, "pay"), arguments=arguments)),
        trace_id=trace_id,
    )


def _resumed(call_id: str = "c1", arguments: str | None = "args", **agent: Any) -> Trace:
    named = {"kind": "agent", "agent_name": "biller"} | agent
    return trace_of(
        make_span("agent", at=50, until=60, **named),
        make_span(
            "t1", "agent", at=51, kind="tool", tool_name="pay", tool_call_id=call_id, arguments=arguments,
            service_name=agent.get("service_name", "bench"),
        ),
        trace_id=SECOND,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "resumed", "rule"),
    [
        ({"conversation_id": "v"}, {"conversation_id": "v"}, Rule.CONVERSATION_CALL),
        ({"workflow_id": "w"}, {"workflow_id": "w", "call_id": "c2"}, Rule.WORKFLOW),
        ({"agent_run_id": "r"}, {"agent_run_id": "r", "call_id": "c2"}, Rule.RUN),
        ({}, {"previous_response_id": "r1"}, Rule.RESPONSE_CALL),
        ({}, {}, Rule.CALL),
        ({"arguments": None}, {}, Rule.CALL),
        ({}, {"arguments": None}, Rule.CALL),
        ({}, {"call_id": "c2"}, None),
        ({}, {"arguments": "others"}, None),
        ({}, {"agent_name": "helper"}, None),
        ({}, {"service_name": "elsewhere"}, None),
        ({"conversation_id": "v"}, {}, None),
        ({"conversation_id": "v"}, {"conversation_id": "w"}, None),
        ({"workflow_id": "w", "call_id": "c2"}, {"agent_run_id": "w"}, None),
    ],
)
def test_what_a_resumed_trace_says_again_joins_it_by_the_rule_that_is_named(
    asked: dict[str, Any], resumed: dict[str, Any], rule: Rule | None
) -> None:
    facts = [facts_of(_asked(**asked)), facts_of(_resumed(**resumed))]
    for order in permutations(facts):
        runs = join(order)
        assert len(runs) == (1 if rule is not None else 2)
        assert [one.rule for one in runs[0][1:]] == ([RULE_NAMES[rule]] if rule is not None else [])


def test_a_tie_knows_its_rule_and_is_of_one_tenant() -> None:
    for rule in Rule:
        assert rule_of(tie(rule, "acme", "x")) is rule
        assert 0 <= tie(rule, "acme", "x") < 2**63
        assert tie(rule, "acme", "x") != tie(rule, "other", "x") != tie(rule, "other", "", "x")


def test_where_a_resume_keeps_the_run_id_a_call_id_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = replace(dialect_of_scope("pydantic-ai") or UNKNOWN, resumes_keep_run_id=True)
    monkeypatch.setattr("store.model.joining.dialect_of_scope", lambda _scope: keeping)
    first, second = {"conversation_id": "v", "agent_run_id": "a"}, {"conversation_id": "v", "agent_run_id": "b"}
    assert len(join([facts_of(_asked(**first)), facts_of(_resumed(**second))])) == 2
    assert len(join([facts_of(_asked(**first)), facts_of(_resumed(**first))])) == 1


def test_a_run_that_asked_and_went_on_has_the_status_of_its_last_segment() -> None:
    agent = {"kind": "agent", "conversation_id": "conv"}
    asked = trace_of(
        make_span("agent", until=9, **agent),
        make_span("chat", "agent", at=1, **asks(("c1", "pay"))),
        make_span("t1", "agent", at=3, kind="tool", tool_name="pay", tool_call_id="c1", outcome="interrupted"),
        trace_id=FIRST,
    )
    alone = _run(asked)
    assert (alone.status, alone.outcome_reason) == ("interrupted", "waits for approval of pay")
    went_on = trace_of(
        make_span("agent", at=50, until=60, **agent),
        make_span("next", "agent", at=52, **is_told(c1="no")),
        trace_id=SECOND,
    )
    joined = _run(asked, went_on)
    assert (joined.status, joined.steps, joined.trace_ids) == ("ok", 5, [FIRST, SECOND])
    assert [segment["status"] for segment in joined.segments] == ["interrupted", "ok"]
    assert joined.run_id == alone.run_id


def test_a_failed_root_or_a_failed_agent_below_a_root_that_is_ok_fails_the_run() -> None:
    root = make_span(
        "root", until=9, kind="agent", outcome="error", status_message="boom\nTraceback (most recent call last)\n x"
    )
    assert (_run(trace_of(root)).status, _run(trace_of(root)).outcome_reason) == ("error", "boom")
    hidden = trace_of(
        make_span("root", until=9, kind="workflow"),
        make_span("agent", "root", at=1, kind="agent", agent_name="a", outcome="error", error_type="RateLimit"),
    )
    assert (_run(hidden).status, _run(hidden).outcome_reason) == ("error", "RateLimit")


def test_an_agent_that_recovered_from_another_ones_failure_is_ok() -> None:
    handed_over = trace_of(
        make_span("root", until=9, kind="workflow"),
        make_span("first", "root", at=1, kind="agent", agent_name="a", outcome="error"),
        make_span("second", "root", at=3, kind="agent", agent_name="b"),
    )
    as_a_tool = trace_of(
        make_span("boss", until=9, kind="agent", agent_name="a"),
        make_span("worker", "boss", at=1, kind="agent", agent_name="b", outcome="error"),
    )
    assert [_run(handed_over).status, _run(as_a_tool).status] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("open_reason", "silent_ns", "status"),
    [
        (None, 10 * IDLE_NS, "interrupted"),
        ("unended", 0, "running"),
        ("unended", IDLE_NS - 1, "running"),
        ("unended", IDLE_NS, "abandoned"),
        ("missing_root", IDLE_NS - 1, "running"),
        ("missing_root", IDLE_NS, "incomplete"),
    ],
)
def test_an_unended_run_is_running_until_it_has_been_silent_for_too_long(
    open_reason: str | None, silent_ns: int, status: str
) -> None:
    assert status_at("interrupted", open_reason, NOON_NS, NOON_NS, now_ns=NOON_NS + silent_ns) == status


def test_an_old_run_that_is_imported_now_is_not_running() -> None:
    long_ago = NOON_NS - 10 * CLOCK_SKEW_NS
    assert status_at("ok", "unended", long_ago, NOON_NS, now_ns=NOON_NS) == "abandoned"
    # A sender whose clock is behind by less than the skew is not taken for old.
    assert status_at("ok", "unended", NOON_NS - CLOCK_SKEW_NS // 2, NOON_NS, now_ns=NOON_NS + 1) == "running"
    # And one whose clock is ahead is as alive as its last word was received.
    assert status_at("ok", "unended", NOON_NS + 10 * CLOCK_SKEW_NS, NOON_NS, now_ns=NOON_NS + IDLE_NS) == "abandoned"


def _leaves(*spans: Span) -> list[str]:
    trace = trace_of(*spans)
    return sorted(leaf.span_id for leaf in usage_leaves(trace.spans.values(), trace))


def test_only_steps_without_usage_below_them_count() -> None:
    assert _leaves(
        make_span("agent", input_tokens=30, output_tokens=3),
        make_span("turn", "agent", input_tokens=30),
        make_span("chat1", "turn", input_tokens=10, output_tokens=1),
        make_span("tool", "turn"),
        make_span("chat2", "tool", input_tokens=20, output_tokens=2),
    ) == ["chat1", "chat2"]


def test_a_zero_is_usage_and_silence_is_not() -> None:
    assert _leaves(make_span("agent", input_tokens=5), make_span("chat", "agent", input_tokens=0)) == ["chat"]
    assert _leaves(make_span("agent", input_tokens=5), make_span("chat", "agent")) == ["agent"]


def test_a_total_is_of_leaves_and_none_where_no_leaf_said_it() -> None:
    run = _run(
        trace_of(
            make_span("agent", kind="agent", input_tokens=30, output_tokens=9, cache_read_tokens=9),
            make_span("chat1", "agent", kind="llm", input_tokens=10, reasoning_tokens=0, cost_usd=0.5),
            make_span("chat2", "agent", kind="llm", input_tokens=20, output_tokens=2),
        )
    )
    found = (run.input_tokens, run.output_tokens, run.cache_read_tokens, run.reasoning_tokens, run.cost_usd)
    assert found == (30, 2, None, 0, 0.5)


def test_a_version_that_is_better_replaces_the_current_one_in_any_order() -> None:
    versions = [
        make_span("chat", until=0, digest="unended", outcome="running"),
        make_span("chat", until=5, digest="ended"),
        make_span("chat", until=7, digest="ended later"),
        make_span("chat", until=7, digest="ended later, too"),
    ]
    versions[0].end_ns = 0
    for order in permutations(versions):
        trace = Trace("acme", FIRST)
        out = [trace.admit(span) for span in order]
        assert trace.spans["chat"].digest == "ended later, too"
        assert sum(one is None for one in out) == 1
        assert trace.versions["chat"] == [span.digest for span in order]
        assert all(trace.knows(span) for span in versions)
