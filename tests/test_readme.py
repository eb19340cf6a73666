"""The README, run as a newcomer would run it.

Every fenced block marked `sh` is run in the order of the page, by one bash a block, in the repository. What a reader has
and a test has not is replaced: the data folder and the ports through the documented environment variables, and then
the default addresses in a block by those that the server's ready line says. `make` lines are not run inside `make test`:
their targets are looked up, and the recipe of `make demo ONCE=1` is run itself. `console` blocks need a container engine
and are not run; tests/dashboards looks at what they start.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from query.app import create_app
from spanledger.cli import app as command_line
from spanledger.settings import Settings
from tests.gates import open_gate
from tests.patience import BUSY_SECONDS
from tests.trails import kept_trail

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
READY_SECONDS = 60
BLOCK_SECONDS = 120
LINES_MAX = 180

# Where curl is not installed: the same request from Python, so that the block is run all the same.
CURL = f"""#!{sys.executable}
import sys, urllib.request
assert sys.argv[1] == "-s" and len(sys.argv) == 3, sys.argv
sys.stdout.buffer.write(urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(sys.argv[2]).read())
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block_with(text: str) -> str:
    found = [block for block in blocks("sh") if text in block]
    assert len(found) == 1, f"{len(found)} blocks have {text!r}"
    return found[0]


def without_make(block: str) -> str:
    return "".join(line for line in block.splitlines(keepends=True) if not line.startswith("make "))


@dataclass
class Reader:
    """Somebody who follows the page: an environment, and at most one server that a block of theirs started."""

    environment: dict[str, str]
    server: subprocess.Popen[str] | None = None
    ready: dict[str, str] = field(default_factory=dict)

    def serve(self, block: str) -> None:
        """Run a block whose last command is a server, and wait for its ready line."""
        command = [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            without_make(block).replace("spanledger serve", "exec spanledger serve"),
        ]
        self.server = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True)
        said: SimpleQueue[str] = SimpleQueue()
        stdout = self.server.stdout
        assert stdout is not None
        Thread(target=lambda: said.put(stdout.readline()), daemon=True).start()
        try:
            self.ready = json.loads(said.get(timeout=READY_SECONDS))
        except Empty:
            pytest.fail(f"no ready line after {READY_SECONDS} s")

    def run(self, block: str) -> str:
        """Run a block to its end and return its stdout."""
        text = without_make(block)
        for default, served in self._addresses().items():
            text = text.replace(default, served)
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=BLOCK_SECONDS, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> int:
        """Ctrl-C in the terminal of the server. Returns its exit status."""
        assert self.server is not None
        assert self.server.stdout is not None
        self.server.send_signal(signal.SIGINT)
        try:
            status = self.server.wait(BUSY_SECONDS)
            assert self.server.stdout.read() == ""
        finally:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
            self.server = None
        return status

    def _addresses(self) -> dict[str, str]:
        usual = Settings()
        defaults = {
            "otlp_http": f"http://127.0.0.1:{usual.otlp_http_port}",
            "api": f"http://127.0.0.1:{usual.api_port}",
        }
        return {default: self.ready[name] for name, default in defaults.items() if name in self.ready}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The stdout of every block but the first and the server's, by block, the page followed from top to bottom."""
    folder = tmp_path_factory.mktemp("reader")
    programs = folder / "bin"
    programs.mkdir()
    if shutil.which("curl") is None:
        (programs / "curl").write_text(CURL)
        (programs / "curl").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANLEDGER_", "OTEL_"))}
    reader = Reader(
        kept
        | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])}
        | {"SPANLEDGER_DATA": str(folder / "data"), "SPANLEDGER_LOG_LEVEL": "warning"}
        | {f"SPANLEDGER_{name}_PORT": "0" for name in ("OTLP_GRPC", "OTLP_HTTP", "API")}
    )
    found: dict[str, str] = {}
    try:
        for block in blocks("sh")[1:]:
            if "spanledger serve" in block:
                reader.serve(block)
            else:
                if "spanledger rebuild" in block:
                    assert reader.stop() == 0
                found[block] = reader.run(block)
        yield found
    finally:
        if reader.server is not None:
            reader.stop()


def test_the_readme_is_short_and_each_block_says_what_it_is():
    assert README.count("\n") < LINES_MAX
    languages = re.findall(r"^```(\w*)\n.*?^```$", README, re.DOTALL | re.MULTILINE)
    assert set(languages) <= {"sh", "console", "text"}
    assert all(block.startswith("$ docker compose ") for block in blocks("console"))


def test_the_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert {"demo", "test", "check", "setup"} <= named
    for target in named:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), f"the Makefile has no {target}"


def test_the_demo_it_promises_records_an_agent_and_replays_it(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    recipe = subprocess.run(
        ["make", "-n", "demo", "ONCE=1"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    program, *arguments = recipe.stdout.splitlines()[-1].split()
    assert (program, arguments) == (".venv/bin/spanledger", ["demo", "--once"])
    shown = subprocess.run(
        [sys.executable, "-m", "spanledger", *arguments, "--data", str(tmp_path / "demo")],
        cwd=ROOT, capture_output=True, text=True, timeout=BLOCK_SECONDS, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    replay = shown.stdout.partition("The run as it was recorded")[2]
    for told in ("reasoning", "get_order", "failed", "APPROVED", "DENIED"):
        assert told in replay


def test_the_agent_it_points_at_the_server_is_recorded(outputs):
    assert "issue_voucher was never run" in outputs[block_with("OTEL_EXPORTER_OTLP_ENDPOINT")]
    runs = [
        json.loads(line)
        for line in outputs[block_with("spanledger import")].splitlines()
        if line.startswith('{"run_id"')
    ]
    assert len(runs) == 2
    assert all(run["status"] == "ok" and len(run["segments"]) == 2 for run in runs)


def test_what_it_imports_is_listed_replayed_and_tailed(outputs):
    said = outputs[block_with("spanledger import")]
    assert "28 spans, 2 log records, 1 metric accepted, 0 records refused" in said
    assert "5d9be592494ecde084863c774e705ed3" in said
    assert "refund_order" in said
    assert sum(line.startswith('{"step_id"') for line in said.splitlines()) == 3


def test_its_three_requests_are_answered(outputs):
    text = outputs[block_with("curl")]
    decoder = json.JSONDecoder()
    answers = []
    while text.strip():
        answer, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        answers.append(answer)
    runs, steps, *events = answers
    assert len(runs["runs"]) == 1
    assert len(steps["steps"]) == 2
    assert "content" in steps["steps"][0]
    assert events[0]["type"] == "run_started"
    assert events[-1]["type"] == "run_ended"


def test_the_rebuild_finds_every_frame_and_prints_every_table(outputs):
    first, *tables = outputs[block_with("spanledger rebuild")].splitlines()
    assert re.fullmatch(r"frames [1-9]\d*, quarantined 0", first)
    assert {"runs", "steps", "contents", "events", "metric_points"} <= {line.split()[0] for line in tables}


def test_what_it_says_is_not_there_yet_is_not_there():
    said = re.search(r"^- Not there yet: (.*?)\n\n", README, re.DOTALL | re.MULTILINE)
    assert said
    unused: Any = None
    paths = create_app(
        reader=unused, waiter=unused, registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail()
    ).openapi()["paths"]
    for path in re.findall(r"`(?:GET|POST) (/\S+)`", said[1]):
        assert not [one for one in paths if one.startswith(path)], f"{path} is there: say so"
    commands = {command.name for command in command_line.registered_commands}
    for name in re.findall(r"`spanledger (\w+)`", said[1]):
        assert name not in commands, f"spanledger {name} is there: say so"


def test_the_layout_it_shows_is_the_repository_s():
    layout = next(block for block in blocks("text") if block.startswith("spanledger/"))
    shown = {line.split("/")[0] for line in layout.splitlines()}
    assert {name for name in shown if not (ROOT / name).is_dir()} == set()
    with_code = {path.name for path in ROOT.iterdir() if path.name[0] != "." and next(path.rglob("*.py"), None)}
    assert with_code - {"build"} - shown == set()


def test_the_path_it_draws_names_modules_that_exist():
    drawn = next(block for block in blocks("text") if "JOURNAL" in block)
    named = re.findall(r"[a-z]\w*(?:/[\w*]+)+\.\w+", drawn)
    assert len(named) >= 14
    for path in named:
        assert any(ROOT.glob(path)), f"{path} is drawn and not there"
