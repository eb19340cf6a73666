"""What one record may hold. The oracle is the official protobuf runtime, which walks what the columns only measure."""

import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
from collector_bench import Bench, logs_request, traces_request
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.answers import export_response
from collector.boundary import Passed
from collector.bounds import REASONS, bounded
from collector.limits import Limits
from store.errors import JournalFull
from store.otlp.decode import Decoded, decode, records_of
from store.otlp.leaves import leaves_of
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.otlp.truncation import MARK, SENT_MARK, truncations
from store.otlp.values import any_value, key_values
from store.record import Signal

SMALL = Limits(attributes_max=3, attribute_bytes_max=100, span_events_max=2, span_links_max=2)
LONG = "a long value, " * 20
DEFAULT = {"signal": "traces", "tenant": "default"}


def text(key: str, value: str = "x") -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def array(*items: AnyValue) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=items))


def mapping(**items: AnyValue) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value) for key, value in items.items()]))


def cut(request: Any, limits: Limits = SMALL) -> Any:
    """A request of the official runtime, within the bounds."""
    signal = next(signal for signal, message in REQUEST_MESSAGES.items() if message is type(request))
    within = bounded(decode(signal, request.SerializeToString()), limits)
    assert within.decoded.batch == decode(signal, within.decoded.body).batch
    return type(request).FromString(within.decoded.body)


def cut_span(limits: Limits = SMALL, **fields: Any) -> Span:
    return cut(traces_request(fields), limits).resource_spans[0].scope_spans[0].spans[0]


def cut_log(**fields: Any) -> LogRecord:
    return cut(logs_request(fields)).resource_logs[0].scope_logs[0].log_records[0]


def metrics_request(metric: Metric) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.append(metric)
    return request


def cut_metric(metric: Metric) -> Metric:
    return cut(metrics_request(metric)).resource_metrics[0].scope_metrics[0].metrics[0]


def said(attributes: Any) -> list[dict[str, Any]]:
    return truncations(key_values(attributes))


def entry(place: str, whole: bytes, reason: str, count: int | None = None) -> dict[str, Any]:
    told = {"place": place, "length": len(whole), "sha256": sha256(whole).hexdigest(), "reason": reason}
    return told | ({} if count is None else {"count": count})


# Values


@pytest.mark.parametrize("character", ["a", "é", "€", "𝄞"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
@pytest.mark.parametrize("shift", ["", "a", "aa", "aaa"], ids=["+0", "+1", "+2", "+3"])
def test_a_string_is_cut_between_characters_and_the_mark_has_its_length_and_digest(character: str, shift: str) -> None:
    value = shift + character * 150
    span = cut_span(attributes=[text("question", value)])
    kept = span.attributes[0].value.string_value
    assert value.startswith(kept)
    assert 100 - len(character.encode()) < len(kept.encode()) <= 100
    assert said(span.attributes) == [entry("attributes/question", value.encode(), "attribute_bytes_max")]


@pytest.mark.parametrize("character", ["a", "é", "€", "𝄞"])
def test_a_string_of_exactly_the_bound_is_kept_whole(character: str) -> None:
    value = character * (100 // len(character.encode()))
    assert cut_span(attributes=[text("question", value)]).attributes[0].value.string_value == value


def test_bytes_are_cut_at_the_bound() -> None:
    whole = bytes(range(200))
    span = cut_span(attributes=[KeyValue(key="image", value=AnyValue(bytes_value=whole))])
    assert span.attributes[0].value.bytes_value == whole[:100]
    assert said(span.attributes) == [entry("attributes/image", whole, "attribute_bytes_max")]


def test_an_array_keeps_its_first_items_and_the_beginning_of_the_one_that_does_not_fit() -> None:
    value = array(AnyValue(int_value=7), AnyValue(string_value="b" * 200), AnyValue(string_value="c"))
    span = cut_span(attributes=[KeyValue(key="list", value=value)])
    kept = any_value(span.attributes[0].value)
    assert kept[0] == 7
    assert kept[1] == "b" * len(kept[1])
    assert len(kept) == 2
    assert 60 < len(span.attributes[0].value.array_value.SerializeToString()) <= 100
    whole = value.array_value.SerializeToString()
    assert said(span.attributes) == [entry("attributes/list", whole, "attribute_bytes_max")]


def test_what_is_deep_inside_a_map_is_cut_there() -> None:
    message = mapping(role=AnyValue(string_value="user"), content=AnyValue(string_value="é" * 300))
    log = cut_log(body=mapping(messages=array(message)))
    kept = any_value(log.body)["messages"][0]
    assert kept["role"] == "user"
    assert set(kept["content"]) == {"é"}
    assert log.body.kvlist_value.ByteSize() <= 100
    whole = mapping(messages=array(message)).kvlist_value.SerializeToString()
    assert said(log.attributes) == [entry("body", whole, "attribute_bytes_max")]


def test_a_number_that_does_not_fit_any_more_leaves_with_those_behind_it() -> None:
    numbers = array(*(AnyValue(int_value=2**60 + number) for number in range(40)))
    kept = any_value(cut_span(attributes=[KeyValue(key="ids", value=numbers)]).attributes[0].value)
    assert [number for number in kept if number is not None] == [2**60 + number for number in range(len(kept))]
    assert 4 < len(kept) < 10


def test_a_value_of_millions_of_empty_items_is_cut_without_walking_them_all() -> None:
    body = traces_request({"attributes": [KeyValue(key="wide", value=array())]})
    wide = body.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.array_value
    wide.ParseFromString(b"\x0a\x00" * 3_000_000)
    began = time.thread_time()
    span = cut(body, Limits(attribute_bytes_max=5_000_000)).resource_spans[0].scope_spans[0].spans[0]
    assert time.thread_time() - began < 10
    assert len(span.attributes[0].value.array_value.values) == 65_536
    assert said(span.attributes) == [entry("attributes/wide", b"\x0a\x00" * 3_000_000, "attribute_bytes_max")]


def test_a_key_that_comes_again_is_named_as_readers_name_it_and_a_long_one_by_its_beginning() -> None:
    span = cut_span(attributes=[text("k"), text("k", LONG), text("n" * 1000, LONG)])
    assert [one["place"] for one in said(span.attributes)] == ["attributes/k#2", f"attributes/{'n' * 256}..."]


# Lists


def test_attributes_beyond_the_bound_are_dropped_counted_and_told_of() -> None:
    attributes = [text(f"k{number}", f"value {number}") for number in range(7)]
    span = cut_span(attributes=attributes, dropped_attributes_count=5)
    assert [pair.key for pair in span.attributes] == ["k0", "k1", "k2", MARK]
    assert span.dropped_attributes_count == 9
    whole = Span(attributes=attributes[3:]).SerializeToString()
    assert said(span.attributes) == [entry("attributes", whole, "attributes_max", 4)]


def test_exactly_as_many_as_the_bound_are_kept_as_they_came() -> None:
    request = traces_request({
        "attributes": [text(f"k{number}", "y" * 100) for number in range(3)],
        "events": [Span.Event(name="e", attributes=[text("a"), text("b"), text("c")])] * 2,
        "links": [Span.Link(span_id=b"l" * 8)] * 2,
    })  # fmt: skip
    decoded = decode(Signal.TRACES, request.SerializeToString())
    assert bounded(decoded, SMALL).decoded is decoded


def test_events_and_links_beyond_the_bound_are_dropped_counted_and_told_of() -> None:
    events = [Span.Event(name=f"event {number}", time_unix_nano=number) for number in range(5)]
    links = [Span.Link(span_id=bytes([number]) * 8) for number in range(1, 5)]
    span = cut_span(events=events, links=links, dropped_links_count=1)
    assert list(span.events) == events[:2]
    assert list(span.links) == links[:2]
    assert (span.dropped_events_count, span.dropped_links_count, span.dropped_attributes_count) == (3, 3, 0)
    assert said(span.attributes) == [
        entry("events", Span(events=events[2:]).SerializeToString(), "span_events_max", 3),
        entry("links", Span(links=links[2:]).SerializeToString(), "span_links_max", 2),
    ]


def test_events_and_links_are_bounded_inside_too() -> None:
    many = [text(f"k{number}") for number in range(5)]
    span = cut_span(
        events=[Span.Event(name="e"), Span.Event(name="f", attributes=[*many[:2], text("long", LONG)])],
        links=[Span.Link(span_id=b"l" * 8, attributes=many)],
    )
    assert said(span.attributes) == [
        entry("events/1/attributes/long", LONG.encode(), "attribute_bytes_max"),
        entry("links/0/attributes", Span.Link(attributes=many[3:]).SerializeToString(), "attributes_max", 2),
    ]
    assert span.links[0].dropped_attributes_count == 2
    assert len(span.events[1].attributes[2].value.string_value) == 100


def test_a_resource_and_a_scope_carry_their_own_marks() -> None:
    request = traces_request({})
    outer = request.resource_spans[0]
    outer.resource.attributes.extend([text("host", LONG)])
    outer.scope_spans[0].scope.attributes.extend([text(f"k{number}") for number in range(4)])
    after = cut(request).resource_spans[0]
    resource: Resource = after.resource
    scope: InstrumentationScope = after.scope_spans[0].scope
    assert said(resource.attributes) == [entry("attributes/host", LONG.encode(), "attribute_bytes_max")]
    dropped = InstrumentationScope(attributes=[text("k3")]).SerializeToString()
    assert said(scope.attributes) == [entry("attributes", dropped, "attributes_max", 1)]
    assert scope.dropped_attributes_count == 1
    assert not after.scope_spans[0].spans[0].attributes


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponential_histogram", "summary"])
def test_a_data_point_carries_the_mark_of_what_was_cut_of_it(kind: str) -> None:
    metric = Metric(name="m")
    getattr(metric, kind).data_points.add().attributes.extend([text("fits")])
    getattr(metric, kind).data_points.add().attributes.extend([text("route", LONG)])
    if kind != "summary":
        getattr(metric, kind).data_points[1].exemplars.add().filtered_attributes.extend([text("user", LONG)])
    fits, point = getattr(cut_metric(metric), kind).data_points
    assert [pair.key for pair in fits.attributes] == ["fits"]
    told = [entry("attributes/route", LONG.encode(), "attribute_bytes_max")]
    if kind != "summary":
        told.append(entry("exemplars/0/filtered_attributes/user", LONG.encode(), "attribute_bytes_max"))
    assert said(point.attributes) == told


def test_two_streams_whose_long_label_begins_alike_stay_two() -> None:
    metric = Metric(name="m")
    for ending in ("one", "two"):
        metric.gauge.data_points.add(as_int=1).attributes.extend([text("route", LONG + ending)])
    first, second = cut_metric(metric).gauge.data_points
    assert first.attributes[0] == second.attributes[0]
    assert first.attributes != second.attributes


def test_a_data_point_of_too_many_attributes_says_so_though_otlp_has_no_count_for_it() -> None:
    many = [text(f"k{number}") for number in range(60)]
    metric = Metric(name="m", metadata=many)
    metric.sum.data_points.add().attributes.extend(many)
    after = cut_metric(metric)
    whole = NumberDataPoint(attributes=many[3:]).SerializeToString()
    assert said(after.sum.data_points[0].attributes) == [entry("attributes", whole, "attributes_max", 57)]
    whole = Metric(metadata=many[3:]).SerializeToString()
    assert said(after.metadata) == [entry("metadata", whole, "attributes_max", 57)]


# The mark is ours


HOLDERS: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
    "a span": lambda: (traces_request({}), lambda r: r.resource_spans[0].scope_spans[0].spans[0].attributes),
    "a resource": lambda: (traces_request({}), lambda r: r.resource_spans[0].resource.attributes),
    "a scope": lambda: (traces_request({}), lambda r: r.resource_spans[0].scope_spans[0].scope.attributes),
    "a log record": lambda: (logs_request({}), lambda r: r.resource_logs[0].scope_logs[0].log_records[0].attributes),
    "a data point": lambda: (
        metrics_request(Metric(gauge={"data_points": [NumberDataPoint(as_int=1)]})),
        lambda r: r.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].attributes,
    ),
    "a metric": lambda: (
        metrics_request(Metric(gauge={"data_points": [NumberDataPoint(as_int=1)]})),
        lambda r: r.resource_metrics[0].scope_metrics[0].metrics[0].metadata,
    ),
}


@pytest.mark.parametrize("limits", [Limits(), SMALL], ids=["by its bytes", "by its columns"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_mark_that_a_sender_wrote_is_kept_under_another_name(holder: str, limits: Limits) -> None:
    request, attributes_of = HOLDERS[holder]()
    del attributes_of(request)[:]
    attributes_of(request).extend([text(MARK, "nothing was cut, believe me"), text(MARK, "at all"), text("k" * 90)])
    after = attributes_of(cut(request, limits))
    assert [(pair.key, pair.value.string_value) for pair in after] == [
        (SENT_MARK, "nothing was cut, believe me"), (SENT_MARK, "at all"), ("k" * 90, "x"),
    ]  # fmt: skip


def test_a_sent_mark_stands_beside_ours() -> None:
    span = cut_span(attributes=[text(MARK, LONG), text("a"), text("b"), text("c")])
    assert [pair.key for pair in span.attributes] == [SENT_MARK, "a", "b", MARK]
    assert [one["place"] for one in said(span.attributes)] == ["attributes", f"attributes/{SENT_MARK}"]


def test_nothing_is_marked_where_the_name_stands_for_something_else(bench: Bench) -> None:
    request = traces_request(
        {"name": MARK, "events": [Span.Event(name=MARK, attributes=[text(MARK, "an event's own")])]}
    )
    body = request.SerializeToString()
    outcome = bench.intake.accept(Signal.TRACES, body)
    assert (bench.journal.drafts[0].body, outcome.message) == (body, "")


def test_the_name_where_no_mark_stands_costs_no_rewriting() -> None:
    metric = Metric(name=MARK)
    metric.sum.data_points.add(as_int=1).exemplars.add().filtered_attributes.extend([text(MARK)])
    for signal, request in (
        (Signal.TRACES, traces_request({"events": [Span.Event(attributes=[text(MARK)])]})),
        (Signal.TRACES, traces_request({"links": [Span.Link(attributes=[text(MARK)])]})),
        (Signal.METRICS, metrics_request(metric)),
    ):
        decoded = decode(signal, request.SerializeToString())
        assert bounded(decoded, SMALL).decoded is decoded


def test_of_dropped_attributes_fields_that_otlp_does_not_know_are_left_out() -> None:
    unknown = b"\xfa\x3f\x03new"  # field 1023, three bytes
    attributes = [text(f"k{number}") for number in range(4)]
    whole = Span(attributes=attributes[3:]).SerializeToString()
    for holder in attributes:
        holder.MergeFromString(unknown)
    span = cut_span(attributes=attributes)
    assert said(span.attributes) == [entry("attributes", whole, "attributes_max", 1)]
    assert unknown in span.attributes[0].SerializeToString()


def test_fields_that_otlp_does_not_know_survive_the_cut() -> None:
    unknown = b"\xfa\x3f\x03new"  # field 1023, three bytes
    request = traces_request({"attributes": [text("long", LONG)]})
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.MergeFromString(unknown)
    assert unknown in cut(request).resource_spans[0].scope_spans[0].spans[0].SerializeToString()


# Columns and runtime agree


def lists_of(message: Any) -> Iterator[tuple[str, Any]]:
    """Every bounded list below a message, and every value, as the official runtime has them."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.is_repeated:
            if field.name in ("attributes", "filtered_attributes", "metadata", "events", "links"):
                yield field.name, value
            for item in value:
                yield from lists_of(item)
        elif isinstance(value, AnyValue):
            yield "value", value
        else:
            yield from lists_of(value)


def is_within(request: Any, limits: Limits) -> bool:
    most = {"events": limits.span_events_max, "links": limits.span_links_max}
    for name, found in lists_of(request):
        if name == "value":
            member = found.WhichOneof("value")
            value = getattr(found, member) if member else b""
            whole = value.encode() if isinstance(value, str) else value
            whole = whole.SerializeToString() if member in ("array_value", "kvlist_value") else whole
            if isinstance(whole, bytes) and len(whole) > limits.attribute_bytes_max:
                return False
        elif len(found) > most.get(name, limits.attributes_max):
            return False
    return True


def without_marks(request: Any) -> Any:
    for name, found in list(lists_of(request)):
        if name not in ("value", "events", "links"):
            kept = [pair for pair in found if pair.key != MARK]
            del found[:]
            found.extend(kept)
    return request


values = st.recursive(
    st.one_of(
        st.text(max_size=40).map(lambda said: AnyValue(string_value=said)),
        st.binary(max_size=40).map(lambda said: AnyValue(bytes_value=said)),
        st.integers(-5, 2**62).map(lambda number: AnyValue(int_value=number)),
        st.just(AnyValue()),
    ),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: array(*items))
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=4), inner, max_size=3).map(
            lambda items: AnyValue(
                kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in items.items()])
            )
        )
    ),
    max_leaves=8,
)
attributes = st.lists(
    st.builds(lambda key, value: KeyValue(key=key, value=value), st.sampled_from(["a", "b", "long name"]), values),
    max_size=5,
)
spans = st.builds(
    lambda said, events, links: {
        "attributes": said,
        "events": [Span.Event(name="e", attributes=one) for one in events],
        "links": [Span.Link(span_id=b"l" * 8, attributes=one) for one in links],
    },
    attributes, st.lists(attributes, max_size=4), st.lists(attributes, max_size=4),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(spans, min_size=1, max_size=3), attributes, st.sampled_from([10, 24, 60]))
def test_a_request_is_rewritten_exactly_where_it_is_past_a_bound_and_is_within_all_afterwards(
    given_spans: list[dict[str, Any]], of_resource: list[KeyValue], bytes_max: int
) -> None:
    limits = Limits(attributes_max=3, attribute_bytes_max=bytes_max, span_events_max=2, span_links_max=2)
    request = traces_request(*given_spans)
    request.resource_spans[0].resource.attributes.extend(of_resource)
    decoded = decode(Signal.TRACES, request.SerializeToString())
    within = bounded(decoded, limits)
    assert (within.decoded is decoded) == (within.cuts == {}) == is_within(request, limits)
    after = ExportTraceServiceRequest.FromString(within.decoded.body)
    marks = [pair for name, found in lists_of(after) if name == "attributes" for pair in found if pair.key == MARK]
    assert sum(len(pair.value.array_value.values) for pair in marks) == sum(within.cuts.values())
    assert is_within(without_marks(after), limits)


@settings(max_examples=50, deadline=None)
@given(values, attributes)
def test_log_records_and_points_too(body: AnyValue, of_record: list[KeyValue]) -> None:
    limits = Limits(attributes_max=3, attribute_bytes_max=24)
    logs = logs_request({"body": body, "attributes": of_record})
    metric = Metric(name="m", metadata=of_record)
    metric.histogram.data_points.add(attributes=of_record).exemplars.add(filtered_attributes=of_record)
    for signal, request in ((Signal.LOGS, logs), (Signal.METRICS, metrics_request(metric))):
        decoded = decode(signal, request.SerializeToString())
        within = bounded(decoded, limits)
        assert (within.decoded is decoded) == is_within(request, limits)
        assert is_within(without_marks(type(request).FromString(within.decoded.body)), limits)


# On the way to the journal


def test_what_is_recorded_is_the_cut_record_with_its_mark_and_the_leaf_covers_it(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(SMALL)
    body = traces_request({"attributes": [text("question", LONG)]}, {}).SerializeToString()
    outcome = bench.intake.accept(Signal.TRACES, body)
    [draft] = bench.journal.drafts
    assert MARK.encode() in draft.body
    assert LONG.encode() not in draft.body
    assert list(draft.leaves) == leaves_of(records_of(Signal.TRACES, decode(Signal.TRACES, draft.body).batch))
    assert (outcome.accepted, outcome.refused) == (2, 0)


def test_the_same_request_sent_again_is_cut_the_same(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(SMALL)
    body = traces_request({"attributes": [text(f"k{number}", LONG) for number in range(9)]}).SerializeToString()
    bench.intake.accept(Signal.TRACES, body)
    bench.intake.accept(Signal.TRACES, body)
    first, second = bench.journal.drafts
    assert (first.body, first.leaves) == (second.body, second.leaves)


def test_the_cut_comes_after_the_boundary_so_no_digest_of_what_it_removed_is_kept(
    make_bench: Callable[..., Bench],
) -> None:
    secret, masked = b"secret " * 40, b"****** " * 40

    class Redacting:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            return Passed(decode(decoded.signal, decoded.body.replace(b"secret", b"******")))

    bench = make_bench(SMALL, boundary=Redacting())
    body = traces_request({"attributes": [text("k", secret.decode())]}).SerializeToString()
    bench.intake.accept(Signal.TRACES, body)
    [draft] = bench.journal.drafts
    assert sha256(secret).hexdigest().encode() not in draft.body
    assert sha256(masked).hexdigest().encode() in draft.body


@pytest.mark.parametrize("signal", Signal)
def test_the_sender_is_told_what_was_cut_and_that_the_rest_is_stored(
    make_bench: Callable[..., Bench], signal: Signal
) -> None:
    bench = make_bench(SMALL)
    metric = Metric(name="m")
    metric.gauge.data_points.add(as_int=1).attributes.extend([text("k", LONG)])
    body = {
        Signal.TRACES: traces_request({"attributes": [text("k", LONG)]}),
        Signal.LOGS: logs_request({"attributes": [text("k", LONG)]}),
        Signal.METRICS: metrics_request(metric),
    }[signal].SerializeToString()
    outcome = bench.intake.accept(signal, body)
    answer: Any = export_response(signal, outcome)
    [(field, rejected)] = [
        (field.name, getattr(answer.partial_success, field.name))
        for field in answer.partial_success.DESCRIPTOR.fields
        if field.name.startswith("rejected")
    ]
    assert (field.startswith("rejected_"), rejected) == (True, 0)
    assert answer.partial_success.error_message == (
        "cut: 1 x a value of more than 100 bytes; everything else is stored, and each record's attribute "
        "spanledger.truncated says what was cut"
    )
    labels = {"signal": signal.label, "tenant": "default", "reason": "attribute_bytes_max"}
    assert bench.sample("spanledger_ingest_truncations_total", **labels) == 1


def test_every_reason_is_a_bound_and_is_counted(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(SMALL)
    fields = {
        "attributes": [text(f"k{number}", LONG) for number in range(4)],
        "events": [Span.Event()] * 3,
        "links": [Span.Link()] * 3,
    }
    bench.intake.accept(Signal.TRACES, traces_request(fields, {"attributes": fields["attributes"]}).SerializeToString())
    counted = {
        reason: bench.sample("spanledger_ingest_truncations_total", **DEFAULT, reason=reason) for reason in REASONS
    }
    assert counted == {"attributes_max": 2, "attribute_bytes_max": 6, "span_events_max": 1, "span_links_max": 1}
    assert all(isinstance(getattr(Limits(), reason), int) for reason in REASONS)


def test_what_was_refused_and_what_was_cut_are_told_together(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(SMALL)
    request = traces_request({"trace_id": b""}, {"attributes": [text("k", LONG)]})
    outcome = bench.intake.accept(Signal.TRACES, request.SerializeToString())
    assert outcome.refused == 1
    assert outcome.message.startswith("refused 1 of 2 spans")
    assert "; cut: 1 x a value of more than 100 bytes" in outcome.message


def test_what_the_journal_refuses_is_not_counted_as_cut(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(SMALL)
    bench.journal.failure = JournalFull("no room for another segment")
    with pytest.raises(JournalFull):
        bench.intake.accept(Signal.TRACES, traces_request({"attributes": [text("k", LONG)]}).SerializeToString())
    assert bench.sample("spanledger_ingest_truncations_total", **DEFAULT, reason="attribute_bytes_max") == 0


def test_a_value_of_many_megabytes_is_kept_whole_by_default(bench: Bench) -> None:
    body = traces_request({"attributes": [text("document", "word " * 3_000_000)]}).SerializeToString()
    assert len(body) > 15_000_000
    assert bench.intake.accept(Signal.TRACES, body).message == ""
    assert bench.journal.drafts[0].body == body


def test_the_levels_of_every_signal_are_walked() -> None:
    for signal, (outer, scope, record) in LEVELS.items():
        request: Any = REQUEST_MESSAGES[signal]()
        inner = getattr(getattr(request, outer).add(), scope).add()
        inner.scope.attributes.extend([text("k", LONG)])
        getattr(inner, record).add()
        after: Any = cut(request)
        assert said(getattr(getattr(after, outer)[0], scope)[0].scope.attributes)
    assert cut(ExportLogsServiceRequest()) == ExportLogsServiceRequest()
