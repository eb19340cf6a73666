"""Log records that speak for a step, in each of the forms that libraries send them."""

from typing import Any

from model_bench import NOON_NS, TENANT, TRACE, any_value, key_values
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from store.model.content import ContentSink
from store.model.messages import read_message
from store.model.normalise_logs import normalise_logs
from store.model.span import Event
from store.model.talk import Listener
from store.record import Frame, FrameType, Signal

SCOPE = "opentelemetry.instrumentation.openai_v2"


def _logged(*records: dict[str, Any], scope: str = SCOPE) -> tuple[list[Event], dict[str, str]]:
    request = ExportLogsServiceRequest()
    inner = request.resource_logs.add().scope_logs.add()
    inner.scope.name = scope
    for given in records:
        record = inner.log_records.add(
            trace_id=bytes.fromhex(TRACE), span_id=bytes(7) + b"\x01", time_unix_nano=given.get("at", NOON_NS),
            event_name=given.get("event_name", ""),
        )  # fmt: skip
        record.body.CopyFrom(any_value(given.get("body")))
        record.attributes.extend(key_values(given.get("attributes", {})))
    sink = ContentSink()
    frame = Frame(1, FrameType.OTLP, TENANT, Signal.LOGS, NOON_NS, len(records), b"", request.SerializeToString())
    events = normalise_logs([frame], sink, Listener(sink))
    return events, {piece.content_id: piece.text for piece in sink.take()}


def test_a_message_event_is_its_body_in_the_role_of_its_name() -> None:
    (system, user, tool), texts = _logged(
        {"event_name": "gen_ai.system.message", "body": {"content": "Be brief."}},
        {"event_name": "gen_ai.user.message", "body": {"content": "hi"}},
        {"event_name": "gen_ai.tool.message", "body": {"id": "c1", "content": "paid"}},
    )
    found = [system.system_instructions, user.input_messages, tool.input_messages]
    messages = [read_message(texts[piece]) for pieces in found for piece in pieces or ()]
    assert [message["role"] for message in messages] == ["system", "user", "tool"]
    assert [(answer.id, texts[answer.result or ""]) for answer in tool.tool_answers] == [("c1", "paid")]


def test_a_choice_holds_its_message_one_level_down() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"a": 1}'}}
    body = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call]}}
    [choice], texts = _logged({"event_name": "gen_ai.choice", "body": body})
    [piece] = choice.output_messages or ()
    message = read_message(texts[piece])
    assert (message["role"], message["finish_reason"]) == ("assistant", "tool_call")
    assert [(request.id, request.name) for request in choice.tool_requests] == [("c1", "pay")]


def test_a_record_of_operation_details_carries_a_spans_attributes() -> None:
    given = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    said = [{"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}]}]
    [event], _ = _logged({
        "event_name": "gen_ai.client.inference.operation.details",
        "attributes": {"gen_ai.input.messages": given, "gen_ai.output.messages": said},
    })  # fmt: skip
    assert (len(event.input_messages or ()), len(event.output_messages or ()), event.reasoning) == (1, 1, True)


def test_messages_that_are_nothing_do_not_speak() -> None:
    nothing = {"gen_ai.input.messages": None, "gen_ai.output.messages": "", "gen_ai.system_instructions": []}
    [event], _ = _logged({"event_name": "gen_ai.client.inference.operation.details", "attributes": nothing})
    assert not event.speaks


def test_a_record_of_another_name_keeps_its_messages_and_does_not_speak() -> None:
    [event], texts = _logged({"event_name": "my.own", "attributes": {"gen_ai.input.messages": [{"role": "user"}]}})
    assert not event.speaks
    assert '{"role":"user"}' in texts.values()


def test_a_record_is_named_by_its_field_or_by_its_attribute() -> None:
    events, _ = _logged({"event_name": "a"}, {"attributes": {"event.name": "b"}}, {})
    assert [event.event_name for event in events] == ["a", "b", None]


def test_equal_records_of_one_body_are_two_and_of_two_bodies_the_same() -> None:
    twice, _ = _logged({"event_name": "a"}, {"event_name": "a"})
    again, _ = _logged({"event_name": "a"})
    assert twice[0].event_id != twice[1].event_id
    assert again[0].event_id == twice[0].event_id


def test_odd_bodies_are_kept_and_break_nothing() -> None:
    bodies: list[Any] = [
        None,
        5,
        "text",
        ["a"],
        {"message": 5},
        {"role": 5},
        {"message": {"tool_calls": 7}},
        "{",
        b"\x00",
    ]
    for name in ("gen_ai.choice", "gen_ai.user.message", "other"):
        events, texts = _logged(
            *({"event_name": name, "body": body, "at": NOON_NS + n} for n, body in enumerate(bodies))
        )
        assert len(events) == len(bodies)
        for event in events:
            assert event.body
            for piece in (*(event.input_messages or ()), *(event.output_messages or ())):
                assert read_message(texts[piece])["parts"] is not None
