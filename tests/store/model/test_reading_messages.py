import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_bench import normalise_one
from test_column_readers import JSON_VALUES

from store.model.indexed import indexed_messages
from store.model.messages import normalise_part, parsed, read_message
from store.model.nesting import NESTING_MAX, NotJson, read_json

MANY = 10_000


def _parts(message: Any) -> list[dict[str, Any]]:
    return read_message(json.dumps(message))["parts"]


def test_pydantic_ais_thinking_is_reasoning() -> None:
    part = {"type": "thinking", "content": "Let me see.", "signature": "sig"}
    assert _parts({"role": "assistant", "parts": [part]}) == [part | {"type": "reasoning"}]


def test_a_tool_calls_arguments_are_read_from_a_string() -> None:
    part = {"type": "tool_call", "id": "c1", "name": "pay", "arguments": '{"amount": 5}'}
    assert _parts({"role": "assistant", "parts": [part]}) == [part | {"arguments": {"amount": 5}}]


@pytest.mark.parametrize("arguments", ["", "five", '{"amount": 5', "[1, 2", "null"])
def test_arguments_that_are_no_json_stay_as_they_were_sent(arguments: str) -> None:
    [part] = _parts({"role": "assistant", "parts": [{"type": "tool_call", "arguments": arguments}]})
    assert part["arguments"] == arguments


def test_openais_nested_function_is_a_tool_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"amount": 5}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "Pay.", "tool_calls": [call]}
    assert _parts(message) == [
        {"type": "reasoning", "content": "Pay."},
        {"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"amount": 5}},
    ]


def test_a_tools_message_is_an_answer() -> None:
    message = {"role": "tool", "tool_call_id": "c1", "content": "18C"}
    assert read_message(json.dumps(message)) == {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c1", "response": "18C"}],
    }


@pytest.mark.parametrize(
    ("part", "kind", "said"),
    [
        ({"type": "tool_use", "id": "c1", "name": "pay", "input": {"a": 1}}, "tool_call", {"arguments": {"a": 1}}),
        ({"type": "tool-call", "toolCallId": "c1", "args": {"a": 1}}, "tool_call", {"id": "c1", "arguments": {"a": 1}}),
        (
            {"type": "tool_result", "tool_call_id": "c1", "content": 5},
            "tool_call_response",
            {"id": "c1", "response": 5},
        ),
        ({"type": "tool_call_response", "result": 5}, "tool_call_response", {"response": 5}),
        ({"type": "output_text", "text": "hi"}, "text", {"content": "hi"}),
        ({"type": "text", "text": "hi"}, "text", {"content": "hi"}),
        ({"type": "image", "uri": "x"}, "image", {"uri": "x"}),
        ({"text": "hi"}, "text", {"content": "hi"}),
        ({"text": "hi", "lang": "en"}, "generic", {"text": "hi", "lang": "en"}),
        ({"type": ["odd"], "a": 1}, "generic", {"a": 1}),
        ("hi", "text", {"content": "hi"}),
        (5, "generic", {"content": 5}),
        (None, "generic", {"content": None}),
    ],
)
def test_a_part_of_any_dialect_has_otels_names(part: Any, kind: str, said: dict[str, Any]) -> None:
    read = normalise_part(part)
    assert read["type"] == kind
    assert said.items() <= read.items()


@pytest.mark.parametrize(
    ("sent", "role"),
    [("model", "assistant"), ("human", "user"), ("developer", "system"), ("judge", "judge"), ("", "user"), (5, "user")],
)
def test_roles_are_spelt_one_way(sent: Any, role: str) -> None:
    assert read_message(json.dumps({"role": sent, "content": "hi"}))["role"] == role


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ({"role": "user", "parts": {"text": "not a list"}}, {"content": {"parts": {"text": "not a list"}}}),
        ({"role": "user", "text": "another name for it"}, {"content": {"text": "another name for it"}}),
        ({"role": "assistant", "tool_calls": 5}, {"content": {"tool_calls": 5}}),
        ({"role": "assistant", "tool_calls": {"id": "c1"}}, {"content": {"tool_calls": {"id": "c1"}}}),
        ({"role": "assistant", "content": {"a": 1}}, {"a": 1}),
        ({"role": "assistant", "content": 7}, {"content": 7}),
        ([{"role": "user"}], {"content": [{"role": "user"}]}),
        (12.5, {"content": 12.5}),
    ],
)
def test_what_is_not_understood_is_kept_as_generic_with_all_it_said(message: Any, kept: dict[str, Any]) -> None:
    assert _parts(message) == [{"type": "generic"} | kept]


@pytest.mark.parametrize("message", [{"role": "assistant", "content": None}, {"role": "assistant", "content": ""}, {}])
def test_a_message_that_says_nothing_has_no_parts(message: dict[str, Any]) -> None:
    assert _parts(message) == []


def test_json_that_was_cut_in_the_middle_is_shown_as_text() -> None:
    whole = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "x" * 100}]}])
    cut = whole[:60]
    assert read_message(cut) == {"role": "user", "parts": [{"type": "text", "content": cut}]}
    taken = normalise_one({"gen_ai.operation.name": "chat", "gen_ai.input.messages": cut})
    assert taken.attributes()["gen_ai.input.messages"] == cut
    assert [read_message(taken.texts[piece])["parts"][0]["content"] for piece in taken.span.input_messages or ()] == [
        cut
    ]


@pytest.mark.parametrize("nothing", [None, "", [], "[]"])
def test_messages_that_are_nothing_are_no_messages(nothing: Any) -> None:
    taken = normalise_one({"gen_ai.input.messages": nothing, "gen_ai.output.messages": nothing})
    assert not taken.span.input_messages
    assert not taken.span.output_messages
    assert taken.attributes() == {"gen_ai.input.messages": nothing, "gen_ai.output.messages": nothing}


def test_ten_thousand_messages_in_one_span_are_kept_each_once() -> None:
    history = [{"role": "user" if n % 2 else "assistant", "content": f"message {n % 100}"} for n in range(MANY)]
    text = json.dumps(history)
    taken = normalise_one({"gen_ai.operation.name": "chat", "gen_ai.input.messages": text})
    assert taken.attributes()["gen_ai.input.messages"] == text
    assert len(taken.span.input_messages or ()) == MANY
    assert len(set(taken.span.input_messages or ())) == 100


@pytest.mark.parametrize("depth", [NESTING_MAX - 5, NESTING_MAX + 5, 500, 900, 990, 1000, 5000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_in_a_message_costs_nobody_the_span(depth: int, opening: str) -> None:
    deep = opening * depth + "1" + {"[": "]", '{"a":': "}"}[opening] * depth
    calls = f'{{"type":"tool_call","id":"c1","name":"t","arguments":{deep}}}'
    texts = [
        deep,
        f"[{deep}]",
        f'[{{"role":"assistant","parts":[{calls}]}}]',
        json.dumps([{"role": "tool", "content": deep}]),
    ]
    for text in texts:
        sent = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": text, "gen_ai.tool.call.arguments": text}
        taken = normalise_one(sent)
        assert taken.attributes() == sent
        for piece in taken.span.output_messages or ():
            assert read_message(taken.texts[piece])["parts"]


def test_json_is_read_up_to_the_bound_and_not_beyond() -> None:
    assert read_json("[" * NESTING_MAX + "]" * NESTING_MAX) is not None
    with pytest.raises(NotJson):
        read_json("[" * (NESTING_MAX + 1) + "]" * (NESTING_MAX + 1))
    wide = [{"a": ["[{" * 200, '"' * 3]}] * (NESTING_MAX * 2)
    assert read_json(json.dumps(wide)) == wide


@pytest.mark.parametrize("text", ['{"a":"\\ud800"}', '{"a":1e999}', "{'a':1}", "{", "[1,]", '{"a":1} trailing'])
def test_what_only_looks_like_json_stays_text(text: str) -> None:
    assert parsed(text) == text


@given(st.text())
def test_no_text_is_too_odd_for_a_message(text: str) -> None:
    message = read_message(text)
    assert isinstance(message["role"], str)
    assert all(isinstance(part["type"], str) for part in message["parts"])


@given(JSON_VALUES)
def test_no_json_is_too_odd_for_a_message(value: Any) -> None:
    message = read_message(json.dumps(value))
    assert isinstance(message["role"], str)
    assert all(isinstance(part["type"], str) for part in message["parts"])


def test_indexed_attributes_are_ordered_by_number_and_may_have_gaps() -> None:
    sent = {
        "m.7.message.role": "user",
        "m.7.message.content": "third",
        "m.0.message.role": "system",
        "m.0.message.content": "first",
        "m.10.message.content": "last",
        "m.1.message.role": "assistant",
        "m.1.message.contents.3.message_content.type": "text",
        "m.1.message.contents.3.message_content.text": "second",
        "m.1.message.tool_calls.5.tool_call.id": "c1",
        "m.1.message.tool_calls.5.tool_call.function.name": "pay",
        "m.1.message.tool_calls.5.tool_call.function.arguments": '{"amount": 5}',
    }
    assert indexed_messages(sent, "m.") == [
        {"role": "system", "parts": [{"type": "text", "content": "first"}]},
        {"role": "assistant", "parts": [
            {"type": "text", "content": "second"},
            {"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"amount": 5}},
        ]},
        {"role": "user", "parts": [{"type": "text", "content": "third"}]},
        {"role": "user", "parts": [{"type": "text", "content": "last"}]},
    ]  # fmt: skip


def test_a_text_that_is_sent_as_content_and_as_contents_is_said_once() -> None:
    sent = {
        "m.0.message.content": "hello",
        "m.0.message.contents.0.message_content.type": "text",
        "m.0.message.contents.0.message_content.text": "hello",
    }
    assert indexed_messages(sent, "m.")[0]["parts"] == [{"type": "text", "content": "hello"}]
    sent["m.0.message.content"] = "something else"
    assert [part["content"] for part in indexed_messages(sent, "m.")[0]["parts"]] == ["something else", "hello"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_value_where_a_branch_stands_too_loses_no_attribute_in_any_order(order: int) -> None:
    pairs = [
        ("llm.input_messages.0.message", {"role": "user"}),
        ("llm.input_messages.0.message.role", "assistant"),
        ("llm.input_messages.0", "scalar"),
        ("llm.input_messages.0.message.content", "hello"),
        ("llm.input_messages.0.message.content.oops", "x"),
        ("llm.input_messages.x.message.content", "not a number"),
        ("llm.input_messages.99999999999999999999.message.content", "beyond"),
        ("llm.input_messages.", "empty"),
        ("llm.input_messages.1.message." + "a." * 3000 + "z", "deep"),
        ("llm.input_messages.2.message.contents.0.message_content." + "a." * 3000 + "z", "deep"),
    ]
    sent = dict(pairs[::order])
    taken = normalise_one(sent)
    assert taken.attributes() == sent
    assert taken.span.input_messages is not None
    assert json.loads(taken.texts[taken.span.input_messages[0]])["role"] == "assistant"
