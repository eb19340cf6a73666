"""Bodies on their way to a receiver."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from prometheus_client import CollectorRegistry

from collector.boundary import PassThrough
from collector.headroom import Headroom
from collector.intake import Intake
from collector.limits import Limits
from collector.metrics import IngestMetrics
from spanledger.errors import FrontDoorError
from spanledger.importing import ATTEMPTS_MAX, LocalIntake, OtlpHttp, Sent, import_files
from spanledger.otlp_files import JSON, PROTOBUF, Body
from store.errors import JournalFull
from store.record import Position, Signal

MIB = 1024 * 1024
SPAN_JSON = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat"}


def _traces_protobuf(*trace_ids: bytes) -> bytes:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for trace_id in trace_ids:
        spans.add(trace_id=trace_id, span_id=b"s" * 8, name="chat")
    return request.SerializeToString()


def _body(payload: bytes, records: int = 1, content_type: str = PROTOBUF) -> Body:
    return Body("run.pb", Signal.TRACES, content_type, payload, records)


class _Receiver(ThreadingHTTPServer):
    """Answers each request with the next of `answers`: (status, headers, body)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Content-Type"], body))
        status, headers, answer = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(answer))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        pass


@pytest.fixture
def receiver():
    with _Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def sender(receiver, pauses):
    destination = OtlpHttp(receiver.url, pause=pauses.append)
    yield destination
    destination.close()


PROTOBUF_HEADERS = {"Content-Type": PROTOBUF, "spanledger-position": "j:7"}


def test_an_accepted_body_gives_its_receipt(receiver, sender):
    receiver.answers = [(200, PROTOBUF_HEADERS, b"")]
    assert sender.send(_body(b"\x0a\x00", 3)) == Sent(3, 0, "", Position("j", 7))
    assert receiver.seen == [("/v1/traces", PROTOBUF, b"\x0a\x00")]


def test_partial_success_is_read_in_the_encoding_of_the_request(receiver, sender):
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "no trace id"
    said = json.dumps({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no trace id"}}).encode()
    receiver.answers = [
        (200, PROTOBUF_HEADERS, answer.SerializeToString()),
        (200, {"Content-Type": JSON}, said),
    ]
    assert sender.send(_body(b"", 3)) == Sent(1, 2, "no trace id", Position("j", 7))
    assert sender.send(_body(b"{}", 3, JSON)) == Sent(1, 2, "no trace id", None)


def test_a_refused_body_is_an_answer_with_its_reason(receiver, sender):
    receiver.answers = [(400, {"Content-Type": JSON}, b'{"code": 3, "message": "truncated"}'), (413, {}, b"")]
    assert sender.send(_body(b"\x0a", 0)) == Sent(0, 0, "400: truncated", None)
    assert sender.send(_body(b"\x0a", 5)).reason.startswith("413: ")


def test_a_busy_receiver_is_asked_again_when_it_says(receiver, sender, pauses):
    receiver.answers = [(429, {"Retry-After": "3"}, b""), (503, {}, b""), (200, PROTOBUF_HEADERS, b"")]
    assert sender.send(_body(b"", 1)).accepted == 1
    assert pauses == [3.0, 1.0]


def test_a_receiver_that_stays_busy_ends_the_import(receiver, sender, pauses):
    receiver.answers = [(503, {}, b"")] * ATTEMPTS_MAX
    with pytest.raises(FrontDoorError, match="503"):
        sender.send(_body(b"", 1))
    assert len(pauses) == ATTEMPTS_MAX - 1


def test_what_is_no_otlp_receiver_is_recognised(receiver, sender):
    receiver.answers = [(200, {"Content-Type": "text/html"}, b"<html>welcome</html>")]
    with pytest.raises(FrontDoorError, match="not an OTLP receiver"):
        sender.send(_body(b"", 1))


def test_a_receiver_that_is_not_there_ends_the_import_with_its_address(receiver):
    receiver.server_close()
    gone = OtlpHttp(receiver.url)
    with pytest.raises(FrontDoorError, match=receiver.url):
        gone.send(_body(b"", 1))
    gone.close()


class _Journal:
    def __init__(self) -> None:
        self.drafts: list = []
        self.failure: Exception | None = None

    def append(self, draft):
        if self.failure:
            raise self.failure
        self.drafts.append(draft)
        return Position("j", len(self.drafts))


@pytest.fixture
def journal():
    return _Journal()


class _Space:
    """A store that is as far behind as can be, on a disk with `free` bytes."""

    free = 10_000 * MIB

    def lag_bytes(self, bytes_max):
        return 10**15

    def lag_excess_seconds(self, seconds_max):
        return 10**6

    def disk(self):
        return self.free, 100_000 * MIB


@pytest.fixture
def space():
    return _Space()


@pytest.fixture
def local(journal, space):
    limits = Limits(disk_reserve_bytes=100 * MIB)
    intake = Intake(journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough(), limits=limits)
    return LocalIntake(intake, Headroom(limits, space))


def test_the_way_in_without_a_server_is_the_collector_s(local, journal):
    payload = _traces_protobuf(b"t" * 16, bytes(16))
    sent = local.send(_body(payload, 2))
    assert (sent.accepted, sent.refused, sent.position) == (1, 1, Position("j", 1))
    assert "trace id" in sent.reason
    as_json = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN_JSON]}]}]}).encode()
    assert local.send(_body(as_json, 1, JSON)) == Sent(1, 0, "", Position("j", 2))
    assert [len(draft.leaves) for draft in journal.drafts] == [1, 1]


@pytest.mark.parametrize(("payload", "content_type"), [(b"\x0a\xff", PROTOBUF), (b'{"resourceSpans": 1}', JSON)])
def test_a_malformed_body_is_an_answer_too(local, journal, payload, content_type):
    sent = local.send(_body(payload, 4, content_type))
    assert (sent.accepted, sent.refused, sent.position) == (0, 4, None)
    assert sent.reason
    assert not journal.drafts


def test_a_journal_that_is_full_ends_the_import(local, journal):
    journal.failure = JournalFull("no space left")
    with pytest.raises(FrontDoorError, match="no space left"):
        local.send(_body(_traces_protobuf(b"t" * 16), 1))


def test_a_disk_that_is_nearly_full_ends_the_import_before_anything_is_written(local, journal, space):
    space.free = 99 * MIB
    with pytest.raises(FrontDoorError, match=r"cannot store .*99 MiB left and 100 MiB are kept free") as refused:
        local.send(_body(_traces_protobuf(b"t" * 16), 1))
    assert "disk_reserve_mb" in refused.value.hint
    assert not journal.drafts


def test_files_are_reported_one_by_one(local, tmp_path):
    good, bad = tmp_path / "good.pb", tmp_path / "bad.jsonl"
    good.write_bytes(_traces_protobuf(b"t" * 16))
    bad.write_text('{broken\n{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}\n')
    reports = list(import_files([good, bad], local, signal=None, bytes_max=MIB))
    assert [(report.path, report.clean, report.bodies) for report in reports] == [(good, True, 1), (bad, False, 2)]
    assert [report.bodies_refused for report in reports] == [0, 2]
    assert reports[1].refused == 1


def test_nothing_is_sent_when_a_file_is_missing(local, journal, tmp_path):
    good = tmp_path / "good.pb"
    good.write_bytes(_traces_protobuf(b"t" * 16))
    with pytest.raises(FrontDoorError, match="missing"):
        list(import_files([good, tmp_path / "missing.pb"], local, signal=None, bytes_max=MIB))
    assert not journal.drafts
