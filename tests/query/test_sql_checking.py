"""What statements may be: hostile ones are refused with a reason and a place, ordinary ones are written as meant."""

import pytest

from query.sql.checking import Checked, check
from query.sql.functions import ALLOWED, FUNCTIONS, INSTEAD
from store.duckdb.documented import documented_views
from store.questions import Condition, SqlFailed, SqlNotAllowed
from tests.query.hostile_statements import REFUSED, UNREADABLE

VIEWS = documented_views()


def checked(text: str) -> Checked:
    return check(text, VIEWS, 100)


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=[text[:60] for text in REFUSED])
def test_a_hostile_statement_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(SqlNotAllowed) as refused:
        checked(text)
    assert reason.lower() in str(refused.value).lower()
    assert len(str(refused.value)) > 20


def test_there_are_at_least_sixty_of_them() -> None:
    assert len(REFUSED) >= 90


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_sql_is_refused_as_that(text: str) -> None:
    with pytest.raises((SqlFailed, SqlNotAllowed)) as refused:
        checked(text)
    assert "Traceback" not in str(refused.value)
    assert "sqlglot" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [("SELECT\n  getenv('x')", "getenv"), ("SELECT * FROM runs, nowhere", "nowhere"),
     ("SELECT a, COLUMNS(b) FROM runs", "COLUMNS"), ("SELECT * FROM runs WHERE AND", "AND")],
)  # fmt: skip
def test_a_refusal_says_where(text: str, found: str) -> None:
    with pytest.raises((SqlFailed, SqlNotAllowed)) as refused:
        checked(text)
    assert refused.value.position is not None
    assert text[refused.value.position :].startswith(found)


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_what_is_named_to_be_used_instead_is_allowed(name: str) -> None:
    assert name not in ALLOWED


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM runs", "FROM runs", "SELECT count(*) FROM runs r", "SELECT r.* EXCLUDE (metadata) FROM runs AS r",
     "WITH a(x) AS (SELECT run_id FROM runs) SELECT x FROM a UNION ALL SELECT step_id FROM steps ORDER BY 1 LIMIT 3",
     "SELECT a->>'$.b', tools[1], CASE WHEN steps > 1 THEN 'many' END, CAST(steps AS DECIMAL(10, 2)) FROM runs",
     "SELECT t.tool FROM runs, unnest(tools) AS t(tool)",
     "SELECT DISTINCT ON (agent_name) run_id FROM runs ORDER BY started_at",
     "SELECT date_trunc('hour', started_at), quantile_cont(duration_ns, 0.95) FROM steps GROUP BY ALL HAVING count(*) > 1",
     "SELECT sum(steps) FILTER (WHERE status = 'ok') OVER (PARTITION BY agent_name ORDER BY started_at) FROM runs",
     "SELECT run_id FROM runs WHERE started_at >= now() - INTERVAL 1 DAY AND agent_name ILIKE '%a%'",
     "SELECT status, count(*) FROM runs GROUP BY GROUPING SETS ((status), ())",
     "SELECT s.run_id FROM steps s SEMI JOIN runs r USING (run_id)", "SELECT 1 WHERE EXISTS (SELECT 1 FROM runs)"],
)  # fmt: skip
def test_an_ordinary_statement_is_allowed_and_names_no_table(text: str) -> None:
    found = checked(text)
    for view in VIEWS:
        assert f'FROM "{view}"' not in found.text
    assert all(reference.name in found.text for reference in found.references)


def test_an_answer_has_a_limit_and_one_s_own_is_kept() -> None:
    assert checked("SELECT 1").text.endswith("LIMIT 101")
    assert checked("SELECT 1 LIMIT 7").text.endswith("LIMIT 7")


def conditions(text: str) -> dict[str, set[Condition]]:
    return {one.name: set(one.conditions) for one in checked(text).references}


def test_conditions_on_constants_are_found() -> None:
    said = conditions(
        "SELECT 1 FROM steps WHERE kind = 'tool' AND 5 > revision AND name IN ('a', 'b') "
        "AND started_at >= TIMESTAMP '2026-01-01'"
    )
    assert said["source_0"] == {
        Condition("kind", "=", ("tool",)), Condition("revision", "<", (5,)), Condition("name", "IN", ("a", "b")),
        Condition("started_at", ">=", ("2026-01-01",)),
    }  # fmt: skip


def test_a_condition_holds_of_whatever_is_joined_on_its_column() -> None:
    run = Condition("run_id", "=", ("x",))
    for text in (
        "SELECT 1 FROM steps s JOIN runs r USING (run_id) WHERE r.run_id = 'x'",
        "SELECT 1 FROM steps s JOIN runs r ON s.run_id = r.run_id WHERE s.run_id = 'x'",
        "SELECT 1 FROM steps s LEFT JOIN runs r USING (run_id) WHERE run_id = 'x'",
        "SELECT 1 FROM steps s, runs r WHERE s.run_id = 'x' AND r.run_id = s.run_id",
    ):
        assert conditions(text) == {"source_0": {run}, "source_1": {run}}, text


@pytest.mark.parametrize(
    "text",
    ["SELECT 1 FROM steps WHERE kind = 'tool' OR kind = 'llm'", "SELECT 1 FROM steps WHERE NOT kind = 'tool'",
     "SELECT 1 FROM steps WHERE kind = name", "SELECT 1 FROM steps WHERE upper(kind) = 'TOOL'",
     "SELECT count(*) FILTER (WHERE kind = 'tool') FROM steps", "SELECT 1 FROM steps QUALIFY kind = 'tool'",
     "SELECT 1 FROM steps HAVING kind = 'tool'", "SELECT 1 FROM (SELECT * FROM steps) WHERE kind = 'tool'",
     "WITH w AS (SELECT * FROM steps) SELECT 1 FROM w WHERE kind = 'tool'",
     "SELECT 1 FROM runs a ASOF JOIN steps s ON a.run_id = s.run_id AND a.started_at >= s.started_at WHERE s.kind = 'tool'",
     "SELECT 1 FROM steps AS s WHERE EXISTS (SELECT 1 FROM runs WHERE s.kind = 'tool')"],
)  # fmt: skip
def test_what_does_not_hold_of_every_row_is_no_condition(text: str) -> None:
    assert not any(conditions(text).values())


def test_only_what_is_named_is_wanted() -> None:
    [one] = checked("SELECT kind, count(*) FROM steps WHERE name = 'x' GROUP BY kind").references
    assert set(one.columns) == {"kind", "name"}
    [one] = checked("SELECT s FROM steps AS s").references
    assert len(one.columns) == len(VIEWS["steps"].columns)


def test_no_function_is_listed_twice() -> None:
    assert sum(map(len, FUNCTIONS.values())) == len(ALLOWED)
