"""docs/sql.md: its tables are the code's, and its ten questions are answered as it says."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from query.app import create_app
from query.sql.page import BEGIN, PAGE, generated, written
from tests.conformance.engines import JOURNAL_ID, duckdb
from tests.gates import open_gate
from tests.query.conftest import FakeWaiter
from tests.store.ledger_bench import captures
from tests.trails import kept_trail

CAPTURES = (
    "spanledger-demo", "pydantic-ai-2.68-v5", "agent-framework-1.23", "mcp-native-2.3-modern", "openai-agents-0.24-genai",
)  # fmt: skip
QUESTION = re.compile(r"^### \d+\. ([^\n]*)\n\n```sql\n(.*?)```\n\n((?:\|[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
QUESTIONS = QUESTION.findall(PAGE.read_text().partition(BEGIN)[0])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    bench = duckdb(tmp_path_factory.mktemp("asked"))
    bench.writer.begin(JOURNAL_ID)
    for name in CAPTURES:
        bench.record(*captures()[name])
    app = create_app(
        reader=bench.reader, waiter=FakeWaiter(), registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail()
    )
    with TestClient(app) as client:
        yield client
    bench.close()


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == written(), "python -m query.sql.page writes it anew"
    assert generated().count("| `") > 200


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize(("title", "statement", "answer"), QUESTIONS, ids=[title for title, _, _ in QUESTIONS])
def test_a_question_is_answered_as_the_page_says(asked: TestClient, title: str, statement: str, answer: str) -> None:
    head, _, *rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in answer.splitlines()]
    said = asked.post("/v1/sql", content=json.dumps({"sql": statement})).json()
    assert [column["name"] for column in said["columns"]] == head
    assert [["null" if value is None else str(value) for value in row.values()] for row in said["rows"]] == rows
    assert said["truncated"] is None
