"""What the view says depends on what was recorded: not on batches, restarts, repetitions or the order of arrival."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.ledger_bench import (
    NOON_NS,
    SECOND_NS,
    View,
    batches,
    captures,
    digests_of,
    draft_of,
    every_body,
    frames_of,
    split,
)
from tests.store.spans import ASKED, spans_body

NAMES = sorted(captures())
# Of each signal and of several shapes: few spans, many bodies, two processes, logs that come before their spans.
SMALL = ["mcp-2.3-openinference", "openai-genai-1.3b0-eventonly", "pydantic-ai-2.68-v5", "spanledger-demo"]
# In which one run is several traces, each joined by another rule, or records say what spans do not.
JOINED = [
    "agent-framework-1.23", "claude-agent-sdk-0.2.184", "dbos-3.4", "google-adk-2.13", "langgraph-openinference-0.1.80",
    "openai-agents-traceloop-0.62", "strands-1.62-default", "vercel-ai-7-legacy",
]  # fmt: skip
# Which frame said it is the one thing that the order of arrival may change.
OF_ARRIVAL = {
    "runs": ("first_sequence", "last_sequence", "last_received_ns", "segments"),
    "segments": ("first_sequence", "last_sequence"),
    "tool_calls": (),
    "decisions": (),
}


def shape_of(frames, sizes=()) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables that are worked out, without what the order of arrival may change."""
    view = View()
    try:
        for batch in batches(frames, sizes):
            view.project(batch)
        return {table: view.rows(table, without=columns) for table, columns in OF_ARRIVAL.items()}
    finally:
        view.close()


@settings(max_examples=12, deadline=None)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(1, 6), max_size=20),
    restarts=st.booleans(),
    tenants=st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3),
)
def test_batches_of_any_size_and_restarts_between_them_give_the_same_digests(names, sizes, restarts, tenants):
    bodies = every_body(names)
    frames = frames_of(draft_of(body, tenants[i % len(tenants)]) for i, body in enumerate(bodies))
    assert digests_of(frames, sizes, restarts=restarts) == digests_of(frames)


@pytest.mark.parametrize("restarts", [False, True], ids=["one process", "a restart between"])
@pytest.mark.parametrize("batch", ["one batch", "two batches"])
def test_a_body_sent_twice_changes_nothing(batch, restarts):
    drafts = [draft_of(body) for body in every_body()]
    once = frames_of(drafts)
    twice = frames_of(drafts * 2)
    sizes = [len(once)] if batch == "two batches" else []
    assert digests_of(twice, sizes, restarts=restarts) == digests_of(once)


def test_a_body_sent_twice_by_two_tenants_is_two_records():
    view = View()
    drafts = [draft_of(body, tenant) for tenant in ("a", "b") for body in captures()["spanledger-demo"]]
    view.project(frames_of(drafts))
    alone = View()
    alone.project(frames_of(drafts[: len(drafts) // 2]))
    for table in ("runs", "segments", "step_versions", "tool_calls", "decisions", "contents", "metric_points"):
        assert view.count(table) == 2 * alone.count(table) > 0, table
    view.close()
    alone.close()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_order_in_which_bodies_or_single_records_come_changes_no_run(data):
    bodies = captures()[data.draw(st.sampled_from(SMALL + JOINED))]
    expected = shape_of(frames_of(draft_of(body) for body in bodies))
    apart = data.draw(st.booleans())
    records = [one for body in bodies for one in (split(body) if apart else [body])]
    arrived = data.draw(st.permutations(records))
    sizes = data.draw(st.lists(st.integers(1, 5), max_size=10))
    assert shape_of(frames_of(draft_of(body) for body in arrived), sizes) == expected


# One span as it was sent four times: still open, ended, ended later, and ended at the same time with another name.
VERSIONS = [
    spans_body({"trace": 1, "span": 1, "start": 0, "name": "open"}),
    spans_body({"trace": 1, "span": 1, "start": 0, "end": 5, "name": "ended"}),
    spans_body({"trace": 1, "span": 1, "start": 0, "end": 9, "name": "ended later"}),
    spans_body({"trace": 1, "span": 1, "start": 0, "end": 9, "name": "ended later, too"}),
]


@pytest.mark.parametrize("how", ["one batch", "batch by batch", "a restart before each"])
def test_of_a_spans_versions_the_same_one_is_current_in_any_order(how):
    found: set[tuple[str, str]] = set()
    orders = list(permutations(VERSIONS))
    for arrived in orders if how == "one batch" else orders[::3]:
        view = View()
        frames = frames_of(draft_of(body) for body in (*arrived, *arrived))
        for batch in batches(frames, () if how == "one batch" else (1,) * 8):
            view.project(batch)
            if how == "a restart before each":
                view.restart()
        versions = view.engine.rows("SELECT revision, name FROM step_versions ORDER BY sequence")
        assert [row["revision"] for row in versions] == [1, 2, 3, 4]
        current = view.engine.rows("SELECT name, digest FROM current_steps")
        assert len(current) == 1
        found.add((current[0]["name"], current[0]["digest"]))
        assert view.engine.rows("SELECT steps, end_ns FROM runs") == [{"steps": 1, "end_ns": NOON_NS + 9 * SECOND_NS}]
        view.close()
    digests = [draft_of(body).leaves[0].hex() for body in VERSIONS]
    assert [digest for _, digest in found] == [max(digests[2:])]


def test_a_changed_span_is_a_second_revision_and_counted_once():
    view = View()
    first, second = frames_of(draft_of(body) for body in VERSIONS[:2])
    view.project([first])
    view.restart()
    view.project([second])
    assert view.engine.rows("SELECT name, revision FROM current_steps") == [{"name": "ended", "revision": 2}]
    assert view.rows("superseded", without=("tenant", "trace_id")) == [
        {"span_id": "01" * 8, "revision": 1, "sequence": second.sequence}
    ]
    assert view.engine.rows("SELECT steps, status, open_reason FROM runs") == [
        {"steps": 1, "status": "ok", "open_reason": None}
    ]
    view.close()


CONTINUED = [
    spans_body({
        "trace": 1, "span": 1, "start": 1, "end": 9, "name": "chat", "gen_ai.operation.name": "chat",
        "gen_ai.conversation.id": "C1", "gen_ai.output.messages": ASKED,
    }),
    spans_body({
        "trace": 2, "span": 2, "parent": 3, "start": 20, "end": 30, "name": "execute_tool deploy",
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "deploy", "gen_ai.tool.call.id": "c1",
        "gen_ai.conversation.id": "C1",
    }),
]  # fmt: skip


def test_two_traces_of_a_conversation_become_one_run_in_any_order():
    expected = shape_of(frames_of(draft_of(body) for body in CONTINUED))
    assert [row["trace_ids"] for row in expected["runs"]] == [["01" * 16, "02" * 16]]
    for arrived in permutations(CONTINUED):
        assert shape_of(frames_of(draft_of(body) for body in arrived), (1, 1)) == expected


ROOT_OF_ANOTHER = spans_body({
    "trace": 2, "span": 3, "start": 15, "end": 40, "name": "invoke_agent", "gen_ai.operation.name": "invoke_agent",
    "gen_ai.conversation.id": "C2",
})  # fmt: skip
WITHOUT_CONVERSATION = spans_body({
    "trace": 2, "span": 2, "parent": 3, "start": 20, "end": 31, "name": "execute_tool deploy",
    "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "deploy", "gen_ai.tool.call.id": "c1",
})  # fmt: skip
ASKED_AGAIN = spans_body({
    "trace": 3, "span": 4, "start": 11, "end": 12, "name": "chat", "gen_ai.operation.name": "chat",
    "gen_ai.conversation.id": "C1", "gen_ai.output.messages": ASKED,
})  # fmt: skip


@pytest.mark.parametrize(
    ("late", "runs"),
    [
        (ROOT_OF_ANOTHER, [["01" * 16], ["02" * 16]]),
        (WITHOUT_CONVERSATION, [["01" * 16], ["02" * 16]]),
        (ASKED_AGAIN, [["01" * 16], ["03" * 16, "02" * 16]]),
    ],
    ids=["its root names another conversation", "a revision names none", "another trace asked last"],
)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1), (1, 2)])
def test_a_trace_that_leaves_a_run_leaves_it_whole_and_is_in_one_run_only(late, runs, sizes):
    drafts = [draft_of(body) for body in (*CONTINUED, late)]
    expected = shape_of(frames_of(drafts))
    assert sorted(row["trace_ids"] for row in expected["runs"]) == runs
    for arrived in permutations(drafts):
        assert shape_of(frames_of(arrived), sizes) == expected
