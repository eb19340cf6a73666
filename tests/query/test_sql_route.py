"""`POST /v1/sql`: its forms, its bounds, its refusals, and what happens when nobody waits any more."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from access.permissions import Permission, Role
from query import view as query_view
from query.app import create_app
from query.routes.sql import BODY_BYTES_MAX, MEDIA_TYPES
from query.view import ReadLimits
from store.questions import Asking, SqlAnswer, SqlCancelled, SqlLimits, SqlQuestion
from tests import builders
from tests.conformance.engines import JOURNAL_ID, EngineBench, duckdb
from tests.gates import KeyedGate, bearing, open_gate
from tests.query.conftest import FakeReader, FakeWaiter
from tests.store.ledger_bench import captures
from tests.trails import kept_trail

SECONDS = 30
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineBench]:
    made = duckdb(tmp_path_factory.mktemp("route"))
    made.writer.begin(JOURNAL_ID)
    made.record(*captures()["spanledger-demo"])
    made.record(*captures()["pydantic-ai-2.68-v5"], tenant="other")
    yield made
    made.close()


@pytest.fixture(scope="module")
def keyed() -> KeyedGate:
    return KeyedGate()


@pytest.fixture(scope="module")
def ask(bench: EngineBench, keyed: KeyedGate) -> Iterator[Ask]:
    limits = ReadLimits(wait_seconds_max=0.05, sql=SqlLimits(seconds=20, rows=2000))
    waiter = FakeWaiter()
    app = create_app(
        reader=bench.reader,
        waiter=waiter,
        registry=CollectorRegistry(),
        gate=keyed.gate,
        trail=kept_trail(),
        limits=limits,
    )
    keys = {role: keyed.make(role) for role in (Role.AUDITOR, Role.OPERATOR)}
    with TestClient(app, raise_server_exceptions=False) as client:

        def post(
            text: str, *, role: Role = Role.AUDITOR, accept: str | None = None, key: str | None = None, **body: Any
        ) -> Any:
            headers = bearing(key or keys[role]) | ({"accept": accept} if accept else {})
            return client.post("/v1/sql", json={"sql": text} | body, headers=headers)

        yield post


STATEMENT = "SELECT tool_name, started_at, arguments, executing_steps FROM tool_calls ORDER BY call_no"


def test_json_has_columns_and_rows(ask: Ask) -> None:
    answer = ask(STATEMENT)
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert [column["type"] for column in said["columns"]] == ["VARCHAR", "TIMESTAMP_NS", "VARCHAR", "VARCHAR[]"]
    assert [row["tool_name"] for row in said["rows"]] == ["get_order", "track_parcel", "refund_order", "issue_voucher"]
    assert said["rows"][0]["started_at"].endswith("Z")
    assert json.loads(said["rows"][0]["arguments"]) == {"order_id": "FP-1042"}
    assert (said["truncated"], "withheld" in said) == (None, False)


@pytest.mark.parametrize("accept", [name for name in MEDIA_TYPES if name != "application/json"])
def test_other_forms_have_the_same_rows(ask: Ask, accept: str) -> None:
    answer = ask(STATEMENT, accept=accept)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, accept)
    read = {
        "text/csv": pyarrow.csv.read_csv,
        "application/vnd.apache.arrow.stream": lambda body: pyarrow.ipc.open_stream(body).read_all(),
        "application/vnd.apache.parquet": pyarrow.parquet.read_table,
    }[accept]
    table = read(io.BytesIO(answer.content))
    assert table.column("tool_name").to_pylist() == ["get_order", "track_parcel", "refund_order", "issue_voucher"]
    assert answer.headers["spanledger-rows"] == "4"


def test_values_keep_their_digits(ask: Ask) -> None:
    said = ask(
        "SELECT sum(9223372036854775807) AS big, CAST('NaN' AS DOUBLE) AS nan, make_timestamp_ns(1780000000123456789) AS t, "
        "{'a': [1, NULL]} AS s, CAST(1.50 AS DECIMAL(5, 2)) AS d, DATE '2026-01-02' AS day, 1 AS x, 2 AS x FROM steps"
    ).json()["rows"][0]
    steps = ask("SELECT count(*) AS n FROM steps").json()["rows"][0]["n"]
    assert said["big"] == 9223372036854775807 * steps
    assert said["nan"] == "NaN"
    assert said["t"] == "2026-05-28T20:26:40.123456789Z"
    assert (said["s"], said["d"], said["day"], said["x"], said["x_2"]) == ({"a": [1, None]}, 1.5, "2026-01-02", 1, 2)


def test_an_answer_says_that_there_is_more(ask: Ask) -> None:
    said = ask("SELECT step_id FROM steps", limit=5).json()
    assert (len(said["rows"]), said["truncated"]) == (5, "rows")
    answer = ask("SELECT step_id FROM steps LIMIT 100", limit=5, accept="text/csv")
    assert (answer.headers["spanledger-truncated"], answer.headers["spanledger-rows"]) == ("rows", "5")


def test_an_operator_gets_null_where_content_is_and_is_told(ask: Ask) -> None:
    for expression in ("arguments", "upper(arguments)", "length(arguments)", "md5(result)", "arguments->>'$.order_id'",
                       "coalesce(arguments, result)", "CASE WHEN contains(arguments, 'FP-1042') THEN 'yes' END"):  # fmt: skip
        said = ask(f"SELECT {expression} AS learnt FROM tool_calls", role=Role.OPERATOR).json()
        assert {row["learnt"] for row in said["rows"]} == {None}, expression
        assert set(said["withheld"]) <= {"tool_calls.arguments", "tool_calls.result"}
    for where in ("arguments LIKE '%FP%'", "result IS NOT NULL", "length(arguments) > 0"):
        said = ask(f"SELECT tool_name FROM tool_calls WHERE {where}", role=Role.OPERATOR).json()
        assert said["rows"] == [], where
    everything = " UNION ALL ".join(
        f"SELECT CAST(v AS VARCHAR) AS row FROM {view} AS v"
        for view in ("runs", "steps", "tool_calls", "decisions", "messages", "contents", "events", "evaluations")
    )
    assert "celadon" in ask(everything).text
    assert "celadon" not in ask(everything, role=Role.OPERATOR).text
    headers = ask("SELECT arguments FROM tool_calls", role=Role.OPERATOR, accept="text/csv").headers
    assert headers["spanledger-withheld"] == "tool_calls.arguments"


def test_metric_points_take_their_own_permission(ask: Ask, keyed: KeyedGate) -> None:
    key = keyed.make(Role.AUDITOR, denied=frozenset({Permission.READ_METRICS}))
    answer = ask("SELECT count(*) FROM metric_points", key=key)
    assert (answer.status_code, answer.json()["missing"]) == (403, "read_metrics")


def test_a_tenant_reads_its_own_and_no_trick_shows_another_s(ask: Ask, keyed: KeyedGate) -> None:
    key = keyed.make(Role.AUDITOR, "other")
    assert ask("SELECT DISTINCT service_name FROM runs", key=key).json()["rows"] == [{"service_name": "support-agent"}]
    # Were a row of another tenant looked at, the cast would fail on it.
    for column in ("service_name", "agent_name", "run_id"):
        theirs = f"{column} LIKE 'fernhill%' OR {column} LIKE 'f4e31204%' OR steps = 28"
        text = f"SELECT count(*) AS n FROM runs WHERE CASE WHEN {theirs} THEN CAST('x' || {column} AS INTEGER) ELSE 1 END = 1"
        assert ask(text, key=key).json()["rows"] == [{"n": 3}]


@pytest.mark.parametrize(
    ("text", "status", "kind", "position"),
    [("SELECT bogus FROM runs", 422, "bad-sql", 7), ("SELECT\n tool FROM runs", 422, "bad-sql", 8),
     ("SELEC 1", 422, "bad-sql", 0), ("SELECT 1 FROM runs WHERE", 422, "bad-sql", None),
     ("SELECT CAST(name AS INTEGER) FROM steps", 422, "bad-sql", None),
     ("SELECT getenv('HOME')", 422, "sql-not-allowed", 7), ("COPY runs TO 'x'", 422, "sql-not-allowed", 0)],
)  # fmt: skip
def test_a_statement_that_fails_says_why_and_where(
    ask: Ask, text: str, status: int, kind: str, position: int | None
) -> None:
    answer = ask(text)
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (answer.status_code, said["type"].rpartition(":")[2]) == (status, kind)
    assert position is None or said["position"] == position
    assert "source_0" not in said["detail"]


def test_an_unknown_column_is_told_what_may_have_been_meant(ask: Ask) -> None:
    assert "tools" in ask("SELECT tool FROM runs").json()["detail"]


@pytest.mark.parametrize(
    ("body", "parameter"),
    [(b"", "body"), (b"[]", "body"), (b'{"sql": 1}', "body"), (b'{"sql": "SELECT 1", "x": 1}', "body"), (b"\xff", "body"),
     (b'{"sql": "SELECT 1", "limit": 0}', "limit"), (b'{"sql": "SELECT 1", "limit": 2001}', "limit"),
     (b'{"sql": "' + b"x" * BODY_BYTES_MAX + b'"}', "sql")],
    ids=["nothing", "a list", "a number", "an unknown member", "no UTF-8", "limit 0", "limit too large", "too long"],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(api: TestClient, bench: EngineBench, body: bytes, parameter: str) -> None:
    limits = ReadLimits(sql=SqlLimits(rows=2000))
    app = create_app(
        reader=bench.reader,
        waiter=FakeWaiter(),
        registry=CollectorRegistry(),
        gate=open_gate(),
        trail=kept_trail(),
        limits=limits,
    )
    with TestClient(app) as client:
        answer = client.post("/v1/sql", content=body)
    assert (answer.status_code, answer.json()["parameter"]) == (422, parameter)


def test_an_unknown_form_is_refused(ask: Ask) -> None:
    assert ask("SELECT 1", accept="image/png").json()["parameter"] == "accept"
    assert ask("SELECT 1", accept="text/html, */*;q=0.1").status_code == 200


class Waiting:
    """An answer that does not come until it is cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    def answer(self) -> SqlAnswer:
        self.begun.set()
        assert self.cancelled.wait(SECONDS)
        raise SqlCancelled("cancelled")

    def cancel(self) -> None:
        self.cancelled.set()


class Slow(FakeReader):
    """Whose statements wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Waiting] = []

    def ask(self, tenant: str, question: SqlQuestion) -> Asking:
        self.waiting.append(Waiting())
        return self.waiting[-1]


def test_a_client_that_goes_away_takes_its_statement_with_it() -> None:
    reader = Slow()
    app = create_app(
        reader=reader, waiter=FakeWaiter(), registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail()
    )
    body = b'{"sql": "SELECT 1"}'
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/v1/sql", "raw_path": b"/v1/sql", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "root_path": "",
    }  # fmt: skip

    async def scenario() -> None:
        events = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if events:
                return events.pop()
            while not reader.waiting or not reader.waiting[0].begun.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None: ...

        async with asyncio.timeout(SECONDS):
            await app(scope, receive, send)

    asyncio.run(scenario())
    assert reader.waiting[0].cancelled.is_set()


def test_a_third_statement_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_view, "STATEMENT_WAIT_SECONDS", 0.05)
    reader = Slow()
    app = create_app(
        reader=reader, waiter=FakeWaiter(), registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail()
    )
    with TestClient(app) as client:
        threads = [
            threading.Thread(target=client.post, args=("/v1/sql",), kwargs={"json": {"sql": "SELECT 1"}})
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + SECONDS
        while sum(one.begun.is_set() for one in reader.waiting) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = client.post("/v1/sql", json={"sql": "SELECT 1"})
        app.state.view.close()  # The service stops: what is under way ends.
        for thread in threads:
            thread.join(SECONDS)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:spanledger:problem:sql-busy")
    assert int(answer.headers["retry-after"]) > 0
    assert all(one.cancelled.is_set() for one in reader.waiting[:2])


def test_a_statement_that_takes_too_long_is_ended(bench: EngineBench) -> None:
    limits = ReadLimits(sql=SqlLimits(seconds=2.0))
    app = create_app(
        reader=bench.reader,
        waiter=FakeWaiter(),
        registry=CollectorRegistry(),
        gate=open_gate(),
        trail=kept_trail(),
        limits=limits,
    )
    text = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    with TestClient(app) as client:
        answer = client.post("/v1/sql", json={"sql": text})
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:spanledger:problem:sql-timeout")


def test_a_statement_waits_for_a_position(api: TestClient) -> None:
    answer = api.post("/v1/sql", params={"min_position": f"{builders.JOURNAL_ID}:9"}, json={"sql": "SELECT 1"})
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:spanledger:problem:not-yet-visible"
