"""Every hostile case, small: it does to a real server what it says, and what must hold holds. And the judge can say no."""

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from bench import hostile, outcomes, results
from bench.acks import AckJournal, Request, compare, compare_counts
from bench.crash_cases import FullDisk, Kill, Sigterm
from bench.hostile_server import HostileServer
from bench.keepalive import drive, http_post
from bench.load import send
from bench.outcomes import CannotRun, Check, Outcome, at_most
from bench.overload import Overload
from bench.server import ServerFailed, processes_of
from bench.span_stamp import CHAT, ROOT, BigTrace, Requests
from bench.volume_cases import BigTraceCase, Idle, Tiny
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

# What depends on how fast this machine is just now; the rest is right or wrong anywhere.
_SPEED = ("acks a second", "ack p99", "GET the", "lag 0", "the run counts", "visible after", "exit after", "acks again")


def held(outcome: Outcome) -> None:
    wrong = [check for check in outcome.checks if not check.held and not any(word in check.words for word in _SPEED)]
    assert not wrong, (outcome.done, wrong)


def test_killed_again_and_again_it_misses_nothing(tmp_path: Path) -> None:
    outcome = Kill(rounds=3, load_seconds_max=0.3, connections=4).run(tmp_path)
    held(outcome)
    assert outcome.figures["acked_spans"] > 0


def test_ended_at_full_load_it_misses_nothing(tmp_path: Path) -> None:
    outcome = Sigterm(rounds=1, load_seconds=0.5, connections=6).run(tmp_path)
    held(outcome)
    assert 0 < outcome.figures["exit_seconds_max"] < 30


@pytest.mark.parametrize("reserve_mb", [0, 20], ids=["to its end", "with a reserve"])
def test_a_full_disk_is_survived_alone(tmp_path: Path, reserve_mb: int) -> None:
    try:
        outcome = FullDisk(disk_mb=110, full_seconds=0.5, reserve_mb=reserve_mb, connections=2).run(tmp_path)
    except CannotRun as error:
        pytest.skip(str(error))
    held(outcome)
    assert outcome.figures["refusals"] > 0


def test_a_large_trace_is_one_run_with_every_span(tmp_path: Path) -> None:
    outcome = BigTraceCase(spans=1500, spans_a_request=200, visible_seconds_max=120).run(tmp_path)
    held(outcome)
    assert outcome.figures["view_reached_share"] == 1.0


def test_tiny_requests_are_all_acknowledged_or_refused_to_be_sent_again(tmp_path: Path) -> None:
    outcome = Tiny(requests_per_second=100, seconds=1, connections=8).run(tmp_path)
    held(outcome)
    assert 0 < outcome.figures["ack_ms_p50"] <= outcome.figures["ack_ms_p99"] <= outcome.figures["ack_ms_max"]


def test_idle_connections_are_held_and_can_be_used(tmp_path: Path) -> None:
    outcome = Idle(connections=150, seconds=1, requests_per_second=50).run(tmp_path)
    held(outcome)


def test_the_standard_exporters_lose_nothing_that_they_call_a_success(tmp_path: Path) -> None:
    outcome = Overload(seconds=1, calibration_seconds=1, processes=2, threads=2, spans=20).run(tmp_path)
    held(outcome)
    assert outcome.figures["acked_spans_per_second"] > 0


# The judge


@pytest.fixture
def recorded(tmp_path: Path):
    """A server with one trace of three spans, and that trace's id."""
    with HostileServer(tmp_path / "data") as server:
        server.start()
        trace = BigTrace(3, 2, b"t" * 16)
        send(server.otlp, trace)
        server.caught_up()
        yield server, trace.trace_id.hex()


def test_what_is_missing_torn_or_foreign_is_seen(recorded) -> None:
    server, trace = recorded
    one, two, three, other = (number.to_bytes(8, "big").hex() for number in (1, 2, 3, 9))
    whole = [Request(trace, (three, two), acked=True), Request(trace, (one,), acked=False)]
    assert compare(server, whole).clean
    assert compare_counts(server, [Request(trace, (one, two, three), acked=True)]).clean
    assert compare(server, whole).unacked_present == 1
    lost = compare(server, [*whole, Request("a" * 32, (one,), acked=True)])
    assert (lost.missing, lost.clean) == (1, False)
    torn = compare(server, [Request(trace, (three, two, one, other), acked=True)])
    assert (torn.missing, torn.torn) == (1, 1)
    assert compare(server, whole[:1]).foreign == 1
    assert compare_counts(server, [Request(trace, (one, two), acked=True)]).doubled == 1
    assert compare_counts(server, [Request(trace, (one, two, three, other), acked=True)]).missing == 1
    assert compare_counts(server, []).foreign == 3


def test_a_server_that_is_gone_is_said_to_be_gone_with_its_log(recorded) -> None:
    server, _ = recorded
    os.kill(server._process.pid, signal.SIGKILL)  # By somebody else, that is.
    server._process.wait()
    with pytest.raises(ServerFailed, match=r"(?s)has ended with status -9; its log ends:.*ready"):
        server.readiness()


def test_both_processes_are_weighed(recorded) -> None:
    server, _ = recorded
    pids = processes_of(server._process.pid)
    assert len(pids) == 2
    first = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pids[0]}/status").read_text())[0]) * 1024
    assert server.memory_bytes() > 1.2 * first
    assert server.open_files() > sum(1 for _ in Path(f"/proc/{pids[0]}/fd").iterdir())
    assert server.cpu_seconds() > 0


def test_a_span_that_is_listed_twice_is_seen(recorded, monkeypatch) -> None:
    server, trace = recorded
    steps_of = server.steps_of
    monkeypatch.setattr(HostileServer, "steps_of", lambda _, trace_id: [*steps_of(trace_id), f"{1:016x}"])
    found = compare(server, [Request(trace, tuple(f"{number:016x}" for number in (1, 2, 3)), acked=True)])
    assert (found.doubled, found.clean) == (1, False)


def test_the_journal_of_acks_is_read_back_from_its_file(tmp_path: Path) -> None:
    with AckJournal(tmp_path / "acks") as journal:
        first, _ = journal.sent("aa", ["01", "02"]), journal.sent("bb", ["03"])
        journal.acked(first)
    with AckJournal(tmp_path / "acks") as again:
        assert again.count == 2
        again.acked(again.sent("cc", ["04"]))
        assert again.requests() == [
            Request("aa", ("01", "02"), acked=True),
            Request("bb", ("03",), acked=False),
            Request("cc", ("04",), acked=True),
        ]
        assert again.requests(since=2) == again.requests()[2:]


def test_stamped_requests_are_what_the_official_runtime_reads() -> None:
    trace = BigTrace(1000, 64, b"\x81" * 16)
    request = REQUEST_MESSAGES[Signal.TRACES]
    bodies = [request.FromString(trace[index]) for index in range(len(trace))]
    spans = [span for body in bodies for span in body.resource_spans[0].scope_spans[0].spans]
    assert [len(body.resource_spans[0].scope_spans[0].spans) for body in bodies] == [
        trace.spans_of(index) for index in range(len(trace))
    ]
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans) == 1000
    roots = [span for span in spans if not span.parent_span_id]
    assert roots == spans[-1:], "one root, and it comes last"
    assert {span.parent_span_id for span in spans[:-1]} <= ids
    assert all(span.trace_id == b"\x81" * 16 and span.end_time_unix_nano > span.start_time_unix_nano for span in spans)


def test_the_open_loop_counts_what_it_gets_and_what_breaks() -> None:
    """A server of 200, 429 and then a connection that it closes."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n",
        b"",
    ]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        first, _ = listener.accept()
        with first:
            for answer in answers:
                assert first.recv(65536).endswith(b"body")
                for place in range(len(answer)):  # An answer may come byte by byte.
                    first.sendall(answer[place : place + 1])
        second, _ = listener.accept()
        second.close()

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        found = drive(listener.getsockname(), lambda _: http_post(b"body"), rate=3, seconds=1, connections=1)
        thread.join()
    assert found.statuses == {200: 1, 429: 1}
    assert (found.acked, found.sent, len(found.latencies)) == ([0], 3, 2)
    assert found.broken >= 1


# The table


def test_a_case_that_does_not_hold_fails_the_command_and_is_written_down(tmp_path, monkeypatch, capsys) -> None:
    class Broken:
        def run(self, folder: Path) -> Outcome:
            assert folder.is_dir()
            return Outcome("did", {"lost_spans": 1}, (Check("0 lost", "1", held=False), at_most("t", None, 1, "s")))

    class Skipped:
        def run(self, folder: Path) -> Outcome:
            raise CannotRun("not root")

    monkeypatch.setattr(hostile, "CASES", {"broken": lambda _: Broken(), "skipped": lambda _: Skipped()})
    page, lines = tmp_path / "HOSTILE.md", tmp_path / "hostile.ndjson"
    page.write_text(f"before\n{outcomes.BEGIN}\n{outcomes.END}\nafter\n")
    command = ["--results", str(lines), "--table", str(page), "--folder", str(tmp_path), "--note", "busy"]
    assert hostile.main(command) == 1
    [done] = results.read(lines)
    assert (done["benchmark"], done["held"], done["rounds"]) == ("hostile/broken", False, [{"lost_spans": 1}])
    assert done["command"].startswith("python -m bench.hostile --results")
    text = page.read_text()
    assert "| broken | did | 0 lost | 1 | **no** |" in text
    assert "not reached" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "skipped: not root" in capsys.readouterr().err
    assert hostile.main(["skipped", *command]) == 0
    assert len(results.read(lines)) == 1


def test_quick_outcomes_never_get_into_the_table(tmp_path, monkeypatch, capsys) -> None:
    class Fine:
        def run(self, folder: Path) -> Outcome:
            return Outcome("did", {"n": 1}, (Check("0 lost", "0", held=True),))

    monkeypatch.setattr(hostile, "CASES", {"fine": lambda _: Fine()})
    lines = tmp_path / "hostile.ndjson"
    assert hostile.main(["--quick", "--results", str(lines), "--table", str(tmp_path / "absent")]) == 0
    assert "| fine | did | 0 lost | 0 | yes |" in capsys.readouterr().out


def test_every_outcome_that_is_published_is_a_whole_measurement() -> None:
    lines = outcomes.RESULTS.read_text().splitlines() if outcomes.RESULTS.exists() else []
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
            "rounds",
            "checks",
        }


def test_a_request_of_one_span_is_whole() -> None:
    body = Requests("one").body([ROOT.stamp(b"t" * 16, b"s" * 8, b"", 5), CHAT.stamp(b"t" * 16, b"u" * 8, b"s" * 8, 6)])
    [resource] = REQUEST_MESSAGES[Signal.TRACES].FromString(body).resource_spans
    assert resource.resource.attributes[0].value.string_value == "one"
    assert [span.parent_span_id for span in resource.scope_spans[0].spans] == [b"", b"s" * 8]
    assert [span.start_time_unix_nano for span in resource.scope_spans[0].spans] == [5, 6]
