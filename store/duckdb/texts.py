"""The texts of content by its ids."""

from collections.abc import Iterable

from store.duckdb.engine import Engine
from store.duckdb.statements import sql


def texts_of(engine: Engine, tenant: str, ids: Iterable[str]) -> dict[str, str]:
    """Content id -> text, of those that are stored."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    rows = engine.rows(sql("select_contents"), {"tenant": tenant, "ids": wanted})
    return {row["content_id"]: row["text"] for row in rows}
