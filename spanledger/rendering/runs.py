"""Runs as a table for people."""

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from spanledger.rendering.phrases import clock, cost, count, duration, printable
from store.model.rows import RunRow

STATUS_STYLES: Final = {
    "ok": "green",
    "error": "red",
    "denied": "red",
    "interrupted": "yellow",
    "running": "cyan",
    "abandoned": "magenta",
    "cancelled": "magenta",
    "incomplete": "magenta",
}


def runs_table(runs: Iterable[RunRow], *, wide: bool) -> Table:
    """One row a run, newest first as they come; `wide` adds the counts. Run ids are never cut: `replay` takes them."""
    rows = list(runs)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("STARTED (UTC)", no_wrap=True, min_width=14)
    table.add_column("RUN", no_wrap=True, min_width=max((len(run.run_id) for run in rows), default=0))
    table.add_column("AGENT", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("STATUS", no_wrap=True, min_width=max((len(run.status) for run in rows), default=0))
    for title in ("TOOK", "STEPS", "TOOLS", "FAILED", "TOKENS", "COST") if wide else ():
        table.add_column(title, justify="right", no_wrap=True)
    for run in rows:
        table.add_row(
            clock(run.started_at)[5 if run.started_at else 0 :],
            run.run_id,
            Text(printable(run.agent_name or run.workflow_name or run.service_name or "-")),
            Text(run.status, STATUS_STYLES[run.status]),
            *(_counts(run) if wide else ()),
        )
    return table


def _counts(run: RunRow) -> Iterable[str | Text]:
    return (
        duration(run.duration_ns),
        count(run.steps),
        count(run.tool_calls),
        Text(count(run.tool_errors), "red" if run.tool_errors else ""),
        _tokens(run),
        cost(run.cost_usd),
    )


def _tokens(run: RunRow) -> str:
    if run.input_tokens is None and run.output_tokens is None:
        return "-"
    return f"{(run.input_tokens or 0) + (run.output_tokens or 0):,}"
