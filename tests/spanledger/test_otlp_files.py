"""OTLP files as the bodies they hold."""

import gzip
import json

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.errors import FrontDoorError
from spanledger.otlp_files import JSON, PROTOBUF, Body, Unusable, bodies_of
from store.record import Signal

MIB = 1024 * 1024
SPAN = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat"}


def _traces_json(spans: int = 1) -> dict:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN] * spans}]}]}


def _logs_json() -> dict:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hello"}}]}]}]}


def _traces_protobuf() -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="chat")
    return request.SerializeToString()


def _read(path, content: bytes, **options):
    path.write_bytes(content)
    return list(bodies_of(path, options.get("signal"), options.get("bytes_max", MIB)))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_protobuf_is_read_plain_and_compressed(tmp_path, ending):
    body = _traces_protobuf()
    content = {"": body, ".gz": gzip.compress(body), ".zst": zstandard.compress(body)}[ending]
    path = tmp_path / f"run.pb{ending}"
    assert _read(path, content) == [Body(str(path), Signal.TRACES, PROTOBUF, body, 1)]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_json_lines_are_one_request_each(tmp_path, ending):
    lines = [json.dumps(_traces_json(2)), "", json.dumps(_logs_json())]
    content = "\n".join(lines).encode()
    compressed = {"": content, ".gz": gzip.compress(content), ".zst": zstandard.compress(content)}[ending]
    found = _read(tmp_path / f"run.jsonl{ending}", compressed)
    assert [(body.signal, body.content_type, body.records) for body in found] == [
        (Signal.TRACES, JSON, 2),
        (Signal.LOGS, JSON, 1),
    ]
    assert found[1].where.endswith("line 3")


def test_a_json_file_may_be_one_document_over_many_lines(tmp_path):
    [body] = _read(tmp_path / "run.json", json.dumps(_traces_json(), indent=2).encode())
    assert (body.signal, body.records) == (Signal.TRACES, 1)


def test_a_json_file_may_hold_a_request_a_line_as_the_collector_writes_it(tmp_path):
    content = "\n".join([json.dumps(_traces_json()), json.dumps(_logs_json())]).encode()
    assert [body.signal for body in _read(tmp_path / "run.json", content)] == [Signal.TRACES, Signal.LOGS]


def test_a_byte_order_mark_is_not_part_of_the_request(tmp_path):
    [body] = _read(tmp_path / "run.json", b"\xef\xbb\xbf" + json.dumps(_traces_json()).encode())
    assert body.payload.startswith(b"{")


def test_without_a_known_ending_the_content_decides(tmp_path):
    assert _read(tmp_path / "one", _traces_protobuf())[0].content_type == PROTOBUF
    assert _read(tmp_path / "two", json.dumps(_traces_json()).encode())[0].content_type == JSON


def test_a_bad_line_is_reported_and_does_not_stop_those_behind_it(tmp_path):
    lines = ["{broken", json.dumps(_traces_json()), '{"resourceSpan": []}', json.dumps(_logs_json())]
    found = _read(tmp_path / "run.jsonl", "\n".join(lines).encode())
    assert [type(item) for item in found] == [Unusable, Body, Unusable, Body]
    assert found[0].where.endswith("line 1")
    assert "is not JSON" in found[0].reason
    assert "resourceSpans" in found[2].reason


def test_a_line_that_is_too_long_is_skipped_whole(tmp_path):
    lines = [json.dumps(_traces_json()), "x" * 3000, json.dumps(_logs_json())]
    found = _read(tmp_path / "run.jsonl", "\n".join(lines).encode(), bytes_max=1000)
    assert [type(item) for item in found] == [Body, Unusable, Body]
    assert "request_max_mb" in found[1].reason
    assert found[2].where.endswith("line 3")


def test_a_body_that_is_too_large_once_decompressed_is_refused(tmp_path):
    for name in ("bomb.pb.gz", "bomb.json.gz"):
        [item] = _read(tmp_path / name, gzip.compress(b" " * 10 * MIB), bytes_max=MIB)
        assert isinstance(item, Unusable)
        assert "larger than 1 MiB" in item.reason


@pytest.mark.parametrize("name", ["cut.pb.gz", "cut.pb.zst"])
def test_a_truncated_archive_is_reported(tmp_path, name):
    compress = gzip.compress if name.endswith(".gz") else zstandard.compress
    [item] = _read(tmp_path / name, compress(_traces_protobuf() * 50)[:-9])
    assert isinstance(item, Unusable)


def test_the_folder_s_index_says_what_the_content_cannot(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps([{"file": "001.pb", "signal": "logs"}]))
    [body] = _read(tmp_path / "001.pb", ExportLogsServiceRequest().SerializeToString())
    assert (body.signal, body.records) == (Signal.LOGS, 0)


@pytest.mark.parametrize("index", ["[]", "{}", "broken", '[{"file": "001.pb", "signal": "profiles"}]', "[1]"])
def test_an_index_that_does_not_help_leaves_it_to_the_content(tmp_path, index):
    (tmp_path / "index.json").write_text(index)
    [body] = _read(tmp_path / "001.pb", _traces_protobuf())
    assert body.signal is Signal.TRACES


def test_an_empty_protobuf_file_needs_to_be_told_its_signal(tmp_path):
    [item] = _read(tmp_path / "empty.pb", b"")
    assert isinstance(item, Unusable)
    assert "--signal" in item.reason
    [body] = _read(tmp_path / "empty.pb", b"", signal=Signal.TRACES)
    assert body.records == 0


def test_json_that_is_not_the_signal_it_is_said_to_be_is_refused(tmp_path):
    [item] = _read(tmp_path / "run.json", json.dumps(_logs_json()).encode(), signal=Signal.TRACES)
    assert isinstance(item, Unusable)
    assert "holds logs" in item.reason


def test_a_file_that_cannot_be_opened_stops_with_its_name(tmp_path):
    with pytest.raises(FrontDoorError, match="missing"):
        list(bodies_of(tmp_path / "missing.pb", None, MIB))
    with pytest.raises(FrontDoorError, match="directory"):
        list(bodies_of(tmp_path, None, MIB))
