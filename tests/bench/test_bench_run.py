"""Every benchmark, small: it runs to its end against a real server and gives figures that can be."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bench import boundary_cost, limit, peers, results, run
from bench.bodies import BodyFile
from bench.growth import grow
from bench.workloads import WORKLOADS, bodies

TINY = run.Plan(rounds=1, history_spans=512, small_spans=1024, paced_seconds=1.0, peer_spans=64)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "BENCHMARKS.md"
    page.write_text(f"{results.BEGIN}\n{results.END}\n")
    return page


def measured_by(path: Path) -> dict[str, dict[str, Any]]:
    return {done["benchmark"]: done for done in results.read(path)}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_run_measures_the_server_and_the_limit_and_writes_both_down(
    workload: str, tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FULL", TINY)
    output = tmp_path / "results.ndjson"
    command = ["--workload", workload, "--folder", str(tmp_path), "--results", str(output), "--table", str(page)]
    assert run.main(command) == 0
    done = measured_by(output)
    assert set(done) == {f"{workload}/saturated", f"{workload}/limit", f"{workload}/paced"}
    saturated, paced = done[f"{workload}/saturated"]["median"], done[f"{workload}/paced"]["median"]
    assert 0 < saturated["visible_spans_per_second"] <= saturated["acked_spans_per_second"]
    assert 0 < saturated["ack_ms_p50"] <= saturated["ack_ms_p99"]
    assert saturated["client_cpu_seconds"] < saturated["server_cpu_seconds"]
    assert 50 < saturated["server_memory_peak_mb"] < 1500
    assert 0 < saturated["journal_bytes"] <= saturated["journal_bytes_allocated"]
    assert saturated["view_bytes"] > 0
    assert done[f"{workload}/limit"]["median"]["rows"] == TINY.spans(WORKLOADS[workload])
    assert paced["spans_per_second"] == pytest.approx(saturated["visible_spans_per_second"] / 2, rel=0.01)
    assert 0 <= paced["visible_ms_p50"] <= paced["visible_ms_p99"]
    assert f"| {workload}: over the limit | " in page.read_text()
    assert not list(tmp_path.glob("spanledger-bench-*")), "bodies and data folders are taken away again"


def test_redaction_is_measured_on_and_off_in_turns_and_told_on_its_page(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FULL", dataclasses.replace(TINY, rounds=2))
    turns: list[str] = []
    measured = boundary_cost.saturated

    def heard(*arguments: Any) -> Any:
        turns.append(arguments[-1])
        return measured(*arguments)

    monkeypatch.setattr(boundary_cost, "saturated", heard)
    output, redaction = tmp_path / "results.ndjson", tmp_path / "REDACTION.md"
    redaction.write_text("# Redaction\n\nWhat it finds.\n")
    paths = ["--results", str(output), "--table", str(page), "--redaction-page", str(redaction)]
    assert run.main(["--redaction", "--workload", "small", *paths]) == 0
    assert turns == ["on", "off", "off", "on"]
    [done] = measured_by(output).values()
    assert done["benchmark"] == "small/redaction"
    assert all(value > 0 for each in done["rounds"] for value in each.values())
    text = redaction.read_text()
    assert text.startswith("# Redaction\n\nWhat it finds.\n")
    assert "| *small* | " in text
    assert boundary_cost.written_into(text, results.read(output)) == text
    assert "small: visible spans/s with redaction over without | ≥ 0.8 x | " in page.read_text()


def test_a_variant_is_filed_under_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUICK", TINY)
    output = tmp_path / "results.ndjson"
    command = ["--quick", "--workload", "small", "--runs-at-once", "2", "--results", str(output)]
    assert run.main(command) == 0
    assert set(measured_by(output)) == {"small@2/saturated", "small@2/limit", "small@2/paced"}


def test_a_server_that_does_not_start_ends_the_run_with_its_cause(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.server.sys.executable", "/bin/false")
    monkeypatch.setattr(run, "FULL", TINY)
    output = tmp_path / "results.ndjson"
    assert run.main(["--workload", "small", "--results", str(output), "--table", str(page)]) == 1
    assert "did not start" in capsys.readouterr().err
    assert not output.exists()


def test_the_limit_inserts_every_value_of_every_span(tmp_path: Path) -> None:
    made = list(bodies(WORKLOADS["history"], seed=5, spans=600, end_ns=time.time_ns()))
    with BodyFile.write(tmp_path / "bodies", made) as file:
        # Small batches, so that some attribute is first seen after the table was made.
        done = limit.insert_bare(file, tmp_path / "limit.duckdb", batch_bytes=1)
        assert done.rows == 600
        assert 0 < done.decode_seconds < done.seconds
        with duckdb.connect(tmp_path / "limit.duckdb", read_only=True) as connection:
            row = connection.execute(
                """SELECT count(DISTINCT span_id), count("gen_ai.input.messages"), count("gen_ai.usage.input_tokens"),
                sum(len("gen_ai.input.messages")), count("gen_ai.tool.call.result"), any_value(scope.scope.name) FROM spans"""
            ).fetchone()
    assert row is not None
    spans, chats, tokens, chars, tools, scope = row
    assert spans == 600
    assert chats == tokens > 100
    assert chars > 1_000_000
    assert tools > 100
    assert scope


def test_growth_compares_the_rate_of_a_full_store_with_that_of_an_emptier_one(tmp_path: Path) -> None:
    done, described = grow(tmp_path, spans=2048)
    assert len(done.chunk_rates) == 4
    assert done.spans == described["spans"] == 2048
    assert done.rate_kept == pytest.approx(done.late_spans_per_second / done.early_spans_per_second)
    assert done.rate_kept > 0


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_a_peer_stores_what_it_is_sent(peer: peers.Peer, tmp_path: Path) -> None:
    reason = peers.missing(peer)
    if reason is not None:
        pytest.skip(reason)
    made = bodies(WORKLOADS["small"], seed=5, spans=128, end_ns=time.time_ns(), spans_a_request=32)
    (tmp_path / "peer").mkdir()
    with BodyFile.write(tmp_path / "bodies", made) as file:
        done = peers.stored_by(peer, file, tmp_path / "peer")
    assert (done.stored, done.complete) == (128, True)
    assert done.stored_spans_per_second > 0


def test_a_peer_that_is_not_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    for peer in peers.PEERS:
        assert "make bench-peers" in (peers.missing(peer, tmp_path) or "")


def test_every_result_that_is_published_is_a_whole_measurement() -> None:
    lines = results.RESULTS.read_text().splitlines() if results.RESULTS.exists() else []
    for line in lines:
        done = json.loads(line)
        assert done.keys() >= {
            "benchmark",
            "at",
            "command",
            "commit",
            "machine",
            "versions",
            "workload",
            "median",
            "rounds",
        }
