"""The demo agent from the outside: a process, and what it sends over OTLP/HTTP, read with the official protobuf runtime.

The receiver is a few lines of http.server and knows nothing of Spanledger, so that what holds here holds for any OTLP
backend. Two agents run side by side once for the whole module; the tests look at what they sent.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart

from spanledger.demo.reviewer import review
from spanledger.demo.script import next_turn
from spanledger.demo.shop_server import BackOffice

CAPTURE = Path(__file__).parents[1] / "fixtures" / "captures" / "spanledger-demo"
# Starting two Python processes takes most of it; a machine under load takes several times as long.
AGENT_TIMEOUT_S = 60
AGENT, SHOP = "fernhill-support", "fernhill-backoffice-mcp"


@dataclass(frozen=True)
class SeenSpan:
    service: str
    scope: str
    span: Span

    @property
    def attributes(self) -> dict[str, Any]:
        return {a.key: plain(a.value) for a in self.span.attributes}

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()


@dataclass(frozen=True)
class AgentProcess:
    returncode: int
    stdout: str
    stderr: str
    bodies: list[tuple[str, bytes]]

    @property
    def spans(self) -> list[SeenSpan]:
        return spans_of(body for path, body in self.bodies if path == "/v1/traces")

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads(self.stdout.splitlines()[-1])


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(v) for v in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def spans_of(bodies: Iterator[bytes]) -> list[SeenSpan]:
    return [
        SeenSpan(
            service=next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name"),
            scope=scope.scope.name,
            span=span,
        )
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def parents_of(seen: SeenSpan, spans: list[SeenSpan]) -> list[SeenSpan]:
    by_id = {s.span.span_id: s for s in spans}
    chain: list[SeenSpan] = []
    while seen.span.parent_span_id:
        seen = by_id[seen.span.parent_span_id]
        chain.append(seen)
    return chain


@contextmanager
def otlp_receiver(status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Takes every body; answers `status` to those that are not empty."""
    bodies: list[tuple[str, bytes]] = []
    lock = Lock()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if body:
                with lock:
                    bodies.append((self.path, body))
            self.send_response(status if body else 200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=AGENT_TIMEOUT_S,
        check=False,
    )


def agent_process(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return python("-m", "spanledger.demo.agent", *arguments)


def run_agent() -> AgentProcess:
    with otlp_receiver() as (endpoint, bodies):
        done = agent_process("--endpoint", endpoint, "--json")
        return AgentProcess(done.returncode, done.stdout, done.stderr, bodies)


@pytest.fixture(scope="module")
def two_agents() -> list[AgentProcess]:
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(run_agent) for _ in range(2)]]


@pytest.fixture(scope="module")
def agent(two_agents: list[AgentProcess]) -> AgentProcess:
    assert two_agents[0].returncode == 0, two_agents[0].stderr
    return two_agents[0]


@pytest.fixture(scope="module")
def spans(agent: AgentProcess) -> list[SeenSpan]:
    return agent.spans


@pytest.fixture(scope="module")
def runs(agent: AgentProcess, spans: list[SeenSpan]) -> list[SeenSpan]:
    roots = sorted((s for s in spans if not s.span.parent_span_id), key=lambda s: s.span.start_time_unix_nano)
    assert [r.trace_id for r in roots] == agent.outcome["trace_ids"], "every root span is an agent run that was told of"
    assert len(roots) == 2
    return roots


def executions(spans: list[SeenSpan], tool: str) -> list[SeenSpan]:
    """pydantic-ai's own spans about one tool."""
    return [s for s in spans if s.scope == "pydantic-ai" and s.span.name == f"execute_tool {tool}"]


def served(spans: list[SeenSpan], tool: str) -> list[SeenSpan]:
    """The MCP server's spans about one tool: it ran there, or it did not run."""
    return [s for s in spans if s.service == SHOP and s.span.name == f"tools/call {tool}"]


def test_the_agent_tells_the_conversation_as_plain_text_and_ends_well(agent: AgentProcess) -> None:
    told = agent.stdout
    in_order = [
        "customer", "(thinks)", "calls get_order", "get_order answers", "calls track_parcel", "track_parcel FAILED",
        "calls refund_order", "needs a person's approval", "APPROVED refund_order", "DENIED issue_voucher",
        "refund_order answers", "issue_voucher was never run", "Hello Ines",
    ]  # fmt: skip
    places = [told.index(words) for words in in_order]
    assert places == sorted(places)
    assert "\x1b" not in told
    assert agent.stderr == ""


def test_the_model_reasons_at_each_of_four_turns(spans: list[SeenSpan]) -> None:
    turns = [s for s in spans if s.attributes.get("gen_ai.operation.name") == "chat"]
    assert len(turns) == 4
    for turn in turns:
        [message] = json.loads(turn.attributes["gen_ai.output.messages"])
        assert message["parts"][0]["type"] == "thinking"
        assert message["parts"][0]["content"]


def test_tokens_grow_with_the_history_and_the_cache_follows(spans: list[SeenSpan]) -> None:
    turns = sorted(
        (s for s in spans if s.attributes.get("gen_ai.operation.name") == "chat"),
        key=lambda s: s.span.start_time_unix_nano,
    )
    inputs = [t.attributes["gen_ai.usage.input_tokens"] for t in turns]
    cached = [t.attributes.get("gen_ai.usage.cache_read.input_tokens", 0) for t in turns]
    assert inputs == sorted(set(inputs))
    assert cached[0] == 0
    assert all(0 < now <= before for now, before in zip(cached[1:], inputs[:-1], strict=True))
    assert all(t.attributes["gen_ai.usage.details.reasoning_tokens"] > 0 for t in turns)


def test_an_mcp_tool_call_that_succeeds_is_a_chain_of_four_spans_in_two_processes(spans: list[SeenSpan]) -> None:
    [call] = served(spans, "get_order")
    chain = [(s.service, s.scope) for s in [call, *parents_of(call, spans)]]
    assert chain == [
        (SHOP, "mcp-python-sdk"),
        (AGENT, "mcp-python-sdk"),
        (AGENT, "fastmcp"),
        (AGENT, "pydantic-ai"),
        (AGENT, "pydantic-ai"),
    ]
    [execution] = executions(spans, "get_order")
    assert execution.span.status.code != Status.STATUS_CODE_ERROR
    assert json.loads(execution.attributes["gen_ai.tool.call.result"])["order_id"] == "FP-1042"


def test_an_mcp_tool_call_that_fails_is_an_error_on_both_sides_and_the_agent_goes_on(
    spans: list[SeenSpan], runs: list[SeenSpan]
) -> None:
    [call] = served(spans, "track_parcel")
    assert call.span.status.code == Status.STATUS_CODE_ERROR
    assert call.attributes["error.type"] == "tool_error"
    [execution] = executions(spans, "track_parcel")
    assert execution.span.status.code == Status.STATUS_CODE_ERROR
    later = [s for s in spans if s.span.start_time_unix_nano > execution.span.end_time_unix_nano]
    assert any(s.attributes.get("gen_ai.operation.name") == "chat" and s.trace_id == call.trace_id for s in later)
    assert runs[0].span.status.code != Status.STATUS_CODE_ERROR


def test_the_first_run_ends_with_two_calls_that_wait_for_approval(spans: list[SeenSpan], runs: list[SeenSpan]) -> None:
    pending = json.loads(runs[0].attributes["final_result"])["approvals"]
    assert [call["tool_name"] for call in pending] == ["refund_order", "issue_voucher"]
    for call in pending:
        deferred = executions(spans, call["tool_name"])[0]
        assert deferred.trace_id == runs[0].trace_id
        assert deferred.attributes["pydantic_ai.tool.deferral.name"] == "ApprovalRequired"
        assert deferred.attributes["gen_ai.tool.call.id"] == call["tool_call_id"]


def test_the_approved_call_is_carried_out_through_mcp_in_the_second_trace_only(
    spans: list[SeenSpan], runs: list[SeenSpan]
) -> None:
    deferred, execution = sorted(executions(spans, "refund_order"), key=lambda s: s.span.start_time_unix_nano)
    assert (deferred.trace_id, execution.trace_id) == (runs[0].trace_id, runs[1].trace_id)
    assert deferred.attributes["gen_ai.tool.call.id"] == execution.attributes["gen_ai.tool.call.id"]
    assert json.loads(execution.attributes["gen_ai.tool.call.result"])["refund_id"] == "RF-1042-1"
    [call] = served(spans, "refund_order")
    assert execution in parents_of(call, spans)


def test_the_denied_call_never_reaches_the_server_but_is_answered_with_the_reason(
    spans: list[SeenSpan], runs: list[SeenSpan]
) -> None:
    assert served(spans, "issue_voucher") == []
    [deferred] = executions(spans, "issue_voucher")
    assert deferred.trace_id == runs[0].trace_id
    answers = [
        part
        for message in json.loads(runs[1].attributes["pydantic_ai.all_messages"])
        for part in message["parts"]
        if part["type"] == "tool_call_response" and part["id"] == deferred.attributes["gen_ai.tool.call.id"]
    ]
    assert [a["result"] for a in answers] == ["We do not give a voucher on top of a refund."]


def test_the_person_takes_her_time_between_the_two_runs(runs: list[SeenSpan]) -> None:
    waited_ns = runs[1].span.start_time_unix_nano - runs[0].span.end_time_unix_nano
    assert waited_ns >= 250_000_000


def test_both_runs_are_one_conversation_and_the_answer_says_what_was_done_and_what_not(
    agent: AgentProcess, runs: list[SeenSpan]
) -> None:
    assert {r.attributes["gen_ai.conversation.id"] for r in runs} == {agent.outcome["conversation_id"]}
    answer = agent.outcome["answer"]
    assert runs[1].attributes["final_result"] == answer
    for fact in ("RF-1042-1", "48.00 EUR", "could not find your second parcel", "may not give you a voucher"):
        assert fact in answer


def test_every_span_of_the_server_has_its_parent_on_the_client_in_the_same_trace(
    spans: list[SeenSpan], runs: list[SeenSpan]
) -> None:
    server_side = [s for s in spans if s.service == SHOP]
    assert {s.span.name.split()[0] for s in server_side} == {"server/discover", "tools/list", "tools/call"}
    for seen in server_side:
        parent = parents_of(seen, spans)[0]
        assert (parent.service, parent.trace_id) == (AGENT, seen.trace_id)
    assert {s.trace_id for s in spans} == {r.trace_id for r in runs}


def test_the_decisions_are_logged_and_the_tokens_are_measured(agent: AgentProcess, runs: list[SeenSpan]) -> None:
    pending = json.loads(runs[0].attributes["final_result"])["approvals"]
    records = [
        {a.key: plain(a.value) for a in record.attributes}
        for path, body in agent.bodies
        if path == "/v1/logs"
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert [(r["gen_ai.tool.call.id"], r["fernhill.approval.verdict"]) for r in records] == [
        (pending[0]["tool_call_id"], "approved"),
        (pending[1]["tool_call_id"], "denied"),
    ]
    metrics = {
        metric.name
        for path, body in agent.bodies
        if path == "/v1/metrics"
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert "gen_ai.client.token.usage" in metrics


def test_two_demos_share_no_id(two_agents: list[AgentProcess]) -> None:
    def ids(one: AgentProcess) -> set[str]:
        calls = {s.attributes.get("gen_ai.tool.call.id") for s in one.spans} - {None}
        assert len(calls) == 4
        return {one.outcome["conversation_id"], *one.outcome["trace_ids"], *calls}

    assert ids(two_agents[0]).isdisjoint(ids(two_agents[1]))


def test_the_committed_capture_is_what_the_agent_still_sends(spans: list[SeenSpan]) -> None:
    index = json.loads((CAPTURE / "index.json").read_text())
    for entry in index:
        assert (CAPTURE / entry["file"]).stat().st_size == entry["bytes"]
    committed = spans_of((CAPTURE / e["file"]).read_bytes() for e in index if e["signal"] == "traces")
    assert {e["signal"] for e in index} == {"traces", "logs", "metrics"}

    traces = [plain(a.value) for s in committed for e in s.span.events for a in e.attributes if "stacktrace" in a.key]
    files = [file for trace in traces for file in re.findall(r'File "([^"]+)"', trace)]
    assert files
    assert all(file.startswith("/srv/example/") for file in files)

    def shape(seen: list[SeenSpan]) -> Counter[tuple[object, ...]]:
        return Counter(
            (s.service, s.scope, s.span.name, s.span.kind, s.span.status.code, *sorted(s.attributes)) for s in seen
        )

    assert shape(committed) == shape(spans)


def test_an_address_where_nothing_listens_ends_with_the_cause_and_what_to_do() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed_soon:
        port = closed_soon.server_port
    done = agent_process("--endpoint", f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert f"cannot reach http://127.0.0.1:{port}/v1/traces" in line
    assert "spanledger serve" in line


def test_an_address_that_is_none_is_refused_by_name() -> None:
    done = agent_process("--endpoint", "127.0.0.1:4318")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "'127.0.0.1:4318' is not an OTLP/HTTP address" in line


def test_spans_that_are_refused_make_the_demo_fail() -> None:
    with otlp_receiver(status=400) as (endpoint, _):
        done = agent_process("--endpoint", endpoint)
    assert done.returncode == 1
    assert f"spans were not taken by {endpoint}/v1/traces" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_does_not_start_ends_with_the_command_to_try_by_hand() -> None:
    program = (
        "import sys; from spanledger.demo import agent; sys.executable = '/bin/false'; "
        "sys.argv = ['agent', '--endpoint', sys.argv[1]]; sys.exit(agent.main())"
    )
    with otlp_receiver() as (endpoint, bodies):
        done = python("-c", program, endpoint)
        assert done.returncode == 1
        [line] = [line for line in done.stderr.splitlines() if line.startswith("demo agent:")]
        assert f"/bin/false -m spanledger.demo.shop_server --endpoint {endpoint}" in line
        assert "Traceback" not in done.stderr
        [run] = [s for s in spans_of(body for _, body in bodies) if not s.span.parent_span_id]
        assert run.span.status.code == Status.STATUS_CODE_ERROR, "what went wrong is on the record, too"


def test_the_back_office_pays_back_once_and_never_more_than_was_paid() -> None:
    books = BackOffice()
    with pytest.raises(ToolError, match=r"more than the 48\.00 EUR"):
        books.refund("FP-1042", "TEAPOT-CELADON", 480.0)
    assert books.refund("FP-1042", "TEAPOT-CELADON", 48.0).refund_id == "RF-1042-1"
    with pytest.raises(ToolError, match="was refunded before"):
        books.refund("FP-1042", "TEAPOT-CELADON", 48.0)


def test_the_script_asks_for_an_order_number_it_was_not_given() -> None:
    turn = next_turn([ModelRequest(parts=[UserPromptPart("My teapot is broken")])])
    assert turn.calls == ()
    assert "order number" in turn.text


def test_the_script_says_so_when_the_order_does_not_exist() -> None:
    turn = next_turn(
        [
            ModelRequest(parts=[UserPromptPart("Where is FP-9?")]),
            ModelResponse(parts=[ToolCallPart("get_order", {"order_id": "FP-9"}, tool_call_id="call_1")]),
            ModelRequest(parts=[ToolReturnPart("get_order", "There is no order FP-9.", "call_1", outcome="failed")]),
        ]
    )
    assert turn.calls == ()
    assert "There is no order FP-9." in turn.text


async def verdict_words(*calls: tuple[str, float]) -> list[str]:
    return [v.word for v in await review([ToolCallPart(name, {"amount_eur": amount}) for name, amount in calls])]


def test_the_reviewer_denies_what_no_rule_allows() -> None:
    assert asyncio.run(verdict_words(("refund_order", 100.01), ("issue_voucher", 5.0))) == ["denied", "denied"]
