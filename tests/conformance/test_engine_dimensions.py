"""Evaluations, and agents, tools and prompts as dimensions: attached, filtered, paged, and every change visible."""

import json

import pytest

from store.contract import AgentFilter, EvaluationFilter, PromptFilter, RunFilter, ToolFilter
from store.errors import BadQuery
from store.record import DEFAULT_TENANT
from tests.conformance.engines import SECOND_NS, flat, pages
from tests.store.ledger_bench import NOON_NS
from tests.store.spans import logs_body, spans_body

LISTS = {
    "evaluations": (EvaluationFilter, "evaluation_id", "at"),
    "agents": (AgentFilter, "agent_key", "first_seen_at"),
    "tools": (ToolFilter, "tool_key", "first_seen_at"),
    "prompts": (PromptFilter, "prompt_key", "first_seen_at"),
}
JUDGED = "gen_ai.evaluation.result"
OPENAI = {"gen_ai.system": "openai"}
NAME, SCORE = "gen_ai.evaluation.name", "gen_ai.evaluation.score.value"


def listed(bench, name, tenant=DEFAULT_TENANT, /, **conditions):
    where = LISTS[name][0](**conditions)
    page = getattr(bench.reader, name)(tenant, where, limit=1000, cursor=None)
    assert page.next_cursor is None
    return page.rows


def chat(span, *, start=1, trace=1, agent="helper", tools=(), system=None, **said):
    """A model call of an agent that is offered tools."""
    given = {
        "trace": trace,
        "span": span,
        "start": start,
        "end": start + 1,
        "name": "chat",
        "gen_ai.operation.name": "chat",
    }
    if agent:
        given["gen_ai.agent.name"] = agent
    if tools:
        given["gen_ai.tool.definitions"] = json.dumps(list(tools))
    if system:
        given["gen_ai.system_instructions"] = json.dumps([{"type": "text", "content": one} for one in system])
    return given | said


def tool(name, description="does it"):
    return {"type": "function", "name": name, "description": description}


def at(second):
    return NOON_NS + second * SECOND_NS


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_following_the_cursors_gives_each_row_once_and_the_latest_first(full, name, limit):
    where, key, seen = LISTS[name]
    every = listed(full, name, "a")
    ask = getattr(full.reader, name)
    found = pages(lambda cursor: ask("a", where(), limit=limit, cursor=cursor))
    assert flat(found) == every
    assert all(len(page) == limit for page in found[:-1])
    assert len({getattr(row, key) for row in every}) == len(every) > 3
    times = [getattr(row, seen) or "" for row in every]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WyJhIiwgMV0", "e30", "===="])
@pytest.mark.parametrize("name", LISTS)
def test_a_cursor_that_no_list_gave_is_refused_by_name(full, name, cursor):
    with pytest.raises(BadQuery) as refused:
        getattr(full.reader, name)("a", LISTS[name][0](), limit=10, cursor=cursor)
    assert refused.value.parameter == "cursor"


@pytest.mark.parametrize(
    ("name", "condition", "of"),
    [
        ("evaluations", "name", lambda row: [row.name]), ("evaluations", "evaluator", lambda row: [row.evaluator_name]),
        ("evaluations", "service", lambda row: [row.service_name]), ("evaluations", "trace_id", lambda row: [row.trace_id]),
        ("evaluations", "span_id", lambda row: [row.span_id]), ("evaluations", "run", lambda row: [row.run_id]),
        ("agents", "agent", lambda row: [row.agent_name]), ("agents", "service", lambda row: [row.service_name]),
        ("tools", "tool", lambda row: [row.tool_name]), ("tools", "agent", lambda row: [row.agent_name]),
        ("tools", "service", lambda row: [row.service_name]), ("tools", "mcp_server", lambda row: row.mcp_servers),
        ("prompts", "agent", lambda row: [row.agent_name]), ("prompts", "service", lambda row: [row.service_name]),
        ("prompts", "prompt", lambda row: [row.prompt_name]),
    ],
)  # fmt: skip
def test_a_filter_finds_the_rows_that_have_its_value_and_no_other(full, name, condition, of):
    every = listed(full, name, "a")
    values = sorted({value for row in every for value in of(row) if value})
    assert values or condition == "prompt"  # No capture names a prompt with a text; below one does.
    for value in values[:5]:
        assert listed(full, name, "a", **{condition: value}) == [row for row in every if value in of(row)]
    assert listed(full, name, "a", **{condition: "nobody's"}) == []


@pytest.mark.parametrize("name", LISTS)
def test_a_tenant_lists_its_own_alone(bench, name):
    mine = spans_body(chat(1, tools=[tool("t")], system=["s"]))
    judged = logs_body({"trace": 1, "span": 1, "at": 2, "event_name": JUDGED, NAME: "n"})
    bench.record(mine, judged, tenant="a")
    assert len(listed(bench, name, "a")) == 1
    assert listed(bench, name, "b") == []


def test_a_changed_tool_definition_is_another_row_that_names_the_one_before(bench):
    bench.record(spans_body(chat(1, start=1, tools=[tool("pay", "old"), tool("look")]), service="shop"))
    bench.record(spans_body(chat(2, start=5, tools=[tool("pay", "old"), tool("look")]), service="shop"))
    bench.record(spans_body(chat(3, start=9, tools=[tool("pay", "new"), tool("look")]), service="shop"))
    new, old = listed(bench, "tools", tool="pay")
    assert (old.revision, old.previous_hash, old.description, old.steps) == (1, None, "old", 2)
    assert (new.revision, new.previous_hash, new.description, new.steps) == (2, old.definition_hash, "new", 1)
    assert (new.agent_name, new.service_name, new.definition) == ("helper", "shop", tool("pay", "new"))
    assert bench.reader.content(DEFAULT_TENANT, new.definition_hash).text == json.dumps(tool("pay", "new"))
    [same] = listed(bench, "tools", tool="look")
    assert (same.revision, same.steps) == (1, 3)
    assert same.first_seen_at < old.last_seen_at < same.last_seen_at == new.first_seen_at


@pytest.mark.parametrize(
    ("definition", "description"),
    [
        ({"type": "function", "function": {"name": "pay", "description": "nested"}}, "nested"),
        ({"toolSpec": {"name": "pay", "description": "bedrock"}}, "bedrock"),
        ({"name": "pay"}, None),
        ({"name": "pay", "description": 7}, None),
    ],
)
def test_a_definition_is_named_however_it_is_wrapped(bench, definition, description):
    bench.record(spans_body(chat(1, tools=[definition])))
    [row] = listed(bench, "tools", tool="pay")
    assert (row.definition, row.description) == (definition, description)


def test_a_definition_that_is_no_json_or_has_no_name_is_listed_without_one(bench):
    bench.record(
        spans_body(chat(1, **{"gen_ai.tool.definitions": "[cut in the mid"}), chat(2, start=2, tools=[{"no": "name"}]))
    )
    rows = listed(bench, "tools")
    assert [(row.tool_name, row.definition) for row in rows] == [(None, {"no": "name"}), (None, "[cut in the mid")]


def test_two_agents_with_a_tool_of_one_name_have_no_change_between_them(bench):
    bench.record(
        spans_body(
            chat(1, start=1, agent="a", tools=[tool("pay", "of a")]),
            chat(2, start=2, agent="b", tools=[tool("pay", "of b")]),
        )
    )
    assert [(row.agent_name, row.revision) for row in listed(bench, "tools")] == [("b", 1), ("a", 1)]


def test_a_tool_that_nobody_defined_is_listed_by_its_calls(demo):
    offered = {row.tool_name: row for row in listed(demo, "tools")}
    assert offered["get_order"].mcp_servers == ["fernhill-backoffice-mcp"]
    assert (offered["get_order"].calls, offered["get_order"].tool_sources) == (1, ["mcp"])
    demo.record(
        spans_body(
            {"trace": 9, "span": 1, "start": 1, "end": 2, "name": "run", "gen_ai.operation.name": "execute_tool",
             "gen_ai.tool.name": "undefined", "gen_ai.tool.call.id": "c9"},
        )
    )  # fmt: skip
    [row] = listed(demo, "tools", tool="undefined")
    assert (row.definition_hash, row.definition, row.steps, row.calls, row.revision) == (None, None, 0, 1, 1)


def test_a_changed_system_prompt_is_another_row_that_names_the_one_before(bench):
    bench.record(spans_body(chat(1, start=1, system=["Be brief."])))
    bench.record(spans_body(chat(2, start=2, system=["Be brief."]), chat(3, start=3, system=["Be brief.", "Be kind."])))
    new, old = listed(bench, "prompts")
    assert (old.revision, old.text, old.steps, old.prompt_hash) == (1, "Be brief.", 2, old.content_ids[0])
    assert (new.revision, new.text, new.previous_hash) == (2, "Be brief.\n\nBe kind.", old.prompt_hash)
    assert new.content_ids[0] == old.content_ids[0]
    assert new.prompt_hash not in new.content_ids


def test_a_prompt_may_have_a_name_and_a_version_and_come_as_the_first_message(bench):
    said = {"gen_ai.prompt.name": "greeting", "gen_ai.prompt.version": "3"}
    messages = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}])
    bench.record(spans_body(chat(1, **said, **{"gen_ai.input.messages": messages})))
    [row] = listed(bench, "prompts", prompt="greeting")
    assert (row.prompt_version, row.text) == ("3", "Be brief.")
    assert len(row.content_ids) == 1


def test_a_prompt_of_a_log_record_is_that_of_its_step(bench):
    bench.record(
        spans_body(chat(1, agent="a")),
        logs_body(
            {"trace": 1, "span": 1, "at": 1, "event_name": "gen_ai.system.message", "body": {"content": "Be brief."}}
            | OPENAI
        ),
    )
    [row] = listed(bench, "prompts")
    assert (row.agent_name, row.text, row.steps) == ("a", "Be brief.", 1)


def test_an_agent_is_listed_by_version_and_by_its_own_steps(bench):
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper", "name": "a", "trace": 1}
    bench.record(
        spans_body(
            agent | {"span": 1, "start": 1, "end": 2, "gen_ai.agent.version": "1"}, chat(2, start=1),
            agent | {"span": 3, "start": 5, "end": 6, "gen_ai.agent.version": "2"}, chat(4, start=5, agent="only named"),
        )
    )  # fmt: skip
    rows = listed(bench, "agents")
    assert {(row.agent_name, row.agent_version, row.steps) for row in rows} == {
        ("helper", "1", 1), ("helper", "2", 1), ("only named", None, 1),
    }  # fmt: skip


def test_a_span_that_is_sent_again_is_one_step_of_a_dimension(bench):
    open_one = chat(1, tools=[tool("t")], system=["s"]) | {"end": None}
    bench.record(spans_body(open_one))
    bench.record(spans_body(chat(1, tools=[tool("t")], system=["s"])))
    for name in ("agents", "tools", "prompts"):
        [row] = listed(bench, name)
        assert row.steps == 1


def test_an_evaluation_is_about_the_step_that_its_record_names(bench):
    bench.record(logs_body({"trace": 1, "span": 1, "at": 7, "event_name": JUDGED, NAME: "good", SCORE: 0.5}))
    [early] = listed(bench, "evaluations")
    assert (early.run_id, early.trace_id, early.name, early.score) == (None, "01" * 16, "good", 0.5)
    bench.record(spans_body(chat(1)))
    [row] = listed(bench, "evaluations")
    [run] = bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows
    assert (row.run_id, row.step_id) == (run.run_id, f"{'01' * 16}-{'01' * 8}")
    for name in (run.run_id, run.trace_ids[0]):
        assert listed(bench, "evaluations", run=name) == [row]
    told = [event for event in bench.reader.replay(DEFAULT_TENANT, run.run_id) if event.type == "evaluation"]
    assert [(event.step_id, event.data["name"], event.data["score"]) for event in told] == [(row.step_id, "good", 0.5)]


def test_an_evaluation_that_names_a_response_is_about_the_step_that_gave_it(bench):
    judged = {"trace": 8, "span": 8, "at": 7, "event_name": JUDGED, NAME: "good", "gen_ai.response.id": "resp-1"}
    bench.record(logs_body(judged))
    [row] = listed(bench, "evaluations")
    assert (row.run_id, row.span_id, row.response_id) == (None, "08" * 8, "resp-1")
    bench.record(spans_body(chat(1, **{"gen_ai.response.id": "resp-1"}), chat(2, **{"gen_ai.response.id": "resp-2"})))
    [row] = listed(bench, "evaluations")
    assert (row.step_id, row.response_id) == (f"{'01' * 16}-{'01' * 8}", "resp-1")
    assert row.run_id is not None


def test_an_evaluation_of_neither_step_nor_response_is_listed_all_the_same(bench):
    bench.record(logs_body({"at": 7, "event_name": JUDGED, NAME: "good"}))
    [row] = listed(bench, "evaluations")
    assert (row.run_id, row.step_id, row.trace_id, row.response_id) == (None, None, None, None)


def test_the_same_record_sent_twice_is_one_evaluation(bench):
    body = logs_body({"trace": 1, "span": 1, "at": 7, "event_name": JUDGED, NAME: "good"})
    bench.record(body)
    bench.record(body)
    assert len(listed(bench, "evaluations")) == 1


def test_a_spans_own_evaluations_are_those_of_its_current_version(bench):
    said = {"openinference.span.kind": "LLM", "evaluations.0.evaluation.name": "tone"}
    first = {
        "trace": 1,
        "span": 1,
        "start": 1,
        "end": None,
        "name": "x",
        "evaluations.0.evaluation.label": "rude",
        **said,
    }
    last = {"trace": 1, "span": 1, "start": 1, "end": 3, "name": "x", "evaluations.0.evaluation.label": "kind", **said}
    bench.record(spans_body(last))
    bench.record(spans_body(first))
    bench.record(spans_body(last))
    assert [row.label for row in listed(bench, "evaluations")] == ["kind"]


def test_a_span_of_time_includes_its_beginning_and_not_its_end(bench):
    bench.record(*(logs_body({"at": n, "event_name": JUDGED, NAME: f"n{n}"}) for n in (1, 2, 3)))
    assert [row.name for row in listed(bench, "evaluations", since_ns=at(2), until_ns=at(3))] == ["n2"]


def test_runs_are_found_by_their_user(bench):
    bench.record(*(spans_body(chat(1, trace=n, **{"user.id": f"u-{n}"})) for n in (1, 2)))
    page = bench.reader.runs(DEFAULT_TENANT, RunFilter(user="u-2"), limit=10, cursor=None)
    assert [(row.user_id, row.trace_ids[0][:2]) for row in page.rows] == [("u-2", "02")]
