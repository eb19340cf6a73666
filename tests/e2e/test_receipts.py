"""The position of an acknowledgement: a read that passes it sees what was acknowledged, at once and every time."""

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_bodies import BEGUN_NS, trace_body, trace_id_of
from running_server import RunningServer
from senders import TRACES_EXPORT, position_of

from tests.patience import BUSY_SECONDS

TIMES = 50


def test_a_read_with_the_position_of_an_acknowledgement_sees_the_run_fifty_times(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        export = channel.unary_unary(TRACES_EXPORT)
        for trace in range(1, TIMES + 1):
            if trace % 2:
                position = server.record("traces", trace_body(trace, 2))
            else:
                _, call = export.with_call(trace_body(trace, 2), timeout=BUSY_SECONDS)
                position = position_of(call)
            [run] = server.rows("/v1/runs", "runs", trace_id=trace_id_of(trace).hex(), min_position=position)
            assert (run["trace_ids"], run["steps"]) == ([trace_id_of(trace).hex()], 2)
    assert len(server.rows("/v1/runs", "runs", service="e2e")) == TIMES


def test_a_trace_that_grows_is_seen_with_every_step_acknowledged_so_far(server: RunningServer) -> None:
    for spans in range(1, 11):
        # Each request repeats the spans before it, as an exporter does that was not sure.
        position = server.record("traces", trace_body(1000, spans))
        run = server.get(f"/v1/runs/{trace_id_of(1000).hex()}", min_position=position)
        assert run["steps"] == spans


def test_a_position_that_no_receipt_gave_is_refused_at_once(server: RunningServer) -> None:
    position = server.record("traces", trace_body(2000))
    journal, _, sequence = position.rpartition(":")
    for wrong in (f"{journal}:{int(sequence) + 1000}", f"another:{sequence}", "soon"):
        answer = server.api.get("/v1/runs", params={"min_position": wrong}, timeout=5)
        assert answer.status_code == 422
        assert answer.json()["parameter"] == "min_position"


@pytest.mark.parametrize("resource_and_scope", ["none at all", "empty"])
def test_a_span_without_resource_and_scope_is_stored_and_shown(server: RunningServer, resource_and_scope: str) -> None:
    trace = 3000 + len(resource_and_scope)
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    if resource_and_scope == "empty":
        request.resource_spans[0].resource.SetInParent()
        scope.scope.SetInParent()
    scope.spans.add(trace_id=trace_id_of(trace), span_id=bytes(7) + b"1", start_time_unix_nano=BEGUN_NS)
    position = server.record("traces", request.SerializeToString())
    run = server.get(f"/v1/runs/{trace_id_of(trace).hex()}", min_position=position)
    assert (run["steps"], run["service_name"]) == (1, None)
    [step] = server.rows(f"/v1/runs/{run['run_id']}/steps", "steps")
    assert (step["name"], step["kind"], step["scope_name"]) == ("", "other", None)
    detail = server.get(f"/v1/steps/{step['step_id']}")
    assert (detail["attributes"], detail["resource"]) == ({}, {})
    assert detail["span_id"] == (bytes(7) + b"1").hex()
    assert server.replay(run["run_id"])[0]["type"] == "run_started"
