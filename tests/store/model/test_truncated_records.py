"""What was cut before it was recorded, as the view and its readers tell it."""

from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.bounds import bounded
from collector.limits import Limits
from store.contract import EventFilter, MetricFilter
from store.model.ids import step_id
from store.otlp.decode import decode
from store.otlp.truncation import MARK, SENT_MARK
from store.record import DEFAULT_TENANT, Signal
from tests.conformance.engines import ENGINES, JOURNAL_ID, EngineBench
from tests.store.ledger_bench import Body
from tests.store.model.model_bench import MS, NOON_NS, any_value, key_values

LIMITS = Limits(attributes_max=8, attribute_bytes_max=600)
LONG = "word " * 400
SPAN = "gen_ai.client.inference.operation.details"
TRACE = bytes(range(1, 17))


@pytest.fixture
def bench(tmp_path: Any) -> Any:
    found = ENGINES["duckdb"](tmp_path)
    found.writer.begin(JOURNAL_ID)
    yield found
    found.close()


def recorded(signal: Signal, request: Any) -> Body:
    """A request as the collector records it."""
    return Body(signal, bounded(decode(signal, request.SerializeToString()), LIMITS).decoded.body)


def step(number: int) -> str:
    return step_id(TRACE.hex(), number.to_bytes(8, "big").hex())


def traces(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> Body:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.extend(key_values({"service.name": "bench"} | (resource or {})))
    inner = outer.scope_spans.add()
    inner.scope.name = "some.scope"
    for nth, attributes in enumerate(spans, 1):
        span = inner.spans.add(trace_id=TRACE, span_id=nth.to_bytes(8, "big"), name=f"step {nth}")
        span.parent_span_id = b"" if nth == 1 else (1).to_bytes(8, "big")
        span.start_time_unix_nano = NOON_NS + nth * MS
        span.end_time_unix_nano = NOON_NS + (nth + 1) * MS
        span.attributes.extend(key_values(attributes))
    return recorded(Signal.TRACES, request)


def logs(*records: dict[str, Any], body: Any = None) -> Body:
    request = ExportLogsServiceRequest()
    inner = request.resource_logs.add().scope_logs.add()
    for attributes in records:
        record = inner.log_records.add(
            trace_id=TRACE, span_id=(2).to_bytes(8, "big"), time_unix_nano=NOON_NS, event_name=SPAN
        )
        record.body.CopyFrom(any_value(body))
        record.attributes.extend(key_values(attributes))
    return recorded(Signal.LOGS, request)


def steps_of(bench: EngineBench) -> dict[str, bool]:
    page = bench.reader.steps(DEFAULT_TENANT, TRACE.hex(), limit=100, cursor=None, inline=False)
    return {row.name: row.truncated for row in page.rows}


def test_a_step_says_that_it_was_cut_and_the_step_itself_says_what(bench: EngineBench) -> None:
    bench.record(traces({}, {"question": LONG, "short": "kept"}))
    assert steps_of(bench) == {"step 1": False, "step 2": True}
    run = bench.reader.run(DEFAULT_TENANT, TRACE.hex())
    assert (run.completeness.truncated, run.completeness.state) == (1, "partial")
    detail = bench.reader.step(DEFAULT_TENANT, step(2))
    assert detail.attributes["question"] == LONG[:600]
    assert detail.attributes["short"] == "kept"
    [cut] = detail.truncations
    assert (cut["place"], cut["length"], cut["reason"]) == ("attributes/question", len(LONG), "attribute_bytes_max")
    assert detail.attributes[MARK] == detail.truncations
    assert bench.reader.step(DEFAULT_TENANT, step(1)).truncations == []


def test_a_long_mark_is_read_back_whole(bench: EngineBench) -> None:
    bench.record(traces({f"key {number}": LONG for number in range(12)}))
    places = [cut["place"] for cut in bench.reader.step(DEFAULT_TENANT, step(1)).truncations]
    assert places == ["attributes", *(f"attributes/key {number}" for number in range(8))]


def test_what_was_cut_of_a_resource_makes_all_of_its_steps_truncated(bench: EngineBench) -> None:
    bench.record(traces({}, {}, resource={"process.command_line": LONG}))
    assert steps_of(bench) == {"step 1": True, "step 2": True}
    assert bench.reader.run(DEFAULT_TENANT, TRACE.hex()).completeness.truncated == 2
    [cut] = bench.reader.step(DEFAULT_TENANT, step(1)).truncations
    assert cut["place"] == "resource/attributes/process.command_line"


def test_messages_that_were_cut_in_a_log_record_make_its_step_truncated_and_are_shown_as_such(
    bench: EngineBench,
) -> None:
    said = [{"role": "user", "parts": [{"type": "text", "content": LONG}]}]
    bench.record(
        traces({}, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}),
        logs({"gen_ai.input.messages": said}),
    )
    assert steps_of(bench) == {"step 1": False, "step 2": True}
    assert bench.reader.run(DEFAULT_TENANT, TRACE.hex()).completeness.truncated == 1
    [message] = bench.reader.messages(DEFAULT_TENANT, TRACE.hex())
    assert message.step_truncated
    [part] = message.parts
    assert LONG.startswith(part["content"])
    assert len(part["content"]) > 400
    told = {event.type: event.data.get("step_truncated") for event in bench.reader.replay(DEFAULT_TENANT, TRACE.hex())}
    assert told == {"run_started": None, "message": True, "run_ended": None}
    [event] = bench.reader.events(DEFAULT_TENANT, EventFilter(), limit=10, cursor=None).rows
    assert event.truncated


def test_messages_that_were_cut_in_the_middle_of_their_json_are_shown_as_far_as_they_go(bench: EngineBench) -> None:
    sent = '[{"role":"user","parts":[{"type":"text","content":"' + LONG + '"}]}]'
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": sent}
    bench.record(traces({}, chat))
    [message] = bench.reader.messages(DEFAULT_TENANT, TRACE.hex())
    assert message.parts == [{"type": "text", "content": sent[:600]}]
    assert message.step_truncated


def test_a_log_record_says_that_it_was_cut(bench: EngineBench) -> None:
    bench.record(logs({"fits": "x"}, body=LONG), logs({"fits": "x"}, body="short"))
    rows = bench.reader.events(DEFAULT_TENANT, EventFilter(), limit=10, cursor=None).rows
    by_body = {row.body: row for row in rows}
    assert {body: row.truncated for body, row in by_body.items()} == {LONG[:600]: True, "short": False}
    assert [cut["place"] for cut in by_body[LONG[:600]].attributes[MARK]] == ["body"]


@pytest.mark.parametrize("of", ["point", "resource", "scope"])
def test_a_data_point_says_that_it_was_cut(bench: EngineBench, of: str) -> None:
    request = ExportMetricsServiceRequest()
    outer = request.resource_metrics.add()
    inner = outer.scope_metrics.add()
    point = inner.metrics.add(name="m").gauge.data_points.add(as_int=1)
    holder: Any = {"point": point, "resource": outer.resource, "scope": inner.scope}[of]
    holder.attributes.extend(key_values({"route": LONG}))
    bench.record(recorded(Signal.METRICS, request))
    [row] = bench.reader.metric_points(DEFAULT_TENANT, MetricFilter(), limit=10, cursor=None).rows
    assert row.truncated
    assert (MARK in row.attributes) == (of == "point")


def test_a_mark_that_a_sender_wrote_makes_nothing_truncated(bench: EngineBench) -> None:
    fake = [{"place": "attributes/x", "length": 1, "sha256": "00", "reason": "none"}]
    nested = {"gen_ai.input.messages": [{"role": "user", "content": {MARK: "in the middle"}}]}
    bench.record(traces({MARK: fake}, {}), logs({MARK: fake} | nested, body={MARK: fake}))
    assert steps_of(bench) == {"step 1": False, "step 2": False}
    detail = bench.reader.step(DEFAULT_TENANT, step(1))
    assert (detail.attributes[SENT_MARK], detail.truncations) == (fake, [])
    [event] = bench.reader.events(DEFAULT_TENANT, EventFilter(), limit=10, cursor=None).rows
    assert (event.attributes[SENT_MARK], event.truncated) == (fake, False)
