"""Telemetry can lie: whatever a span says and however spans hang together, none is lost and nothing breaks."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_bench import TENANT, any_value, key_values, make_span, normalise_one, normalised, request_of, trace_of
from whole import conversation

from store.model.dialect import DIALECTS
from store.model.joining import facts_of, join
from store.model.runs import whole_run
from store.model.span import Span
from store.model.trace import Trace, usage_leaves
from tests.captured import attributes, plain

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | st.text(max_size=20) | st.binary(max_size=5)
    | st.sampled_from(["x" * 600, "[" * 2000, '[{"role":5}]', '{"approvals":[{"args":"{"}]}', "[null]", '["a","b"]'])
    | st.just("9" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KNOWN_KEYS = sorted(
    {key for dialect in DIALECTS.values() for key in (*dialect.columns, *dialect.content)}
    | {
        rule.attribute
        for one in DIALECTS.values()
        for rule in (*one.kinds, *one.outcomes, *one.inside)
        if rule.attribute
    }
    | {key for one in DIALECTS.values() for rule in one.compose for keys in rule.parts.values() for key in keys}
    | {rule.attribute for dialect in DIALECTS.values() if (rule := dialect.approvals) is not None}
)
INDEXED = [
    "llm.input_messages.0.message.role", "llm.input_messages.0.message.content", "llm.input_messages.0.message",
    "llm.input_messages.3.message.contents.0.message_content.type", "llm.input_messages.x", "llm.output_messages.",
    "llm.output_messages.1.message.tool_calls.0.tool_call.function.arguments", "llm.output_messages.1",
    "llm.output_messages.1.message.tool_call_id", "llm.input_messages.3.message.contents.0.message_content",
]  # fmt: skip
SCOPES = sorted(
    {scope.replace("*", "x") for dialect in DIALECTS.values() for scope in dialect.scopes} | {"", "my.agent"}
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(KNOWN_KEYS) | st.sampled_from(INDEXED) | st.text(max_size=8), VALUES, max_size=8
)
UINT64 = st.integers(0, 2**64 - 1)


@settings(max_examples=250)
@given(ATTRIBUTES, st.sampled_from(SCOPES), ATTRIBUTES, st.sampled_from(["exception", "gen_ai.choice", ""]))
def test_no_value_on_a_known_key_breaks_a_span_or_is_lost(
    sent: dict[str, Any], scope: str, event: dict[str, Any], event_name: str
) -> None:
    request = request_of({"attributes": sent, "events": [(event_name, event)]}, scope=scope)
    taken = normalised(request)
    [span] = request.resource_spans[0].scope_spans[0].spans
    assert taken.attributes() == attributes(span.attributes)
    run = _whole(trace_of(taken.span)).run
    assert run.steps == 1
    assert all(message.role for message in conversation([trace_of(taken.span)], taken.texts))


@given(VALUES)
def test_the_bench_and_the_store_agree_on_what_a_value_is(value: Any) -> None:
    [(key, found)] = normalise_one({"k": value}).attributes().items()
    assert (key, found) == ("k", plain(any_value(value)))


def test_a_key_that_is_sent_twice_is_kept_twice() -> None:
    request = request_of({})
    [span] = request.resource_spans[0].scope_spans[0].spans
    for value in ("a", "b", "a"):
        span.attributes.extend(key_values({"k": value, "gen_ai.system": value}))
    taken = normalised(request)
    assert taken.attributes() == {
        "k": "a", "k#2": "b", "k#3": "a", "gen_ai.system": "a", "gen_ai.system#2": "b", "gen_ai.system#3": "a",
    }  # fmt: skip


@pytest.mark.parametrize("value", [["langgraph.errors.GraphInterrupt"], {"a": 1}, 5, True, None])
def test_a_rule_for_an_outcome_is_not_shaken_by_a_value_of_another_type(value: Any) -> None:
    taken = normalise_one({"error.type": value, "gen_ai.operation.name": "execute_tool"})
    assert taken.span.outcome == ("error" if value == 5 else "ok")


def test_an_error_without_a_message_takes_the_exceptions_and_still_says_what_was_sent() -> None:
    events = [("exception", {"exception.type": "Boom", "exception.message": "no money"})]
    taken = normalised(request_of({"status": {"code": 2}, "events": events, "attributes": {"gen_ai.system": "x"}}))
    assert (taken.span.outcome, taken.span.error_type, taken.span.status_message) == ("error", "Boom", "no money")
    assert taken.rows[0][1].extra == '{"status_message":""}'


@settings(max_examples=60)
@given(st.lists(st.tuples(UINT64, UINT64, st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=6))
def test_no_times_and_no_parents_break_a_trace(odd: list[tuple[int, int, int, int]]) -> None:
    """Zero, beyond int64, end before start, a parent that is itself, its child, or nobody; the same span id twice."""
    spans = [
        {"start_time_unix_nano": start, "end_time_unix_nano": end, "span_id": bytes(7) + bytes([span_id + 1]),
         "parent_span_id": bytes(7) + bytes([parent]) if parent else b"",
         "attributes": {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1}}
        for start, end, span_id, parent in odd
    ]  # fmt: skip
    taken = normalised(request_of(*spans))
    trace = Trace(TENANT, taken.spans[0].trace_id)
    for span, (start, end, _, _) in zip(taken.spans, odd, strict=True):
        assert (span.start_ns, span.end_ns) == (start if start < 2**63 else 0, end if end < 2**63 else 0)
        if not trace.knows(span):
            trace.admit(span)
    run = _whole(trace).run
    assert run.steps == len({span_id for _, _, span_id, _ in odd})
    assert run.start_ns >= 0
    assert sorted(span.span_id for span in trace.ordered()) == sorted(trace.spans)


def test_a_time_beyond_int64_is_unset_and_kept_beside() -> None:
    [(span, body)] = normalise_one({}, start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**63).rows
    assert (span.start_ns, span.end_ns, span.outcome) == (0, 0, "running")
    assert body.extra == '{"start_time_unix_nano":18446744073709551615,"end_time_unix_nano":9223372036854775808}'


CYCLE = [make_span("a", "c"), make_span("b", "a"), make_span("c", "b")]


def test_a_cycle_of_parents_is_a_run_without_a_root() -> None:
    trace = trace_of(*CYCLE, make_span("below", "a", input_tokens=5), make_span("self", "self", input_tokens=2))
    assert [span.span_id for span in trace.ordered()] == ["a", "b", "c", "self", "below"]
    assert trace.depths() == {"a": 0, "b": 0, "c": 0, "self": 0, "below": 1}
    run = _whole(trace).run
    assert (run.steps, run.missing_root, run.open_reason, run.input_tokens) == (5, True, "missing_root", 7)


@given(st.permutations([*CYCLE, make_span("below", "a"), make_span("last", "below"), make_span("lone", "nobody")]))
def test_depths_and_order_do_not_depend_on_what_arrived_first(spans: list[Span]) -> None:
    trace = trace_of(*spans)
    assert trace.depths() == {"a": 0, "b": 0, "c": 0, "below": 1, "last": 2, "lone": 0}
    assert [span.span_id for span in trace.ordered()] == ["a", "b", "c", "lone", "below", "last"]
    assert trace.missing_parents() == 1


def _chain(length: int, **given: Any) -> list[Span]:
    return [make_span(f"{n:05d}", f"{n - 1:05d}" if n else None, at=0, **given) for n in range(length)]


def _seconds(trace: Trace) -> float:
    begun = time.process_time()
    whole = _whole(trace)
    list(conversation([trace], {}))
    trace.mcp_servers()
    assert whole.run.steps == len(trace.spans)
    return time.process_time() - begun


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "llm", "input_tokens": 1},
        {"kind": "tool", "tool_name": "t"},
        {"kind": "mcp_client", "mcp_method": "tools/call", "tool_name": "t"},
        {"kind": "mcp_server", "mcp_method": "tools/call", "tool_name": "t"},
    ],
)
def test_a_chain_of_two_thousand_spans_is_worked_out_in_linear_time(given: dict[str, Any]) -> None:
    deep = trace_of(*reversed(_chain(2000, **given)))
    assert [span.span_id for span in deep.ordered()] == [f"{n:05d}" for n in range(2000)]
    assert deep.depths()["01999"] == 1999
    assert len(usage_leaves(deep.spans.values(), deep)) == (1 if "input_tokens" in given else 0)
    _seconds(trace_of(*_chain(200, **given)))
    small = min(_seconds(trace_of(*_chain(500, **given))) for _ in range(3))
    large = min(_seconds(trace_of(*_chain(2000, **given))) for _ in range(3))
    assert large < 10 * small  # Four times the spans: linear is 4, quadratic 16.


def test_a_thousand_siblings_keep_their_order_and_their_usage() -> None:
    children = [make_span(f"{n:04d}", "root", at=n % 7, kind="llm", input_tokens=1) for n in range(1000)]
    trace = trace_of(*children, make_span("root", until=50, kind="agent", input_tokens=1000))
    ordered = trace.ordered()
    assert ordered[0].span_id == "root"
    assert [(span.start_ns, span.span_id) for span in ordered[1:]] == sorted((s.start_ns, s.span_id) for s in children)
    run = _whole(trace).run
    assert (run.steps, run.llm_calls, run.input_tokens, run.missing_parents) == (1001, 1000, 1000, 0)


def _whole(trace: Trace) -> Any:
    [segments] = join([facts_of(trace)])
    return whole_run(segments, {trace.trace_id: trace})
