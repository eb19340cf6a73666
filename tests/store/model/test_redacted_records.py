"""What was redacted before it was recorded is said by the step, its messages, its replay and its run."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.intake import Intake
from collector.metrics import IngestMetrics
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.policy import built_in_policy
from query.documents import StepDocument
from store.contract import EventFilter, RunFilter
from store.ledger import Ledger
from store.otlp.decode import decode
from store.record import DEFAULT_TENANT, Signal
from tests.conformance.engines import ENGINES, JOURNAL_ID
from tests.store.ledger_bench import Body
from tests.store.model.model_bench import key_values

SECONDS = 30
TRACE = bytes(range(1, 17))


@pytest.mark.parametrize("text", ["write to anna@example.org", "nothing to see"])
def test_steps_messages_replay_and_run_say_what_was_redacted(tmp_path: Path, text: str) -> None:
    policy = built_in_policy()
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=b"t" * 16,
            span_id=b"s" * 8,
            name="chat m",
            start_time_unix_nano=10**18,
            end_time_unix_nano=10**18 + 5,
        )
    )
    said = f'[{{"role": "user", "parts": [{{"type": "text", "content": "{text}"}}]}}]'
    for key, value in {"gen_ai.operation.name": "chat", "gen_ai.input.messages": said}.items():
        span.attributes.add(key=key).value.string_value = value
    ledger = Ledger.open(tmp_path)
    try:
        boundary = RedactingBoundary(lambda: policy)
        intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=boundary)
        position = intake.accept(Signal.TRACES, request.SerializeToString()).position
        assert position is not None
        assert ledger.waiter.wait_for(position, SECONDS)
        reader = ledger.reader
        run = reader.runs(DEFAULT_TENANT, RunFilter(), limit=1, cursor=None).rows[0]
        step = reader.steps(DEFAULT_TENANT, run.run_id, limit=1, cursor=None, inline=False).rows[0]
        detail = StepDocument.of(reader.step(DEFAULT_TENANT, step.step_id))
        is_redacted = "@" in text
        assert run.completeness.redacted == is_redacted
        assert run.completeness.truncated == 0
        assert step.redacted is detail.redacted is is_redacted
        expected = {
            "place": "attributes/gen_ai.input.messages",
            "rule": "email",
            "action": "mask",
            "version": policy.version,
            "length": 16,
        }
        assert detail.redactions == ([expected] if is_redacted else [])
        messages = list(reader.messages(DEFAULT_TENANT, run.run_id))
        assert [row.step_redacted for row in messages] == [is_redacted]
        events = list(reader.replay(DEFAULT_TENANT, run.run_id))
        assert any(event.data.get("step_redacted") for event in events) is is_redacted
        assert not any("step_truncated" in event.data for event in events)
        assert messages[0].parts[0]["content"] == text.replace("anna@example.org", "[redacted:email]")
    finally:
        ledger.close()


def test_messages_that_were_redacted_in_a_log_record_make_its_step_redacted_and_are_shown_as_such(
    tmp_path: Path,
) -> None:
    bench = ENGINES["duckdb"](tmp_path)
    try:
        bench.writer.begin(JOURNAL_ID)
        bench.record(_redacted(Signal.TRACES, _chat()), _redacted(Signal.LOGS, _said_by_mail()))
        run = bench.reader.run(DEFAULT_TENANT, TRACE.hex())
        assert (run.completeness.redacted, run.completeness.truncated) == (1, 0)
        page = bench.reader.steps(DEFAULT_TENANT, run.run_id, limit=9, cursor=None, inline=False)
        assert {row.name: (row.redacted, row.truncated) for row in page.rows} == {
            "agent": (False, False),
            "chat": (True, False),
        }
        [message] = bench.reader.messages(DEFAULT_TENANT, run.run_id)
        assert (message.step_redacted, message.step_truncated) == (True, False)
        told = {event.type: event.data for event in bench.reader.replay(DEFAULT_TENANT, run.run_id)}
        assert told["message"]["step_redacted"] is True
        assert not any("step_truncated" in data for data in told.values())
        assert "step_redacted" not in told["run_started"]
        [event] = bench.reader.events(DEFAULT_TENANT, EventFilter(), limit=2, cursor=None).rows
        assert (event.redacted, event.truncated) == (True, False)
    finally:
        bench.close()


def _redacted(signal: Signal, request: Any) -> Body:
    policy = built_in_policy()
    decoded = decode(signal, request.SerializeToString())
    return Body(signal, RedactingBoundary(lambda: policy).apply(DEFAULT_TENANT, decoded).decoded.body)


def _chat() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    inner = request.resource_spans.add().scope_spans.add()
    for nth, name in enumerate(("agent", "chat"), 1):
        span = inner.spans.add(trace_id=TRACE, span_id=bytes(7) + bytes((nth,)), name=name)
        span.parent_span_id = b"" if nth == 1 else bytes(7) + b"\x01"
        span.start_time_unix_nano = 10**18 + nth
        span.end_time_unix_nano = 10**18 + 10 * nth
        if nth == 2:
            span.attributes.extend(key_values({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}))
    return request


def _said_by_mail() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=TRACE, span_id=bytes(7) + b"\x02")
    record.time_unix_nano = 10**18 + 2
    record.event_name = "gen_ai.client.inference.operation.details"
    said = [{"role": "user", "parts": [{"type": "text", "content": "write to anna@example.org"}]}]
    record.attributes.extend(key_values({"gen_ai.input.messages": said}))
    return request
