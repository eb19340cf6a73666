"""Who read what, as an auditor finds it: after a kill, at every door, by the command line, with and without a server.

Nothing here imports the product.
"""

import json
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from otlp_bodies import captured, trace_body
from running_server import RunningServer, spanledger

from tests.patience import BUSY_SECONDS

USER = f"local:{pwd.getpwuid(os.getuid()).pw_name}"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
WRONG = "slk_" + "a" * 8 + "_" + "b" * 43


def make_key(data: Path, role: str, *options: str) -> str:
    done = spanledger("keys", "create", "--data", data, "--role", role, "--name", f"a {role}", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def accesses(server: RunningServer, key: str | None = None, **where: str) -> list[dict[str, Any]]:
    answer = server.api.get("/v1/access", params={"limit": 1000, **where}, headers=bearing(key) if key else {})
    assert answer.status_code == 200, answer.text
    return answer.json()["access"]


def until(found: Callable[[], Any]) -> Any:
    """What is found once there is something."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def test_a_read_that_was_answered_is_in_the_record_after_a_kill(make_server: Callable[..., RunningServer]) -> None:
    server = make_server().start()
    for request in captured("spanledger-demo"):
        server.record(request.signal, request.body)
    server.caught_up()
    run_id = server.rows("/v1/runs", "runs")[0]["run_id"]
    purposes = [f"round {number}" for number in range(5)]
    for purpose in purposes:
        answer = server.api.get(f"/v1/runs/{run_id}/messages", headers={"spanledger-purpose": purpose})
        server.kill()
        assert (answer.status_code, len(answer.json()["messages"]) > 1) == (200, True)
        server.start()
    server.caught_up()
    found = [one for one in accesses(server, run=run_id) if one["call"] == "GET /v1/runs/{run_id}/messages"]
    assert [one["purpose"] for one in reversed(found)] == purposes
    assert {(one["who"], one["peer"], one["outcome"]) for one in found} == {("open", "127.0.0.1", "allowed")}
    assert server.stop() == 0


def test_who_is_refused_at_any_door_is_counted_in_the_record(make_server: Callable[..., RunningServer]) -> None:
    server = make_server()
    auditor = make_key(server.data, "auditor")
    server.start()
    for _ in range(20):
        assert server.api.get("/v1/runs", headers=bearing(WRONG)).status_code == 401
        assert server.post("traces", trace_body(1), **bearing(WRONG)).status_code == 401
    assert server.post("traces", trace_body(1), **bearing(auditor)).status_code == 403
    with grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.unary_unary(EXPORT)
        refused = call.future(trace_body(1), metadata=(("authorization", f"Bearer {WRONG}"),)).exception(BUSY_SECONDS)
    assert isinstance(refused, grpc.RpcError)

    def counted() -> dict[tuple[str, str, str], int]:
        counts: dict[tuple[str, str, str], int] = {}
        for one in accesses(server, auditor, action="enter"):
            assert one["outcome"] == "refused"
            assert one["peer"] == "127.0.0.1"
            what = (one["door"], one["who"], one["reason"])
            counts[what] = counts.get(what, 0) + one["count"]
        return counts

    expected = {
        ("api", "unknown", "unknown"): 20,
        ("otlp-http", "unknown", "unknown"): 20,
        ("otlp-http", f"key:{auditor[4:12]}", "forbidden: write"): 1,
        ("otlp-grpc", "unknown", "unknown"): 1,
    }
    until(lambda: counted() == expected)
    assert len(accesses(server, auditor, action="enter")) < 20, "they are counted, not listed one by one"
    assert WRONG[4:12] not in json.dumps(accesses(server, auditor))
    assert server.stop() == 0


def test_changes_of_keys_are_in_the_record_whoever_made_them_when(make_server: Callable[..., RunningServer]) -> None:
    server = make_server()
    auditor = make_key(server.data, "auditor")
    server.start()
    running = make_key(server.data, "operator", "--tenant", "other")
    server.kill()
    killed = make_key(server.data, "ingest")
    assert spanledger("keys", "revoke", killed[4:12], "--data", server.data).returncode == 0
    server.start()

    def changes() -> list[tuple[str, str, str]]:
        found = accesses(server, auditor, who=USER)
        return [(one["action"], one["subject"], one["detail"]["role"]) for one in reversed(found)]

    expected = [
        ("key_create", f"key:{auditor[4:12]}", "auditor"),
        ("key_create", f"key:{killed[4:12]}", "ingest"),
        ("key_revoke", f"key:{killed[4:12]}", "ingest"),
    ]
    until(lambda: changes() == expected)
    theirs = make_key(server.data, "auditor", "--tenant", "other")
    until(lambda: server.api.get("/v1/access", headers=bearing(theirs)).status_code == 200)
    until(lambda: len(accesses(server, theirs, who=USER)) == 2)
    assert f"key:{running[4:12]}" in {one["subject"] for one in accesses(server, theirs, who=USER)}
    secrets = [key.rpartition("_")[2] for key in (auditor, running, killed, theirs)]
    assert not any(secret in json.dumps(accesses(server, auditor)) for secret in secrets)
    assert server.stop() == 0


def test_the_command_line_is_in_it_with_and_without_a_server(make_server: Callable[..., RunningServer]) -> None:
    server = make_server().start()
    for request in captured("spanledger-demo"):
        server.record(request.signal, request.body)
    server.caught_up()
    run_id = server.rows("/v1/runs", "runs")[0]["run_id"]
    assert spanledger("replay", run_id, "--data", server.data, SPANLEDGER_PURPOSE="with a server").returncode == 0
    assert server.stop() == 0
    alone = spanledger("replay", run_id, "--data", server.data, SPANLEDGER_PURPOSE="for jane.doe@example.com")
    assert alone.returncode == 0, alone.stderr
    listed = spanledger("access", "--data", server.data, "--action", "replay")
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(one["who"], one["door"], one["purpose"]) for one in found] == [
        (USER, "cli", "for [redacted:email]"),
        ("open", "api", "with a server"),
    ]
    server.start()
    server.caught_up()
    assert [one["who"] for one in accesses(server, action="replay")] == [USER, "open"]
    assert server.stop() == 0


def test_a_policy_that_is_changed_or_refused_is_in_the_record(
    make_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: {email: off}\n")
    server = make_server("--redaction-policy", str(policy)).start()
    until(lambda: len(accesses(server, action="policy")) == 1)
    policy.write_text("rules: {email: off, iban: off}\n")

    def sent() -> int:
        server.record("traces", trace_body(1))
        return len(accesses(server, action="policy", outcome="allowed")) == 2

    until(sent)
    policy.write_text("rules: [nonsense\n")

    def refused() -> list[dict[str, Any]]:
        server.record("traces", trace_body(1))
        return accesses(server, action="policy", outcome="refused")

    [wrong] = until(refused)
    second, first = accesses(server, action="policy", outcome="allowed")
    assert second["detail"]["before"] == first["subject"].partition(":")[2]
    assert wrong["subject"] == second["subject"]
    assert "policy.yaml" in wrong["reason"]
    assert server.stop() == 0
