"""For whom, in which version and with which prompt: what few spans say, from wherever each library says it."""

import json
import sys
from dataclasses import fields
from typing import Any

import pytest
from model_bench import make_span, normalise_one, trace_of

from store.model.joining import facts_of, join
from store.model.particulars import METADATA_CHARS_MAX
from store.model.runs import whole_run
from store.model.span import SPAN_FIELDS_MAX, Particulars, Span, Verdict

OTEL = "opentelemetry.instrumentation.genai.openai"
OI = "openinference.instrumentation.langchain"
PAI = "pydantic-ai"
TL = "traceloop.tracer"


def _told(attributes: dict[str, Any], scope: str = OTEL, **fields: Any) -> Particulars:
    return normalise_one(attributes, scope=scope, **fields).span.particulars or Particulars()


@pytest.mark.parametrize(
    ("scope", "said", "source"),
    [
        (OTEL, {"gen_ai.conversation.id": "c"}, "gen_ai.conversation.id"),
        (OTEL, {"session.id": "c"}, "session.id"),
        (OTEL, {"session.id": "s", "gen_ai.conversation.id": "c"}, "gen_ai.conversation.id"),
        (OTEL, {"gen_ai.conversation.id": "", "session.id": "c"}, "session.id"),
        (OTEL, {"gen_ai.conversation.id": ["no text"], "session.id": "c"}, "session.id"),
        (OI, {"session.id": "c"}, "session.id"),
        ("unheard.of", {"gen_ai.conversation.id": "c"}, "gen_ai.conversation.id"),
        ("unheard.of", {"openinference.span.kind": "LLM", "session.id": "c"}, "session.id"),
    ],
)
def test_a_conversation_id_says_which_attribute_it_is_from(scope: str, said: dict[str, Any], source: str) -> None:
    span = normalise_one(said, scope=scope).span
    assert (span.conversation_id, span.conversation_source) == ("c", source)


def test_a_span_without_a_conversation_id_names_no_source_of_it() -> None:
    assert normalise_one({"gen_ai.operation.name": "chat"}, scope=OTEL).span.conversation_source is None


@pytest.mark.parametrize(
    ("scope", "said", "column", "value"),
    [
        (OTEL, {"user.id": "u-7"}, "user_id", "u-7"),
        (OTEL, {"enduser.id": "u-7"}, "user_id", "u-7"),
        (OTEL, {"gen_ai.user": "u-7"}, "user_id", "u-7"),
        (OTEL, {"tenant.id": "acme"}, "end_user_tenant", "acme"),
        (OTEL, {"gen_ai.agent.version": "7"}, "agent_version", "7"),
        (OTEL, {"gen_ai.prompt.name": "p", "gen_ai.prompt.version": 3}, "prompt_version", "3"),
        (OI, {"user.id": "u-7"}, "user_id", "u-7"),
        (OI, {"metadata": '{"user_id": "u-7"}'}, "user_id", "u-7"),
        (OI, {"metadata": '{"user_id": 7}'}, "user_id", "7"),
        (OI, {"metadata": '{"user_id": "m"}', "user.id": "u-7"}, "user_id", "u-7"),
        (OI, {"tag.tags": ["a", "b", "a", 7]}, "session_tags", ["a", "b"]),
        (OI, {"tag.tags": '["a"]'}, "session_tags", ["a"]),
        (OI, {"tag.tags": "a"}, "session_tags", ["a"]),
        (OI, {"tag.tags": "[cut"}, "session_tags", None),
        (OI, {"tag.tags": [7]}, "session_tags", None),
        (OI, {"llm.prompt_template.version": "v2"}, "prompt_version", "v2"),
        (PAI, {"metadata": '{"tenant": "acme", "user": "u-7"}'}, "end_user_tenant", "acme"),
        (PAI, {"gen_ai.aggregated_usage.input_tokens": 5}, "reported_input_tokens", 5),
        (PAI, {"gen_ai.aggregated_usage.input_tokens": "many"}, "reported_input_tokens", None),
        (TL, {"traceloop.span.kind": "workflow", "traceloop.entity.version": 3}, "workflow_version", "3"),
        (TL, {"traceloop.span.kind": "agent", "traceloop.entity.version": 3}, "agent_version", "3"),
        (TL, {"traceloop.span.kind": "agent", "traceloop.entity.version": 3}, "workflow_version", None),
        (TL, {"traceloop.span.kind": "task", "traceloop.entity.version": 3}, "workflow_version", None),
        (TL, {"traceloop.entity.version": 3}, "workflow_version", None),
        (TL, {"traceloop.span.kind": ["agent"], "traceloop.entity.version": {"a": 1}}, "agent_version", None),
        ("langfuse-sdk", {"langfuse.observation.prompt.version": 7}, "prompt_version", "7"),
        ("langfuse-sdk", {"langfuse.version": "1.2.3"}, "prompt_version", None),
        ("unheard.of", {"user.id": "u-7"}, "user_id", "u-7"),
    ],
)
def test_each_library_says_it_in_its_own_place(scope: str, said: dict[str, Any], column: str, value: Any) -> None:
    assert getattr(_told(said, scope), column) == value


def test_a_span_that_says_none_of_it_carries_nothing() -> None:
    said = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": "c", "gen_ai.usage.input_tokens": 3}
    assert normalise_one(said, scope=OTEL).span.particulars is None


def test_metadata_are_those_of_a_root_or_an_agent_and_not_of_every_step() -> None:
    said = {"metadata": '{"user_id": "u-7", "node": 3}'}
    inside = {"parent_span_id": b"\x09" * 8}
    assert json.loads(_told(said, OI).metadata or "") == {"user_id": "u-7", "node": 3}
    assert _told(said | {"openinference.span.kind": "AGENT"}, OI, **inside).metadata is not None
    assert _told(said | {"openinference.span.kind": "LLM"}, OI, **inside) == Particulars()


@pytest.mark.parametrize("said", ["", "text", "[1]", "{cut", "null", '"text"', 7])
def test_metadata_that_are_no_object_stay_an_attribute(said: Any) -> None:
    found = normalise_one({"metadata": said}, scope=OI)
    assert found.span.particulars is None
    assert found.attributes() == {"metadata": said}


def test_metadata_that_are_too_large_for_a_label_still_say_the_user() -> None:
    told = _told({"metadata": json.dumps({"user_id": "u-7", "note": "x" * METADATA_CHARS_MAX})}, OI)
    assert (told.user_id, told.metadata) == ("u-7", None)


def test_instructions_that_are_sent_as_the_first_messages_are_the_prompt() -> None:
    messages = [{"role": role, "content": role} for role in ("system", "developer", "user", "system")]
    found = normalise_one({"gen_ai.input.messages": json.dumps(messages)}, scope=OTEL)
    span = found.span
    assert span.input_messages is not None
    assert span.particulars is not None
    assert span.particulars.system_messages == span.input_messages[:2]
    own = normalise_one({"gen_ai.input.messages": json.dumps(messages), "gen_ai.system_instructions": "[]"}, scope=OTEL)
    assert own.span.particulars is None or own.span.system_instructions is not None


def test_a_span_is_no_larger_than_what_the_allocator_is_quick_with() -> None:
    span = make_span("a", None)
    assert len(fields(span)) <= SPAN_FIELDS_MAX
    assert sys.getsizeof(span) <= 512


def test_what_few_spans_say_is_told_by_the_span_itself() -> None:
    span = make_span("a", None)
    assert (span.workflow_id, span.previous_response_id, span.all_messages) == (None, None, None)
    assert (span.verdicts, span.attempts_failed, span.particulars) == ([], 0, None)
    span.take("workflow_id", "w")
    span.take("tool_name", "t")
    span.say(Verdict("c1", "allow"))
    assert [span.said(name) for name in ("workflow_id", "tool_name", "user_id", "agent_name")] == ["w", "t", None, None]
    assert span.particulars == Particulars(workflow_id="w", verdicts=[Verdict("c1", "allow")])
    assert (span.workflow_id, span.verdicts) == ("w", [Verdict("c1", "allow")])
    assert make_span("b", None).verdicts == []


def _run(*spans: Span) -> Any:
    trace = trace_of(*spans)
    [joined] = join([facts_of(trace)])
    return whole_run(joined, {trace.trace_id: trace}).run


def test_a_run_has_what_is_said_first_and_all_tags() -> None:
    run = _run(
        make_span("a", None, particulars=Particulars(session_tags=["x"], agent_version="1")),
        make_span("b", "a", at=1, particulars=Particulars(user_id="u-1", session_tags=["y", "x"], agent_version="2")),
        make_span("c", "a", at=2, particulars=Particulars(user_id="u-2", metadata='{"k":1}', workflow_version="3")),
    )
    told = run.particulars
    assert run.user_id == "u-1"
    assert (told.session_tags, told.agent_version, told.workflow_version) == (["x", "y"], "1", "3")
    assert told.metadata == '{"k":1}'


def test_a_run_of_which_nothing_is_said_carries_nothing() -> None:
    assert _run(make_span("a", None)).particulars is None
