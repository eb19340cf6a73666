"""The engine's SQL: one statement a file, read once. Values are always bound, never put into the text."""

from functools import cache
from importlib import resources


@cache
def sql(name: str) -> str:
    """The statement in `sql/<name>.sql`."""
    return resources.files("store.duckdb.sql").joinpath(f"{name}.sql").read_text()


@cache
def table_definitions() -> tuple[str, ...]:
    """The statements that make the tables, then the views."""
    names = sorted(
        path.name for path in resources.files("store.duckdb.sql").iterdir() if path.name.startswith("create_")
    )
    texts = [sql(name.removesuffix(".sql")) for name in names]
    return tuple(sorted(texts, key=lambda text: "CREATE TABLE" not in text))
