"""The demo's agent against a real server, and what the API says of its run.

A small proxy stands between the two and keeps what was sent, so that the record is held against the bytes of the
exporters and not against itself.
"""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import httpx
import pytest
from otlp_bodies import MESSAGES, attributes
from running_server import RunningServer

from tests.patience import BUSY_SECONDS

AGENT_SECONDS = 120  # It takes four; starting two more Python processes takes most of it.


@contextmanager
def listening_proxy(url: str) -> Generator[tuple[str, list[tuple[str, bytes]]]]:
    """Passes OTLP/HTTP on to `url`; yields its own address and what went through, as (signal, body)."""
    passed: list[tuple[str, bytes]] = []
    lock = Lock()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                passed.append((self.path.rpartition("/")[2], body))
                answer = client.post(self.path, content=body, headers={"content-type": self.headers["Content-Type"]})
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    with (
        httpx.Client(base_url=url, timeout=BUSY_SECONDS, trust_env=False) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy,
    ):
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}", passed
        finally:
            proxy.shutdown()
            thread.join()


@dataclass(frozen=True)
class DemoRun:
    """What the agent said of itself, what it sent, and what the API shows of it."""

    server: RunningServer
    said: dict[str, Any]
    sent: list[tuple[str, bytes]]
    run: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    tool_calls: dict[str, dict[str, Any]]
    decisions: dict[str, dict[str, Any]]
    replay: list[dict[str, Any]]

    def sent_records(self, signal: str) -> list[tuple[Any, Any, Any]]:
        """(record, resource, scope) of everything sent of a signal."""
        levels = {
            "traces": ("resource_spans", "scope_spans", "spans"),
            "logs": ("resource_logs", "scope_logs", "log_records"),
            "metrics": ("resource_metrics", "scope_metrics", "metrics"),
        }[signal]
        return [
            (record, outer.resource, scope.scope)
            for sent, body in self.sent
            if sent == signal
            for outer in getattr(MESSAGES[signal].FromString(body), levels[0])
            for scope in getattr(outer, levels[1])
            for record in getattr(scope, levels[2])
        ]

    def places(self, kind: str, **data: Any) -> list[int]:
        """Where in the replay events of a type with these data stand."""
        return [
            event["position"]
            for event in self.replay
            if event["type"] == kind and data.items() <= event["data"].items()
        ]


@pytest.fixture(scope="module")
def demo(server: RunningServer) -> DemoRun:
    with listening_proxy(server.ready["otlp_http"]) as (url, sent):
        agent = subprocess.run(
            [sys.executable, "-m", "spanledger.demo.agent", "--endpoint", url, "--json"],
            capture_output=True,
            text=True,
            timeout=AGENT_SECONDS,
            check=False,
        )
    assert agent.returncode == 0, agent.stderr
    said = json.loads(agent.stdout.splitlines()[-1])
    server.caught_up()
    [run] = server.rows("/v1/runs", "runs", conversation=said["conversation_id"])
    path = f"/v1/runs/{run['run_id']}"
    return DemoRun(
        server,
        said,
        [(signal, body) for signal, body in sent if body],
        run,
        {row["step_id"]: row for row in server.rows(f"{path}/steps", "steps")},
        {row["tool_name"]: row for row in server.rows(f"{path}/tool-calls", "tool_calls")},
        {row["target"]: row for row in server.rows(f"{path}/decisions", "decisions")},
        server.replay(run["run_id"]),
    )


def test_the_reasoning_of_the_agent_is_there_and_says_what_the_model_thought(demo: DemoRun) -> None:
    thoughts = [event for event in demo.replay if event["type"] == "reasoning"]
    assert thoughts
    assert all(event["data"]["text"] and demo.steps[event["step_id"]]["reasoning"] for event in thoughts)
    assert "First I need order FP-1042" in thoughts[0]["data"]["text"]
    assert demo.run["reasoning_tokens"] > 0
    messages = demo.server.rows(f"/v1/runs/{demo.run['run_id']}/messages", "messages")
    parts = [part for message in messages for part in message["parts"]]
    assert "reasoning" in {part["type"] for part in parts}
    assert messages[-1]["parts"][-1]["content"] == demo.said["answer"]


def test_an_mcp_call_that_succeeds_is_one_tool_call_told_by_four_spans(demo: DemoRun) -> None:
    call = demo.tool_calls["get_order"]
    assert (call["outcome"], call["tool_source"], call["error_type"]) == ("ok", "mcp", None)
    assert call["arguments"] == {"order_id": "FP-1042"}
    assert call["result"]["customer"] == "Ines Carvalho"
    spans = [call[name] for name in ("requesting_step", "executing_step", "mcp_client_step", "mcp_server_step")]
    kinds = [demo.steps[step_id]["kind"] for step_id in spans]
    assert kinds == ["llm", "tool", "mcp_client", "mcp_server"]
    assert demo.steps[call["mcp_server_step"]]["service_name"] == call["mcp_server"] != demo.run["service_name"]
    assert call["requested_at"] < call["started_at"] < call["ended_at"]


def test_an_mcp_call_that_fails_is_an_error_with_what_the_server_said(demo: DemoRun) -> None:
    call = demo.tool_calls["track_parcel"]
    assert (call["outcome"], call["tool_source"]) == ("error", "mcp")
    assert call["error_type"]
    assert "was never scanned" in call["result"]
    assert demo.steps[call["mcp_server_step"]]["outcome"] == "error"
    assert demo.run["tool_errors"] == 1
    [error] = demo.places("error", tool_name="track_parcel")
    assert "was never scanned" in demo.replay[error]["data"]["message"]


def test_a_call_that_waited_for_a_human_was_approved_and_then_executed(demo: DemoRun) -> None:
    call, decision = demo.tool_calls["refund_order"], demo.decisions["refund_order"]
    assert (decision["kind"], decision["verdict"], decision["action"]) == ("human_approval", "allow", "executed")
    assert decision["decided_by_kind"] == "human"
    assert decision["tool_call_key"] == call["tool_call_key"]
    assert decision["wait_ns"] > 0
    assert decision["wait_ns"] == call["wait_ns"]
    assert decision["requested_at"] < decision["decided_at"] <= call["started_at"] < call["ended_at"]
    assert (call["outcome"], call["tool_source"]) == ("ok", "mcp")
    assert call["result"]["state"].startswith("booked")
    asked_in, carried_out_in = demo.run["trace_ids"]
    assert demo.steps[call["requesting_step"]]["trace_id"] == asked_in
    assert demo.steps[call["mcp_server_step"]]["trace_id"] == carried_out_in


def test_a_call_that_was_denied_was_never_executed(demo: DemoRun) -> None:
    call, decision = demo.tool_calls["issue_voucher"], demo.decisions["issue_voucher"]
    assert (decision["kind"], decision["verdict"], decision["action"]) == ("human_approval", "deny", "blocked")
    assert decision["reason"] == "We do not give a voucher on top of a refund."
    assert call["outcome"] == "denied"
    executed = [call[name] for name in ("started_at", "executing_step", "mcp_client_step", "mcp_server_step")]
    assert executed == [None] * 4
    assert not demo.places("tool_executed", tool_name="issue_voucher")
    # Not one span of the server that would have run it speaks of it, in the record or in what was sent.
    named = [row["service_name"] for row in demo.steps.values() if row["tool_name"] == "issue_voucher"]
    assert set(named) == {demo.run["service_name"]}
    ran = {
        span.name for span, resource, _ in demo.sent_records("traces") if "mcp" in attributes(resource)["service.name"]
    }
    assert "tools/call refund_order" in ran
    assert "tools/call issue_voucher" not in ran


def test_the_two_traces_are_one_run_with_two_segments(demo: DemoRun) -> None:
    assert demo.run["trace_ids"] == demo.said["trace_ids"]
    assert demo.run["conversation_id"] == demo.said["conversation_id"]
    first, second = demo.run["segments"]
    assert [first["trace_id"], second["trace_id"]] == demo.said["trace_ids"]
    assert (first["segment_no"], second["segment_no"]) == (1, 2)
    assert second["continues"] == first["segment_id"]
    assert second["joined_by"]
    assert first["ended_at"] < second["started_at"]
    for trace_id in demo.said["trace_ids"]:
        assert demo.server.get(f"/v1/runs/{trace_id}") == demo.run
        assert demo.server.rows("/v1/runs", "runs", trace_id=trace_id) == [demo.run]


def test_the_run_counts_every_span_once_and_only_leaves_for_tokens(demo: DemoRun) -> None:
    spans = {(span.trace_id.hex(), span.span_id.hex()): span for span, _, _ in demo.sent_records("traces")}
    assert {(row["trace_id"], row["span_id"]) for row in demo.steps.values()} == set(spans)
    chats = [attributes(span) for span in spans.values() if span.name.startswith("chat ")]
    run = demo.run
    assert (run["steps"], run["llm_calls"], run["tool_calls"], run["decisions"]) == (len(spans), len(chats), 4, 2)
    for ours, theirs in (
        ("input_tokens", "gen_ai.usage.input_tokens"),
        ("output_tokens", "gen_ai.usage.output_tokens"),
    ):
        assert run[ours] == sum(chat[theirs] for chat in chats)
    assert (run["status"], run["completeness"]["state"]) == ("ok", "complete")


def test_the_replay_is_in_causal_order(demo: DemoRun) -> None:
    replay = demo.replay
    assert [event["position"] for event in replay] == list(range(len(replay)))
    assert [event["at"] for event in replay] == sorted(event["at"] for event in replay)
    assert replay[0]["type"] == "run_started"
    assert [event["type"] for event in replay].count("run_ended") == 1
    assert replay[-1]["type"] == "run_ended"
    for tool in ("get_order", "track_parcel", "refund_order"):
        [asked], [ran], [told] = (
            demo.places(kind, tool_name=tool) for kind in ("tool_requested", "tool_executed", "tool_result")
        )
        assert asked < ran < told
    for tool, verdict in (("refund_order", "allow"), ("issue_voucher", "deny")):
        [asked], [waits], [decided], [told] = (
            demo.places("tool_requested", tool_name=tool),
            demo.places("approval_asked", tool_name=tool),
            demo.places("decided", tool_name=tool, verdict=verdict),
            demo.places("tool_result", tool_name=tool),
        )
        assert asked < waits < decided < told
        assert tool in replay[waits]["state"]["pending_approvals"]
        assert tool not in replay[decided]["state"]["pending_approvals"]
        assert tool in replay[asked]["state"]["open_calls"]
        assert tool not in replay[told]["state"]["open_calls"]
    assert demo.places("decided", tool_name="refund_order") < demo.places("tool_executed", tool_name="refund_order")
    end = replay[-1]["state"]
    assert (end["open_calls"], end["pending_approvals"]) == ([], [])
    assert (end["input_tokens"], end["output_tokens"]) == (demo.run["input_tokens"], demo.run["output_tokens"])


def test_every_step_has_all_that_its_span_said(demo: DemoRun) -> None:
    for span, resource, scope in demo.sent_records("traces"):
        step_id = f"{span.trace_id.hex()}-{span.span_id.hex()}"
        shown = demo.server.get(f"/v1/steps/{step_id}")
        assert shown["attributes"] == attributes(span)
        assert shown["resource"] == attributes(resource)
        assert (shown["scope"]["name"], shown["scope"]["version"]) == (scope.name, scope.version)
        assert [(event["name"], event["attributes"]) for event in shown["events"]] == [
            (event.name, attributes(event)) for event in span.events
        ]
        assert [link["span_id"] for link in shown["links"]] == [link.span_id.hex() for link in span.links]
        assert shown["name"] == span.name
        assert shown["duration_ns"] == span.end_time_unix_nano - span.start_time_unix_nano


def test_its_log_records_and_metrics_are_there_too(demo: DemoRun) -> None:
    logs, metrics = demo.sent_records("logs"), demo.sent_records("metrics")
    assert logs
    assert metrics
    events = demo.server.rows("/v1/events", "events")
    assert sorted(map(repr, ([event["event_name"], event["attributes"]] for event in events))) == sorted(
        map(repr, ([record.event_name or None, attributes(record)] for record, _, _ in logs))
    )
    verdicts = [event for event in events if event["event_name"] == "fernhill.approval.decided"]
    assert [event["run_id"] for event in verdicts if event["trace_id"]] == [demo.run["run_id"]] * sum(
        bool(event["trace_id"]) for event in verdicts
    )
    points = demo.server.rows("/v1/metric-points", "metric_points")
    assert {point["metric"] for point in points} == {metric.name for metric, _, _ in metrics}
