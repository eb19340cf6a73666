"""Redaction as an operator has it: a policy by tenant in a running server, where the key says whose policy holds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from otlp_bodies import trace_id_of, trace_request
from running_server import ANY_PORTS, RunningServer, ended_well, spanledger

POLICY = """
rules: {email: pseudonym}
tenants:
  open: {rules: {email: off}}
  closed: {drop: {content: true}}
"""
ADDRESS = "anna.weber@fernhill.example"
PASSWORD = "correct-horse-7"
SAID = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"I am {ADDRESS}"}]}])
TENANTS = ("open", "closed", "other")


def make_key(data: Path, role: str, tenant: str) -> str:
    done = spanledger(
        "keys", "create", "--data", data, "--role", role, "--name", f"{role} {tenant}", "--tenant", tenant
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def body() -> bytes:
    request = trace_request(1)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for name, value in (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.input.messages", SAID),
        ("app.database", f"postgresql://agent:{PASSWORD}@db.internal/orders"),
    ):
        span.attributes.add(key=name).value.string_value = value
    return request.SerializeToString()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], str]]:
    """What each role of each tenant is told of the same request: the run's messages and its step, as text."""
    folder = tmp_path_factory.mktemp("policy")
    policy, pseudonym_key, data = folder / "policy.yaml", folder / "pseudonym.key", folder / "data"
    policy.write_text(POLICY)
    pseudonym_key.write_bytes(b"k" * 40)
    keys = {(role, tenant): make_key(data, role, tenant) for tenant in TENANTS for role in ("ingest", "auditor")}
    keys["operator", "other"] = make_key(data, "operator", "other")
    served = ended_well(
        RunningServer(data, "--redaction-policy", str(policy), "--pseudonym-key-file", str(pseudonym_key))
    )
    server = next(served)
    found: dict[tuple[str, str], str] = {}
    position = ""
    for tenant in TENANTS:
        sent = server.post("traces", body(), authorization=f"Bearer {keys['ingest', tenant]}")
        assert (sent.status_code, sent.content) == (200, b""), sent.text
        position = sent.headers["spanledger-position"]
    for (role, tenant), key in keys.items():
        if role == "ingest":
            continue
        headers = {"authorization": f"Bearer {key}"}
        at = {"min_position": position}
        [step] = server.api.get(
            f"/v1/runs/{trace_id_of(1).hex()}/steps", params=at | {"content": "inline"}, headers=headers
        ).json()["steps"]
        detail = server.api.get(f"/v1/steps/{step['step_id']}", params=at, headers=headers)
        assert detail.status_code == 200, detail.text
        found[role, tenant] = json.dumps(step) + detail.text
    yield found
    assert next(served, None) is None
    log = server.log()
    assert ADDRESS not in log
    assert PASSWORD not in log


def test_a_tenant_that_allows_addresses_keeps_them_and_no_other_does(answers):
    assert ADDRESS in answers["auditor", "open"]
    assert ADDRESS not in answers["auditor", "closed"]
    assert ADDRESS not in answers["auditor", "other"]
    assert "I am [email:" in answers["auditor", "other"]


def test_a_tenant_that_stores_no_content_has_none(answers):
    assert "I am" in answers["auditor", "open"]
    assert "I am" not in answers["auditor", "closed"]


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_password_is_taken_out_for_every_tenant(answers, tenant):
    assert PASSWORD not in answers["auditor", tenant]
    assert "[redacted:url_password]" in answers["auditor", tenant]


def test_an_operator_is_told_what_was_redacted_and_nothing_of_what_was_said(answers):
    told = answers["operator", "other"]
    assert "I am" not in told
    assert '"rule":"url_password"' in told
    assert '"redacted":true' in told.replace(" ", "")


def test_a_policy_that_is_wrong_is_refused_before_a_door_is_open(tmp_path: Path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules:\n  emial: mask\n")
    ended = spanledger("serve", "--data", tmp_path / "data", *ANY_PORTS, "--redaction-policy", policy)
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    error, hint = [line for line in ended.stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert "line 2: there is no rule `emial`" in error
    assert "built-in policy" in hint
