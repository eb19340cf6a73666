"""Counts, rates and quantiles over a tenant's runs, tool calls and decisions: one statement each, every value bound."""

from typing import Any, Final

from store.contract import FiguresFilter
from store.duckdb.engine import Engine
from store.duckdb.statements import sql
from store.model.prices import shown_usd

_STATEMENTS: Final = {
    "runs": "select_run_figures",
    "tools": "select_tool_figures",
    "approvals": "select_approval_figures",
}


def figures(
    engine: Engine, tenant: str, where: FiguresFilter, now: dict[str, int], *, limit: int
) -> list[dict[str, Any]]:
    """See `store.contract.Reader.figures`. `now` is what the status of a run without a recorded end depends on."""
    first, second = (*where.by, None, None)[:2]
    asked: dict[str, Any] = {
        "tenant": tenant, "first": first, "second": second, "agent": where.agent, "service": where.service,
        "tool": where.tool, "since_ns": where.since_ns, "until_ns": where.until_ns, "limit": limit,
    }  # fmt: skip
    if where.of == "runs":
        asked |= now
    if where.of == "tools":
        asked["sort"] = where.sort
    return [_named(row, where.by) for row in engine.rows(sql(_STATEMENTS[where.of]), asked)]


def _named(row: dict[str, Any], by: tuple[str, ...]) -> dict[str, Any]:
    """A row with its keys under the names that they were asked for by."""
    keys = dict(zip(by, (row["first_key"], row["second_key"]), strict=False))
    counted = {name: value for name, value in row.items() if name not in ("first_key", "second_key")}
    if "cost_usd" in counted:
        counted["cost_usd"] = shown_usd(counted["cost_usd"])
    return keys | counted
