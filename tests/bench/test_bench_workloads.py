"""The workloads are what the figures say they are: sizes, shape and order of the traffic."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.history_run import RESULT_CHARS_MAX, TURNS_MAX
from bench.texts import texts
from bench.workloads import WORKLOADS, Body, bodies

END_NS = 1_795_159_163_000_000_000
HISTORY, SMALL = WORKLOADS["history"], WORKLOADS["small"]
SIX_HOURS_NS = 6 * 3600 * 1_000_000_000


def spans_of(body: Body) -> Iterator[Span]:
    for resource_spans in ExportTraceServiceRequest.FromString(body.content).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def attributes_of(span: Span) -> dict[str, Any]:
    return {attribute.key: attribute.value.string_value for attribute in span.attributes}


@pytest.fixture(scope="module")
def history() -> list[Body]:
    return list(bodies(HISTORY, seed=7, spans=3000, end_ns=END_NS))


@pytest.fixture(scope="module")
def small() -> list[Body]:
    return list(bodies(SMALL, seed=7, spans=3000, end_ns=END_NS))


def test_a_history_span_is_about_fourteen_and_a_half_kilobytes(history: list[Body]) -> None:
    assert 12_000 < sum(len(body.content) for body in history) / 3000 < 17_000


def test_a_small_span_is_about_one_point_three_kilobytes(small: list[Body]) -> None:
    assert 1_200 < sum(len(body.content) for body in small) / 3000 < 1_400


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_request_is_full_but_the_last_and_says_how_many_spans_it_has(
    name: str, request: pytest.FixtureRequest
) -> None:
    made: list[Body] = request.getfixturevalue(name)
    assert [body.spans for body in made] == [len(list(spans_of(body))) for body in made]
    assert {body.spans for body in made[:-1]} == {WORKLOADS[name].spans_a_request}
    assert sum(body.spans for body in made) == 3000


def test_a_seed_gives_the_same_bytes_again(small: list[Body]) -> None:
    assert list(bodies(SMALL, seed=7, spans=3000, end_ns=END_NS)) == small


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_ids_are_unique_within_a_seed_and_between_seeds(workload: Any) -> None:
    seen = [
        (span.trace_id, span.span_id)
        for seed in (1, 2)
        for body in bodies(workload, seed=seed, spans=1500, end_ns=END_NS)
        for span in spans_of(body)
    ]
    assert len(set(seen)) == len(seen) == 3000
    assert all(len(trace_id) == 16 and len(span_id) == 8 for trace_id, span_id in seen)


@pytest.mark.parametrize("name", WORKLOADS)
def test_children_come_before_their_parents_and_runs_mix_in_a_request(
    name: str, request: pytest.FixtureRequest
) -> None:
    made: list[Body] = request.getfixturevalue(name)
    request_of = {span.span_id: number for number, body in enumerate(made) for span in spans_of(body)}
    requests_of_run: dict[bytes, set[int]] = defaultdict(set)
    for number, body in enumerate(made):
        for span in spans_of(body):
            requests_of_run[span.trace_id].add(number)
            if span.parent_span_id in request_of:
                assert request_of[span.parent_span_id] >= number
    assert sum(len(numbers) > 1 for numbers in requests_of_run.values()) > len(requests_of_run) / 4
    assert all(max(numbers) - min(numbers) == len(numbers) - 1 for numbers in requests_of_run.values())
    assert all(len({span.trace_id for span in spans_of(body)}) >= 3 for body in made)


def test_times_are_recent_and_never_after_the_end(history: list[Body], small: list[Body]) -> None:
    for body in history + small:
        for span in spans_of(body):
            assert END_NS - SIX_HOURS_NS < span.start_time_unix_nano < span.end_time_unix_nano <= END_NS


def test_every_chat_span_carries_the_instructions_the_tools_and_all_messages_so_far(history: list[Body]) -> None:
    chats: dict[bytes, list[Span]] = defaultdict(list)
    for body in history:
        for span in spans_of(body):
            if span.name.startswith("chat "):
                chats[span.trace_id].append(span)
    assert max(len(spans) for spans in chats.values()) <= TURNS_MAX
    for spans in chats.values():
        before: list[Any] = []
        for span in sorted(spans, key=lambda span: span.end_time_unix_nano):
            said = attributes_of(span)
            assert json.loads(said["gen_ai.system_instructions"])
            assert json.loads(said["gen_ai.tool.definitions"])
            messages = json.loads(said["gen_ai.input.messages"])
            assert messages[: len(before)] == before
            assert len(messages) > len(before)
            before = messages


def test_tool_answers_lie_within_their_bounds_and_come_back_in_the_next_message(history: list[Body]) -> None:
    answers, messages = [], set[str]()
    for body in history:
        for span in spans_of(body):
            said = attributes_of(span)
            if span.name.startswith("execute_tool "):
                answers.append((said["gen_ai.tool.call.id"], said["gen_ai.tool.call.result"]))
            for message in json.loads(said.get("gen_ai.input.messages", "[]")):
                messages |= {part["id"] for part in message["parts"] if part["type"] == "tool_call_response"}
    # Rows are whole, so the last one may reach over.
    assert all(0 < len(answer) < RESULT_CHARS_MAX + 400 for _, answer in answers)
    assert len({call_id for call_id, _ in answers} & messages) > len(answers) * 0.9


def test_a_variant_with_more_runs_at_once_mixes_more_of_them(history: list[Body]) -> None:
    variant = dataclasses.replace(HISTORY, runs_at_once=64)
    body = next(iter(bodies(variant, seed=7, spans=256, end_ns=END_NS)))
    assert len({span.trace_id for span in spans_of(body)}) > len({span.trace_id for span in spans_of(history[0])})


def test_the_texts_are_english_and_code() -> None:
    assert " the " in texts().prose
    assert "\ndef " in texts().code
    assert len(texts().digest) == 16
