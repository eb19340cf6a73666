"""Figures over runs, tool calls and decisions: what the lists hold, counted; and what the demo's scenario says happened."""

from collections import Counter

import pytest

from store.contract import FiguresFilter, RunFilter
from store.record import DEFAULT_TENANT
from tests.conformance.engines import NOON_NS, SECOND_NS
from tests.store.spans import spans_body

HOUR_NS = 3600 * SECOND_NS
ALL = 1000


def figures(bench, of, by=(), *, tenant=DEFAULT_TENANT, **where):
    return bench.reader.figures(tenant, FiguresFilter(of=of, by=by, **where), limit=ALL)


def test_the_demo_s_run_is_counted_as_it_happened(demo):
    """One call succeeds, one fails, one is approved and made, one is denied."""
    [run] = figures(demo, "runs", ("agent", "status"))
    assert (run["agent"], run["status"], run["runs"], run["steps"], run["llm_calls"]) == (
        "support-agent",
        "ok",
        1,
        28,
        4,
    )
    assert (run["tool_calls"], run["tool_errors"], run["errors"], run["denials"]) == (4, 1, 0, 0)
    assert (run["input_tokens"], run["output_tokens"], run["reasoning_share"]) == (2001, 335, 182 / 335)
    calls = {row["tool"]: row for row in figures(demo, "tools", ("tool",))}
    told = {name: (row["calls"], row["executed"], row["errors"], row["denials"]) for name, row in calls.items()}
    assert told == {
        "get_order": (1, 1, 0, 0),
        "track_parcel": (1, 1, 1, 0),
        "refund_order": (1, 1, 0, 0),
        "issue_voucher": (1, 0, 0, 1),
    }
    assert calls["issue_voucher"]["duration_p95_ns"] is None
    [whole] = figures(demo, "tools")
    assert (whole["calls"], whole["error_rate"], whole["denial_rate"]) == (4, 0.25, 0.25)
    assert next(row["tool"] for row in figures(demo, "tools", ("tool",), sort="failing")) == "track_parcel"
    assert next(row["tool"] for row in figures(demo, "tools", ("tool",), sort="slowest")) == "get_order"
    [approvals] = figures(demo, "approvals", ("kind",))
    assert (approvals["kind"], approvals["decisions"], approvals["allowed"], approvals["denied"]) == (
        "human_approval",
        2,
        1,
        1,
    )
    assert (approvals["pending"], approvals["denial_rate"]) == (0, 0.5)
    assert 300_000_000 < approvals["wait_p50_ns"] <= approvals["wait_max_ns"] < 320_000_000


def test_figures_are_those_of_the_lists(full):
    for tenant in ("a", "b"):
        runs = full.reader.runs(tenant, RunFilter(), limit=ALL, cursor=None).rows
        assert len(runs) > 10
        counted = {
            (row["agent"], row["status"]): row["runs"]
            for row in figures(full, "runs", ("agent", "status"), tenant=tenant)
        }
        assert counted == Counter((run.agent_name, run.status) for run in runs)
        [whole] = figures(full, "runs", tenant=tenant)
        assert whole["runs"] == len(runs)
        assert whole["output_tokens"] == sum(run.output_tokens or 0 for run in runs)
        assert whole["error_rate"] == sum(run.status == "error" for run in runs) / len(runs)
        calls = [call for run in runs for call in full.reader.tool_calls(tenant, run.run_id)]
        counted = {
            (row["tool"], row["mcp_server"]): row["calls"]
            for row in figures(full, "tools", ("tool", "mcp_server"), tenant=tenant)
        }
        assert counted == Counter((call.tool_name, call.mcp_server) for call in calls)
        [whole] = figures(full, "tools", tenant=tenant)
        lasted = sorted(call.duration_ns for call in calls if call.duration_ns is not None)
        assert (whole["executed"], whole["duration_max_ns"]) == (len(lasted), lasted[-1])
        decisions = [one for run in runs for one in full.reader.decisions(tenant, run.run_id)]
        verdicts = Counter(one.verdict for one in decisions)
        [whole] = figures(full, "approvals", tenant=tenant)
        assert (whole["decisions"], whole["allowed"], whole["denied"], whole["pending"]) == (
            len(decisions), verdicts["allow"], verdicts["deny"], verdicts["ask"],
        )  # fmt: skip


@pytest.mark.parametrize("of", ["runs", "tools", "approvals"])
def test_conditions_hold_together_and_nothing_is_another_tenant_s(full, of):
    counted = {"runs": "runs", "tools": "calls", "approvals": "decisions"}[of]
    [whole] = figures(full, of, tenant="a")
    for name in ("agent", "service"):
        by_name = figures(full, of, (name,), tenant="a")
        assert sum(row[counted] for row in by_name) == whole[counted]
        for row in by_name:
            if row[name] is not None:
                [alone] = figures(full, of, tenant="a", **{name: row[name]})
                assert alone == {key: value for key, value in row.items() if key != name}
    assert figures(full, of, ("agent",), tenant="a", agent="nobody") == []
    assert figures(full, of, ("agent",), tenant="nobody") == []
    assert len(full.reader.figures("a", FiguresFilter(of=of, by=("agent",)), limit=1)) == 1


def test_hours_and_quantiles_are_of_the_time_that_was_asked_for(bench):
    spans = [
        {"trace": number, "span": 1, "start": (number - 1) * 1800, "end": (number - 1) * 1800 + number, "name": "agent",
         "gen_ai.operation.name": "invoke_agent"}
        for number in range(1, 5)
    ]  # fmt: skip
    bench.record(spans_body(*spans))
    hours = {row["hour"]: row for row in figures(bench, "runs", ("hour",))}
    assert sorted(row["runs"] for row in hours.values()) == [2, 2]
    assert all(hour.endswith(":00:00Z") for hour in hours)
    first = hours[min(hours)]
    assert (first["duration_p50_ns"], first["duration_p99_ns"]) == (1 * SECOND_NS, 2 * SECOND_NS)
    [late] = figures(bench, "runs", since_ns=NOON_NS + HOUR_NS)
    assert (late["runs"], late["duration_p50_ns"]) == (2, 3 * SECOND_NS)
    [early] = figures(bench, "runs", until_ns=NOON_NS + 1)
    assert early["runs"] == 1
