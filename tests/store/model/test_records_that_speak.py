"""Log records that tell of steps which they do not name, or of more than messages."""

import json
from typing import Any

import pytest
from model_bench import MS, NOON_NS, TENANT, TRACE, asks, is_told, key_values, make_span, trace_of
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from whole import conversation, events_by_step

from store.model.call_book import CallBook
from store.model.content import ContentSink
from store.model.conversation import finish_reason_of
from store.model.normalise_logs import normalise_logs
from store.model.span import Event
from store.model.talk import Listener
from store.record import Frame, FrameType, Signal

CLAUDE = "com.anthropic.claude_code.events"


def _read(*records: dict[str, Any], scope: str = CLAUDE) -> tuple[list[Event], dict[str, str]]:
    """Records as `{"name", "span", "attributes"}`, a millisecond apart."""
    request = ExportLogsServiceRequest()
    inner = request.resource_logs.add().scope_logs.add()
    inner.scope.name = scope
    for nth, said in enumerate(records):
        record = inner.log_records.add(
            time_unix_nano=NOON_NS + nth * MS, trace_id=bytes.fromhex(TRACE), event_name=said["name"],
            span_id=bytes.fromhex(said["span"]),
        )  # fmt: skip
        record.attributes.extend(key_values(said["attributes"]))
    sink = ContentSink()
    frame = Frame(1, FrameType.OTLP, TENANT, Signal.LOGS, NOON_NS, len(records), b"", request.SerializeToString())
    events = normalise_logs([frame], sink, Listener(sink))
    return events, {piece.content_id: piece.text for piece in sink.take()}


AGENT, ASKING, LAST = "0000000000000001", "0000000000000002", "0000000000000003"


def test_claude_codes_records_say_which_model_call_asked_and_what_was_said() -> None:
    events, texts = _read(
        {"name": "user_prompt", "span": AGENT, "attributes": {"prompt": "Say hello"}},
        {"name": "tool_decision", "span": AGENT, "attributes": {"tool_use_id": "t1", "request_id": "r1"}},
        {"name": "tool_result", "span": AGENT, "attributes": {
            "tool_use_id": "t1", "request_id": "r1", "tool_input": '{"command": "echo"}'}},
        {"name": "assistant_response", "span": AGENT, "attributes": {"response": "Done.", "request_id": "r2"}},
        {"name": "api_request", "span": AGENT, "attributes": {"request_id": "r2"}},
    )  # fmt: skip
    assert [event.speaks for event in events] == [
        True,
        True,
        True,
        True,
        False,
    ]  # A cost that is not said tells nothing.
    assert [event.has_messages for event in events] == [True, False, False, True, False]
    trace = trace_of(
        make_span(AGENT, kind="agent", until=50),
        make_span(ASKING, AGENT, at=1, kind="llm", response_id="r1"),
        make_span("tool", AGENT, at=5, kind="tool", tool_call_id="t1", tool_name="Bash", scope_name=CLAUDE),
        make_span(LAST, AGENT, at=9, kind="llm", response_id="r2"),
    )
    for event in events:
        trace.hear(event)
    [call] = CallBook("run").read([trace])
    assert (call.name, call.requesting is not None and call.requesting.span_id) == ("Bash", ASKING)
    assert json.loads(texts[call.arguments or ""]) == {"command": "echo"}
    told = list(conversation([trace], texts))
    assert [(message.role, message.step_id.partition("-")[2], message.parts[0]["content"]) for message in told] == [
        ("user", AGENT, "Say hello"), ("assistant", LAST, "Done."),
    ]  # fmt: skip
    assert trace.talk()[ASKING].present is False  # That it asked is known; what it said is not.


@pytest.mark.parametrize(
    ("said", "usd"),
    [(0.25, 0.25), ("0.25", 0.25), (0, 0.0), ("much", None), (True, None), (float("nan"), None), ([0.25], None)],
)
def test_claude_codes_records_say_what_a_request_cost(said: Any, usd: float | None) -> None:
    attributes = {"request_id": "r1", "cost_usd": said, "cost_usd_micros": 250_000}
    [event], _ = _read({"name": "api_request", "span": AGENT, "attributes": attributes})
    assert (event.cost_usd, event.response_id, event.speaks) == (usd, "r1", usd is not None)
    assert '"cost_usd":' in event.attributes  # Whatever is made of it, it is kept as it was sent.


def test_a_record_of_a_response_that_no_step_has_speaks_for_the_span_that_it_names() -> None:
    [event], _ = _read(
        {"name": "assistant_response", "span": AGENT, "attributes": {"response": "hi", "request_id": "?"}}
    )
    trace = trace_of(make_span(AGENT, kind="llm", response_id="r1"))
    trace.hear(event)
    assert events_by_step(trace).keys() == {AGENT}


def test_a_records_finish_reason_and_tool_definitions_are_the_steps() -> None:
    events, texts = _read(
        {"name": "gen_ai.client.inference.operation.details", "span": AGENT, "attributes": {
            "gen_ai.output.messages": [{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}],
            "gen_ai.tool.definitions": [{"name": "pay"}]}},
        scope="opentelemetry.util.genai.handler",
    )  # fmt: skip
    assert finish_reason_of(make_span(AGENT), events) == "tool_call"
    assert finish_reason_of(make_span(AGENT, finish_reason="stop"), events) == "stop"
    assert [json.loads(texts[piece]) for piece in events[0].tool_definitions or ()] == [{"name": "pay"}]


def test_a_model_call_that_speaks_itself_is_not_spoken_for() -> None:
    trace = trace_of(
        make_span(AGENT, input_messages=["m"], **asks(("c1", "pay"))), make_span(LAST, at=5, **is_told(c1="r"))
    )
    [event], _ = _read({"name": "tool_decision", "span": AGENT, "attributes": {"tool_use_id": "c9", "request_id": "x"}})
    trace.hear(event)
    assert [call.id for call in CallBook("run").read([trace])] == ["c1"]
