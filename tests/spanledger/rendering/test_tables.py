"""Runs as a table, steps as lines, imports as lines."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from spanledger.importing import FileReport, Sent
from spanledger.otlp_files import Body, Unusable
from spanledger.rendering.accesses import accesses_table
from spanledger.rendering.imports import report_lines, total_line
from spanledger.rendering.runs import runs_table
from spanledger.rendering.steps import step_line
from store.model.rows import AccessRow
from store.record import Position, Signal
from tests.builders import make_run, make_step


def _drawn(renderable, width: int = 160) -> str:
    out = StringIO()
    Console(file=out, width=width, markup=False, highlight=False).print(renderable)
    return out.getvalue()


def test_a_run_is_a_row_with_what_an_operator_asks_first():
    lines = _drawn(runs_table([make_run("0123456789abcdef0123456789abcdef", status="error")], wide=True)).splitlines()
    assert lines[0].split() == ["STARTED", "(UTC)", "RUN", "AGENT", "STATUS", "TOOK", "STEPS", "TOOLS", "FAILED",
                                "TOKENS", "COST"]  # fmt: skip
    assert lines[1].split() == ["07-01", "12:00:00", "0123456789abcdef0123456789abcdef", "release-manager", "error",
                                "4.5", "s", "7", "2", "1", "1,540", "$0.0123"]  # fmt: skip


def test_what_nobody_said_is_a_dash():
    row = make_run(agent_name=None, service_name=None, started_at=None, duration_ns=None, input_tokens=None,
                   output_tokens=None, cost_usd=None)  # fmt: skip
    assert _drawn(runs_table([row], wide=True)).splitlines()[1].split() == [
        "-",
        "run-1",
        "-",
        "ok",
        "-",
        "7",
        "2",
        "1",
        "-",
        "-",
    ]


def test_a_run_id_is_never_cut_on_a_narrow_terminal():
    run_id = "0123456789abcdef0123456789abcdef"
    assert f"{run_id}  release-manager  interrupted" in _drawn(
        runs_table([make_run(run_id, status="interrupted")], wide=False), width=80
    )


def test_names_from_telemetry_are_neither_markup_nor_control_characters():
    drawn = _drawn(runs_table([make_run(agent_name="[red]x\x1b[2J")], wide=True))
    assert "[red]x" in drawn
    assert "\x1b" not in drawn


def test_a_step_is_a_line():
    line = step_line(make_step(outcome="error", error_type="ToolError", tool_name="deploy", run_id="0123456789abcdef"))
    assert line.plain.split() == ["12:00:01", "0123456789ab", "tool", "error", "250", "ms", "execute_tool", "deploy",
                                  "ToolError"]  # fmt: skip


def _body(signal: Signal, records: int) -> Body:
    return Body("run.jsonl line 1", signal, "application/json", b"{}", records)


def test_an_import_says_what_was_accepted_and_refused_and_why():
    clean, partial = FileReport(Path("a.pb")), FileReport(Path("run.jsonl"))
    clean.add(_body(Signal.LOGS, 2), Sent(2, 0, "", Position("j", 1)))
    partial.add(_body(Signal.TRACES, 3), Sent(2, 1, "1 span without a trace id", Position("j", 2)))
    partial.add(Unusable("run.jsonl line 2", "is not JSON"), Sent(0, 0, "is not JSON", None))
    assert list(report_lines(clean)) == ["a.pb: 2 log records accepted, 0 records refused"]
    assert list(report_lines(partial)) == [
        "run.jsonl: 2 spans accepted, 1 record refused, 1 request refused whole",
        "    run.jsonl line 1: 1 span without a trace id",
        "    run.jsonl line 2: is not JSON",
    ]
    assert (clean.clean, partial.clean) == (True, False)
    assert partial.position == Position("j", 2)
    assert total_line([clean, partial]) == (
        "total: 2 files, 3 requests: 2 log records, 2 spans accepted, 1 record refused, 1 request refused whole"
    )


def test_a_file_of_bad_lines_shows_some_and_counts_the_rest():
    report = FileReport(Path("run.jsonl"))
    for number in range(50):
        report.add(Unusable(f"line {number}", "is not JSON"), Sent(0, 0, "is not JSON", None))
    lines = list(report_lines(report))
    assert lines[0].endswith("50 requests refused whole")
    assert len(lines) == 22
    assert lines[-1] == "    and 30 more"


def test_an_access_is_a_row_with_who_from_where_what_and_why():
    row = AccessRow(
        at="2026-07-01T12:00:00.000000001Z", who="key:ab12cd34", key_prefix="ab12cd34", role="auditor",
        peer="192.0.2.7", door="api", action="replay", call="GET /v1/runs/{run_id}/replay", outcome="allowed", reason=None,
        run_id="run-1", step_id=None, content_ids=[], content_count=0, content_digest=None, rows=0,
        statement_digest=None, filters=[], filter_digest=None, purpose="incident 7\x1b[2J", subject=None, detail={},
        count=1, position="a:1",
    )  # fmt: skip
    refused = replace(row, action="enter", outcome="refused", count=10_000, reason="unknown", run_id=None, purpose=None)
    several = replace(row, action="read", content_count=3, peer=None)
    head, first, second, third = _drawn(accesses_table([row, refused, several]), 200).splitlines()
    assert head.split() == ["AT", "(UTC)", "WHO", "FROM", "ACTION", "OUTCOME", "WHAT", "PURPOSE"]
    assert first.split()[:6] == ["07-01", "12:00:00", "key:ab12cd34", "192.0.2.7", "replay", "allowed"]
    assert "run-1, GET /v1/runs/{run_id}/replay" in first
    assert "incident 7" in first
    assert "\x1b" not in first
    assert "refused 10,000 times" in second
    assert "unknown, GET" in second
    assert "3 pieces of content" in third
    assert " api " in third
