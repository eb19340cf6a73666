import json
from typing import Any

from model_bench import TRACE, make_span, trace_of
from whole import conversation, speakers

from store.model.conversation import Message, pieces_of_step
from store.model.span import Event, Span
from store.model.trace import Trace

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "hi"}
OK = {"role": "assistant", "content": "ok"}
CONTINUE = {"role": "user", "content": "continue"}
CALL = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"a": 1}}]}
PAID = {"role": "tool", "tool_call_id": "c1", "content": "paid"}


class Speakers:
    """Steps that speak, and the texts of what they say."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.spans: list[Span] = []

    def pieces(self, messages: list[Any]) -> list[str]:
        pieces = [json.dumps(message, sort_keys=True) for message in messages]
        self.texts |= {piece: piece for piece in pieces}
        return pieces

    def add(self, given: list[Any], said: list[Any], *, system: list[Any] | None = None, **fields: Any) -> Span:
        name = f"s{len(self.spans)}"
        span = make_span(name, at=10 * len(self.spans), **({"kind": "llm"} | fields))
        span.input_messages, span.output_messages = self.pieces(given), self.pieces(said)
        span.system_instructions = self.pieces(system) if system else None
        self.spans.append(span)
        return span

    def event(self, span: Span, given: list[Any], said: list[Any], *, at: int = 0, ordinal: int = 0) -> Event:
        return Event(
            tenant="acme", event_id=f"e{at}-{ordinal}", sequence=1, ordinal=ordinal, received_ns=0, trace_id=TRACE,
            span_id=span.span_id, event_name="gen_ai.choice", severity_number=0, severity_text=None, time_ns=at,
            observed_ns=0, service_name=None, scope_name=None, scope_version=None, dialect="otel", body="",
            attributes="", pieces="", resource="", scope="", extra="",
            input_messages=self.pieces(given) or None, output_messages=self.pieces(said) or None,
        )  # fmt: skip

    def trace(self) -> Trace:
        return trace_of(*self.spans)

    def told(self) -> list[Message]:
        return list(conversation([self.trace()], self.texts))


def _lines(messages: list[Message]) -> list[str]:
    return [f"{message.role}: {message.parts[0].get('content', message.parts[0]['type'])}" for message in messages]


def test_a_history_that_is_repeated_is_told_once() -> None:
    talk = Speakers()
    talk.add([SYSTEM, HI], [CALL])
    talk.add([SYSTEM, HI, CALL, PAID], [OK])
    talk.add([SYSTEM, HI, CALL, PAID, OK, CONTINUE], [OK])
    found = talk.told()
    assert _lines(found) == [
        "system: Be brief.", "user: hi", "assistant: tool_call", "tool: tool_call_response", "assistant: ok",
        "user: continue", "assistant: ok",
    ]  # fmt: skip
    assert [message.direction for message in found] == [
        "system", "input", "output", "input", "output", "input", "output",
    ]  # fmt: skip
    assert [message.step_id[-2:] for message in found] == ["s0", "s0", "s0", "s1", "s1", "s2", "s2"]


def test_a_message_that_was_really_said_twice_is_told_twice() -> None:
    talk = Speakers()
    talk.add([HI], [OK])
    talk.add([HI, OK, CONTINUE], [OK])
    talk.add([HI, OK, CONTINUE, OK, CONTINUE], [OK])
    talk.add([HI, HI], [])
    assert _lines(talk.told()) == [
        "user: hi", "assistant: ok", "user: continue", "assistant: ok", "user: continue", "assistant: ok", "user: hi",
    ]  # fmt: skip


def test_a_message_is_the_same_whatever_trimmings_it_is_repeated_with() -> None:
    talk = Speakers()
    thinking = {"type": "reasoning", "content": "hm", "signature": "sig"}
    talk.add([HI], [{"role": "assistant", "parts": [thinking], "finish_reason": "stop"}])
    talk.add([HI, {"parts": [{"content": "hm", "type": "thinking"}], "role": "model"}, CONTINUE], [])
    assert _lines(talk.told()) == ["user: hi", "assistant: hm", "user: continue"]


def test_the_order_of_keys_does_not_make_another_message() -> None:
    talk = Speakers()
    there, back = '{"a": 1, "b": {"c": 2, "d": 3}}', '{"b": {"d": 3, "c": 2}, "a": 1}'
    talk.add(
        [HI], [{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": there}]}]
    )
    talk.add(
        [HI, {"role": "assistant", "parts": [{"arguments": back, "name": "pay", "id": "c1", "type": "tool_call"}]}], []
    )
    assert _lines(talk.told()) == ["user: hi", "assistant: tool_call"]


def test_instructions_of_their_own_are_told_where_they_were_first_given() -> None:
    talk = Speakers()
    bare = {"type": "text", "content": "Be brief."}
    talk.add([HI], [OK], system=[bare])
    talk.add([HI, OK, CONTINUE], [OK], system=[bare])
    assert _lines(talk.told())[:3] == ["system: Be brief.", "user: hi", "assistant: ok"]
    assert sum(message.direction == "system" for message in talk.told()) == 1


def test_a_copy_on_an_agent_or_a_tool_is_not_part_of_the_conversation() -> None:
    talk = Speakers()
    talk.add([HI, CALL, PAID, OK], [OK], kind="agent")
    talk.add([HI], [OK])
    talk.add([PAID], [], kind="tool")
    assert _lines(talk.told()) == ["user: hi", "assistant: ok"]


def test_a_step_says_what_it_says_itself_else_what_its_log_records_say() -> None:
    talk = Speakers()
    silent, speaking = talk.add([], []), talk.add([HI], [OK])
    late, early = talk.event(silent, [], [OK], at=2), talk.event(silent, [SYSTEM, HI], [], at=1)
    pieces = pieces_of_step(silent, [late, early])
    assert (pieces.given, pieces.said) == (early.input_messages, late.output_messages)
    assert pieces_of_step(speaking, [talk.event(speaking, [CONTINUE], [])]).given == talk.pieces([HI])
    trace = talk.trace()
    for event in (late, early):
        trace.events[event.event_id] = event
    assert [speaker.pieces.given for speaker in speakers([trace])] == [early.input_messages, talk.pieces([HI])]
    assert _lines(list(conversation([trace], talk.texts)))[:3] == ["system: Be brief.", "user: hi", "assistant: ok"]


def test_a_message_is_at_the_moment_it_was_given_or_had_been_said() -> None:
    talk = Speakers()
    span = talk.add([HI], [OK])
    assert [message.at_ns for message in talk.told()] == [span.start_ns, span.end_ns]


def test_a_piece_that_is_not_there_is_shown_as_nothing_rather_than_failing() -> None:
    talk = Speakers()
    talk.add([HI], [OK])
    [lost, *_] = conversation([talk.trace()], {})
    assert lost.parts == [{"type": "generic", "content": None}]
