import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from collector_bench import Bench
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.errors import PortUnavailable
from collector.grpc import SERVICES, OtlpGrpcServer
from collector.limits import Limits
from store.errors import JournalFull
from store.record import Signal
from tests.gates import open_gate
from tests.patience import BUSY_SECONDS

Build = Callable[..., bytes]


class Door:
    """A server on a free port, and a client that sends raw bytes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.server = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=0)
        self.port = self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.max_send_message_length", -1)])

    def call(self, body: bytes, signal: Signal = Signal.TRACES, **arguments: Any) -> tuple[bytes, dict[str, Any]]:
        method = self.channel.unary_unary(f"/{SERVICES[signal]}/Export")
        response, call = method.with_call(body, timeout=BUSY_SECONDS, **arguments)
        return response, dict(call.trailing_metadata())

    def refusal(self, body: bytes, signal: Signal = Signal.TRACES, **arguments: Any) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(body, signal, **arguments)
        return caught.value

    def close(self) -> None:
        self.channel.close()
        self.server.stop(1)


@pytest.fixture
def open_door(make_bench: Callable[..., Bench]) -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []

    def open_one(**limits: Any) -> Door:
        doors.append(Door(make_bench(Limits(**limits))))
        return doors[-1]

    yield open_one
    for door in doors:
        door.close()


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


@pytest.mark.parametrize("signal", Signal)
def test_a_real_body_of_each_signal_is_stored_and_acknowledged_with_its_position(
    door: Door, captures: Any, signal: Signal
) -> None:
    body = next(capture.body for capture in captures if capture.signal is signal)
    response, trailing = door.call(body, signal)
    assert response == b""
    assert trailing["spanledger-position"] == "remembered:1"
    assert [(draft.signal, draft.body) for draft in door.bench.journal.drafts] == [(signal, body)]


@pytest.mark.parametrize("compression", grpc.Compression)
def test_grpc_compression_is_undone(door: Door, traces: Build, compression: grpc.Compression) -> None:
    body = traces(*({"name": f"step {number}"} for number in range(500)))
    door.call(body, compression=compression)
    assert door.bench.journal.drafts[0].body == body


def test_an_empty_request_is_acknowledged_without_a_position(door: Door) -> None:
    assert door.call(b"") == (b"", {})


def test_partial_success_says_how_many_and_why(door: Door, traces: Build, logs: Build) -> None:
    response, trailing = door.call(traces({}, {"span_id": bytes(8)}))
    partial = ExportTraceServiceResponse.FromString(response).partial_success
    assert (partial.rejected_spans, trailing["spanledger-position"]) == (1, "remembered:1")
    assert "span id" in partial.error_message
    response, trailing = door.call(logs({"trace_id": b"x"}), Signal.LOGS)
    assert ExportLogsServiceResponse.FromString(response).partial_success.rejected_log_records == 1
    assert "spanledger-position" not in trailing


def test_a_malformed_body_is_an_invalid_argument_that_must_not_be_retried(door: Door, traces: Build) -> None:
    error = door.refusal(traces()[:-1])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailing = dict(error.trailing_metadata())
    assert Status.FromString(trailing["grpc-status-details-bin"]).message == error.details()
    assert "google.rpc.retryinfo-bin" not in trailing


def test_a_full_journal_is_unavailable_with_retry_info_in_both_places(door: Door, traces: Build) -> None:
    door.bench.journal.failure = JournalFull("no room for another segment")
    error = door.refusal(traces())
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "no room for another segment")
    assert_retry_after(error, 5)


def assert_retry_after(error: Any, seconds: int) -> None:
    trailing = dict(error.trailing_metadata())
    assert RetryInfo.FromString(trailing["google.rpc.retryinfo-bin"]).retry_delay.seconds == seconds
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds == seconds
    assert status.code == error.code().value[0]


def test_a_defect_of_ours_is_retryable(door: Door, traces: Build) -> None:
    door.bench.journal.failure = ZeroDivisionError("a secret of the inside")
    error = door.refusal(traces())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in error.details()


@pytest.mark.parametrize("limits", [{"grpc_calls_max": 1}, {"bytes_in_flight_max": 300}])
def test_past_what_may_be_in_flight_a_sender_is_told_to_come_back(
    open_door: Callable[..., Door], traces: Build, limits: dict[str, int]
) -> None:
    door = open_door(**limits)
    body = traces({"name": "x" * 200})
    door.bench.journal.gate.clear()
    with ThreadPoolExecutor(1) as sender:
        first = sender.submit(door.call, body)
        assert door.bench.journal.entered.wait(BUSY_SECONDS)
        error = door.refusal(body)
        door.bench.journal.gate.set()
        assert first.result()[1] == {"spanledger-position": "remembered:1"}
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert_retry_after(error, 1)
    assert door.bench.sample("spanledger_ingest_refused_requests_total", signal="traces", reason="overloaded") == 1
    assert door.call(body)[1] == {"spanledger-position": "remembered:2"}


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_past_the_bound_is_refused_compressed_or_not(
    open_door: Callable[..., Door], compression: grpc.Compression
) -> None:
    door = open_door(body_bytes_max=5_000_000)
    error = door.refusal(bytes(6_000_000), compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()
    assert door.bench.journal.drafts == []


def test_a_message_of_more_than_grpcs_default_of_4_mb_is_taken(door: Door, traces: Build) -> None:
    body = traces({"name": "x" * 6_000_000})
    door.call(body)
    assert len(door.bench.journal.drafts[0].body) == len(body)


def test_another_method_is_unimplemented(door: Door) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        door.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Import")(
            b"", timeout=BUSY_SECONDS
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", *SERVICES.values()])
def test_health_says_serving_for_the_server_and_each_service(door: Door, service: str) -> None:
    checks = health_pb2_grpc.HealthStub(door.channel)
    response = checks.Check(health_pb2.HealthCheckRequest(service=service), timeout=BUSY_SECONDS)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_health_says_not_serving_when_the_server_stops(door: Door) -> None:
    seen: list[int] = []
    watch = health_pb2_grpc.HealthStub(door.channel).Watch(
        health_pb2.HealthCheckRequest(service=""), timeout=BUSY_SECONDS
    )
    seen.append(next(watch).status)
    with ThreadPoolExecutor(1) as stopper:
        stopped = stopper.submit(door.server.stop, 5)
        seen.append(next(watch).status)
        watch.cancel()
        stopped.result(BUSY_SECONDS)
    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


def test_stopping_lets_a_call_under_way_be_acknowledged(door: Door, traces: Build) -> None:
    door.bench.journal.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(door.call, traces())
        assert door.bench.journal.entered.wait(BUSY_SECONDS)
        stopped = pool.submit(door.server.stop, 30)
        door.bench.journal.gate.set()
        assert call.result(BUSY_SECONDS)[1] == {"spanledger-position": "remembered:1"}
        stopped.result(BUSY_SECONDS)


def test_a_port_in_use_is_an_error_with_its_cause_and_a_hint(bench: Bench, capfd: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=port)
        with pytest.raises(PortUnavailable, match=r"Address already in use; another process listens there") as caught:
            server.start()
        server.stop(0)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
    assert capfd.readouterr() == ("", "")


def test_two_servers_never_share_a_port(door: Door, bench: Bench) -> None:
    second = OtlpGrpcServer(bench.intake, gate=open_gate(), host="127.0.0.1", port=door.port)
    with pytest.raises(PortUnavailable):
        second.start()
    second.stop(0)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("192.0.2.1", 0, "not one of this machine's"),
        ("x" * 70, 0, "check that the host"),
        ("127.0.0.1", 70_000, "ports go from 0 to 65535"),
    ],
)
def test_an_address_that_cannot_be_bound_is_an_error_that_names_it(
    bench: Bench, host: str, port: int, said: str
) -> None:
    server = OtlpGrpcServer(bench.intake, gate=open_gate(), host=host, port=port)
    with pytest.raises(PortUnavailable, match=f"cannot listen on {host} port {port}: .*{said}"):
        server.start()
    server.stop(0)
