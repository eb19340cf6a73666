import json
from typing import Any

from model_bench import TRACE, make_span, trace_of
from whole import content_ids, conversation, events_by_step, speakers

from store.model.conversation import AskedCalls, Conversation, Message, pieces_of_step
from store.model.ids import step_id
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
        traces = [self.trace()]
        assert content_ids(traces) <= set(self.texts)
        return list(conversation(traces, self.texts))


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
    agent = talk.add([HI, CALL, PAID, OK], [OK], kind="agent")
    talk.add([HI], [OK], parent_span_id=agent.span_id)
    talk.add([PAID], [], kind="tool", parent_span_id=agent.span_id)
    assert _lines(talk.told()) == ["user: hi", "assistant: ok"]


def test_what_an_agent_was_given_is_told_where_no_model_call_below_it_tells() -> None:
    talk = Speakers()
    silent = talk.add([SYSTEM, HI], [OK], kind="agent")
    talk.add([], [], parent_span_id=silent.span_id)
    workflow = talk.add([HI, CONTINUE], [], kind="workflow")
    talk.add([HI], [OK], parent_span_id=workflow.span_id)
    # The silent agent's answer is told by nobody below it; that of the workflow is its model call's.
    assert _lines(talk.told()) == ["system: Be brief.", "user: hi", "assistant: ok", "assistant: ok"]


def test_a_history_that_leaves_out_what_was_thought_or_gives_a_call_another_id_is_not_another_message() -> None:
    talk = Speakers()
    thought = {"type": "reasoning", "content": "Let me see."}
    talk.add([HI], [{"role": "assistant", "parts": [thought, *CALL["parts"]]}])
    talk.add([HI, {"role": "assistant", "parts": [part | {"id": "item-1"} for part in CALL["parts"]]}, PAID], [OK])
    assert _lines(talk.told()) == ["user: hi", "assistant: Let me see.", "tool: tool_call_response", "assistant: ok"]


def test_the_last_message_of_a_step_has_the_steps_finish_reason_unless_it_says_its_own() -> None:
    talk = Speakers()
    talk.add([HI], [CALL, OK], finish_reason="stop")
    talk.add([CONTINUE], [OK | {"finish_reason": "length"}], finish_reason="stop")
    reasons = [message.finish_reason for message in talk.told() if message.direction == "output"]
    assert reasons == [None, "stop", "length"]


def test_a_step_says_what_it_says_itself_else_what_its_log_records_say() -> None:
    talk = Speakers()
    silent, speaking = talk.add([], []), talk.add([HI], [OK])
    late, early = talk.event(silent, [], [OK], at=2), talk.event(silent, [SYSTEM, HI], [], at=1)
    pieces = pieces_of_step(silent, [late, early])
    assert (pieces.given, pieces.said) == (early.input_messages, late.output_messages)
    assert pieces_of_step(speaking, [talk.event(speaking, [CONTINUE], [])]).given == talk.pieces([HI])
    trace = talk.trace()
    for event in (late, early):
        trace.hear(event)
    assert {name: len(events) for name, events in events_by_step(trace).items()} == {"s0": 2}
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


def _asking(*ids: str) -> list[dict[str, Any]]:
    calls = [{"type": "tool_call", "id": one, "name": "pay", "arguments": {"to": one[-1]}} for one in ids]
    return [{"role": "assistant", "parts": calls}]


def _ids(said: list[dict[str, Any]], calls: AskedCalls) -> list[str]:
    talk = Speakers()
    talk.add([HI], said)
    [spoken] = speakers([talk.trace()])
    heard = Conversation(lambda ids: {one: talk.texts[one] for one in ids}, lambda: calls)
    [told] = heard.hear([spoken])
    return [part["id"] for part in told[-1].parts]


def test_a_call_asked_for_under_the_id_of_an_item_is_told_under_the_runs_id_of_it() -> None:
    here = step_id(TRACE, "s0")
    asked = {here: [("c1", "pay"), ("c2", "pay"), ("c3", "refund")]}
    calls = AskedCalls({"c1", "c2", "c3"}, lambda: asked)
    assert _ids(_asking("item-1", "item-2"), calls) == [
        "c1",
        "c2",
    ]  # Two of one tool: in the order they were asked for.
    assert _ids(_asking("c2", "item-1"), calls) == ["c2", "c1"]  # One that has its id already keeps it.
    assert _ids(_asking("item-1", "item-2", "item-3"), calls) == ["c1", "c2", "item-3"]
    assert _ids(_asking("item-1"), AskedCalls({"c1"}, lambda: {"another": [("c1", "pay")]})) == ["item-1"]


def test_the_calls_of_a_run_are_read_once_and_only_where_a_model_asked_for_one() -> None:
    read: list[str] = []

    def asked() -> AskedCalls:
        read.append("calls")
        return AskedCalls({"c1"}, dict)

    talk = Speakers()
    talk.add([HI], [OK])
    talk.add([HI, OK, CONTINUE], [CALL])
    talk.add([HI, OK, CONTINUE, CALL, PAID], [CALL])
    heard = Conversation(lambda ids: {one: talk.texts[one] for one in ids}, asked).hear(speakers([talk.trace()]))
    next(heard)
    assert read == []
    assert len(list(heard)) == 2
    assert read == ["calls"]
