"""Both OTLP doors: whose record a request goes into, and what those hear who may not write.

Every gRPC service of the server and every path of OTLP/HTTP, with every role, and what hostile senders try.
"""

import asyncio
import re
from collections.abc import Iterator

import grpc
import pytest
from collector_bench import Bench, exchange, logs_request, traces_request
from google.rpc import status_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from access.keys import new_key
from access.permissions import Role
from collector.grpc import SERVICES, OtlpGrpcServer
from collector.http import PATHS, OtlpHttpApp
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.policy_file import read_policy
from collector.redaction.pseudonyms import Pseudonyms
from store.record import Signal
from tests.gates import KeyedGate, bearing

SECONDS = 30


def metrics_request() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(as_int=1)
    return request


BODIES = {
    Signal.TRACES: traces_request({}).SerializeToString(),
    Signal.LOGS: logs_request({}).SerializeToString(),
    Signal.METRICS: metrics_request().SerializeToString(),
}


@pytest.fixture
def keyed() -> KeyedGate:
    return KeyedGate(hosts=["127.0.0.1"])


@pytest.fixture
def http(bench: Bench, keyed: KeyedGate) -> Iterator[OtlpHttpApp]:
    app = OtlpHttpApp(bench.intake, gate=keyed.gate)
    yield app
    app.close()


def post(app: OtlpHttpApp, path: str, body: bytes, headers: dict[str, str]):
    return asyncio.run(exchange(app, [body], path=path, headers={"host": "127.0.0.1"} | headers))


@pytest.fixture
def channel(bench: Bench, keyed: KeyedGate) -> Iterator[grpc.Channel]:
    server = OtlpGrpcServer(bench.intake, gate=keyed.gate, host="127.0.0.1", port=0)
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as made:
        yield made
    server.stop(0)


def call(channel: grpc.Channel, signal: Signal, body: bytes, *metadata: tuple[str, str]) -> grpc.StatusCode:
    try:
        channel.unary_unary(f"/{SERVICES[signal]}/Export")(body, metadata=metadata, timeout=SECONDS)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("path", PATHS)
def test_over_http_only_who_may_write_does(bench, keyed, http, path, role):
    answer = post(http, path, BODIES[PATHS[path]], bearing(keyed.make(role, "acme")))
    if role is Role.INGEST:
        assert answer.status == 200
        assert [draft.tenant for draft in bench.journal.drafts] == ["acme"]
    else:
        assert answer.status == 403
        assert b"write" in status_pb2.Status.FromString(answer.body).message.encode()
        assert bench.journal.drafts == []


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("signal", SERVICES)
def test_over_grpc_only_who_may_write_does(bench, keyed, channel, signal, role):
    code = call(channel, signal, BODIES[signal], ("authorization", f"Bearer {keyed.make(role, 'acme')}"))
    if role is Role.INGEST:
        assert code == grpc.StatusCode.OK
        assert [draft.tenant for draft in bench.journal.drafts] == ["acme"]
    else:
        assert code == grpc.StatusCode.PERMISSION_DENIED
        assert bench.journal.drafts == []


def test_two_tenants_that_send_one_trace_id_write_into_their_own_records(bench, keyed, http, channel):
    body = BODIES[Signal.TRACES]
    post(http, "/v1/traces", body, bearing(keyed.make(Role.INGEST, "a")) | {"x-scope-orgid": "b", "tenant": "b"})
    call(channel, Signal.TRACES, body, ("authorization", f"Bearer {keyed.make(Role.INGEST, 'b')}"), ("tenant", "a"))
    assert [draft.tenant for draft in bench.journal.drafts] == ["a", "b"]


HOSTILE = {
    "nothing": {},
    "a malformed key": {"authorization": "Bearer slk_x"},
    "a key of another server": bearing(new_key()),
    "basic": {"authorization": "Basic dTpw"},
    "an oversized header": {"authorization": "Bearer " + "a" * 10_000},
    "a token": {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    "x-api-key": {"x-api-key": new_key()},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_over_http_is_refused_before_the_body_is_read(bench, http, name):
    answer = post(http, "/v1/traces", BODIES[Signal.TRACES], HOSTILE[name])
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="spanledger"')
    assert answer.chunks_read == 0
    assert bench.journal.drafts == []
    assert bench.sample("spanledger_ingest_refused_requests_total", signal="traces", reason="unauthenticated") == 1


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "an oversized header"])
def test_a_stranger_over_grpc_is_unauthenticated(bench, channel, name):
    assert (
        call(channel, Signal.TRACES, BODIES[Signal.TRACES], *HOSTILE[name].items()) == grpc.StatusCode.UNAUTHENTICATED
    )
    assert bench.journal.drafts == []


def test_a_header_that_is_too_large_for_grpc_stores_nothing(bench, channel):
    assert (
        call(channel, Signal.TRACES, BODIES[Signal.TRACES], *HOSTILE["an oversized header"].items())
        != grpc.StatusCode.OK
    )
    assert bench.journal.drafts == []


def test_two_authorization_entries_are_refused_even_where_one_is_good(bench, keyed, channel):
    good = ("authorization", f"Bearer {keyed.make(Role.INGEST)}")
    code = call(channel, Signal.TRACES, BODIES[Signal.TRACES], good, ("authorization", "Bearer x"))
    assert code == grpc.StatusCode.UNAUTHENTICATED
    assert bench.journal.drafts == []


@pytest.mark.parametrize("path", ["/", "/v1/nowhere", "/v1/traces/../logs"])
def test_a_stranger_does_not_learn_what_paths_there_are(http, path):
    assert post(http, path, b"", {}).status == 401


@pytest.mark.parametrize("changed", [{"revoked_at": 1.0}, {"expires_at": 1.0}])
def test_a_dead_key_stores_nothing(bench, keyed, http, channel, changed):
    key = keyed.make(Role.INGEST, **changed)
    assert post(http, "/v1/traces", BODIES[Signal.TRACES], bearing(key)).status == 401
    code = call(channel, Signal.TRACES, BODIES[Signal.TRACES], ("authorization", f"Bearer {key}"))
    assert code == grpc.StatusCode.UNAUTHENTICATED
    assert bench.journal.drafts == []


def test_another_host_is_refused(bench, keyed, http):
    headers = bearing(keyed.make(Role.INGEST)) | {"host": "evil.example"}
    assert post(http, "/v1/traces", BODIES[Signal.TRACES], headers).status == 421
    assert bench.journal.drafts == []


def test_a_key_that_sends_too_much_is_told_when_to_come_again(bench, keyed, http, channel):
    key = keyed.make(Role.INGEST, bytes_per_second=10)
    body = BODIES[Signal.TRACES]
    assert post(http, "/v1/traces", body, bearing(key)).status == 200
    answer = post(http, "/v1/traces", body, bearing(key))
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    code = call(channel, Signal.TRACES, body, ("authorization", f"Bearer {key}"))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(bench.journal.drafts) == 1


def test_health_checks_of_grpc_need_no_key(channel):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_refusal_is_logged_without_what_was_presented(http, capsys):
    key = new_key()
    post(http, "/v1/traces", b"", bearing(key))
    post(http, f"/v1/{key}", b"", {})
    said = capsys.readouterr()
    assert "ingest_refused" in said.out + said.err
    assert key.rpartition("_")[2] not in said.out + said.err


POLICY = """
rules: {email: pseudonym}
tenants:
  open: {rules: {email: off}}
  closed: {drop: {content: true}}
"""


def test_the_policy_of_redaction_is_that_of_the_key_s_tenant(make_bench, keyed, tmp_path):
    """Whatever a header or the payload names: at both doors."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    policy = read_policy(file, has_key=True)
    bench = make_bench(boundary=RedactingBoundary(lambda: policy, Pseudonyms(b"k" * 32)))
    app = OtlpHttpApp(bench.intake, gate=keyed.gate)
    server = OtlpGrpcServer(bench.intake, gate=keyed.gate, host="127.0.0.1", port=0)
    request = traces_request({})
    resource = request.resource_spans[0]
    resource.resource.attributes.add(key="tenant").value.string_value = "open"
    span = resource.scope_spans[0].spans[0]
    leaked = new_key()
    span.attributes.add(key="environment").value.string_value = f"OTLP_HEADERS=Authorization=Bearer%20{leaked}"
    span.attributes.add(key="asked.by").value.string_value = "anna@a.example"
    span.attributes.add(key="gen_ai.input.messages").value.string_value = '[{"role": "user", "parts": []}]'
    body = request.SerializeToString()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
            for tenant in ("open", "closed", "other"):
                key = bearing(keyed.make(Role.INGEST, tenant))
                assert post(app, "/v1/traces", body, key | {"tenant": "open", "x-scope-orgid": "open"}).status == 200
                code = call(channel, Signal.TRACES, body, *key.items(), ("tenant", "open"))
                assert code == grpc.StatusCode.OK
    finally:
        server.stop(0)
        app.close()
    stored = {(draft.tenant, draft.body) for draft in bench.journal.drafts}
    assert len(bench.journal.drafts) == 2 * len(stored) == 6, "both doors store the same"
    by_tenant = dict(stored)
    assert not any(leaked.encode() in body for body in by_tenant.values()), "a key of ours is a secret like any other"
    assert b"anna@a.example" in by_tenant["open"]
    assert b"anna@a.example" not in by_tenant["closed"] + by_tenant["other"]
    assert [b'"role"' in by_tenant[tenant] for tenant in ("open", "closed", "other")] == [True, False, True]
    tokens = [re.findall(rb"\[email:[0-9a-f]{16}\]", by_tenant[tenant]) for tenant in ("closed", "other")]
    assert tokens[0], "a pseudonym stands for the address"
    assert tokens[0] != tokens[1], "each tenant has pseudonyms of its own"
