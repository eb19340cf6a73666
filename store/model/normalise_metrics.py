"""Metrics to data points, one row each, of every metric type.

Metric bodies are few and small beside spans, and their points come in five shapes, so the official runtime is walked here.
"""

from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2

from store.model.columns import read_text
from store.model.content import JSON, ContentSink
from store.model.ids import record_id
from store.model.normalise import bounded_ns
from store.model.span import MetricPoint
from store.otlp.values import finite, key_values, to_json, to_json_bytes
from store.record import Frame

_TEMPORALITY: Final = {0: "unspecified", 1: "delta", 2: "cumulative"}


def normalise_metrics(frames: list[Frame], sink: ContentSink) -> list[MetricPoint]:
    """Every data point of metric frames, in the order of the record. A metric without points is one row of type `empty`."""
    return [point for frame in frames for point in _points(frame, sink)]


def _points(frame: Frame, sink: ContentSink) -> list[MetricPoint]:
    result: list[MetricPoint] = []
    for outer in ExportMetricsServiceRequest.FromString(frame.body).resource_metrics:
        facts = key_values(outer.resource.attributes)
        resource = sink.put(frame.tenant, to_json_bytes(_enclosing(facts, outer.schema_url)), JSON)
        for inner in outer.scope_metrics:
            name, version = inner.scope.name, inner.scope.version
            said = {
                "name": name,
                "version": version,
                **_enclosing(key_values(inner.scope.attributes), inner.schema_url),
            }
            scope = sink.put(frame.tenant, to_json_bytes(said), JSON)
            for metric in inner.metrics:
                kind = metric.WhichOneof("data") or "empty"
                data: Any = getattr(metric, kind) if kind != "empty" else None
                points: list[Any] = list(data.data_points) if data is not None else []
                for point in points or [None]:
                    row = MetricPoint(
                        tenant=frame.tenant,
                        point_id="",
                        sequence=frame.sequence,
                        ordinal=len(result),
                        received_ns=frame.received_ns,
                        metric=metric.name,
                        type=kind,
                        unit=metric.unit or None,
                        description=metric.description or None,
                        temporality=_TEMPORALITY.get(getattr(data, "aggregation_temporality", -1)),
                        monotonic=data.is_monotonic if kind == "sum" and data is not None else None,
                        start_ns=bounded_ns(point.start_time_unix_nano) if point is not None else 0,
                        time_ns=bounded_ns(point.time_unix_nano) if point is not None else 0,
                        value_double=None,
                        value_int=None,
                        count=None,
                        sum=None,
                        min=None,
                        max=None,
                        detail="{}",
                        attributes=to_json(key_values(point.attributes)) if point is not None else "{}",
                        resource=resource,
                        scope=scope,
                        service_name=read_text(facts.get("service.name")),
                        scope_name=name or None,
                    )
                    if point is not None:
                        _fill(row, kind, point)
                    row.point_id = _point_id(row)
                    result.append(row)
    return result


def _enclosing(attributes: dict[str, Any], schema_url: str) -> dict[str, Any]:
    return {"attributes": attributes} | ({"schema_url": schema_url} if schema_url else {})


def _fill(row: MetricPoint, kind: str, point: Any) -> None:
    detail: dict[str, Any] = {}
    match kind:
        case "gauge" | "sum":
            match point.WhichOneof("value"):
                case "as_int":
                    row.value_int = point.as_int
                case "as_double":
                    row.value_double = point.as_double
                case _:
                    pass
        case "histogram":
            _fill_totals(row, point)
            detail["explicit_bounds"] = [finite(bound) for bound in point.explicit_bounds]
            detail["bucket_counts"] = list(point.bucket_counts)
        case "exponential_histogram":
            _fill_totals(row, point)
            detail |= {"scale": point.scale, "zero_count": point.zero_count, "zero_threshold": point.zero_threshold}
            for side in ("positive", "negative"):
                buckets = getattr(point, side)
                detail[side] = {"offset": buckets.offset, "bucket_counts": list(buckets.bucket_counts)}
        case _:
            row.count, row.sum = min(point.count, 2**63 - 1), point.sum
            detail["quantile_values"] = [
                {"quantile": finite(item.quantile), "value": finite(item.value)} for item in point.quantile_values
            ]
    exemplars: list[metrics_pb2.Exemplar] = list(getattr(point, "exemplars", ()))
    if exemplars:
        detail["exemplars"] = [_exemplar(exemplar) for exemplar in exemplars]
    if point.flags:
        detail["flags"] = point.flags
    row.detail = to_json(detail)


def _fill_totals(row: MetricPoint, point: Any) -> None:
    row.count = min(point.count, 2**63 - 1)
    row.sum = point.sum if point.HasField("sum") else None
    row.min = point.min if point.HasField("min") else None
    row.max = point.max if point.HasField("max") else None


def _exemplar(exemplar: metrics_pb2.Exemplar) -> dict[str, Any]:
    kind = exemplar.WhichOneof("value")
    return {
        "time_ns": exemplar.time_unix_nano,
        "value": finite(getattr(exemplar, kind)) if kind else None,
        "trace_id": exemplar.trace_id.hex(),
        "span_id": exemplar.span_id.hex(),
        "filtered_attributes": key_values(exemplar.filtered_attributes),
    }


def _point_id(row: MetricPoint) -> str:
    values = (row.value_double, row.value_int, row.count, row.sum, row.min, row.max, row.monotonic)
    return record_id(
        "point", row.tenant, row.resource, row.scope, row.metric, row.type, row.unit or "", row.temporality or "",
        row.attributes, str(row.start_ns), str(row.time_ns), repr(values), row.detail,
    )  # fmt: skip
