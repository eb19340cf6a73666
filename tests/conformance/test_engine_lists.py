"""Lists are filtered as their filters say and paged without a gap, a repetition or an end too early."""

import pytest

from store.contract import EventFilter, MetricFilter, RunFilter
from store.errors import BadQuery
from tests.conformance.engines import SECOND_NS, flat, pages
from tests.store.spans import spans_body

NOWHERE = [
    "",
    "x",
    "\u00e4",
    "bm90aGluZw",
    "W10",
    "WyJhIiwgMV0",
    "e30",
    "LTE",
    "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2LCAiYSJd",
    "====",
]


def runs(bench, where=None, tenant="a"):
    return bench.reader.runs(tenant, where or RunFilter(), limit=1000, cursor=None).rows


LISTS = {
    "runs": lambda bench, limit, cursor: bench.reader.runs("a", RunFilter(), limit=limit, cursor=cursor),
    "events": lambda bench, limit, cursor: bench.reader.events("a", EventFilter(), limit=limit, cursor=cursor),
    "points": lambda bench, limit, cursor: bench.reader.metric_points("a", MetricFilter(), limit=limit, cursor=cursor),
}


@pytest.mark.parametrize("limit", [7, 100])
@pytest.mark.parametrize("name", LISTS)
def test_following_the_cursors_of_a_list_gives_each_row_once_and_newest_first(full, name, limit):
    every = LISTS[name](full, 1000, None)
    assert every.next_cursor is None
    found = pages(lambda cursor: LISTS[name](full, limit, cursor))
    assert flat(found) == every.rows
    assert all(len(page) == limit for page in found[:-1])
    times = [getattr(row, "started_at" if name == "runs" else "at") or "" for row in every.rows]
    assert times == sorted(times, reverse=True)
    assert len(times) > 50


@pytest.mark.parametrize("cursor", NOWHERE)
@pytest.mark.parametrize("name", LISTS)
def test_a_cursor_that_no_list_gave_is_refused_by_name(full, name, cursor):
    with pytest.raises(BadQuery) as refused:
        LISTS[name](full, 10, cursor)
    assert refused.value.parameter == "cursor"


@pytest.mark.parametrize("cursor", [*NOWHERE, "Wy0xXQ"])
def test_a_cursor_that_no_list_of_steps_gave_is_refused_by_name(full, cursor):
    with pytest.raises(BadQuery) as refused:
        full.reader.steps("a", runs(full)[0].run_id, limit=10, cursor=cursor, inline=False)
    assert refused.value.parameter == "cursor"


def test_runs_that_started_at_the_same_moment_are_all_paged(bench):
    bench.record(*(spans_body({"trace": n, "span": 1, "start": 0, "end": 1, "name": "same"}) for n in range(1, 30)))
    found = pages(lambda cursor: bench.reader.runs("default", RunFilter(), limit=4, cursor=cursor))
    assert sorted(row.trace_ids[0] for row in flat(found)) == [f"{n:02x}" * 16 for n in range(1, 30)]


def test_a_run_that_starts_while_a_list_is_read_moves_no_other(bench):
    bench.record(*(spans_body({"trace": n, "span": 1, "start": n, "end": 99, "name": "x"}) for n in range(1, 7)))
    first = bench.reader.runs("default", RunFilter(), limit=3, cursor=None)
    bench.record(spans_body({"trace": 50, "span": 1, "start": 50, "end": 99, "name": "x"}))
    second = bench.reader.runs("default", RunFilter(), limit=3, cursor=first.next_cursor)
    assert [row.trace_ids[0][:2] for row in first.rows + second.rows] == ["06", "05", "04", "03", "02", "01"]


FIELDS = {
    "agent": lambda row: [row.agent_name],
    "status": lambda row: [row.status],
    "conversation": lambda row: [row.conversation_id],
    "service": lambda row: [row.service_name],
    "tool": lambda row: row.tools,
    "model": lambda row: row.models,
    "trace_id": lambda row: row.trace_ids,
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_filter_finds_the_runs_that_have_its_value_and_no_other(full, name):
    every = runs(full)
    values = sorted({value for row in every for value in FIELDS[name](row) if value})
    assert values
    for value in values[:12]:
        expected = [row for row in every if value in FIELDS[name](row)]
        assert runs(full, RunFilter(**{name: value})) == expected
    assert runs(full, RunFilter(**{name: "nobody's"})) == []


def test_conditions_hold_together(full):
    every = runs(full)
    run = next(row for row in every if row.tools and row.agent_name)
    both = RunFilter(tool=run.tools[0], agent=run.agent_name)
    assert run in runs(full, both)
    assert runs(full, both) == [row for row in every if run.tools[0] in row.tools and row.agent_name == run.agent_name]


def test_a_span_of_time_includes_its_beginning_and_not_its_end(bench):
    bench.record(*(spans_body({"trace": n, "span": 1, "start": n, "end": 99, "name": "x"}) for n in (1, 2, 3)))
    times = {row.trace_ids[0][:2]: row for row in runs(bench, tenant="default")}
    assert len(times) == 3
    noon_ns = 1_780_000_000_000_000_000
    within = RunFilter(since_ns=noon_ns + 2 * SECOND_NS, until_ns=noon_ns + 3 * SECOND_NS)
    assert runs(bench, within, "default") == [times["02"]]
    assert runs(bench, RunFilter(since_ns=noon_ns + 3 * SECOND_NS), "default") == [times["03"]]
    assert runs(bench, RunFilter(until_ns=noon_ns + 2 * SECOND_NS), "default") == [times["01"]]


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "a' OR 1=1 --", "$q", "\x00"])
def test_text_that_means_something_to_a_database_means_itself(bench, text):
    name = f"agent {text} name"
    said = {"gen_ai.operation.name": "invoke_agent"}
    bench.record(
        spans_body({"trace": 1, "span": 1, "start": 1, "end": 2, "name": "a", "gen_ai.agent.name": name, **said}),
        spans_body({"trace": 2, "span": 1, "start": 1, "end": 2, "name": "a", "gen_ai.agent.name": "another", **said}),
    )
    assert [row.agent_name for row in runs(bench, RunFilter(q=text), "default")] == [name]
    assert [row.agent_name for row in runs(bench, RunFilter(agent=name), "default")] == [name]


def test_a_search_finds_words_of_agent_tool_model_and_service_in_any_case(full):
    run = next(row for row in runs(full) if row.tools and row.models and row.agent_name and row.service_name)
    for word in (run.agent_name, run.tools[0], run.models[0], run.service_name, run.run_id):
        assert run in runs(full, RunFilter(q=word.upper()))
    assert runs(full, RunFilter(q="no such word")) == []


def test_a_tenant_lists_its_own_alone(full):
    ours, theirs = runs(full), runs(full, tenant="b")
    assert len(ours) > len(theirs) > 0
    assert not {row.run_id for row in ours} & {row.run_id for row in theirs}
    # Of every trace of a run: one that begins a run for the one goes on with another one for whom more was recorded.
    assert {trace_id for row in theirs for trace_id in row.trace_ids} < {
        trace_id for row in ours for trace_id in row.trace_ids
    }
    assert runs(full, tenant="c") == []


@pytest.mark.parametrize("name", ["trace_id", "span_id", "event_name", "service_name"])
def test_an_event_filter_finds_what_has_its_value_and_no_other(full, name):
    every = full.reader.events("a", EventFilter(), limit=1000, cursor=None).rows
    argument = "service" if name == "service_name" else name
    values = sorted({value for row in every if (value := getattr(row, name))})
    assert values
    for value in values[:8]:
        found = full.reader.events("a", EventFilter(**{argument: value}), limit=1000, cursor=None).rows
        assert found == [row for row in every if getattr(row, name) == value]


@pytest.mark.parametrize("name", ["metric", "service_name"])
def test_a_metric_filter_finds_what_has_its_value_and_no_other(full, name):
    every = full.reader.metric_points("a", MetricFilter(), limit=1000, cursor=None).rows
    argument = "service" if name == "service_name" else name
    values = sorted({value for row in every if (value := getattr(row, name))})
    assert values
    for value in values[:8]:
        found = full.reader.metric_points("a", MetricFilter(**{argument: value}), limit=1000, cursor=None).rows
        assert found == [row for row in every if getattr(row, name) == value]


def test_every_log_record_and_point_of_the_captures_is_listed(full):
    counts = full.reader.status().counts
    events = sum(len(full.reader.events(t, EventFilter(), limit=1000, cursor=None).rows) for t in ("a", "b"))
    points = sum(len(full.reader.metric_points(t, MetricFilter(), limit=1000, cursor=None).rows) for t in ("a", "b"))
    assert (events, points) == (counts["events"], counts["metric_points"])
    assert counts["runs"] == len(runs(full)) + len(runs(full, tenant="b"))
    assert counts["runs"] == sum(n for name, n in counts.items() if name.startswith("runs."))
