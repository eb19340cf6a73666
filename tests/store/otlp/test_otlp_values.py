"""AnyValue as Python: from the official runtime's messages and from the Arrow form, with the same result."""

import math
import time
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from store.otlp.decode import decode, records_of
from store.otlp.values import any_value, any_values, attribute_dicts, key_values, to_json, unique
from store.record import Signal

INT64_MAX = 2**63 - 1


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def array(*values: AnyValue) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=values))


def mapping(*pairs: tuple[str, AnyValue]) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value) for key, value in pairs]))


def as_column(*values: AnyValue | None) -> Any:
    """The values as the bodies of log records, decoded to Arrow. None leaves the body out."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for value in values:
        record = records.add()
        if value is not None:
            record.body.CopyFrom(value)
    batch = decode(Signal.LOGS, request.SerializeToString()).batch
    return records_of(Signal.LOGS, batch).records.field("body")


def as_attributes(*rows: list[tuple[str, AnyValue]]) -> Any:
    """The pairs as the attributes of log records, decoded to Arrow."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for row in rows:
        records.add(attributes=[KeyValue(key=key, value=value) for key, value in row])
    batch = decode(Signal.LOGS, request.SerializeToString()).batch
    return records_of(Signal.LOGS, batch).records.field("attributes")


CASES: dict[str, tuple[AnyValue, Any]] = {
    "a string": (text("Zürich → 東京"), "Zürich → 東京"),
    "an empty string": (text(""), ""),
    "true": (AnyValue(bool_value=True), True),
    "false": (AnyValue(bool_value=False), False),
    "zero": (AnyValue(int_value=0), 0),
    "the largest integer": (AnyValue(int_value=INT64_MAX), INT64_MAX),
    "the smallest integer": (AnyValue(int_value=-INT64_MAX - 1), -INT64_MAX - 1),
    "a double": (AnyValue(double_value=0.1), 0.1),
    "a double without fraction": (AnyValue(double_value=2.0), 2.0),
    "not a number": (AnyValue(double_value=math.nan), "NaN"),
    "infinity": (AnyValue(double_value=math.inf), "Infinity"),
    "minus infinity": (AnyValue(double_value=-math.inf), "-Infinity"),
    "bytes": (AnyValue(bytes_value=b"\x00\xff"), {"bytesValue": "AP8="}),
    "no bytes": (AnyValue(bytes_value=b""), {"bytesValue": ""}),
    "an index of a text": (AnyValue(string_value_strindex=7), {"stringValueStrindex": 7}),
    "no member": (AnyValue(), None),
    "an array": (array(text("a"), AnyValue(int_value=1), AnyValue()), ["a", 1, None]),
    "an empty array": (array(), []),
    "an empty map": (mapping(), {}),
    "a map": (
        mapping(("a", text("b")), ("c", array(mapping(("d", AnyValue(bool_value=True)))))),
        {"a": "b", "c": [{"d": True}]},
    ),
    "not a number in an array": (
        array(AnyValue(double_value=math.nan), AnyValue(bytes_value=b"a")),
        ["NaN", {"bytesValue": "YQ=="}],
    ),
    "a map in which a key comes twice": (
        mapping(("k", text("first")), ("k", text("second"))),
        {"k": "first", "k#2": "second"},
    ),
}


def exactly(value: Any) -> str:
    """Python holds 1, 1.0 and True for equal; JSON does not."""
    return msgspec.json.encode(value).decode()


@pytest.mark.parametrize("name", CASES)
def test_a_message_reads_as_python(name: str) -> None:
    message, expected = CASES[name]
    assert exactly(any_value(message)) == exactly(expected)


def test_a_column_reads_as_its_messages_do() -> None:
    messages = [message for message, _ in CASES.values()]
    assert exactly(any_values(as_column(*messages))) == exactly([expected for _, expected in CASES.values()])


@pytest.mark.parametrize("name", CASES)
def test_a_column_of_one_value_reads_as_its_message_does(name: str) -> None:
    message, expected = CASES[name]
    assert exactly(any_values(as_column(message))) == exactly([expected])


def test_a_value_that_was_not_sent_is_none() -> None:
    assert any_values(as_column(None, text("sent"), None)) == [None, "sent", None]


def test_a_column_without_rows_has_no_values() -> None:
    assert any_values(as_column(text("gone")).slice(0, 0)) == []


def test_a_slice_of_a_column_reads_its_own_rows() -> None:
    column = as_column(text("a"), AnyValue(int_value=2), array(text("c")), AnyValue(double_value=4.5), None, text("f"))
    assert any_values(column.slice(1, 4)) == [2, ["c"], 4.5, None]


@pytest.mark.parametrize("level", ["array", "map", "both"])
def test_a_value_nested_thirty_levels_deep_is_read_whole(level: str) -> None:
    message, expected = text("innermost"), "innermost"
    for depth in range(30):
        if level == "array" or (level == "both" and depth % 2):
            message, expected = array(message, AnyValue(int_value=depth)), [expected, depth]  # type: ignore[assignment]
        else:
            message, expected = mapping(("k", message)), {"k": expected}  # type: ignore[assignment]
    assert any_value(message) == expected
    assert any_values(as_column(message)) == [expected]
    assert msgspec.json.decode(to_json(expected)) == expected


def test_attributes_read_as_one_dict_a_record() -> None:
    rows = [
        [("gen_ai.operation.name", text("chat")), ("gen_ai.usage.input_tokens", AnyValue(int_value=120))],
        [],
        [("gen_ai.response.finish_reasons", array(text("stop"))), ("gen_ai.operation.name", text("chat"))],
    ]
    assert attribute_dicts(as_attributes(*rows)) == [
        {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 120},
        {},
        {"gen_ai.response.finish_reasons": ["stop"], "gen_ai.operation.name": "chat"},
    ]


def test_a_slice_of_attributes_reads_its_own_records() -> None:
    column = as_attributes(*[[("k", AnyValue(int_value=number))] * number for number in range(5)])
    assert attribute_dicts(column.slice(2, 2)) == [{"k": 2, "k#2": 2}, {"k": 3, "k#2": 3, "k#3": 3}]


def test_no_value_of_a_repeated_key_is_lost() -> None:
    row = [("k", text("1")), ("k#2", text("taken")), ("k", text("2")), ("other", text("x")), ("k", text("3"))]
    expected = {"k": "1", "k#2": "taken", "k#3": "2", "other": "x", "k#4": "3"}
    assert attribute_dicts(as_attributes(row, [("k", text("alone"))])) == [expected, {"k": "alone"}]
    assert key_values([KeyValue(key=key, value=value) for key, value in row]) == expected
    assert unique([(key, value.string_value) for key, value in row]) == expected


def test_attributes_keep_the_order_they_were_sent_in() -> None:
    keys = ["z", "a", "m", "z", ""]
    (row,) = attribute_dicts(as_attributes([(key, text(key)) for key in keys]))
    assert list(row) == ["z", "a", "m", "z#2", ""]


def test_an_attribute_without_a_value_is_kept_as_none() -> None:
    assert attribute_dicts(as_attributes([("k", AnyValue())])) == [{"k": None}]


def test_what_is_read_can_be_written_as_json() -> None:
    values = any_values(as_column(*(message for message, _ in CASES.values())))
    assert msgspec.json.decode(to_json(values)) == [expected for _, expected in CASES.values()]


def test_a_key_that_comes_thousands_of_times_is_numbered_without_a_search_from_the_start() -> None:
    began = time.thread_time()
    row = unique(("k", number) for number in range(50_000))
    assert time.thread_time() - began < 5  # A search each time would take minutes.
    assert (len(row), row["k"], row["k#2"], row["k#50000"]) == (50_000, 0, 1, 49_999)
