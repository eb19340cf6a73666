"""`spanledger import` of every capture, into a folder that no server holds and through a server, read back both ways.

What must come out is worked out from the files with the official protobuf runtime.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from otlp_bodies import CAPTURES, MESSAGES, attributes, captured
from running_server import RunningServer, spanledger

FILES = sorted(CAPTURES.glob("*/*.pb"))


@dataclass
class Expected:
    """What the captures hold."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    versions: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    """Of every distinct span, the attributes of each time it was sent."""


@pytest.fixture(scope="module")
def expected() -> Expected:
    found = Expected()
    levels = {
        "traces": ("resource_spans", "scope_spans", "spans"),
        "logs": ("resource_logs", "scope_logs", "log_records"),
        "metrics": ("resource_metrics", "scope_metrics", "metrics"),
    }
    for request in captured():
        outer_name, scope_name, name = levels[request.signal]
        for outer in getattr(MESSAGES[request.signal].FromString(request.body), outer_name):
            for scope in getattr(outer, scope_name):
                records = getattr(scope, name)
                found.counts[request.signal] = found.counts.get(request.signal, 0) + len(records)
                if request.signal == "traces":
                    for span in records:
                        key = (span.trace_id.hex(), span.span_id.hex())
                        found.versions.setdefault(key, []).append(attributes(span))
    return found


@dataclass
class Imported:
    """What the commands say of one folder into which every file was imported."""

    out: str
    runs: list[dict[str, Any]]
    replay: list[dict[str, Any]]


def command(*arguments: str | Path) -> str:
    ended = spanledger(*arguments)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout


def import_all(data: Path) -> Imported:
    out = command("import", *FILES, "--data", data)
    runs = [json.loads(line) for line in command("runs", "--limit", "1000", "--data", data).splitlines()]
    run_id = next(run["run_id"] for run in runs if run["agent_name"] == "support-agent" and len(run["trace_ids"]) > 1)
    replay = [json.loads(line) for line in command("replay", run_id, "--data", data).splitlines()]
    return Imported(out, runs, replay)


@pytest.fixture(scope="module")
def imported(server: RunningServer) -> Imported:
    """Through a running server, which the commands find by its data folder."""
    return import_all(server.data)


def test_import_takes_every_body_and_prints_the_totals(imported: Imported, expected: Expected) -> None:
    assert {request.path for request in captured()} == set(FILES)
    *per_file, total = imported.out.splitlines()
    counts = expected.counts
    assert total == (
        f"total: {len(FILES)} files, {len(FILES)} requests: {counts['logs']} log records, {counts['traces']} spans, "
        f"{counts['metrics']} metrics accepted, 0 records refused"
    )
    assert len(per_file) == len(FILES)
    assert all(line.startswith(str(path)) for line, path in zip(per_file, FILES, strict=True))
    assert all(line.endswith(" accepted, 0 records refused") for line in per_file)


def test_the_runs_are_there_with_every_distinct_span_once(imported: Imported, expected: Expected) -> None:
    trace_ids = [trace_id for run in imported.runs for trace_id in run["trace_ids"]]
    assert sorted(trace_ids) == sorted({trace_id for trace_id, _ in expected.versions})
    assert sum(run["steps"] for run in imported.runs) == len(expected.versions)
    newest_first = [run["started_at"] for run in imported.runs]
    assert newest_first == sorted(newest_first, reverse=True)


def test_a_replay_that_is_piped_is_ndjson_from_the_start_of_the_run_to_its_end(
    imported: Imported, server: RunningServer
) -> None:
    events = imported.replay
    assert [event["position"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("run_started", "run_ended")
    told = {event["type"] for event in events}
    assert told >= {"reasoning", "tool_requested", "approval_asked", "decided", "tool_executed", "tool_result"}
    assert server.replay(events[0]["data"]["run_id"]) == events


def test_every_attribute_of_every_span_is_found_again_through_the_api(
    imported: Imported, server: RunningServer, expected: Expected
) -> None:
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for run in imported.runs:
        for step in server.rows(f"/v1/runs/{run['run_id']}/steps", "steps"):
            shown[step["trace_id"], step["span_id"]] = server.get(f"/v1/steps/{step['step_id']}")["attributes"]
    assert shown.keys() == expected.versions.keys()
    for key, versions in expected.versions.items():
        assert shown[key] in versions, key


def test_import_into_a_folder_without_a_server_gives_the_same(imported: Imported, folder: Path) -> None:
    assert import_all(folder / "without-a-server") == imported
