import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import structlog
import zstandard
from collector_bench import Answered, Bench, exchange
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from structlog.testing import LogCapture

from collector.errors import answer_for
from collector.http import OtlpHttpApp
from collector.limits import Limits
from store.errors import JournalClosed, JournalFailed, JournalFull
from store.record import Signal
from tests.gates import open_gate

Ask = Callable[..., Answered]
Build = Callable[..., bytes]
JSON = {"content-type": "application/json"}


def status_of(answered: Answered) -> Status:
    assert answered.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(answered.body)


def refused(bench: Bench, reason: str, signal: str = "traces") -> float:
    return bench.sample("spanledger_ingest_refused_requests_total", signal=signal, reason=reason)


@pytest.mark.parametrize(
    ("signal", "response"),
    [
        (Signal.TRACES, ExportTraceServiceResponse),
        (Signal.LOGS, ExportLogsServiceResponse),
        (Signal.METRICS, ExportMetricsServiceResponse),
    ],
)
def test_a_real_body_of_each_signal_is_stored_and_acknowledged_with_its_position(
    ask: Ask, bench: Bench, captures: Any, signal: Signal, response: Any
) -> None:
    body = next(capture.body for capture in captures if capture.signal is signal)
    answered = ask(body, path=f"/v1/{signal.label}")
    assert answered.status == 200
    assert answered.headers["content-type"] == "application/x-protobuf"
    assert answered.headers["spanledger-position"] == "remembered:1"
    assert response.FromString(answered.body) == response()
    assert [(draft.signal, draft.body) for draft in bench.journal.drafts] == [(signal, body)]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress), ("identity", bytes)],
)
def test_a_compressed_body_is_stored_decompressed(
    ask: Ask, bench: Bench, traces: Build, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    answered = ask(compress(traces()), headers={"content-encoding": encoding})
    assert answered.status == 200
    assert bench.journal.drafts[0].body == traces()


def test_json_is_answered_in_json_and_stored_as_protobuf(ask: Ask, bench: Bench, traces: Build) -> None:
    span = {"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708", "name": "step"}
    body = json.dumps(
        {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": [span, {}]}], "resource": {}}]}
    )
    answered = ask(body.encode(), headers={"content-type": "Application/JSON; charset=utf-8"})
    assert answered.status == 200
    assert answered.headers["content-type"] == "application/json"
    partial = json.loads(answered.body)["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert partial["errorMessage"].startswith("refused 1 of 2 spans")
    assert b"\x0a\x10\x01\x02\x03" in bench.journal.drafts[0].body


def test_a_complete_success_in_json_is_an_empty_object(ask: Ask) -> None:
    assert ask(b"{}", headers=JSON).body == b"{}"


def test_partial_success_says_how_many_and_why_and_stores_the_rest(ask: Ask, bench: Bench, traces: Build) -> None:
    answered = ask(traces({"name": "kept"}, {"trace_id": bytes(16)}))
    response = ExportTraceServiceResponse.FromString(answered.body)
    assert (answered.status, response.partial_success.rejected_spans) == (200, 1)
    assert "all zero" in response.partial_success.error_message
    assert answered.headers["spanledger-position"] == "remembered:1"
    assert bench.journal.drafts[0].body == traces({"name": "kept"})


def test_partial_success_of_logs_counts_log_records(ask: Ask, logs: Build) -> None:
    answered = ask(logs({}, {"trace_id": b"short"}), path="/v1/logs")
    assert ExportLogsServiceResponse.FromString(answered.body).partial_success.rejected_log_records == 1


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/metrics"])
def test_an_empty_protobuf_body_is_a_valid_empty_request_without_a_position(ask: Ask, bench: Bench, path: str) -> None:
    answered = ask(b"", path=path)
    assert (answered.status, answered.body) == (200, b"")
    assert "spanledger-position" not in answered.headers
    assert bench.journal.drafts == []


def test_an_empty_json_body_is_refused_with_400(ask: Ask) -> None:
    answered = ask(b"", headers=JSON)
    assert answered.status == 400
    assert json.loads(answered.body) == {"code": 3, "message": answered_message(answered)}
    assert "the body is empty" in answered_message(answered)


def answered_message(answered: Answered) -> str:
    return json.loads(answered.body)["message"]


def test_a_truncated_body_is_refused_with_400_and_a_status(ask: Ask, bench: Bench, traces: Build) -> None:
    answered = ask(traces()[:-1])
    assert answered.status == 400
    assert status_of(answered).code == 3
    assert "not an OTLP traces request" in status_of(answered).message
    assert bench.journal.drafts == []
    assert refused(bench, "malformed") == 1


def test_json_with_a_wrong_type_is_refused_with_400_and_a_json_status(ask: Ask) -> None:
    answered = ask(b'{"resourceSpans": 5}', headers=JSON)
    assert (answered.status, answered.headers["content-type"]) == (400, "application/json")
    assert "resourceSpans: must be an array, not 5" in answered_message(answered)


def test_broken_compression_is_refused_with_400(ask: Ask, traces: Build) -> None:
    answered = ask(gzip.compress(traces())[:-3], headers={"content-encoding": "gzip"})
    assert answered.status == 400
    assert "ends before its stream does" in status_of(answered).message


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc", "", "application/protobuf-not"])
def test_another_content_type_is_refused_with_415(ask: Ask, bench: Bench, traces: Build, content_type: str) -> None:
    answered = ask(traces(), headers={"content-type": content_type})
    assert answered.status == 415
    assert answered.headers["accept"] == "application/x-protobuf, application/json"
    assert "send application/x-protobuf or application/json" in answered_message(answered)
    assert bench.journal.drafts == []


@pytest.mark.parametrize("encoding", ["br", "gzip, zstd"])
def test_another_content_encoding_is_refused_with_415_and_the_known_ones(
    ask: Ask, traces: Build, encoding: str
) -> None:
    answered = ask(traces(), headers={"content-encoding": encoding})
    assert (answered.status, answered.chunks_read) == (415, 0)
    assert answered.headers["accept-encoding"] == "gzip, deflate, zstd, identity"
    assert encoding in status_of(answered).message


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS"])
def test_another_method_is_refused_with_405_and_what_is_allowed(ask: Ask, method: str) -> None:
    answered = ask(method=method)
    assert (answered.status, answered.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1/traces/", "/v1/profiles"])
def test_another_path_is_refused_with_404_and_a_list_of_the_paths(ask: Ask, path: str) -> None:
    answered = ask(path=path)
    assert answered.status == 404
    assert "/v1/traces, /v1/logs, /v1/metrics" in status_of(answered).message


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (JournalFull("no room for another segment on the data folder's disk"), 5),
        (JournalFailed("an fsync failed"), 5),
        (JournalClosed("shutting down"), 5),
    ],
)
def test_what_the_journal_cannot_take_now_is_503_with_when_to_come_back(
    ask: Ask, bench: Bench, traces: Build, failure: Exception, seconds: int
) -> None:
    bench.journal.failure = failure
    answered = ask(traces())
    assert (answered.status, answered.headers["retry-after"]) == (503, str(seconds))
    status = status_of(answered)
    assert (status.code, status.message) == (14, str(failure))
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds == seconds
    assert refused(bench, answer_for(failure).reason) == 1
    assert bench.sample("spanledger_ingest_requests_total", signal="traces", transport="http", outcome="retry") == 1


def test_a_retryable_refusal_in_json_tells_its_retry_info(ask: Ask, bench: Bench, traces: Build) -> None:
    bench.journal.failure = JournalFull("no room")
    span = {"traceId": "01" * 16, "spanId": "01" * 8}
    body = json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}).encode()
    answered = ask(body, headers=JSON)
    assert answered.status == 503
    assert json.loads(answered.body) == {
        "code": 14,
        "message": "no room",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}],
    }


def test_a_defect_of_ours_is_retryable_and_keeps_its_text_for_the_log(ask: Ask, bench: Bench, traces: Build) -> None:
    bench.journal.failure = ZeroDivisionError("a secret of the inside")
    answered = ask(traces())
    assert answered.status == 503
    assert "secret" not in status_of(answered).message
    assert "the collector's log" in status_of(answered).message


def test_a_content_length_past_the_bound_is_refused_before_the_body_is_read(ask: Ask) -> None:
    answered = ask(b"", headers={"content-length": str(64 * 1024 * 1024 + 1)})
    assert (answered.status, answered.chunks_read) == (413, 0)
    assert "67108865 bytes on the wire" in status_of(answered).message


def test_a_compressed_content_length_has_its_own_lower_bound(ask: Ask) -> None:
    headers = {"content-length": str(17 * 1024 * 1024), "content-encoding": "zstd"}
    assert ask(b"", headers=headers).status == 413


@pytest.mark.parametrize("length", ["abc", "-1", "1.5", "٣"])
def test_a_content_length_that_is_no_number_is_refused(ask: Ask, length: str) -> None:
    assert ask(b"", headers={"content-length": length}).status == 400


def small_app(make_bench: Callable[..., Bench], **limits: Any) -> tuple[Bench, OtlpHttpApp]:
    bench = make_bench(Limits(**limits))
    return bench, OtlpHttpApp(bench.intake, gate=open_gate())


@pytest.mark.parametrize(
    "headers", [{}, {"content-length": "10"}], ids=["no Content-Length", "a Content-Length that lies"]
)
def test_a_body_past_the_bound_is_refused_while_it_is_read(
    make_bench: Callable[..., Bench], headers: dict[str, str]
) -> None:
    bench, app = small_app(make_bench, body_bytes_max=1000)
    answered = asyncio.run(exchange(app, [b"x" * 400] * 100, headers=headers))
    app.close()
    assert (answered.status, answered.chunks_read) == (413, 3)
    assert bench.intake.admission.bytes_in_flight == 0


def test_a_bomb_is_refused_with_413(make_bench: Callable[..., Bench]) -> None:
    bench, app = small_app(make_bench, body_bytes_max=100_000)
    bomb = zstandard.compress(bytes(300_000_000))
    answered = asyncio.run(exchange(app, [bomb], headers={"content-encoding": "zstd"}))
    app.close()
    assert answered.status == 413
    assert "100,000 bytes when decompressed" in status_of(answered).message
    assert refused(bench, "too_large") == 1


@pytest.mark.parametrize("chunks", [[], [b"\x0a"], [b"\x0a", b"\x05"]])
def test_a_sender_that_goes_away_stores_nothing_and_gets_nothing(
    bench: Bench, app: OtlpHttpApp, chunks: list[bytes]
) -> None:
    answered = asyncio.run(exchange(app, chunks, disconnect=True))
    assert answered == Answered(chunks_read=len(chunks) + 1)
    assert bench.journal.drafts == []
    assert bench.intake.admission.requests_in_flight == 0
    ended = {"signal": "traces", "transport": "http", "outcome": "disconnected"}
    assert bench.sample("spanledger_ingest_requests_total", **ended) == 1


def test_a_sender_that_stalls_is_refused_with_408(make_bench: Callable[..., Bench]) -> None:
    bench, app = small_app(make_bench, body_read_seconds_max=0.01)

    async def stalled() -> int:
        statuses: list[int] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/traces",
            "headers": [(b"content-type", b"application/x-protobuf")],
        }

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(event: Any) -> None:
            statuses.append(event.get("status"))

        await app(scope, receive, send)
        return statuses[0]

    assert asyncio.run(stalled()) == 408
    app.close()
    assert bench.intake.admission.requests_in_flight == 0


def test_past_the_requests_in_flight_a_sender_gets_429_and_the_loop_stays_free(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    bench, app = small_app(make_bench, http_requests_max=2)
    bench.journal.gate.clear()

    async def crowd() -> tuple[Answered, list[Answered]]:
        waiting = [asyncio.create_task(exchange(app, [traces()])) for _ in range(2)]
        await asyncio.to_thread(bench.journal.entered.wait, 30)
        assert bench.sample("spanledger_ingest_requests_in_flight") == 2
        late = await exchange(app, [traces()])
        bench.journal.gate.set()
        return late, await asyncio.gather(*waiting)

    late, first = asyncio.run(crowd())
    assert (late.status, late.headers["retry-after"], late.chunks_read) == (429, "1", 0)
    assert status_of(late).code == 8
    assert [answered.status for answered in first] == [200, 200]
    assert asyncio.run(exchange(app, [traces()])).status == 200
    app.close()
    assert bench.sample("spanledger_ingest_requests_in_flight") == 0


def test_past_the_bytes_in_flight_a_sender_gets_429(make_bench: Callable[..., Bench], traces: Build) -> None:
    bench, app = small_app(make_bench, bytes_in_flight_max=len(traces()) + 10)
    bench.journal.gate.clear()

    async def crowd() -> tuple[Answered, Answered]:
        first = asyncio.create_task(exchange(app, [traces()]))
        await asyncio.to_thread(bench.journal.entered.wait, 30)
        late = await exchange(app, [traces()])
        bench.journal.gate.set()
        return await first, late

    first, late = asyncio.run(crowd())
    app.close()
    assert (first.status, late.status) == (200, 429)


def test_a_cancelled_request_keeps_its_place_until_its_thread_is_done(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    bench, app = small_app(make_bench)
    bench.journal.gate.clear()

    async def cancelled() -> int:
        request = asyncio.create_task(exchange(app, [traces()]))
        await asyncio.to_thread(bench.journal.entered.wait, 30)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        return bench.intake.admission.requests_in_flight

    assert asyncio.run(cancelled()) == 1
    bench.journal.gate.set()
    app.close()
    assert bench.intake.admission.requests_in_flight == 0
    assert len(bench.journal.drafts) == 1


def test_the_lifespan_is_followed_and_shutdown_waits_for_what_is_being_stored(bench: Bench, traces: Build) -> None:
    app = OtlpHttpApp(bench.intake, gate=open_gate())

    async def life() -> list[str]:
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[str] = []

        async def receive() -> Any:
            return events.pop(0)

        async def send(event: Any) -> None:
            sent.append(event["type"])

        await app({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(life()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_requests_and_acks_are_counted(ask: Ask, bench: Bench, traces: Build) -> None:
    ask(traces())
    ask(traces({}, {"trace_id": b""}))
    ask(traces({"trace_id": b""}))
    ask(b"")
    ask(b"\xff")
    ask(path="/nowhere")

    def ended(outcome: str, signal: str = "traces") -> float:
        return bench.sample("spanledger_ingest_requests_total", signal=signal, transport="http", outcome=outcome)

    assert [ended(outcome) for outcome in ("stored", "partial", "refused", "empty")] == [1, 1, 2, 1]
    assert ended("refused", "none") == 1
    assert bench.sample("spanledger_ack_seconds_count", signal="traces") == 4
    assert (refused(bench, "malformed"), refused(bench, "unknown_path", "none")) == (1, 1)


def test_the_log_has_a_traceback_for_a_defect_of_ours_and_one_line_for_a_full_disk(
    ask: Ask, bench: Bench, traces: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = LogCapture()
    monkeypatch.setattr("collector.intake._log", structlog.wrap_logger(None, processors=[capture]))
    ask(b"\xff")
    bench.journal.failure = JournalFull("no room")
    ask(traces())
    bench.journal.failure = ZeroDivisionError("a secret of the inside")
    ask(traces())
    logged = capture.entries
    assert [entry["event"] for entry in logged] == ["ingest_refused", "ingest_unavailable", "ingest_failed"]
    assert [entry["reason"] for entry in logged] == ["malformed", "journal_full", "internal"]
    assert [entry.get("exc_info") for entry in logged] == [None, None, bench.journal.failure]
