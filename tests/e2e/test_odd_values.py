"""Odd values through the real door to the reader: nothing breaks, nothing is lost, and what is odd is kept as it was sent."""

import itertools
import json
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from otlp_bodies import BEGUN_NS, attributes, trace_id_of, trace_request
from running_server import RunningServer

LEVELS = 30
MANY = 10_000
_traces = itertools.count(1)
Answer = dict[str, Any]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
    members = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return AnyValue(**({} if value is None else {members[type(value)]: value}))


def key_values(pairs: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in pairs.items()]


def told(server: RunningServer, sent: dict[str, Any]) -> tuple[Answer, list[Answer]]:
    """The step of a span with these attributes, and the messages of its run. What was sent is all there, as it was sent."""
    trace = next(_traces)
    request = trace_request(trace)
    [span] = request.resource_spans[0].scope_spans[0].spans
    span.attributes.extend(key_values(sent))
    event = span.events.add(name="odd", time_unix_nano=BEGUN_NS)
    event.attributes.extend(key_values(sent))
    position = server.record("traces", request.SerializeToString())
    trace_id = trace_id_of(trace).hex()
    detail = server.get(f"/v1/steps/{trace_id}-{span.span_id.hex()}", min_position=position)
    assert detail["attributes"] == attributes(span)
    assert [one["attributes"] for one in detail["events"]] == [attributes(event)]
    run = server.get(f"/v1/runs/{trace_id}")
    assert (run["steps"], run["status"]) == (1, "ok")
    return detail, server.rows(f"/v1/runs/{trace_id}/messages", "messages")


def said(messages: list[Answer]) -> list[tuple[str, Any]]:
    return [(message["role"], part.get("content")) for message in messages for part in message["parts"]]


def test_old_and_new_names_together_on_one_span_are_one_fact_and_both_kept(server: RunningServer) -> None:
    hello = [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    step, messages = told(server, {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai", "gen_ai.provider.name": "anthropic",
        "gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.completion_tokens": 3, "gen_ai.usage.output_tokens": 5,
        "gen_ai.input.messages": json.dumps(hello), "gen_ai.prompt": json.dumps(hello),
    })  # fmt: skip
    assert (step["provider"], step["input_tokens"], step["output_tokens"]) == ("anthropic", 11, 5)
    assert said(messages) == [("user", "hello")]


@pytest.mark.parametrize(
    ("odd", "as_name"),
    [
        (True, None), (-5, "-5"), (12.5, "12.5"), (float("nan"), "NaN"), ("many", "many"), ("", None), (b"\x00\xff", None),
        (None, None), (["a", 1, None], None), ({"a": {"b": []}}, None), ("9" * 5000, "9" * 5000),
    ],
    ids=lambda odd: repr(odd)[:12],
)  # fmt: skip
def test_a_wrong_type_in_a_known_attribute_is_no_fact_and_kept(
    server: RunningServer, odd: Any, as_name: str | None
) -> None:
    sent = dict.fromkeys(
        (
            "gen_ai.usage.input_tokens", "gen_ai.response.finish_reasons", "gen_ai.tool.definitions",
            "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.request.model",
            "gen_ai.tool.call.arguments", "gen_ai.conversation.id", "gen_ai.evaluation.score.value",
        ),
        odd,
    )  # fmt: skip
    step, _ = told(server, {"gen_ai.operation.name": "chat"} | sent)
    assert (step["kind"], step["input_tokens"]) == ("llm", None)
    assert (step["model"], step["conversation_id"]) == (as_name, as_name)


@pytest.mark.parametrize("operation", [{"a": 1}, ["chat"], 7, b"chat", None, True])
def test_a_kind_of_a_wrong_type_is_a_step_of_no_kind(server: RunningServer, operation: Any) -> None:
    step, messages = told(server, {"gen_ai.operation.name": operation, "openinference.span.kind": operation})
    assert (step["kind"], step["outcome"], messages) == ("other", "ok", [])


def test_indexed_attributes_with_gaps_are_messages_in_the_order_of_their_numbers(server: RunningServer) -> None:
    sent = {"openinference.span.kind": "LLM"}
    for number, role in ((7, "user"), (0, "system"), (1, "assistant")):
        sent |= {
            f"llm.input_messages.{number}.message.role": role,
            f"llm.input_messages.{number}.message.content": f"message {number}",
        }
    sent |= {"llm.input_messages.x.message.content": "no number", "llm.input_messages.3": "no message"}
    _, messages = told(server, sent)
    assert said(messages) == [("system", "message 0"), ("assistant", "message 1"), ("user", "message 7")]


@pytest.mark.parametrize("is_map", [False, True], ids=["arrays", "maps"])
@pytest.mark.parametrize("key", ["app.deep", "gen_ai.input.messages", "gen_ai.tool.call.arguments", "metadata"])
def test_a_value_of_thirty_levels_is_kept_whole(server: RunningServer, key: str, is_map: bool) -> None:
    deep: Any = "bottom"
    for _ in range(LEVELS):
        deep = {"down": deep} if is_map else [deep]
    step, _ = told(server, {"gen_ai.operation.name": "chat", key: deep})
    assert step["kind"] == "llm"


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("key", ["gen_ai.input.messages", "gen_ai.output.messages"])
def test_json_that_is_cut_in_the_middle_is_a_message_with_the_text_that_is_left(
    server: RunningServer, key: str, part: float
) -> None:
    whole = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "é" * 500}]}] * 3, ensure_ascii=False)
    cut = whole[: int(len(whole) * part)]
    _, messages = told(server, {"gen_ai.operation.name": "chat", key: cut})
    assert said(messages) == [("user" if "input" in key else "assistant", cut)]


def test_arguments_that_are_cut_in_the_middle_are_the_text_that_is_left(server: RunningServer) -> None:
    cut = '{"order_id": "ORD-42", "amo'
    step, _ = told(server, {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund", "gen_ai.tool.call.arguments": cut,
    })  # fmt: skip
    [call] = server.rows(f"/v1/runs/{step['run_id']}/tool-calls", "tool_calls")
    assert (call["tool_name"], call["arguments"], call["outcome"]) == ("refund", cut, "ok")


def test_ten_thousand_messages_in_one_span_are_told_in_their_order(server: RunningServer) -> None:
    history = [{"role": "assistant" if n % 2 else "user", "content": f"message {n}"} for n in range(MANY)]
    _, messages = told(server, {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(history)})
    assert said(messages) == [(message["role"], message["content"]) for message in history]
