"""The Arrow path and the official protobuf runtime: the same values or the same refusal.

`python -m bench.fuzz_decoders` runs the same comparison for as long as one likes; here it is kept to seconds.
"""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench import decoder_oracle
from bench.decoder_oracle import Difference, arrow_nested, compare, nested
from bench.fuzz_decoders import DECODERS, Tally, fuzz, read_captures
from bench.mutants import Body, mutant
from bench.wire_tree import GROUP, GROUP_END, LENGTH_DELIMITED, Node, WireField, parse, varint
from store.errors import MalformedOtlp
from store.otlp.decode import decode, decode_bodies
from store.otlp.schema import REQUEST_HANDLERS, REQUEST_MESSAGES
from store.record import Signal

CAPTURES = read_captures()
MUTANTS_A_SEED = 1_500  # about 4 s of CPU


def field(number: int, content: bytes) -> bytes:
    return bytes(WireField(number, LENGTH_DELIMITED, content))


def span_request(span: bytes) -> bytes:
    return field(1, field(2, field(2, span)))


def metric_request(metric: bytes) -> bytes:
    return field(1, field(2, field(2, metric)))


def attribute_request(value: bytes) -> bytes:
    return span_request(field(9, field(1, b"key") + field(2, value)))


def arrays(levels: int) -> bytes:
    value = AnyValue(int_value=1).SerializeToString()
    for _ in range(levels):
        value = field(5, field(1, value))
    return value


def maps(levels: int) -> bytes:
    value = AnyValue(int_value=1).SerializeToString()
    for _ in range(levels):
        value = field(6, field(1, field(1, b"k") + field(2, value)))
    return value


def group(number: int, content: bytes) -> bytes:
    return varint(number << 3 | GROUP) + content + varint(number << 3 | GROUP_END)


def only_row(signal: Signal, body: bytes) -> dict[str, Any]:
    return decode(signal, body).batch.to_pylist()[0]


def only_record(signal: Signal, body: bytes) -> dict[str, Any]:
    value: Any = only_row(signal, body)
    for _ in range(3):
        value = next(item for item in value.values() if isinstance(item, list) and item)[0]
    return value


@pytest.mark.parametrize("signal", Signal)
def test_every_capture_reads_as_the_official_runtime_reads_it(signal: Signal) -> None:
    bodies = [body for body in CAPTURES if body.signal is signal]
    assert len(bodies) >= 10
    assert all(compare(signal, body.content) for body in bodies)


@pytest.mark.parametrize("signal", Signal)
def test_captures_decoded_together_read_as_each_alone(signal: Signal) -> None:
    bodies = [decode(signal, body.content).body for body in CAPTURES if body.signal is signal]
    batch = decode_bodies(signal, bodies)
    message: Any = REQUEST_MESSAGES[signal]
    for index, body in enumerate(bodies):
        expected = message.FromString(body)
        assert arrow_nested(message.DESCRIPTOR, batch.slice(index, 1)) == nested(expected)


def test_a_canonical_body_is_kept_as_it_came() -> None:
    kept = [decode(body.signal, body.content).body is body.content for body in CAPTURES]
    assert sum(kept) / len(kept) > 0.9


@pytest.mark.parametrize("seed", range(1, 6))
def test_mutants_get_the_same_values_or_the_same_refusal(seed: int) -> None:
    tally = fuzz("protobuf", CAPTURES, seed=seed, mutations=MUTANTS_A_SEED)
    assert tally.differences == []
    assert tally.accepted + tally.refused == MUTANTS_A_SEED
    assert min(tally.accepted, tally.refused) > 0.3 * MUTANTS_A_SEED, "one answer alone would compare little"


def test_the_mutants_of_a_seed_are_always_the_same() -> None:
    once = [mutant(3, number, CAPTURES) for number in range(50)]
    assert once == [mutant(3, number, CAPTURES) for number in range(50)]
    assert once != [mutant(4, number, CAPTURES) for number in range(50)]


@pytest.mark.parametrize("body", CAPTURES[::9])
def test_the_wire_tree_writes_what_it_read(body: Body) -> None:
    message: Any = REQUEST_MESSAGES[body.signal]
    assert bytes(parse(message.DESCRIPTOR, body.content)) == body.content


def one_value_off(signal: Signal, body: bytes) -> Any:
    request = REQUEST_MESSAGES[signal].FromString(body)
    request.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano += 1  # type: ignore[attr-defined]
    return decode(signal, request.SerializeToString())


def never_refuses(signal: Signal, _body: bytes) -> Any:
    return decode(signal, b"")


def always_refuses(_signal: Signal, _body: bytes) -> Any:
    raise MalformedOtlp("no")


def crashes(_signal: Signal, _body: bytes) -> Any:
    raise IndexError("slice index starts at 10 but ends at 9")


def panics(_signal: Signal, _body: bytes) -> Any:
    raise type("PanicException", (BaseException,), {})("slice index starts at 10 but ends at 9")


@pytest.mark.parametrize(
    ("broken", "body", "says"),
    [
        (one_value_off, span_request(field(5, b"name")), "start_time_unix_nano"),
        (never_refuses, b"\xff", "only the official runtime refuses it"),
        (never_refuses, span_request(b""), "values"),
        (always_refuses, b"", "only we refuse it"),
        (crashes, b"", "IndexError"),
        (panics, b"", "PanicException"),
    ],
)
def test_the_comparison_sees_a_decoder_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[Signal, bytes], Any], body: bytes, says: str
) -> None:
    monkeypatch.setattr(decoder_oracle, "decode", broken)
    with pytest.raises(Difference, match=says):
        compare(Signal.TRACES, body)


def test_a_difference_is_counted_and_named_with_its_seed_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def differ(_signal: Signal, _body: bytes) -> bool:
        raise Difference("values: at .resource_spans")

    monkeypatch.setitem(DECODERS, "protobuf", (mutant, differ))
    tally: Tally = fuzz("protobuf", CAPTURES, seed=9, start=70, mutations=2)
    assert [text.split(" (")[0] for text in tally.differences] == [
        "protobuf seed 9 number 70",
        "protobuf seed 9 number 71",
    ]
    assert (tally.accepted, tally.refused) == (0, 0)


def test_the_last_member_of_a_oneof_counts() -> None:
    text, number = AnyValue(string_value="first"), AnyValue(int_value=2)
    body = attribute_request(text.SerializeToString() + number.SerializeToString())
    assert compare(Signal.TRACES, body)
    value = only_record(Signal.TRACES, body)["attributes"][0]["value"]
    assert (value["string_value"], value["int_value"]) == (None, 2)


def test_the_last_data_of_a_metric_counts() -> None:
    gauge, total = field(5, field(1, b"")), field(7, field(1, b""))
    body = metric_request(field(1, b"queue.depth") + gauge + total)
    assert compare(Signal.METRICS, body)
    metric = only_record(Signal.METRICS, body)
    assert metric["gauge"] is None
    assert len(metric["sum"]["data_points"]) == 1


def test_the_last_value_of_a_point_counts() -> None:
    point = b"\x21" + bytes(8) + b"\x31" + (7).to_bytes(8, "little")  # as_double 0.0, then as_int 7
    body = metric_request(field(5, field(1, point)))
    assert compare(Signal.METRICS, body)
    (read,) = only_record(Signal.METRICS, body)["gauge"]["data_points"]
    assert (read["as_double"], read["as_int"]) == (None, 7)


def test_a_resource_sent_in_two_halves_is_one() -> None:
    halves = [Resource(attributes=[KeyValue(key=key, value=AnyValue(string_value=key))]) for key in ("one", "two")]
    body = field(1, b"".join(field(1, half.SerializeToString()) for half in halves) + field(2, field(2, b"")))
    assert compare(Signal.TRACES, body)
    resource = only_row(Signal.TRACES, body)["resource_spans"][0]["resource"]
    assert [pair["key"] for pair in resource["attributes"]] == ["one", "two"]


def test_two_arrays_in_one_value_are_one() -> None:
    halves = [field(5, field(1, AnyValue(string_value=text).SerializeToString())) for text in ("one", "two")]
    body = attribute_request(b"".join(halves))
    assert compare(Signal.TRACES, body)
    assert decode(Signal.TRACES, body).body == ExportTraceServiceRequest.FromString(body).SerializeToString()


def test_a_field_that_an_equal_length_would_hide_is_seen() -> None:
    # A negative enum in five bytes is ten when written again: room for an unknown field of five.
    kind = b"\x30" + varint(2**32 - 1)
    unknown = field(99, b"ab")
    assert len(unknown) == 5
    body = span_request(field(5, b"name") + kind + unknown)
    assert compare(Signal.TRACES, body)
    span = only_record(Signal.TRACES, body)
    assert (span["kind"], span["name"]) == (-1, "name")
    assert b"ab" in decode(Signal.TRACES, body).body


@pytest.mark.parametrize(
    "unknown",
    [
        bytes(WireField(99, 0, 1)),
        field(99, b"\xff not text"),
        group(99, group(98, b"\x08\x01")),
        group(99, b"\x00\x05"),  # in an unknown group the runtime lets a field number 0 pass
        bytes(WireField(5, 0, 3)),  # the name as a number
        group(5, b""),  # the name as a group
    ],
    ids=[
        "number",
        "bytes",
        "groups",
        "field number 0 in a group",
        "known field of another wire type",
        "known field as a group",
    ],
)
def test_an_unknown_field_hides_nothing_and_stays_in_the_record(unknown: bytes) -> None:
    body = span_request(unknown + field(5, b"name"))
    assert compare(Signal.TRACES, body)
    assert only_record(Signal.TRACES, body)["name"] == "name"
    assert unknown in decode(Signal.TRACES, body).body


@pytest.mark.parametrize("build", [arrays, maps])
@pytest.mark.parametrize("levels", range(28, 52))
def test_nested_values_are_refused_where_the_runtime_refuses_them(build: Callable[[int], bytes], levels: int) -> None:
    pair = field(1, b"key") + field(2, build(levels))
    places = {
        Signal.TRACES: [
            field(1, field(1, field(1, pair))),  # of the resource
            span_request(field(9, pair)),
            span_request(field(11, field(3, pair))),  # of an event
        ],
        Signal.LOGS: [field(1, field(2, field(2, field(5, build(levels)))))],  # the body of a log record
        Signal.METRICS: [metric_request(field(9, field(1, field(8, field(7, pair)))))],  # of an exemplar
    }
    deepest = 1 + levels * (2 if build is arrays else 3)
    for signal, bodies in places.items():
        for body in bodies:
            if compare(signal, body):
                assert deepest <= 97
            else:
                assert deepest >= 90


@pytest.mark.parametrize("levels", [92, 96, 99, 105])
def test_nested_unknown_groups_are_refused_where_the_runtime_refuses_them(levels: int) -> None:
    inside = b""
    for _ in range(levels):
        inside = group(99, inside)
    bodies = [inside, field(1, inside), span_request(inside), span_request(field(11, inside))]
    accepted = [compare(Signal.TRACES, body) for body in bodies]
    if levels in (92, 105):  # between them it depends on the place
        assert accepted == [levels == 92] * 4


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x0a\x05\x12", "a length beyond the end"),
        (b"\x0a" + varint(2**64 - 1), "a length that no memory holds"),
        (span_request(b"\x2a" + varint(2**64 - 1) + b"name"), "the same inside a span"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a number of eleven bytes"),
        (span_request(field(5, b"\xc3\x28")), "a name that is not UTF-8"),
        (attribute_request(field(5, b"\x0a\x7f")), "an array cut short"),
        (attribute_request(field(5, field(1, field(1, b"\xff")))), "a text in an array that is not UTF-8"),
        (attribute_request(field(6, field(1, field(1, b"\xff")))), "a key in a map that is not UTF-8"),
        (b"\x00\x00", "field number 0"),
        (span_request(varint(99 << 3 | GROUP)), "a group without end"),
        (span_request(varint(99 << 3 | GROUP_END)), "an end without group"),
        (metric_request(field(9, field(1, field(6, bytes(9))))), "packed numbers that end inside one"),
    ],
)
def test_a_broken_body_is_refused_with_its_signal_named(body: bytes, why: str) -> None:
    for signal in Signal:
        compare(signal, body)
    refusing = Signal.METRICS if "packed" in why else Signal.TRACES
    with pytest.raises(MalformedOtlp, match=f"not an OTLP {refusing.label} request"):
        decode(refusing, body)


class RefusingHandler:
    def list_to_record_batch(self, _bodies: list[bytes]) -> Any:
        raise ValueError("offset overflow")


def test_what_the_arrow_decoder_alone_cannot_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUEST_HANDLERS, Signal.LOGS, RefusingHandler())
    with pytest.raises(MalformedOtlp, match="logs request that cannot be kept as columns: offset overflow"):
        _ = decode(Signal.LOGS, b"").batch


def test_recorded_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(MalformedOtlp, match="not an OTLP traces request"):
        decode_bodies(Signal.TRACES, [span_request(b""), b"\x00\x00"])


@pytest.mark.parametrize("body", [b"", field(1, b""), field(1, field(2, b"")), span_request(b"")])
@pytest.mark.parametrize("signal", Signal)
def test_a_request_may_leave_everything_out(signal: Signal, body: bytes) -> None:
    assert compare(signal, body)


def test_packed_numbers_may_come_one_by_one() -> None:
    single = b"\x31" + (3).to_bytes(8, "little")  # bucket_counts of a histogram's point
    body = metric_request(field(9, field(1, single + field(6, (4).to_bytes(8, "little")) + single)))
    assert compare(Signal.METRICS, body)
    (point,) = only_record(Signal.METRICS, body)["histogram"]["data_points"]
    assert point["bucket_counts"] == [3, 4, 3]


def test_the_requests_of_another_signal_are_judged_alike() -> None:
    for body in CAPTURES[::5]:
        for signal in Signal:
            compare(signal, body.content)


def test_wire_fields_are_written_as_the_runtime_reads_them() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(severity_number=300)
    record = Node(None, [WireField(2, 0, 300, padding=3)])
    body = bytes(Node(None, [WireField(1, 2, Node(None, [WireField(2, 2, Node(None, [WireField(2, 2, record)]))]))]))
    assert ExportLogsServiceRequest.FromString(body) == request
    assert len(body) == request.ByteSize() + 3
    assert ExportMetricsServiceRequest.FromString(b"") == ExportMetricsServiceRequest()
