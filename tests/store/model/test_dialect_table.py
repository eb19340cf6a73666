from store.model.dialect import DIALECTS, read_dialect
from store.model.dialect_table import CONCEPTS, PAGE, fed, page


def test_the_page_is_what_the_files_say() -> None:
    assert PAGE.read_text() == page(), "python -m store.model.dialect_table writes it anew"


def test_every_column_that_a_dialect_feeds_stands_on_the_page() -> None:
    text = page()
    known = {column for columns in CONCEPTS.values() for column in columns}
    for dialect in DIALECTS.values():
        for column, sources in fed(dialect).items():
            assert column in known or f"{column}: " in text
            assert all(source for source in sources)


def test_what_is_not_sent_is_said_of_concepts_that_there_are() -> None:
    said = {concept for source in DIALECTS for concept in read_dialect(source).get("not_sent", {})}
    assert said <= set(CONCEPTS)
    assert "not sent by this library" in page()


def test_every_documented_dialect_has_a_file() -> None:
    assert {dialect.name for dialect in DIALECTS.values()} == {
        "adk", "agent_framework", "anthropic", "claude_code", "dbos", "langfuse", "langsmith", "mcp", "mlflow",
        "openinference", "otel", "pydantic_ai", "strands", "temporal", "traceloop", "vercel", "vercel_legacy",
    }  # fmt: skip
