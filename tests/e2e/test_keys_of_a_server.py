"""Keys as an operator has them: a server, its three doors, the command line beside it, and a hostile client on a socket.

Nothing here imports the product: a key is what `spanledger keys create` prints.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from otlp_bodies import trace_body
from running_server import RunningServer, ended_well, environment, spanledger

SECONDS = 30
REVOKED_WITHIN_SECONDS = 1.0
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def make_key(data: Path, role: str, *options: str) -> str:
    done = spanledger("keys", "create", "--data", data, "--role", role, "--name", f"a {role}", *options)
    assert done.returncode == 0, done.stderr
    (key,) = done.stdout.splitlines()
    assert re.fullmatch(r"slk_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", key)
    return key


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spanledger-keys-") as name:
        yield Path(name) / "data"


@pytest.fixture(scope="module")
def keys(data: Path) -> dict[str, str]:
    """Keys that are made before the server is started."""
    made = {role: make_key(data, role) for role in ("ingest", "auditor", "metrics")}
    return made | {"other": make_key(data, "auditor", "--tenant", "other")}


@pytest.fixture(scope="module")
def keyed(data: Path, keys: dict[str, str]) -> Iterator[RunningServer]:
    yield from ended_well(RunningServer(data))


def export(server: RunningServer, key: str) -> grpc.StatusCode:
    with grpc.insecure_channel(server.grpc_address) as channel:
        try:
            channel.unary_unary(EXPORT)(trace_body(1), metadata=(("authorization", f"Bearer {key}"),), timeout=SECONDS)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def statuses(server: RunningServer, key: str) -> tuple[int, int, grpc.StatusCode]:
    """What each door says to a key: OTLP/HTTP, the API, gRPC."""
    posted = server.post("traces", trace_body(1), **bearing(key)).status_code
    return posted, server.api.get("/v1/runs", headers=bearing(key)).status_code, export(server, key)


def test_each_door_takes_the_key_that_is_for_it(keyed, keys):
    assert statuses(keyed, keys["ingest"]) == (200, 403, grpc.StatusCode.OK)
    assert statuses(keyed, keys["auditor"]) == (403, 200, grpc.StatusCode.PERMISSION_DENIED)
    assert statuses(keyed, "slk_" + "a" * 8 + "_" + "b" * 43) == (401, 401, grpc.StatusCode.UNAUTHENTICATED)


def test_what_is_written_is_the_key_s_tenant_s_and_nobody_else_s(keyed, keys):
    position = keyed.post("traces", trace_body(1), **bearing(keys["ingest"])).headers["spanledger-position"]
    mine = keyed.api.get("/v1/runs", params={"min_position": position}, headers=bearing(keys["auditor"])).json()["runs"]
    assert mine
    assert (
        keyed.api.get("/v1/runs", params={"min_position": position}, headers=bearing(keys["other"])).json()["runs"]
        == []
    )
    theirs = keyed.api.get(f"/v1/runs/{mine[0]['run_id']}", headers=bearing(keys["other"]))
    assert theirs.status_code == 404


def test_a_revoked_key_is_refused_by_every_door_within_a_second(keyed, data):
    made = {role: make_key(data, role) for role in ("ingest", "operator")}
    deadline = time.monotonic() + SECONDS
    while keyed.post("traces", trace_body(1), **bearing(made["ingest"])).status_code != 200:
        assert time.monotonic() < deadline
    assert keyed.api.get("/v1/runs", headers=bearing(made["operator"])).status_code == 200
    for key in made.values():
        revoked = spanledger("keys", "revoke", key[4:12], "--data", data)
        assert revoked.returncode == 0, revoked.stderr
    time.sleep(REVOKED_WITHIN_SECONDS)  # What is promised. No event tells a client that it has been revoked.
    assert statuses(keyed, made["ingest"]) == (401, 401, grpc.StatusCode.UNAUTHENTICATED)
    assert keyed.api.get("/v1/runs", headers=bearing(made["operator"])).status_code == 401


def test_a_rotated_key_and_its_successor_are_both_valid(keyed, data, tmp_path):
    old = make_key(data, "operator", "--expires", "1h")
    into = tmp_path / "new.key"
    done = spanledger("keys", "rotate", f"slk_{old[4:12]}", "--overlap", "10m", "--key-file", into, "--data", data)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert into.stat().st_mode & 0o777 == 0o600
    time.sleep(REVOKED_WITHIN_SECONDS)
    for key in (old, into.read_text().strip()):
        assert keyed.api.get("/v1/runs", headers=bearing(key)).status_code == 200
    listed = [json.loads(line) for line in spanledger("keys", "list", "--data", data).stdout.splitlines()]
    by_key = {one["key"]: one for one in listed}
    new = by_key[f"slk_{into.read_text()[4:12]}"]
    assert new["replaces"] == f"slk_{old[4:12]}"
    assert by_key[new["replaces"]]["expires_at"] < new["expires_at"]
    assert old not in json.dumps(listed)


def test_commands_present_the_key_of_the_environment_or_of_a_file(keyed, keys, data, tmp_path):
    assert "401" in spanledger("runs", "--data", data).stderr
    with_environment = spanledger("runs", "--data", data, SPANLEDGER_KEY=keys["auditor"])
    assert with_environment.returncode == 0, with_environment.stderr
    file = tmp_path / "key"
    file.write_text(keys["auditor"] + "\n")
    assert spanledger("runs", "--data", data, "--key-file", file).stdout == with_environment.stdout
    assert with_environment.stdout


def test_prometheus_reads_metrics_with_its_own_key_and_nothing_else(keyed, keys):
    assert keyed.api.get("/metrics", headers=bearing(keys["metrics"])).status_code == 200
    assert keyed.api.get("/v1/runs", headers=bearing(keys["metrics"])).status_code == 403


def asked_raw(server: RunningServer, door: str, *lines: str, body: str = "") -> bytes:
    """The answer to a request that no client library would send."""
    url = httpx.URL(server.ready[door])
    with socket.create_connection((url.host, url.port), SECONDS) as connection:
        connection.sendall("\r\n".join((*lines, "", body)).encode("latin-1"))
        connection.settimeout(SECONDS)
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (data := connection.recv(65536)):
                answer += data
        except ConnectionResetError:
            pass
        return answer


HOST = "Host: 127.0.0.1"
RAW: dict[str, tuple[tuple[str, ...], str, tuple[bytes, ...]]] = {
    "both lengths": (
        ("GET /v1/runs HTTP/1.1", HOST, "Content-Length: 4", "Transfer-Encoding: chunked"), "0\r\n\r\n", (b"400", b"401")
    ),
    "two lengths": (("GET /v1/runs HTTP/1.1", HOST, "Content-Length: 4", "Content-Length: 5"), "abcd", (b"400",)),
    "a folded header": (("GET /v1/runs HTTP/1.1", HOST, "Authorization: Bearer", " slk_x"), "", (b"400", b"401")),
    "a space before the colon": (("GET /v1/runs HTTP/1.1", HOST, "Authorization : Bearer x"), "", (b"400", b"401")),
    "a bare line feed": (("GET /v1/runs HTTP/1.1", HOST, "X: a\nAuthorization: Bearer x"), "", (b"400", b"401")),
    "an absolute address": (("GET http://127.0.0.1/v1/runs HTTP/1.1", HOST), "", (b"400", b"401")),
    "a path with dots": (("GET /healthz/../v1/runs HTTP/1.1", HOST), "", (b"401",)),
    "a path with encoded dots": (("GET /healthz/%2e%2e/v1/runs HTTP/1.1", HOST), "", (b"401",)),
    "two slashes": (("GET //v1/runs HTTP/1.1", HOST), "", (b"401",)),
    "no host": (("GET /v1/runs HTTP/1.1",), "", (b"400", b"421")),
    "two hosts": (("GET /v1/runs HTTP/1.1", HOST, "Host: evil.example"), "", (b"400", b"421")),
    "another host": (("GET /v1/runs HTTP/1.1", "Host: evil.example"), "", (b"421",)),
    "a key in the query": ((f"GET /v1/runs?key=slk_{'a' * 8}_{'b' * 43} HTTP/1.1", HOST), "", (b"400",)),
    "a header of 100 KB": (
        ("GET /v1/runs HTTP/1.1", HOST, f"Authorization: Bearer {'a' * 100_000}"), "", (b"", b"400", b"401", b"431")
    ),
}  # fmt: skip


@pytest.mark.parametrize("door", ["api", "otlp_http"])
@pytest.mark.parametrize("name", RAW)
def test_a_hostile_request_on_a_socket_gets_no_further(keyed, name, door):
    lines, body, expected = RAW[name]
    answer = asked_raw(keyed, door, *lines, body=body)
    assert answer.split(b" ")[1:2] in [[one] for one in expected if one] or (not answer and b"" in expected), answer[
        :300
    ]
    assert b"\r\nserver:" not in answer.lower()
    assert b"Traceback" not in answer


def test_no_secret_is_in_the_log_in_the_metrics_or_in_the_list_of_processes(keyed, keys):
    page = keyed.api.get("/metrics", headers=bearing(keys["metrics"])).text
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (keyed.pid, keyed.receiver_pid)]
    environments = Path(f"/proc/{keyed.receiver_pid}/environ").read_text(errors="replace")
    for key in keys.values():
        secret = key.rpartition("_")[2]
        for said in (page, keyed.log(), *commands, environments):
            assert secret not in said
    assert "request_refused" in keyed.log()
    assert "b" * 43 not in keyed.log()


def test_nothing_of_a_key_is_in_a_byte_of_the_data_folder(keyed, keys, data):
    kept = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    for key in keys.values():
        assert key.rpartition("_")[2].encode() not in kept


# How a server starts


def refused_start(*options: str, **changed: str) -> str:
    with tempfile.TemporaryDirectory(prefix="spanledger-keys-") as name:
        ports = ("--otlp-grpc-port", "0", "--otlp-http-port", "0", "--api-port", "0")
        done = spanledger("serve", "--data", Path(name) / "data", *ports, *options, **changed)
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_that_strangers_reach_does_not_start_without_a_key_and_says_how(host):
    said = refused_start("--host", host)
    assert "there is no key" in said
    assert "spanledger keys create" in said
    assert "first_key_file" in said


def test_a_first_key_can_come_from_a_file(make_server, tmp_path):
    file = tmp_path / "first.key"
    file.write_text("slk_0123abcd_" + "0f" * 32 + "\n")
    server = make_server(
        "--host", "0.0.0.0", "--first-key-file", str(file), "--first-ingest-key-file", str(file)
    ).start()
    api = server.ready["api"].replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{api}/v1/runs", headers=bearing(file.read_text().strip()), trust_env=False).status_code == 200
    assert httpx.get(f"{api}/v1/runs", trust_env=False).status_code == 401
    assert httpx.get(f"{api}/metrics", trust_env=False).status_code == 401
    assert "keys_in_the_clear" in server.log()
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize("content", ["", "secret", "slk_0123abcd_short", "two keys here", "slk_0123abcd_" + "é" * 43])
def test_a_first_key_file_without_a_key_is_refused_and_not_repeated(content, tmp_path):
    file = tmp_path / "first.key"
    file.write_text(content)
    said = refused_start("--first-key-file", str(file))
    assert "does not hold one key" in said
    assert not content or content not in said


def test_a_password_in_an_option_is_refused_and_not_repeated():
    said = refused_start("--control-url", "postgresql://somebody:hidden@127.0.0.1/x")
    assert "not taken from an option" in said
    assert "hidden" not in said


def test_a_control_store_that_cannot_be_had_is_said_without_its_password():
    said = refused_start(SPANLEDGER_CONTROL_URL="mysql://somebody:hidden@127.0.0.1/x")
    assert "sqlite and postgresql" in said
    assert "hidden" not in said


def test_the_first_key_closes_a_running_server(make_server):
    server = make_server().start()
    assert server.api.get("/v1/runs").status_code == 200
    assert server.post("traces", trace_body(1)).status_code == 200
    key = make_key(server.data, "ingest")
    time.sleep(REVOKED_WITHIN_SECONDS)
    assert server.api.get("/v1/runs").status_code == 401
    assert server.post("traces", trace_body(1)).status_code == 401
    assert server.post("traces", trace_body(1), **bearing(key)).status_code == 200
    assert server.stop() == 0, server.log()
    listed = json.loads(spanledger("keys", "list", "--data", server.data).stdout)
    assert listed["last_used_at"] is not None, "written at the end at the latest"


def test_a_receiver_that_is_started_again_knows_the_keys(make_server):
    server = make_server()
    key = make_key(server.data, "ingest")
    server.start()
    before = server.receiver_pid
    subprocess.run([sys.executable, "-c", f"import os; os.kill({before}, 9)"], check=True, env=environment())
    deadline = time.monotonic() + SECONDS
    answers: list[int] = []
    while 200 not in answers:
        assert time.monotonic() < deadline, answers
        try:
            answers.append(server.post("traces", trace_body(1), **bearing(key)).status_code)
            assert server.post("traces", trace_body(1)).status_code == 401
        except httpx.TransportError:
            continue
    assert server.stop() == 0
