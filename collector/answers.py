"""What both doors say: the Export*ServiceResponse of an outcome and the google.rpc.Status of an error."""

from typing import Final

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from collector.errors import Answer
from collector.intake import Outcome
from store.record import Signal

POSITION_HEADER: Final = "spanledger-position"
MESSAGE_CHARACTERS_MAX: Final = 1000  # gRPC sends it as a header, percent-encoded, and clients take 8 KB of those


def export_response(signal: Signal, outcome: Outcome) -> Message:
    """The acknowledgement; it has a partial_success only where something was refused or cut.

    What was cut is stored all the same: OTLP calls a message without rejected records a warning.
    """
    match signal:
        case Signal.TRACES:
            traces = trace_service_pb2.ExportTraceServiceResponse()
            if outcome.message:
                traces.partial_success.rejected_spans = outcome.refused
                traces.partial_success.error_message = outcome.message
            return traces
        case Signal.LOGS:
            logs = logs_service_pb2.ExportLogsServiceResponse()
            if outcome.message:
                logs.partial_success.rejected_log_records = outcome.refused
                logs.partial_success.error_message = outcome.message
            return logs
        case Signal.METRICS:
            metrics = metrics_service_pb2.ExportMetricsServiceResponse()
            if outcome.message:
                metrics.partial_success.rejected_data_points = outcome.refused
                metrics.partial_success.error_message = outcome.message
            return metrics


def short(message: str) -> str:
    """A message that fits where errors travel."""
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}..."


def retry_info(answer: Answer) -> error_details_pb2.RetryInfo | None:
    """When to come back; None where coming back is of no use."""
    if answer.retry_after_seconds is None:
        return None
    info = error_details_pb2.RetryInfo()
    info.retry_delay.seconds = answer.retry_after_seconds
    return info


def status(answer: Answer, message: str) -> status_pb2.Status:
    """The google.rpc.Status of an error, with its RetryInfo where it is retryable."""
    result = status_pb2.Status(code=answer.rpc_code, message=short(message))
    info = retry_info(answer)
    if info is not None:
        result.details.add().Pack(info)
    return result


def to_json(message: Message) -> bytes:
    """A response as the proto3 JSON mapping writes it."""
    return msgspec.json.encode(json_format.MessageToDict(message))
