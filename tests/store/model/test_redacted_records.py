"""What was redacted before it was recorded is said by the step, its messages, its replay and its run."""

from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.intake import Intake
from collector.metrics import IngestMetrics
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.policy import built_in_policy
from query.documents import StepDocument
from store.contract import RunFilter
from store.ledger import Ledger
from store.record import DEFAULT_TENANT, Signal

SECONDS = 30


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
    messages = f'[{{"role": "user", "parts": [{{"type": "text", "content": "{text}"}}]}}]'
    for key, value in {"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages}.items():
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
        assert [row.step_redacted for row in reader.messages(DEFAULT_TENANT, run.run_id)] == [is_redacted]
        said = [event.data.get("step_redacted") for event in reader.replay(DEFAULT_TENANT, run.run_id)]
        assert any(said) is is_redacted
        assert reader.messages(DEFAULT_TENANT, run.run_id)[0].parts[0]["content"] == text.replace(
            "anna@example.org", "[redacted:email]"
        )
    finally:
        ledger.close()
