"""The reading benchmark fills a view with runs of the sizes it says, and has a figure for every question."""

from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import reading
from bench.long_run import long_run


@pytest.mark.parametrize("steps", [1, 2, 3, 97, 600])
def test_a_long_run_has_exactly_the_steps_that_were_asked_for(steps: int) -> None:
    trace_id, requests = long_run(steps, seed=3, start_ns=1_795_159_163_000_000_000)
    spans = [
        span
        for request in requests
        for resource_spans in ExportTraceServiceRequest.FromString(request).resource_spans
        for span in resource_spans.scope_spans[0].spans
    ]
    assert {span.trace_id.hex() for span in spans} == {trace_id}
    assert len({span.span_id for span in spans}) == len(spans) == steps
    assert [span.span_id for span in spans if not span.parent_span_id]
    missing = {span.parent_span_id for span in spans} - {b""} - {span.span_id for span in spans}
    assert len(missing) <= 1  # The last call may be cut in its middle.


def test_every_question_has_a_figure_for_every_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--steps", "40", "300", "--beside", "600", "--data", str(tmp_path / "data")]
    assert reading.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| asked | 40 steps | 300 steps |"
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines[2:]} >= {"run", "steps: last page", "replay: all"}
    assert not [line for line in lines if "too slow" in line]
