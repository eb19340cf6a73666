"""The policy of a running server is changed, broken and mended: no restart, and never a moment without one."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from otlp_bodies import trace_id_of, trace_request
from running_server import RunningServer, ended_well

from tests.patience import BUSY_SECONDS

ADDRESS = "anna.weber@fernhill.example"
BADGE = "EMP-204417"
ALL_OFF = "rules: {email: off}\n"
OWN_RULE = "rules: {email: mask}\nown_rules:\n  - name: badge\n    pattern: '\\bEMP-[0-9]{6}\\b'\n"
BROKEN = "rules:\n  email: mask\n  badge: hide\n"
REFUSED_METRIC = "spanledger_ingest_redaction_policy_refused"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(ALL_OFF)
    return path


@pytest.fixture
def server(policy: Path, tmp_path: Path) -> Iterator[RunningServer]:
    yield from ended_well(RunningServer(tmp_path / "data", "--redaction-policy", str(policy)))


def put(policy: Path, text: str) -> None:
    """As an editor or a mounted volume does it: whole, under the old name."""
    new = policy.with_suffix(".new")
    new.write_text(text)
    new.replace(policy)


class Sender:
    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._sent = 0

    def stored(self) -> str:
        """What is kept of another request with the address and the badge."""
        self._sent += 1
        request = trace_request(self._sent)
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.attributes.add(key="app.note").value.string_value = f"{ADDRESS} of {BADGE}"
        position = self._server.record("traces", request.SerializeToString())
        run = trace_id_of(self._sent).hex()
        [step] = self._server.get(f"/v1/runs/{run}/steps", min_position=position)["steps"]
        return json.dumps(self._server.get(f"/v1/steps/{step['step_id']}")["attributes"])

    def until(self, holds: Callable[[], bool]) -> None:
        """Send on until something holds: the file is looked at when requests come, once a second."""
        deadline = time.monotonic() + BUSY_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self._server.log()
            self.stored()


def events(server: RunningServer, name: str) -> list[dict[str, str]]:
    return [line for text in server.log().splitlines() if (line := json.loads(text))["event"] == name]


def refused_metric(server: RunningServer) -> float:
    page = server.api.get("/metrics").text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{REFUSED_METRIC} "))


def test_a_policy_that_is_changed_acts_without_a_restart_and_a_broken_one_does_not(
    server: RunningServer, policy: Path
) -> None:
    sender = Sender(server)
    first_pid, first_receiver = server.pid, server.receiver_pid
    assert f"{ADDRESS} of {BADGE}" in sender.stored()

    put(policy, OWN_RULE)
    sender.until(lambda: bool(events(server, "redaction_policy_loaded")))
    assert "[redacted:email] of [redacted:badge]" in sender.stored()
    [loaded] = events(server, "redaction_policy_loaded")
    assert loaded["version"] != loaded["before"]

    put(policy, BROKEN)
    sender.until(lambda: bool(events(server, "redaction_policy_refused")))
    kept = sender.stored()
    assert "[redacted:email] of [redacted:badge]" in kept
    assert loaded["version"] in kept
    [refused] = events(server, "redaction_policy_refused")
    assert "line 3: " in refused["cause"]
    assert "badge" in refused["cause"]
    assert refused["in_force"] == loaded["version"]
    assert refused_metric(server) == 1

    put(policy, ALL_OFF)
    sender.until(lambda: len(events(server, "redaction_policy_loaded")) == 2)
    assert f"{ADDRESS} of {BADGE}" in sender.stored()
    assert refused_metric(server) == 0
    assert (server.pid, server.receiver_pid) == (first_pid, first_receiver)
