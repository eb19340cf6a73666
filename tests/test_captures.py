"""Every capture of a real agent comes back whole: every span is a step, every trace is in a run, nothing is lost."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from store.contract import LIMIT_MAX, EventFilter, MetricFilter
from store.model.rows import EventRow, MetricPointRow, StepDetail
from store.record import DEFAULT_TENANT
from tests.captured import NAMES, Recorded, attributes, log_records, metric_points, plain, recorded, spans

# Distinct spans and traces: the columns "spans" less "dup spans", and "traces", of the inventory of the captures. The run of
# `spanledger demo` is counted by its own summary.
DISTINCT_SPANS_AND_TRACES = {
    "agent-framework-1.23": (9, 3),
    "claude-agent-sdk-0.2.184": (18, 1),
    "dbos-3.4": (3, 1),
    "dbos-3.4-semconv": (3, 1),
    "google-adk-2.13": (13, 3),
    "langfuse-5.0": (6, 1),
    "langgraph-genai-1.3b0": (16, 5),
    "langgraph-openinference-0.1.80": (31, 6),
    "mcp-1.30-openinference": (2, 1),
    "mcp-2.3-openinference": (21, 1),
    "mcp-native-2.3-legacy": (22, 2),
    "mcp-native-2.3-modern": (21, 1),
    "mlflow-3.17": (3, 1),
    "openai-agents-0.24-genai": (30, 9),
    "openai-agents-0.24-openinference": (64, 8),
    "openai-agents-traceloop-0.62": (44, 9),
    "openai-genai-1.3b0-eventonly": (9, 1),
    "openai-genai-1.3b0-latest": (9, 1),
    "openai-traceloop-0.40.14": (6, 1),
    "openai-traceloop-0.62": (9, 1),
    "openai-v2-2.4b0-default": (6, 1),
    "openai-v2-2.4b0-latest": (6, 1),
    "pydantic-ai-2.68-openai-mcp": (30, 7),
    "pydantic-ai-2.68-v2": (19, 5),
    "pydantic-ai-2.68-v5": (19, 5),
    "pydantic-evals-2.62-online": (7, 1),
    "spanledger-demo": (28, 2),
    "strands-1.62-default": (21, 4),
    "traceloop-sdk-0.62": (5, 1),
    "vercel-ai-7-legacy": (16, 6),
}


@pytest.fixture(scope="module", params=NAMES)
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with recorded(request.param, tmp_path_factory.mktemp("capture") / "data") as taken:
        yield taken


@pytest.fixture(scope="module")
def details(capture: Recorded) -> dict[str, StepDetail]:
    """Every step of the capture, with all it said, by its id."""
    return {
        step.step_id: capture.reader.step(DEFAULT_TENANT, step.step_id)
        for run in capture.runs()
        for step in capture.steps(run)
    }


def test_every_capture_is_counted() -> None:
    assert set(DISTINCT_SPANS_AND_TRACES) == set(NAMES)


def test_nothing_is_refused_or_quarantined(capture: Recorded) -> None:
    assert [outcome.refused for outcome in capture.outcomes] == [0] * len(capture.outcomes)
    assert all(outcome.position is not None for outcome in capture.outcomes)
    status = capture.reader.status()
    assert status.quarantined_frames == 0
    assert status.position == capture.outcomes[-1].position


def test_every_distinct_span_is_one_step_and_every_trace_is_in_one_run(capture: Recorded) -> None:
    span_count, trace_count = DISTINCT_SPANS_AND_TRACES[capture.name]
    sent = {(span.trace_id.hex(), span.span_id.hex()) for _, _, span in spans(capture.name)}
    assert (len(sent), len({trace_id for trace_id, _ in sent})) == (span_count, trace_count)

    runs = capture.runs()
    steps = [step for run in runs for step in capture.steps(run)]
    assert len(steps) == sum(run.steps for run in runs) == span_count
    assert {(step.trace_id, step.span_id) for step in steps} == sent
    assert Counter(trace_id for run in runs for trace_id in run.trace_ids) == dict.fromkeys({t for t, _ in sent}, 1)
    for run in runs:
        assert [segment.trace_id for segment in run.segments] == run.trace_ids
        assert {step.run_id for step in capture.steps(run)} == {run.run_id}
        for known_as in (*run.trace_ids, *(segment.segment_id for segment in run.segments)):
            assert capture.reader.run(DEFAULT_TENANT, known_as).run_id == run.run_id


def test_every_span_comes_back_as_it_was_sent(capture: Recorded, details: dict[str, StepDetail]) -> None:
    versions: dict[str, list[tuple[Any, Any, Any]]] = {}
    for outer, inner, span in spans(capture.name):
        versions.setdefault(f"{span.trace_id.hex()}-{span.span_id.hex()}", []).append((outer, inner, span))
    assert details.keys() == versions.keys()
    for step_id, sent in versions.items():
        detail = details[step_id]
        assert _as_sent(*sent[-1]) == _as_stored(detail), step_id
        assert detail.step.revision == len({span.SerializeToString(deterministic=True) for _, _, span in sent})


def test_every_log_record_comes_back_as_it_was_sent(capture: Recorded) -> None:
    stored = list(_events(capture))
    sent: dict[str, list[dict[str, Any]]] = {}
    for file, outer, inner, record in log_records(capture.name):
        sent.setdefault(file, []).append(
            {
                "event_name": record.event_name or attributes(record.attributes).get("event.name"),
                "severity_number": record.severity_number,
                "trace_id": record.trace_id.hex() or None,
                "span_id": record.span_id.hex() or None,
                "body": plain(record.body),
                "attributes": attributes(record.attributes),
                "resource": attributes(outer.resource.attributes),
                "scope_name": inner.scope.name or None,
            }
        )
    # A record that is sent again in another body is the same one; equal ones in one body are not.
    expected = Counter[str]()
    for rows in sent.values():
        expected |= Counter(_canonical(rows))
    names = ("event_name", "severity_number", "trace_id", "span_id", "body", "attributes", "resource", "scope_name")
    assert Counter(_canonical([{name: getattr(row, name) for name in names} for row in stored])) == expected
    traces = {trace_id: run.run_id for run in capture.runs() for trace_id in run.trace_ids}
    assert all(row.run_id == traces.get(row.trace_id or "") for row in stored)


def test_every_metric_point_comes_back_as_it_was_sent(capture: Recorded) -> None:
    sent = [
        {
            "metric": metric.name,
            "type": kind,
            "unit": metric.unit or None,
            "attributes": attributes(point.attributes),
            "resource": attributes(outer.resource.attributes),
            "scope_name": inner.scope.name or None,
            "numbers": _numbers_sent(kind, point),
        }
        for outer, inner, metric, kind, point in metric_points(capture.name)
    ]
    stored = [
        {name: getattr(row, name) for name in ("metric", "type", "unit", "attributes", "resource", "scope_name")}
        | {"numbers": _numbers_stored(row)}
        for row in _points(capture)
    ]
    assert _canonical(stored) == _canonical(sent)


def test_every_attribute_key_is_found_again(capture: Recorded, details: dict[str, StepDetail]) -> None:
    sent: dict[str, set[str]] = {}
    for outer, inner, span in spans(capture.name):
        _note(sent, "resource", outer.resource.attributes)
        _note(sent, "scope", inner.scope.attributes)
        _note(sent, "span", span.attributes)
        for event in span.events:
            _note(sent, "span event", event.attributes)
        for link in span.links:
            _note(sent, "link", link.attributes)
    for _, outer, inner, record in log_records(capture.name):
        _note(sent, "log resource", outer.resource.attributes)
        _note(sent, "log record", record.attributes)
        assert not inner.scope.attributes, "events have no place for a scope's attributes"
    for outer, inner, _, _, point in metric_points(capture.name):
        _note(sent, "metric resource", outer.resource.attributes)
        _note(sent, "metric point", point.attributes)
        assert not inner.scope.attributes, "metric points have no place for a scope's attributes"

    found: dict[str, set[str]] = {}
    for detail in details.values():
        found.setdefault("resource", set()).update(detail.resource)
        found.setdefault("scope", set()).update(detail.scope["attributes"])
        found.setdefault("span", set()).update(detail.attributes)
        for event in detail.events:
            found.setdefault("span event", set()).update(event["attributes"])
        for link in detail.links:
            found.setdefault("link", set()).update(link["attributes"])
    for row in _events(capture):
        found.setdefault("log resource", set()).update(row.resource)
        found.setdefault("log record", set()).update(row.attributes)
    for row in _points(capture):
        found.setdefault("metric resource", set()).update(row.resource)
        found.setdefault("metric point", set()).update(row.attributes)
    assert {place: keys for place, keys in found.items() if keys} == sent


def _note(keys: dict[str, set[str]], place: str, pairs: Any) -> None:
    if len(pairs):
        keys.setdefault(place, set()).update(attributes(pairs))


def _as_sent(outer: Any, inner: Any, span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "parent": f"{span.trace_id.hex()}-{span.parent_span_id.hex()}" if span.parent_span_id else None,
        "kind": span.kind,
        "times": (span.start_time_unix_nano, span.end_time_unix_nano),
        "status": (span.status.code, span.status.message),
        "trace_state": span.trace_state,
        "flags": span.flags,
        "dropped": (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
        "attributes": attributes(span.attributes),
        "events": [
            (event.name, event.time_unix_nano, event.dropped_attributes_count, attributes(event.attributes))
            for event in span.events
        ],
        "links": [
            (link.trace_id.hex(), link.span_id.hex(), link.trace_state, link.flags, link.dropped_attributes_count,
             attributes(link.attributes))
            for link in span.links
        ],
        "resource": attributes(outer.resource.attributes),
        "resource_schema_url": outer.schema_url,
        "scope": (inner.scope.name, inner.scope.version, inner.schema_url, attributes(inner.scope.attributes)),
    }  # fmt: skip


def _as_stored(detail: StepDetail) -> dict[str, Any]:
    span, scope = detail.span, detail.scope
    return {
        "name": detail.step.name,
        "parent": detail.step.parent_step_id,
        "kind": span["kind"],
        "times": (span["start_time_unix_nano"], span["end_time_unix_nano"]),
        "status": (span["status_code"], span["status_message"] or ""),
        "trace_state": span.get("trace_state", ""),
        "flags": span.get("flags", 0),
        "dropped": tuple(span.get(f"dropped_{what}_count", 0) for what in ("attributes", "events", "links")),
        "attributes": detail.attributes,
        "events": [
            (event["name"], event["time_ns"], event.get("dropped_attributes_count", 0), event["attributes"])
            for event in detail.events
        ],
        "links": [
            (link["trace_id"], link["span_id"], link.get("trace_state", ""), link.get("flags", 0),
             link.get("dropped_attributes_count", 0), link["attributes"])
            for link in detail.links
        ],
        "resource": detail.resource,
        "resource_schema_url": span.get("resource_schema_url", ""),
        "scope": (scope["name"], scope["version"], scope.get("schema_url", ""), scope["attributes"]),
    }  # fmt: skip


def _events(capture: Recorded) -> Iterator[EventRow]:
    cursor: str | None = None
    while True:
        page = capture.reader.events(DEFAULT_TENANT, EventFilter(), limit=LIMIT_MAX, cursor=cursor)
        yield from page.rows
        if (cursor := page.next_cursor) is None:
            return


def _points(capture: Recorded) -> Iterator[MetricPointRow]:
    cursor: str | None = None
    while True:
        page = capture.reader.metric_points(DEFAULT_TENANT, MetricFilter(), limit=LIMIT_MAX, cursor=cursor)
        yield from page.rows
        if (cursor := page.next_cursor) is None:
            return


def _numbers_sent(kind: str, point: Any) -> dict[str, Any]:
    if kind in ("gauge", "sum"):
        return {"value": getattr(point, point.WhichOneof("value"))}
    buckets = (
        [list(point.explicit_bounds), list(point.bucket_counts)]
        if kind == "histogram"
        else [point.scale, point.zero_count, point.positive.offset, list(point.positive.bucket_counts)]
    )
    return {"count": point.count, "sum": point.sum, "min": point.min, "max": point.max, "buckets": buckets}


def _numbers_stored(row: MetricPointRow) -> dict[str, Any]:
    detail = row.detail
    if row.type in ("gauge", "sum"):
        return {"value": row.value}
    buckets = (
        [detail["explicit_bounds"], detail["bucket_counts"]]
        if row.type == "histogram"
        else [detail["scale"], detail["zero_count"], detail["positive"]["offset"], detail["positive"]["bucket_counts"]]
    )
    return {"count": row.count, "sum": row.sum, "min": row.min, "max": row.max, "buckets": buckets}


def _canonical(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
