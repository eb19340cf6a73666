"""What no sender should send, through the real doors: each gets an error with its cause and what to do about it.

Around every test stands the same check: what was stored before is as it was, nothing of what was refused is there, and
the next good request is taken and shown. The errors are read as OTLP clients read them, a google.rpc.Status in the
request's encoding.
"""

import gzip
import http.client
import itertools
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import zstandard
from google.protobuf import json_format
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from otlp_bodies import captured, spans_of, trace_body, trace_id_of, trace_request
from running_server import PROTOBUF, RunningServer
from senders import TRACES_EXPORT

from tests.patience import BUSY_SECONDS

JSON = "application/json"
MIB = 1024 * 1024
KEPT = "pydantic-ai-2.68-v5"
GOOD = trace_body(99, 3)
# A bound far below the bombs and above what else happens: three times the largest body that is taken.
GROWTH_BYTES_MAX = 256 * MIB
_traces = itertools.count(1_000)


@pytest.fixture(scope="module")
def kept(server: RunningServer) -> Iterator[list[dict[str, Any]]]:
    """The runs that were stored before anything bad came; whole at the end as they were at the beginning."""
    for request in captured(KEPT):
        server.record(request.signal, request.body)
    before = server.everything()
    assert all(before["steps"].values())
    yield before["runs"]
    assert server.everything(before["runs"]) == before


@pytest.fixture
def stored_by_the_test() -> list[str]:
    """Trace ids that a test means to be stored."""
    return []


@pytest.fixture(autouse=True)
def nothing_is_harmed(
    server: RunningServer, kept: list[dict[str, Any]], stored_by_the_test: list[str]
) -> Iterator[None]:
    server.caught_up()
    before = {run["run_id"]: run for run in server.rows("/v1/runs", "runs")}
    yield
    trace = next(_traces)
    position = server.record("traces", trace_body(trace, 2))
    after = {run["run_id"]: run for run in server.rows("/v1/runs", "runs", min_position=position)}
    assert {run_id: after[run_id] for run_id in before} == before
    assert [after[run["run_id"]] for run in kept] == kept
    added = {run["trace_ids"][0]: run["steps"] for run in after.values() if run["run_id"] not in before}
    assert added.pop(trace_id_of(trace).hex()) == 2
    assert sorted(added) == sorted(stored_by_the_test), "what was refused is there"
    assert server.get("/readyz")["ready"] is True


def problem(answer: httpx.Response) -> Status:
    """The google.rpc.Status of a refusal, in the encoding its Content-Type says."""
    if answer.headers["content-type"] == PROTOBUF:
        return Status.FromString(answer.content)
    assert answer.headers["content-type"] == JSON
    return json_format.Parse(answer.content, Status())


def check_refused(answer: httpx.Response, http_status: int, code: int, *words: str) -> None:
    assert answer.status_code == http_status, answer.text
    said = problem(answer)
    assert said.code == code
    assert all(word in said.message for word in words), said.message
    assert "spanledger-position" not in answer.headers
    assert "retry-after" not in answer.headers, "what the data causes is refused for good"


@pytest.mark.parametrize("cut", [1, 5, len(GOOD) // 2, len(GOOD) - 1])
def test_a_truncated_protobuf_body_is_refused_with_400(server: RunningServer, cut: int) -> None:
    answer = server.post("traces", GOOD[:-cut])
    check_refused(answer, 400, code_pb2.INVALID_ARGUMENT, "not an OTLP traces request", "cut on the way", "look at")


@pytest.mark.parametrize(
    ("body", "where", "expected"),
    [
        ('{"resourceSpans": 5}', "resourceSpans", "must be an array, not 5"),
        ("[]", "the request", "must be an object"),
        (
            '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId": 7}]}]}]}',
            "spans[0].traceId",
            "32 hexadecimal digits",
        ),
        ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId": "abc"}]}]}]}', "traceId", "3 digits long"),
        ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano": "soon"}]}]}]}', "startTime", "an integer"),
        ('{"resourceSpans":[{"scopeSpans":[{"spans":[{"name": ["a"]}]}]}]}', "spans[0].name", "a string"),
        ('{"resourceSpans":[{"resource":{"attributes":{"a": 1}}}]}', "resource.attributes", "an array"),
    ],
)
def test_json_of_wrong_types_is_refused_with_the_place_and_what_belongs_there(
    server: RunningServer, body: str, where: str, expected: str
) -> None:
    answer = server.post("traces", body.encode(), content_type=JSON)
    assert answer.headers["content-type"] == JSON
    check_refused(answer, 400, code_pb2.INVALID_ARGUMENT, where, expected)


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_json_body_is_refused_and_told_what_the_smallest_is(server: RunningServer, body: bytes) -> None:
    check_refused(server.post("logs", body, content_type=JSON), 400, code_pb2.INVALID_ARGUMENT, "empty", "at least {}")


@pytest.mark.parametrize("body", [b'{"resourceSpans":[', b"not json", b"\xff\xfe{}"])
def test_what_is_not_json_is_refused_with_the_place(server: RunningServer, body: bytes) -> None:
    answer = server.post("traces", body, content_type=JSON)
    check_refused(answer, 400, code_pb2.INVALID_ARGUMENT, "the body is not JSON")


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_an_empty_request_is_valid_in_both_encodings(server: RunningServer, signal: str) -> None:
    protobuf, as_json = server.post(signal, b""), server.post(signal, b"{}", content_type=JSON)
    assert (protobuf.status_code, protobuf.headers["content-type"], protobuf.content) == (200, PROTOBUF, b"")
    assert (as_json.status_code, as_json.headers["content-type"], as_json.json()) == (200, JSON, {})


@pytest.mark.parametrize("door", ["protobuf", "json", "grpc"])
def test_spans_of_an_all_zero_trace_id_are_refused_and_the_rest_is_stored(
    server: RunningServer, stored_by_the_test: list[str], door: str
) -> None:
    trace = next(_traces)
    request = trace_request(trace, 4)
    for span in request.resource_spans[0].scope_spans[0].spans[1:3]:
        span.trace_id = bytes(16)
    body = request.SerializeToString()
    answer = ExportTraceServiceResponse()
    if door == "grpc":
        with grpc.insecure_channel(server.grpc_address) as channel:
            answer.ParseFromString(channel.unary_unary(TRACES_EXPORT)(body, timeout=BUSY_SECONDS))
    elif door == "json":
        document = json_format.MessageToDict(request)
        for span, original in zip(
            document["resourceSpans"][0]["scopeSpans"][0]["spans"], spans_of(body), strict=True
        ):  # OTLP/JSON writes ids as hexadecimal digits, not as base64.
            span |= {"traceId": original.trace_id.hex(), "spanId": original.span_id.hex()}
            span["parentSpanId"] = original.parent_span_id.hex()
        json_format.ParseDict(server.post("traces", json.dumps(document).encode(), content_type=JSON).json(), answer)
    else:
        answer.ParseFromString(server.post("traces", body).content)
    stored_by_the_test.append(trace_id_of(trace).hex())
    assert answer.partial_success.rejected_spans == 2
    assert "refused 2 of 4 spans" in answer.partial_success.error_message
    assert "trace id that is not 16 bytes or is all zero" in answer.partial_success.error_message
    assert "correct these ids" in answer.partial_success.error_message
    server.caught_up()
    [run] = server.rows("/v1/runs", "runs", trace_id=trace_id_of(trace).hex())
    steps = server.rows(f"/v1/runs/{run['run_id']}/steps", "steps")
    assert [step["name"] for step in steps] == ["step 1", "step 4"]


def test_a_request_of_nothing_but_all_zero_trace_ids_stores_nothing(server: RunningServer) -> None:
    request = trace_request(1, 2)
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.trace_id = bytes(16)
    answer = server.post("traces", request.SerializeToString())
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 2
    assert "spanledger-position" not in answer.headers


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "snappy"])
def test_an_unknown_content_encoding_is_refused_with_those_that_are_known(server: RunningServer, encoding: str) -> None:
    answer = server.post("traces", GOOD, content_encoding=encoding)
    check_refused(answer, 415, code_pb2.INVALID_ARGUMENT, encoding, "gzip, deflate, zstd")
    assert "gzip" in answer.headers["accept-encoding"]


@pytest.mark.parametrize("broken", [GOOD, gzip.compress(GOOD)[:-4], gzip.compress(GOOD) + b"more"])
def test_a_body_that_is_not_what_its_encoding_says_is_refused(server: RunningServer, broken: bytes) -> None:
    check_refused(server.post("traces", broken, content_encoding="gzip"), 400, code_pb2.INVALID_ARGUMENT, "gzip")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/grpc", ""])
def test_an_unknown_content_type_is_refused_with_those_that_are_known(server: RunningServer, content_type: str) -> None:
    answer = server.post("traces", GOOD, content_type=content_type)
    check_refused(answer, 415, code_pb2.INVALID_ARGUMENT, repr(content_type), PROTOBUF, JSON)


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1/traces/", "/v1/runs", "/v1/../v1/traces2", "/%2e%2e/etc"])
def test_a_path_that_does_not_exist_is_answered_with_those_that_do(server: RunningServer, path: str) -> None:
    answer = server.ingest.post(path, content=GOOD, headers={"content-type": PROTOBUF})
    check_refused(answer, 404, code_pb2.NOT_FOUND, "nothing is at", "POST /v1/traces, /v1/logs, /v1/metrics")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_answered_with_the_right_one(server: RunningServer, method: str) -> None:
    answer = server.ingest.request(method, "/v1/logs")
    check_refused(answer, 405, code_pb2.UNIMPLEMENTED, method, "POST")
    assert answer.headers["allow"] == "POST"


def peak_bytes(server: RunningServer) -> int:
    """The most memory that the process ever had."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    ("encoding", "compress"), [("zstd", zstandard.compress), ("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_bomb_is_refused_at_the_bound_and_not_unpacked(
    server: RunningServer, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    bomb = compress(bytes(512 * MIB if encoding == "zstd" else 192 * MIB))
    assert len(bomb) < MIB
    before = peak_bytes(server)
    answer = server.post("traces", bomb, content_encoding=encoding)
    check_refused(answer, 413, code_pb2.RESOURCE_EXHAUSTED, "67,108,864 bytes when decompressed", "send fewer")
    assert peak_bytes(server) < before + GROWTH_BYTES_MAX


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server: RunningServer) -> None:
    address = server.ready["otlp_http"].removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=BUSY_SECONDS)
    connection.putrequest("POST", "/v1/traces")
    connection.putheader("Content-Type", PROTOBUF)
    connection.putheader("Content-Length", str(65 * MIB))
    connection.endheaders()
    answer = connection.getresponse()
    said = Status.FromString(answer.read())
    connection.close()
    assert answer.status == 413
    assert f"{65 * MIB} bytes on the wire and 67,108,864 are the limit; send fewer" in said.message


def test_a_body_that_turns_out_too_large_is_refused(server: RunningServer) -> None:
    chunks = (bytes(MIB) for _ in range(66))
    answer = server.ingest.post("/v1/traces", content=chunks, headers={"content-type": PROTOBUF})
    check_refused(answer, 413, code_pb2.RESOURCE_EXHAUSTED, "67,108,864 are the limit", "send fewer")


@pytest.mark.parametrize("service", ["trace", "logs", "metrics"])
def test_grpc_garbage_is_an_invalid_argument_with_its_cause(server: RunningServer, service: str) -> None:
    method = f"/opentelemetry.proto.collector.{service}.v1.{service.title()}Service/Export"
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(b"\xff\xff\xff", timeout=BUSY_SECONDS)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not an OTLP" in error.details()
    assert "look at the sender's endpoint" in error.details()
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert Status.FromString(details).message == error.details()


def test_an_unknown_grpc_method_is_unimplemented(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Import")(GOOD, timeout=BUSY_SECONDS)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("door", ["otlp_grpc", "otlp_http", "api"])
@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(range(256)) * 8,
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["half HTTP", "HTTP/2", "TLS", "bytes", "negative length", "bad chunk"],
)
def test_noise_at_a_door_ends_that_connection_only(server: RunningServer, door: str, noise: bytes) -> None:
    host, port = server.ready[door].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=BUSY_SECONDS) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass  # Also an end.


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/runs?limit=0", 422, "limit"),
        ("/v1/runs?agnet=x", 422, "agnet"),
        ("/v1/runs?since=yesterday", 422, "since"),
        ("/v1/runs?cursor=x", 422, "cursor"),
        ("/v1/runs?min_position=soon", 422, "min_position"),
        ("/v1/runs?status=good", 422, "status"),
        ("/v1/runs/no-such-run", 404, "no-such-run"),
        ("/v1/steps/no-such-step", 404, "no-such-step"),
        ("/v1/contents/no-such-content", 404, "no-such-content"),
        ("/v1/nothing", 404, "/v1/nothing"),
    ],
)
def test_a_bad_question_is_a_problem_document_that_names_what_is_wrong(
    server: RunningServer, path: str, status: int, words: str
) -> None:
    answer = server.api.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], words in said["detail"]) == (status, True), said
    if status == 422:
        assert said["parameter"] == words
