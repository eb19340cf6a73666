from collections.abc import Callable

import pytest
from collector_bench import Bench, traces_request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collector.errors import NestedTooDeep
from collector.intake import Intake
from collector.limits import Limits
from collector.nesting import refuse_deep_values
from store.otlp.decode import decode
from store.otlp.depth import SHALLOW_MESSAGES_MAX
from store.record import Signal


def varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def arrays(levels: int) -> bytes:
    """An AnyValue of arrays inside each other: two messages a level."""
    value = AnyValue(string_value="the innermost " * 10).SerializeToString()
    for _ in range(levels):
        value = field(5, field(1, value))
    return value


def maps(levels: int) -> bytes:
    """An AnyValue of maps inside each other: three messages a level."""
    value = AnyValue(string_value="the innermost " * 10).SerializeToString()
    for _ in range(levels):
        value = field(6, field(1, field(1, b"key") + field(2, value)))
    return value


def request(value: bytes) -> bytes:
    span = traces_request({}).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    attribute = field(9, field(1, b"deep") + field(2, value))
    return field(1, field(2, field(2, span + attribute)))


@pytest.mark.parametrize("messages_max", [61, 62, 63, 64, 90])
@pytest.mark.parametrize(("build", "cost"), [(arrays, 2), (maps, 3)], ids=["arrays", "maps"])
def test_the_bound_is_exact(build: Callable[[int], bytes], cost: int, messages_max: int) -> None:
    levels = messages_max // cost
    allowed = decode(Signal.TRACES, request(build(levels)))
    refuse_deep_values(allowed, messages_max)
    with pytest.raises(NestedTooDeep, match=f"deeper than {messages_max} protobuf messages"):
        refuse_deep_values(decode(Signal.TRACES, request(build(levels + 1))), messages_max)


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
@pytest.mark.parametrize("depth", range(61, 68))
def test_a_request_is_shallow_up_to_the_bound_and_no_further(signal: Signal, depth: int) -> None:
    enclosing = {Signal.TRACES: 5, Signal.LOGS: 4}[signal]  # messages from the request to the value, which counts too
    for levels in range(depth):
        value = arrays(0)
        rest = depth - enclosing - 2 * levels
        if rest % 3 or rest < 0:
            continue
        for _ in range(rest // 3):
            value = field(6, field(1, field(1, b"key") + field(2, value)))
        for _ in range(levels):
            value = field(5, field(1, value))
        body = request(value) if signal is Signal.TRACES else field(1, field(2, field(2, field(5, value))))
        decoded = decode(signal, body)
        assert decoded.shallow == (depth <= SHALLOW_MESSAGES_MAX), (levels, rest // 3)
        assert decoded.body == body
        refuse_deep_values(decoded, SHALLOW_MESSAGES_MAX)


def test_a_request_that_is_shallow_costs_no_columns(traces: Callable[..., bytes]) -> None:
    decoded = decode(Signal.TRACES, traces())
    refuse_deep_values(decoded, Limits().value_messages_max)
    assert "batch" not in vars(decoded)


@pytest.mark.parametrize("build", [arrays, maps])
def test_what_passes_can_be_read_by_the_official_runtime_as_a_whole(build: Callable[[int], bytes]) -> None:
    bound = Limits().value_messages_max
    body = request(build(bound // (2 if build is arrays else 3)))
    assert ExportTraceServiceRequest.FromString(body).SerializeToString() == body


@pytest.mark.parametrize("levels", [46, 48, 60, 2000])
def test_arrays_too_deep_for_the_bound_or_the_runtime_get_the_same_refusal(bench: Bench, levels: int) -> None:
    intake: Intake = bench.intake
    with pytest.raises(NestedTooDeep, match=r"90 protobuf messages \(45 arrays or 30 maps inside each other\)"):
        intake.accept(Signal.TRACES, request(arrays(levels)))
    assert bench.journal.drafts == []
