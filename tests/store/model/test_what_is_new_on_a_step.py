"""A chat step repeats its whole history: only what is new on it counts as said there."""

import json
from typing import Any

import pytest
from model_bench import Normalised, normalised, request_of

ASK = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"amount": 5}}]}
ANSWER = {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "result": "paid"}]}
THINKING = {"role": "assistant", "parts": [{"type": "thinking", "content": "hm"}, {"type": "text", "content": "Done."}]}
HELLO = {"role": "user", "parts": [{"type": "text", "content": "hello"}]}


def _chats(*turns: tuple[list[Any], list[Any]]) -> Normalised:
    spans = [
        {"attributes": {
            "gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(given),
            "gen_ai.output.messages": json.dumps(said),
        }}
        for given, said in turns
    ]  # fmt: skip
    return normalised(request_of(*spans))


def test_calls_are_asked_for_where_the_model_said_so_and_not_where_its_history_repeats_it() -> None:
    first, second, third = _chats(
        ([HELLO], [ASK]), ([HELLO, ASK, ANSWER], [THINKING]), ([HELLO, ASK, ANSWER, THINKING, HELLO], [THINKING])
    ).spans
    assert [(request.id, request.name) for request in first.tool_requests] == [("c1", "pay")]
    assert second.tool_requests == third.tool_requests == []
    assert [answer.id for answer in second.tool_answers] == ["c1"]
    assert first.tool_answers == third.tool_answers == []
    assert [span.reasoning for span in (first, second, third)] == [False, True, True]


def test_reasoning_in_the_history_is_not_reasoning_of_the_step() -> None:
    _, second = _chats(([HELLO], [THINKING]), ([HELLO, THINKING, HELLO], [HELLO | {"role": "assistant"}])).spans
    assert second.reasoning is False


def test_all_answers_behind_the_assistants_last_word_are_new_in_their_order() -> None:
    answers = [{"role": "tool", "tool_call_id": name, "content": name} for name in ("c3", "c1", "c2")]
    [span] = _chats(([ASK, *answers], [])).spans
    assert [answer.id for answer in span.tool_answers] == ["c3", "c1", "c2"]


def test_arguments_and_results_are_kept_as_what_they_say() -> None:
    taken = _chats(([ASK, {"role": "tool", "tool_call_id": "c1", "content": '{"ok": true}'}], [ASK]))
    assert taken.json(taken.span.tool_requests[0].arguments) == {"amount": 5}
    assert taken.json(taken.span.tool_answers[0].result) == {"ok": True}
    plain = _chats(([ASK, ANSWER], []))
    assert plain.texts[plain.span.tool_answers[0].result or ""] == "paid"


def _asking(call_id: str, before: str = "", behind: str = "") -> str:
    return f'{{"role":"assistant",{before}"parts":[{{"type":"tool_call","id":"{call_id}","name":"t"}}]{behind}}}'


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ('"finish_reason":"stop",', ""),
        ("", ',"finish_reason":"stop"'),
        ("", ', "finish_reason" : null '),
        ("", ',"finish_reason":"a \\"quoted\\" }} word"'),
        ("", ',"x":{"finish_reason":"stop"}'),
        ("", ',"finish_reason":{"a":"stop"}'),
    ],
)
def test_a_message_is_known_by_all_of_its_words_wherever_its_finish_reason_stands(before: str, behind: str) -> None:
    """Whichever was read before: two messages that differ only behind a finish reason are two messages."""
    answers = [{"role": "tool", "tool_call_id": name, "content": name} for name in ("c1", "c2")]
    spans: list[dict[str, Any]] = []
    for call_id, answer in zip(("c1", "c2"), answers, strict=True):
        said = _asking(call_id, before, behind)
        for given in (_asking(call_id), said):
            history = f"[{given},{json.dumps(answer)}]"
            spans += [
                {"attributes": {"gen_ai.operation.name": "chat", "gen_ai.output.messages": f"[{said}]"}},
                {"attributes": {"gen_ai.operation.name": "chat", "gen_ai.input.messages": history}},
            ]
    taken = normalised(request_of(*spans)).spans
    assert [[one.id for one in span.tool_requests] for span in taken[::2]] == [["c1"], ["c1"], ["c2"], ["c2"]]
    assert [[(one.id, one.name) for one in span.tool_answers] for span in taken[1::2]] == [
        [("c1", "t")], [("c1", "t")], [("c2", "t")], [("c2", "t")],
    ]  # fmt: skip


def test_the_words_of_a_message_with_more_behind_them_are_not_another_message() -> None:
    """What is left when the reason and all behind it is taken away was never said: nothing may be known by it."""
    said = '{"role":"assistant","finish_reason":"stop","parts":[{"type":"tool_call","id":"c1","name":"t"}]}'
    spans = [
        {"attributes": {"gen_ai.operation.name": "chat", "gen_ai.output.messages": f"[{said}]"}},
        {"attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": '[{"role":"assistant"},{"role":"tool","tool_call_id":"c9","content":"x"}]',
        }},
    ]  # fmt: skip
    _, second = normalised(request_of(*spans)).spans
    assert [(answer.id, answer.name) for answer in second.tool_answers] == [("c9", None)]


def test_a_call_without_arguments_has_none() -> None:
    taken = _chats(([], [{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "ping"}]}]))
    assert taken.span.tool_requests[0].arguments is None


@pytest.mark.parametrize("odd", [5, ["c1"], {"id": "c1"}, ""])
def test_an_id_that_is_no_text_is_no_id(odd: Any) -> None:
    taken = _chats(([], [{"role": "assistant", "parts": [{"type": "tool_call", "id": odd, "name": odd}]}]))
    assert [(request.id, request.name) for request in taken.span.tool_requests] == [(None, None)]


def test_a_message_without_a_role_is_the_models_where_it_was_said_and_the_users_where_it_was_given() -> None:
    """The same piece on both sides, whichever was read first."""
    piece = {"parts": [{"type": "tool_call_response", "id": "c1", "response": "paid"}]}
    for turns in ([([], [piece]), ([piece, HELLO], [])], [([piece, HELLO], []), ([], [piece])]):
        spans = _chats(*turns).spans  # type: ignore[arg-type]
        given = next(span for span in spans if len(span.input_messages or ()) == 2)
        assert [answer.id for answer in given.tool_answers] == ["c1"]


def test_an_agents_copy_of_the_conversation_is_kept_and_not_heard() -> None:
    sent = {"gen_ai.operation.name": "invoke_agent", "pydantic_ai.all_messages": json.dumps([HELLO, ASK, ANSWER])}
    taken = normalised(request_of({"attributes": sent}, scope="pydantic-ai"))
    assert (taken.span.input_messages, taken.span.tool_requests, taken.span.tool_answers) == (None, [], [])
    assert taken.attributes() == sent
