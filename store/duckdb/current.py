"""What runs in progress are at: the step of which only the beginning was sent, the latest where there are several."""

from typing import Any

from store.duckdb.engine import Engine
from store.duckdb.statements import sql
from store.model.ids import step_id
from store.model.rows import CurrentStep
from store.model.times import rfc3339


def current_steps(engine: Engine, tenant: str, runs: list[dict[str, Any]], now_ns: int) -> dict[str, CurrentStep]:
    """What some runs in progress are at, by run id; those without an open step are left out. Raises ViewError."""
    of_trace = {trace_id: run["run_id"] for run in runs for trace_id in run["trace_ids"] or ()}
    if not of_trace:
        return {}
    rows = engine.rows(sql("select_open_steps"), {
        "tenant": tenant, "first_sequence": min(run["first_sequence"] for run in runs), "trace_ids": sorted(of_trace),
    })  # fmt: skip
    above = {(row["trace_id"], row["parent_span_id"]) for row in rows}
    innermost = [row for row in rows if (row["trace_id"], row["span_id"]) not in above]
    found: dict[str, CurrentStep] = {}
    for row in sorted(innermost, key=lambda row: (row["start_ns"], row["span_id"])):
        found[of_trace[row["trace_id"]]] = CurrentStep(
            step_id=step_id(row["trace_id"], row["span_id"]),
            kind=row["kind"],
            name=row["name"],
            started_at=rfc3339(row["start_ns"]) or "",
            running_ns=max(now_ns - row["start_ns"], 0),
        )
    return found
