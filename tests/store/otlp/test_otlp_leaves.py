"""The leaf of a record and the root over leaves, held against RFC 6962 and the official runtime's bytes."""

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.decoder_oracle import official_leaves
from bench.fuzz_decoders import read_captures
from bench.wire_tree import LENGTH_DELIMITED, WireField, parse
from store.otlp.decode import decode, decode_bodies, records_of
from store.otlp.leaves import EMPTY_ROOT, leaves_of, leaves_of_request, root_of
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

CAPTURES = read_captures()

# The leaves and roots that Certificate Transparency's implementations test themselves with.
KNOWN_INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
KNOWN_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def textbook_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word: split at the largest power of two below the number of leaves."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + textbook_root(leaves[:split]) + textbook_root(leaves[split:])).digest()


def leaves(request: Any) -> list[bytes]:
    signal = Signal.TRACES if isinstance(request, ExportTraceServiceRequest) else Signal.LOGS
    return leaves_of(records_of(signal, decode(signal, request.SerializeToString()).batch))


def make_span(name: str = "execute_tool deploy", **changed: Any) -> Span:
    attributes = [
        KeyValue(key="gen_ai.tool.name", value=AnyValue(string_value="deploy")),
        KeyValue(key="reasons", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="stop")]))),
    ]
    return Span(name=name, trace_id=bytes(range(16)), span_id=bytes(range(8)), attributes=attributes, **changed)


def make_request(*spans: Span) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.36.0")
    outer.resource.attributes.add(key="service.name").value.string_value = "deploys"
    inner = outer.scope_spans.add(schema_url="https://opentelemetry.io/schemas/1.37.0", spans=spans or [make_span()])
    inner.scope.name = "pydantic-ai"
    return request


@pytest.mark.parametrize("size", range(71))
def test_the_root_is_that_of_the_textbook(size: int) -> None:
    digests = [sha256(bytes([number])).digest() for number in range(size)]
    assert root_of(digests) == textbook_root(digests)
    assert root_of(tuple(digests)) == root_of(digests)


@pytest.mark.parametrize("size", range(1, 9))
def test_the_root_is_that_of_other_implementations(size: int) -> None:
    digests = [sha256(b"\x00" + bytes.fromhex(content)).digest() for content in KNOWN_INPUTS[:size]]
    assert root_of(digests).hex() == KNOWN_ROOTS[size - 1]


def test_the_root_of_nothing_is_the_digest_of_nothing() -> None:
    assert (
        root_of([]) == EMPTY_ROOT == bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    )


def test_the_root_depends_on_every_leaf_and_on_their_order() -> None:
    digests = [sha256(bytes([number])).digest() for number in range(7)]
    changed = [[*digests[:place], bytes(32), *digests[place + 1 :]] for place in range(7)]
    roots = {root_of(digests), root_of(digests[::-1]), root_of(digests[:-1]), *map(root_of, changed)}
    assert len(roots) == 10


@pytest.mark.parametrize("signal", Signal)
def test_a_leaf_can_be_computed_with_the_official_runtime_alone(signal: Signal) -> None:
    for body in (body for body in CAPTURES if body.signal is signal):
        request = REQUEST_MESSAGES[signal].FromString(body.content)
        decoded = decode(signal, body.content)
        assert leaves_of(records_of(signal, decoded.batch)) == official_leaves(signal, request)
        assert leaves_of_request(decoded) == official_leaves(signal, request)


def test_a_leaf_is_what_the_documentation_says() -> None:
    request = make_request()
    outer = request.resource_spans[0]
    inner = outer.scope_spans[0]

    def enclosing(message: bytes, url: str) -> bytes:
        return sha256(len(message).to_bytes(8, "big") + message + url.encode()).digest()

    resource = enclosing(outer.resource.SerializeToString(), outer.schema_url)
    scope = enclosing(inner.scope.SerializeToString(), inner.schema_url)
    assert leaves(request) == [sha256(b"\x00" + resource + scope + inner.spans[0].SerializeToString()).digest()]


def change_the_resource(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].resource.attributes[0].value.string_value = "deploys-2"


def drop_the_resource(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].ClearField("resource")


def change_the_schema_of_the_resource(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].schema_url = "https://opentelemetry.io/schemas/1.35.0"


def change_the_scope(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].scope.version = "2.69"


def drop_the_scope(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].ClearField("scope")


def change_the_schema_of_the_scope(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].schema_url = ""


def swap_the_schemas(request: ExportTraceServiceRequest) -> None:
    outer = request.resource_spans[0]
    outer.schema_url, outer.scope_spans[0].schema_url = outer.scope_spans[0].schema_url, outer.schema_url


def change_the_name(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].spans[0].name += "."


def change_an_attribute(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value = "Deploy"


def change_a_nested_value(request: ExportTraceServiceRequest) -> None:
    values = request.resource_spans[0].scope_spans[0].spans[0].attributes[1].value.array_value.values
    values[0].string_value = "length"


def change_the_end(request: ExportTraceServiceRequest) -> None:
    request.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = 1


CHANGES = [
    change_the_resource,
    drop_the_resource,
    change_the_schema_of_the_resource,
    change_the_scope,
    drop_the_scope,
    change_the_schema_of_the_scope,
    swap_the_schemas,
    change_the_name,
    change_an_attribute,
    change_a_nested_value,
    change_the_end,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_leaf_differs_when_anything_about_its_record_differs(
    change: Callable[[ExportTraceServiceRequest], None],
) -> None:
    request = make_request()
    before = leaves(request)
    change(request)
    assert leaves(request) != before


def test_no_two_of_these_changes_give_the_same_leaf() -> None:
    found: set[bytes] = set()
    for change in CHANGES:
        request = make_request()
        change(request)
        found.update(leaves(request))
    assert len(found) == len(CHANGES)


def test_a_record_has_the_same_leaf_alone_and_among_others() -> None:
    spans = [make_span(f"span {number}", kind=number % 6) for number in range(9)]
    alone = [leaves(make_request(span))[0] for span in spans]
    among = make_request(*spans)
    assert leaves(among) == alone
    beside = ExportTraceServiceRequest()
    beside.resource_spans.add().scope_spans.add(scope=InstrumentationScope(name="another")).spans.add(name="another")
    beside.MergeFrom(among)
    assert leaves(beside)[1:] == alone
    beside.MergeFrom(among)
    assert leaves(beside)[1:] == alone * 2


def test_a_record_has_the_same_leaf_when_many_requests_are_read_together() -> None:
    for signal in Signal:
        bodies = [decode(signal, body.content).body for body in CAPTURES if body.signal is signal]
        alone = [leaf for body in bodies for leaf in leaves_of(records_of(signal, decode_bodies(signal, [body])))]
        assert leaves_of(records_of(signal, decode_bodies(signal, bodies))) == alone


def test_a_request_without_resource_or_scope_has_leaves() -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend([make_span("one"), make_span("two")])
    request.resource_spans.add(resource=Resource(dropped_attributes_count=1)).scope_spans.add().spans.append(
        make_span("one")
    )
    request.resource_spans.add().scope_spans.add(scope=InstrumentationScope(name="s")).spans.append(make_span("one"))
    found = leaves(request)
    assert len(set(found)) == 4
    assert found == official_leaves(Signal.TRACES, request)


@pytest.mark.parametrize("request_type", [ExportTraceServiceRequest, ExportLogsServiceRequest])
def test_a_request_without_records_has_no_leaves(request_type: Any) -> None:
    request = request_type()
    assert leaves(request) == []
    outer = (request.resource_spans if request_type is ExportTraceServiceRequest else request.resource_logs).add()
    assert leaves(request) == []
    (outer.scope_spans if request_type is ExportTraceServiceRequest else outer.scope_logs).add()
    assert leaves(request) == []


def test_the_sign_of_a_zero_is_in_the_body_but_not_in_the_leaf() -> None:
    found: dict[float, list[bytes]] = {}
    for zero in (0.0, -0.0):
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="latency")
        metric.summary.data_points.add(sum=zero).quantile_values.add(quantile=zero, value=1.5)
        decoded = decode(Signal.METRICS, request.SerializeToString())
        assert ExportMetricsServiceRequest.FromString(decoded.body) == request
        found[math.copysign(1, zero)] = leaves_of(records_of(Signal.METRICS, decoded.batch))
        assert leaves_of_request(decoded) == found[math.copysign(1, zero)]
        assert found[math.copysign(1, zero)] == official_leaves(Signal.METRICS, request)
    assert found[1.0] == found[-1.0]


def test_the_way_a_record_is_written_does_not_change_its_leaf() -> None:
    request = make_request()
    tree = parse(ExportTraceServiceRequest.DESCRIPTOR, request.SerializeToString())
    for node in tree.walk():
        node.fields.sort(key=lambda item: -item.number)
        if node.descriptor is Span.DESCRIPTOR:
            node.fields.append(WireField(3, LENGTH_DELIMITED, b""))  # an empty trace_state, said explicitly
    body = bytes(tree)
    assert len(body) > request.ByteSize()
    decoded = decode(Signal.TRACES, body)
    assert decoded.plain
    assert leaves_of(records_of(Signal.TRACES, decoded.batch)) == leaves_of_request(decoded) == leaves(request)


UNKNOWN = WireField(1022, LENGTH_DELIMITED, b"abc")


def test_fields_that_nobody_knows_are_in_no_leaf_wherever_they_are() -> None:
    request = make_request(make_span("one"), make_span("two"))
    nodes = len([*parse(ExportTraceServiceRequest.DESCRIPTOR, request.SerializeToString()).walk()])
    for place in range(nodes):
        tree = parse(ExportTraceServiceRequest.DESCRIPTOR, request.SerializeToString())
        node = [*tree.walk()][place]
        node.fields.append(UNKNOWN)
        decoded = decode(Signal.TRACES, bytes(tree))
        assert not decoded.plain
        assert decoded.body == bytes(tree)
        assert leaves_of_request(decoded) == leaves_of(records_of(Signal.TRACES, decoded.batch))
        if node.descriptor not in (AnyValue.DESCRIPTOR, ArrayValue.DESCRIPTOR):
            assert leaves_of_request(decoded) == leaves(request), node.descriptor.name


def test_a_request_with_every_length_of_length_is_cut_where_its_records_are() -> None:
    sizes = (0, 1, 100, 126, 127, 128, 129, 16_300, 16_384, 17_000, 2_097_152)
    request = make_request(*(make_span("x" * size) for size in sizes))
    request.resource_spans.add()
    request.resource_spans.add().scope_spans.add().spans.add()
    assert leaves_of_request(decode(Signal.TRACES, request.SerializeToString())) == leaves(request)
