"""What the projector may rely on (`store.view.Writer`)."""

from dataclasses import replace

import pytest

from store.contract import EventFilter, MetricFilter, RunFilter
from store.errors import ViewError
from store.model.ids import segment_id
from store.model.joining import Rule, tie
from store.record import DEFAULT_TENANT, Position, Signal
from store.view import Quarantined, ViewBatch
from tests.conformance.engines import JOURNAL_ID
from tests.store.ledger_bench import captures, split
from tests.store.spans import ASKED, spans_body

DEMO = captures()["spanledger-demo"]


def counts(bench) -> dict[str, int]:
    return bench.reader.status().counts


def test_a_new_view_has_no_position_and_one_that_is_begun_stands_before_the_first_frame(unbegun):
    assert unbegun.writer.position() is None
    assert unbegun.reader.status().position is None
    unbegun.writer.begin(JOURNAL_ID)
    assert unbegun.writer.position() == Position(JOURNAL_ID, 0)


def test_the_position_goes_with_the_batch(bench):
    bench.record(*DEMO[:3])
    assert bench.writer.position() == bench.reader.status().position == Position(JOURNAL_ID, 3)
    bench.writer.write(ViewBatch(9))
    assert bench.writer.position() == Position(JOURNAL_ID, 9)


def test_a_batch_that_cannot_be_written_leaves_nothing_behind(bench):
    bench.record(*DEMO[:6])
    before, runs = counts(bench), bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=100, cursor=None)
    batch = bench.prepare(*DEMO[6:])
    batch.quarantined.append(Quarantined(12, "traces", DEFAULT_TENANT, None))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ViewError):
        bench.writer.write(batch)
    assert counts(bench) == before
    assert bench.writer.position() == Position(JOURNAL_ID, 6)
    assert bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=100, cursor=None) == runs
    bench.forget(len(DEMO[6:]))
    bench.record(*DEMO[6:])
    assert bench.writer.position() == Position(JOURNAL_ID, 12)
    assert counts(bench)["step_versions"] > before["step_versions"]


def test_traces_are_found_by_tenant_with_every_version_of_their_spans(bench):
    first = spans_body({"trace": 1, "span": 1, "start": 0, "name": "open"})
    second = spans_body({"trace": 1, "span": 1, "start": 0, "end": 4, "name": "ended"})
    bench.record(first)
    bench.record(second)
    bench.record(spans_body({"trace": 1, "span": 7, "start": 0, "end": 1, "name": "another's"}), tenant="b")
    found = {
        (trace.tenant, trace.trace_id): trace
        for trace in bench.writer.traces(
            [(DEFAULT_TENANT, "01" * 16), ("b", "01" * 16), ("b", "02" * 16), ("c", "01" * 16)]
        )
    }
    assert set(found) == {(DEFAULT_TENANT, "01" * 16), ("b", "01" * 16)}
    ours = found[DEFAULT_TENANT, "01" * 16]
    assert {name: len(digests) for name, digests in ours.versions.items()} == {"01" * 8: 2}
    assert [(span.name, span.revision) for span in ours.spans.values()] == [("ended", 2)]
    assert list(found["b", "01" * 16].spans) == ["07" * 8]
    assert bench.writer.traces([]) == []


def test_a_trace_read_back_is_the_trace_that_was_written(bench):
    batch = bench.record(*DEMO)
    spans = {span.span_id: span for span, _ in batch.steps}
    keys = {(span.tenant, span.trace_id) for span in spans.values()}
    read = {span.span_id: span for trace in bench.writer.traces(keys) for span in trace.spans.values()}
    assert read == spans


def test_log_records_that_speak_for_a_step_are_found_before_and_after_its_span(bench):
    bodies = captures()["openai-genai-1.3b0-eventonly"]
    logs = [body for body in bodies if body.signal is Signal.LOGS]
    spoken = [event for event in bench.record(*logs).events if event.speaks]
    assert spoken
    keys = {(event.tenant, event.trace_id) for event in spoken}

    def found() -> set[str]:
        return {event_id for trace in bench.writer.traces(keys) for event_id in trace.events}

    assert found() == {event.event_id for event in spoken}
    bench.record(*(body for body in bodies if body.signal is Signal.TRACES))
    assert found() == {event.event_id for event in spoken}


def test_segments_are_found_by_each_of_their_ties(bench):
    said = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": "C", "gen_ai.output.messages": ASKED}
    bench.record(spans_body({"trace": 1, "span": 1, "start": 0, "end": 1, "name": "chat", **said}))
    bench.record(spans_body({"trace": 2, "span": 1, "start": 5, "end": 6, "name": "chat", **said}))
    bench.record(spans_body({"trace": 3, "span": 1, "start": 5, "end": 6, "name": "chat", **said}), tenant="b")
    left = tie(Rule.CONVERSATION_CALL, DEFAULT_TENANT, "C", "c1")
    found = bench.writer.tied([left, tie(Rule.CONVERSATION_CALL, DEFAULT_TENANT, "none", "c1")])
    assert sorted(segment.facts.trace_id for segment in found) == ["01" * 16, "02" * 16]
    assert {segment.run_id for segment in found} == {segment_id(DEFAULT_TENANT, n * 16) for n in ("01", "02")}
    assert all(segment.facts.leaves == {left} and not segment.facts.takes for segment in found)
    assert bench.writer.tied([tie(Rule.CONVERSATION_CALL, "c", "C", "c1")]) == bench.writer.tied([]) == []
    run_id = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.call.id": "R", "pydantic_ai.x": "y"}
    bench.record(spans_body({"trace": 4, "span": 1, "start": 0, "end": 1, "name": "agent", **run_id}))
    [shared] = bench.writer.tied([left + 8, tie(Rule.RUN, DEFAULT_TENANT, "R")])
    assert shared.facts.trace_id == "04" * 16


def test_known_events_and_points_are_those_that_are_stored(bench):
    batch = bench.record(*DEMO)
    events, points = [event.event_id for event in batch.events], [point.point_id for point in batch.points]
    assert events
    assert points
    assert bench.writer.known_events([*events, "0" * 32]) == set(events)
    assert bench.writer.known_points([*points, "0" * 32]) == set(points)
    assert bench.writer.known_events([]) == bench.writer.known_points([]) == set()


def test_a_run_is_replaced_whole_with_every_batch_that_touches_it(bench):
    for body in DEMO:
        for one in split(body):
            bench.record(one)
    found = bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=100, cursor=None).rows
    assert len(found) == counts(bench)["runs"] == 1
    run = found[0]
    assert run.steps == len({step.step_id for step in steps_of(bench, run.run_id)}) == 28
    assert [call.tool_name for call in bench.reader.tool_calls(DEFAULT_TENANT, run.run_id)].count("refund_order") == 1
    assert len(bench.reader.decisions(DEFAULT_TENANT, run.run_id)) == run.decisions


def steps_of(bench, run_id):
    return bench.reader.steps(DEFAULT_TENANT, run_id, limit=100, cursor=None, inline=False).rows


def test_what_is_recorded_twice_is_stored_once(bench):
    bench.record(*DEMO)
    before = counts(bench)
    bench.record(*DEMO)
    assert counts(bench) == before


def test_quarantined_frames_are_counted(bench):
    batch = ViewBatch(1)
    batch.quarantined.append(Quarantined(1, "traces", "b", "MalformedOtlp: truncated"))
    bench.writer.write(batch)
    assert bench.reader.status().quarantined_frames == 1


def test_text_of_any_script_and_length_comes_back_as_it_was_sent(bench):
    name = "\u4f60\u597d \U0001f600 \x00\x01 'quoted' \"twice\" \\ %s $1 {} ;-- " + "x" * 100_000
    bench.record(
        spans_body({"trace": 1, "span": 1, "start": 0, "end": 1, "name": name, "long": name, "short": name[:40]})
    )
    detail = bench.reader.step(DEFAULT_TENANT, f"{'01' * 16}-{'01' * 8}")
    assert detail.step.name == name
    assert detail.attributes == {"long": name, "short": name[:40]}


def test_a_span_may_have_the_extreme_values_that_otlp_allows(bench):
    body = spans_body({"trace": 1, "span": 1, "start": 0, "end": 1, "name": ""})
    request = split(body)[0]
    parsed = type_of_traces().FromString(request.data)
    span = parsed.resource_spans[0].scope_spans[0].spans[0]
    span.start_time_unix_nano, span.end_time_unix_nano = 2**64 - 1, 2**63 - 1
    span.flags, span.dropped_attributes_count = 2**32 - 1, 2**32 - 1
    span.kind, span.status.code = 2**31 - 1, 2
    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 2**63 - 1
    span.attributes.add(key="gen_ai.usage.output_tokens").value.double_value = 1e300
    span.attributes.add(key="gen_ai.usage.cost").value.double_value = float("nan")
    bench.record(replace(body, data=parsed.SerializeToString()))
    detail = bench.reader.step(DEFAULT_TENANT, f"{'01' * 16}-{'01' * 8}")
    assert detail.span["start_time_unix_nano"] == 2**64 - 1
    assert detail.span["flags"] == 2**32 - 1
    assert detail.attributes["gen_ai.usage.input_tokens"] == 2**63 - 1
    assert len(bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows) == 1


def type_of_traces():
    from store.otlp.schema import REQUEST_MESSAGES

    return REQUEST_MESSAGES[Signal.TRACES]


def test_events_and_points_of_a_tenant_are_nobody_elses(bench):
    bench.record(*DEMO, tenant="a")
    for tenant, expected in (("a", True), ("b", False)):
        assert bool(bench.reader.events(tenant, EventFilter(), limit=10, cursor=None).rows) is expected
        assert bool(bench.reader.metric_points(tenant, MetricFilter(), limit=10, cursor=None).rows) is expected
