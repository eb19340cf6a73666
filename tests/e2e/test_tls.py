"""TLS and mutual TLS on all three ports of a real server."""

import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from otlp_bodies import trace_body
from running_server import PROTOBUF, RunningServer, spanledger

from tests.certificates import Authority, Pair

SECONDS = 30
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spanledger-tls-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> Pair:
    return authority.sign("server")


def running(folder: Path, *options: str) -> Iterator[RunningServer]:
    server = RunningServer(folder, *options).start()
    try:
        yield server
        assert server.stop() == 0, server.log()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def with_tls(folder: Path, server_pair: Pair) -> Iterator[RunningServer]:
    yield from running(folder / "tls", "--tls-cert", str(server_pair.cert), "--tls-key", str(server_pair.key))


@pytest.fixture(scope="module")
def with_mutual_tls(folder: Path, authority: Authority, server_pair: Pair) -> Iterator[RunningServer]:
    files = ("--tls-cert", server_pair.cert, "--tls-key", server_pair.key, "--tls-client-ca", authority.cert)
    yield from running(folder / "mutual", *map(str, files))


def client(server: RunningServer, door: str, authority: Authority, pair: Pair | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=authority.cert)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return httpx.Client(base_url=server.ready[door], verify=context, trust_env=False, timeout=SECONDS)


def export(server: RunningServer, authority: Authority, pair: Pair | None = None) -> grpc.StatusCode:
    credentials = grpc.ssl_channel_credentials(
        authority.cert.read_bytes(),
        pair.key.read_bytes() if pair else None,
        pair.cert.read_bytes() if pair else None,
    )
    with grpc.secure_channel(server.grpc_address, credentials) as channel:
        try:
            channel.unary_unary(EXPORT)(trace_body(1), timeout=SECONDS)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_all_three_ports_speak_tls(with_tls, authority):
    assert with_tls.ready["api"].startswith("https://")
    assert with_tls.ready["otlp_http"].startswith("https://")
    with client(with_tls, "api", authority) as api:
        assert api.get("/v1/runs").status_code == 200
    with client(with_tls, "otlp_http", authority) as ingest:
        answer = ingest.post("/v1/traces", content=trace_body(1), headers={"content-type": PROTOBUF})
        assert answer.status_code == 200
    assert export(with_tls, authority) == grpc.StatusCode.OK


def test_who_does_not_speak_tls_is_not_answered(with_tls):
    for door in ("api", "otlp_http"):
        with pytest.raises(httpx.TransportError):
            httpx.get(with_tls.ready[door].replace("https", "http") + "/healthz", trust_env=False, timeout=SECONDS)
    with grpc.insecure_channel(with_tls.grpc_address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(EXPORT)(trace_body(1), timeout=SECONDS)


def test_who_does_not_know_the_authority_does_not_go_on(with_tls):
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(with_tls.ready["api"] + "/healthz", trust_env=False, timeout=SECONDS)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_not_spoken(with_tls, authority, version):
    context = ssl.create_default_context(cafile=authority.cert)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(with_tls.ready["api"] + "/healthz", verify=context, trust_env=False, timeout=SECONDS)


def test_commands_know_the_server_by_the_certificates_they_are_given(with_tls, authority):
    done = spanledger("runs", "--data", with_tls.data, SPANLEDGER_CA_FILE=str(authority.cert))
    assert done.returncode == 0, done.stderr
    assert "certificate verify failed" in spanledger("runs", "--data", with_tls.data).stderr
    wrong = spanledger("runs", "--data", with_tls.data, SPANLEDGER_CA_FILE="/nowhere")
    assert (wrong.returncode, "SPANLEDGER_CA_FILE" in wrong.stderr) == (2, True)


def test_mutual_tls_takes_a_certificate_of_the_authority_and_no_other(with_mutual_tls, authority, folder):
    known, stranger = authority.sign("client"), Authority(folder, "stranger").sign("impostor")
    with client(with_mutual_tls, "api", authority, known) as api:
        assert api.get("/v1/runs").status_code == 200
    assert export(with_mutual_tls, authority, known) == grpc.StatusCode.OK
    for pair in (None, stranger):
        for door in ("api", "otlp_http"):
            with client(with_mutual_tls, door, authority, pair) as refused, pytest.raises(httpx.TransportError):
                refused.get("/healthz")
        assert export(with_mutual_tls, authority, pair) == grpc.StatusCode.UNAVAILABLE


def test_files_that_cannot_be_used_are_refused_at_the_start(folder, authority):
    other = authority.sign("other")
    pair = authority.sign("again")
    done = spanledger(
        "serve", "--data", folder / "never", "--api-port", "0", "--otlp-http-port", "0", "--otlp-grpc-port", "0",
        "--tls-cert", pair.cert, "--tls-key", other.key,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not the private key of" in done.stderr
    assert not (folder / "never").exists()
