"""What statements in SQL read is what the API shows: view by view, column by column, over every capture."""

import json
from typing import Any

import msgspec
import pytest

from store.contract import EvaluationFilter, EventFilter, MetricFilter, RunFilter
from store.model.messages import parsed
from store.questions import Condition, ResultForm, Source, SqlFailed, SqlNotAllowed, SqlQuestion
from tests.conformance.engines import EngineBench, flat, pages

EVERYTHING = 100_000
FUNCTIONS = frozenset({"count", "count_star", "sum", "list", "repeat", "range", "version"})


def ask(
    bench: EngineBench,
    text: str,
    *sources: Source,
    tenant: str = "a",
    form: ResultForm = ResultForm.JSON,
    rows_max: int = EVERYTHING,
) -> Any:
    question = SqlQuestion(text=text, sources=sources, functions=FUNCTIONS, form=form, rows_max=rows_max)
    return bench.reader.ask(tenant, question).answer()


def rows(bench: EngineBench, view: str, columns: list[str] | None = None, tenant: str = "a", **given: Any) -> Any:
    """Every row of a view, by name."""
    names = tuple(columns or [column.name for column in bench.reader.sql_views()[view].columns])
    source = Source(name="s", view=view, columns=names, **given)
    return json.loads(ask(bench, 'SELECT * FROM "s"', source, tenant=tenant).body)["rows"]


def plain(row: Any) -> dict[str, Any]:
    return msgspec.to_builtins(row)


def all_runs(bench: EngineBench) -> list[dict[str, Any]]:
    return [
        plain(row) for row in flat(pages(lambda cursor: bench.reader.runs("a", RunFilter(), limit=1000, cursor=cursor)))
    ]


def differences(found: list[dict[str, Any]], expected: list[dict[str, Any]], *key: str) -> list[Any]:
    """Where rows differ in the columns that both have."""
    by_key = {tuple(row[name] for name in key): row for row in expected}
    assert len(by_key) == len(expected), "the key is none"
    assert {tuple(row[name] for name in key) for row in found} == set(by_key)
    assert len(found) == len(by_key)
    wrong: list[Any] = []
    for row in found:
        other = by_key[tuple(row[name] for name in key)]
        wrong += [
            (row[key[0]], name, row[name], other[name])
            for name in row.keys() & other.keys()
            if row[name] != other[name]
        ]
    return wrong


def test_runs(full: EngineBench) -> None:
    expected = [row | row["completeness"] | {"completeness": row["completeness"]["state"]} for row in all_runs(full)]
    found = rows(full, "runs")
    for row in found:
        row["metadata"] = json.loads(row["metadata"] or "{}")
    assert differences(found, expected, "run_id") == []
    assert set(expected[0]) - set(found[0]) == {"segments", "state", "current_step"}


def test_segments(full: EngineBench) -> None:
    expected = [segment | {"run_id": run["run_id"]} for run in all_runs(full) for segment in run["segments"]]
    found = rows(full, "segments")
    assert differences(found, expected, "segment_id") == []
    assert set(expected[0]) == set(found[0])


# Of which log records say something, too; the documentation says so.
OF_RECORDS = {"finish_reason", "reasoning", "truncated", "redacted", "cost_usd", "cost_source"}


def test_steps(full: EngineBench) -> None:
    expected = [
        plain(step)
        for run in all_runs(full)
        for step in full.reader.steps("a", run["run_id"], limit=1000, cursor=None, inline=False).rows
    ]
    found = rows(full, "steps")
    wrong = [one for one in differences(found, expected, "step_id") if one[1] not in OF_RECORDS]
    assert wrong == []
    assert set(expected[0]) - set(found[0]) == {"content", "conversation_id_source", "position"}
    for row, other in zip(
        sorted(found, key=lambda row: row["step_id"]), sorted(expected, key=lambda row: row["step_id"]), strict=True
    ):
        if row["input_message_ids"]:
            assert row["input_message_ids"] == other["content"]["input_messages"]


def test_tool_calls(full: EngineBench) -> None:
    expected = [
        plain(call) | {"run_id": run["run_id"], "call_no": number}
        for run in all_runs(full)
        for number, call in enumerate(full.reader.tool_calls("a", run["run_id"]))
    ]
    found = rows(full, "tool_calls")
    for row in found:
        for name in ("arguments", "result"):
            row[name] = parsed(row[name])
    assert differences(found, expected, "tool_call_key") == []
    assert set(expected[0]) <= set(found[0])


def test_decisions(full: EngineBench) -> None:
    expected = [
        plain(one) | {"run_id": run["run_id"], "decision_no": number}
        for run in all_runs(full)
        for number, one in enumerate(full.reader.decisions("a", run["run_id"]))
    ]
    found = rows(full, "decisions")
    assert differences(found, expected, "decision_id") == []
    assert set(expected[0]) == set(found[0])


def test_contents(full: EngineBench) -> None:
    found = rows(full, "contents")
    expected = [plain(full.reader.content("a", row["content_id"])) for row in found]
    assert differences(found, expected, "content_id") == []
    assert len(found) > 500


def test_events(full: EngineBench) -> None:
    expected = [
        plain(row)
        for row in flat(pages(lambda cursor: full.reader.events("a", EventFilter(), limit=1000, cursor=cursor)))
    ]
    found = rows(full, "events")
    for row in found:
        row.pop("attributes")  # Without what is content.
        row["body"] = None if row["body"] is None else json.loads(row["body"])
    by_id = {row["event_id"]: row for row in expected}
    for row in found:
        if row["body"] is None:
            row["body"] = by_id[row["event_id"]]["body"]  # It is content.
    assert differences(found, expected, "event_id") == []


def test_evaluations(full: EngineBench) -> None:
    expected = [
        plain(row)
        for row in flat(
            pages(lambda cursor: full.reader.evaluations("a", EvaluationFilter(), limit=1000, cursor=cursor))
        )
    ]
    found = rows(full, "evaluations")
    assert differences(found, expected, "evaluation_id") == []
    assert set(expected[0]) - set(found[0]) == {"position"}


def test_metric_points(full: EngineBench) -> None:
    expected = [
        plain(row)
        for row in flat(pages(lambda cursor: full.reader.metric_points("a", MetricFilter(), limit=1000, cursor=cursor)))
    ]
    found = rows(full, "metric_points")
    for row in found:
        row["attributes"], row["detail"] = json.loads(row["attributes"]), json.loads(row["detail"])
    key = ["metric", "at", "attributes", "service_name"]

    def placed(row: dict[str, Any]) -> str:
        return json.dumps([row[name] for name in key] + [row["count"], row["value"]], sort_keys=True)

    assert len(found) == len(expected)
    for row, other in zip(sorted(found, key=placed), sorted(expected, key=placed), strict=True):
        assert {name: row[name] for name in row} == {name: other[name] for name in row}


def test_messages_are_those_of_the_conversation_each_text_once(full: EngineBench) -> None:
    """The API tells some more than once, and knows others again; so it is the texts that are compared, run by run."""
    found = rows(full, "messages")
    assert len(found) > 100
    of_agents = {row["step_id"] for row in rows(full, "steps", ["step_id", "kind"]) if row["kind"] == "agent"}
    told = left_out = 0
    for run in all_runs(full):
        mine = [row for row in found if row["run_id"] == run["run_id"]]
        assert [row["ordinal"] for row in sorted(mine, key=lambda row: row["ordinal"])] == list(range(len(mine)))
        assert len({row["content_id"] for row in mine}) == len(mine)
        ids = {row["content_id"] for row in mine}
        for message in full.reader.messages("a", run["run_id"]):
            told += 1
            assert message.content_id in ids or message.step_id in of_agents, (
                "only what an agent alone tells is left out"
            )
            left_out += message.content_id not in ids
    assert left_out < told / 50
    assert told > 100


def test_the_types_are_those_that_are_documented(full: EngineBench) -> None:
    for name, view in full.reader.sql_views().items():
        columns = tuple(column.name for column in view.columns)
        answer = json.loads(ask(full, 'SELECT * FROM "s" LIMIT 0', Source(name="s", view=name, columns=columns)).body)
        assert answer["columns"] == [{"name": column.name, "type": column.type} for column in view.columns]


@pytest.mark.parametrize(
    ("view", "column", "operator"),
    [("runs", "agent_name", "="), ("runs", "started_at", ">="), ("steps", "kind", "IN"), ("steps", "run_id", "="),
     ("steps", "started_at", "<"), ("tool_calls", "tool_name", "="), ("messages", "run_id", "="), ("events", "run_id", "=")],
)  # fmt: skip
def test_a_condition_leaves_out_nothing_that_it_holds_of(
    full: EngineBench, view: str, column: str, operator: Any
) -> None:
    """What is read with a condition is at least what it holds of, every column as without it."""
    every = rows(full, view)
    values = sorted({row[column] for row in every if row[column] is not None})
    value = values[len(values) // 2]
    said = value.replace("T", " ").removesuffix("Z") if column == "started_at" else value
    holds = {"=": value.__eq__, "IN": value.__eq__, ">=": value.__le__, "<": value.__gt__}[operator]
    # As a statement that also wants what is worked out from the whole run, and as one that does not.
    names = [one.name for one in full.reader.sql_views()[view].columns]
    for chosen in (names, [name for name in names if name not in ("seq", "ordinal", "mcp_server")]):
        found = rows(full, view, chosen, conditions=(Condition(column, operator, (said,)),))
        wanted = [
            {name: row[name] for name in chosen} for row in every if row[column] is not None and holds(row[column])
        ]
        assert wanted
        assert [row for row in wanted if row not in found] == []
    assert len(found) < len(every), "nothing less was read"


def test_a_statement_reads_the_tenant_s_rows_alone(full: EngineBench) -> None:
    everything, less = (
        {name: len(rows(full, name, tenant=tenant)) for name in full.reader.sql_views()} for tenant in ("a", "b")
    )
    assert all(less[name] <= everything[name] for name in less)
    assert less["steps"] < everything["steps"]
    assert set(rows(full, "runs", ["run_id"], "nobody")) == set()


def test_a_hidden_column_is_null_and_is_not_read(full: EngineBench) -> None:
    found = rows(full, "tool_calls", ["tool_name", "arguments"], hidden=frozenset({"arguments"}))
    assert {row["arguments"] for row in found} == {None}
    assert len({row["tool_name"] for row in found}) > 1


@pytest.mark.parametrize(
    "text",
    ["SELECT version()", "SELECT * FROM range(10)", "SELECT * FROM duckdb_settings()", "SELECT * FROM base_runs",
     'SELECT * FROM "s"; SELECT 1', "SELECT * FROM 'x.csv'", "SELECT * FROM information_schema.tables",
     "SELECT read_text('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/x'", "SET memory_limit='9GB'", "ATTACH 'x'"],
)  # fmt: skip
def test_the_engine_looks_once_more_at_what_was_checked(full: EngineBench, text: str) -> None:
    source = Source(name="s", view="runs", columns=("run_id",))
    functions = FUNCTIONS - {"version"}
    question = SqlQuestion(text=text, sources=(source,), functions=functions, form=ResultForm.JSON, rows_max=1)
    with pytest.raises((SqlNotAllowed, SqlFailed)):
        full.reader.ask("a", question).answer()
