"""`spanledger import`: the requests of OTLP files, sent to a running server or taken into the data folder directly.

Either way a body takes the path that every other request takes (OTLP/HTTP, or the collector's `Intake` that is behind
it), so what import accepts is what a receiver accepts. A refused body is counted with its reason and the next one is
sent; a receiver that is only busy is asked again.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.answers import POSITION_HEADER
from collector.errors import CollectorError, DiskNearlyFull
from collector.headroom import Headroom
from collector.intake import Intake
from collector.otlp_json import to_protobuf
from spanledger.errors import FrontDoorError
from spanledger.otlp_files import JSON, Body, Unusable, bodies_of, check_readable
from spanledger.reading import KEY_ENVIRONMENT, NO_ACCESS, ClientAccess, NotPermitted, http_client
from store.errors import StoreError
from store.record import Position, Signal

SEND_SECONDS: Final = 120.0  # A body of 64 MB on a slow disk; longer means that nobody answers.
ATTEMPTS_MAX: Final = 8  # Of one body to a busy receiver: with doubling waits a little over a minute.
WAIT_SECONDS_FIRST: Final = 0.5
WAIT_SECONDS_MAX: Final = 30.0
REASONS_MAX: Final = 20  # Shown of one file; a file of a million bad lines has one cause.
_BUSY: Final = (429, 502, 503, 504)  # The statuses that OTLP/HTTP calls retryable.
# Of each signal: the answer, and the field of its partial_success that counts what was refused.
_RESPONSES: Final[dict[Signal, tuple[type[Message], str]]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a receiver said to one body."""

    accepted: int
    refused: int
    reason: str
    position: Position | None


class Destination(Protocol):
    """Where bodies go."""

    def send(self, body: Body) -> Sent:
        """Send one body. A refusal is an answer; raises FrontDoorError only where the rest cannot be sent either."""
        ...


@dataclass(slots=True)
class FileReport:
    """What became of one file. Bodies are requests, records are spans, log records and metrics."""

    path: Path
    bodies: int = 0
    bodies_refused: int = 0
    accepted: dict[str, int] = field(default_factory=dict[str, int])
    refused: int = 0
    reasons: list[str] = field(default_factory=list[str])
    reasons_left_out: int = 0
    position: Position | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing was refused."""
        return not (self.bodies_refused or self.refused)

    def add(self, item: Body | Unusable, sent: Sent) -> None:
        self.bodies += 1
        if isinstance(item, Body):
            self.accepted[item.signal.label] = self.accepted.get(item.signal.label, 0) + sent.accepted
        self.refused += sent.refused
        if sent.reason:
            self.bodies_refused += not sent.accepted
            if len(self.reasons) < REASONS_MAX:
                self.reasons.append(f"{item.where}: {sent.reason}")
            else:
                self.reasons_left_out += 1
        self.position = sent.position or self.position


def import_files(
    paths: Iterable[Path], destination: Destination, *, signal: Signal | None, bytes_max: int
) -> Iterator[FileReport]:
    """Send every body of every file, in order, one report a file. Raises FrontDoorError where it cannot go on.

    Nothing is sent before every file is known to open: a misspelt name must not leave half an import.
    """
    paths = list(paths)
    for path in paths:
        check_readable(path)
    for path in paths:
        report = FileReport(path)
        for item in bodies_of(path, signal, bytes_max):
            sent = destination.send(item) if isinstance(item, Body) else Sent(0, 0, item.reason, None)
            report.add(item, sent)
        yield report


class LocalIntake:
    """The collector's own way in, for a data folder that this process has opened.

    The disk's reserve holds as it does for a server: the view is still to be written. How far the view is behind is no
    matter: nobody reads it before the import has waited for it.
    """

    def __init__(self, intake: Intake, headroom: Headroom) -> None:
        self._intake = intake
        self._headroom = headroom

    def send(self, body: Body) -> Sent:
        try:
            self._headroom.check_disk()
            payload = to_protobuf(body.signal, body.payload) if body.content_type == JSON else body.payload
            outcome = self._intake.accept(body.signal, payload)
        except DiskNearlyFull as error:
            raise FrontDoorError(
                f"cannot store {body.where}: {error}",
                "make room, or set disk_reserve_mb lower, then import again: what is stored already counts once",
            ) from error
        except (CollectorError, StoreError) as error:
            if getattr(error, "retryable", False):
                raise FrontDoorError(f"cannot store {body.where}: {error}", "make room, then import again") from error
            return Sent(0, body.records, str(error), None)
        return Sent(outcome.accepted, outcome.refused, outcome.message, outcome.position)


class OtlpHttp:
    """A receiver at an OTLP/HTTP address."""

    def __init__(
        self, url: str, access: ClientAccess = NO_ACCESS, *, pause: Callable[[float], Any] = time.sleep
    ) -> None:
        self._url = url
        self._client = http_client(url, SEND_SECONDS, access)
        self._pause = pause

    def close(self) -> None:
        self._client.close()

    def send(self, body: Body) -> Sent:
        response = self._post(body)
        wait_seconds = WAIT_SECONDS_FIRST
        for _ in range(ATTEMPTS_MAX - 1):
            if response.status_code not in _BUSY:
                break
            self._pause(max(wait_seconds, _retry_after_seconds(response)))
            wait_seconds = min(wait_seconds * 2, WAIT_SECONDS_MAX)
            response = self._post(body)
        if response.status_code in _BUSY:
            reason = f"{response.status_code} {_message_of(response)}"
            raise FrontDoorError(
                f"{self._url} did not take {body.where} in {ATTEMPTS_MAX} attempts: {reason}",
                "look at the server's log and at /readyz of its API, then import again",
            )
        if response.status_code in (401, 403):
            raise NotPermitted(
                f"{self._url} does not take it: {response.status_code} {_message_of(response)}",
                f"give a key that may write with --key-file or {KEY_ENVIRONMENT}",
            )
        if not response.is_success:
            return Sent(0, body.records, f"{response.status_code}: {_message_of(response)}", None)
        refused, message = _partial_success(body, response)
        receipt = response.headers.get(POSITION_HEADER)
        position = None if receipt is None else Position.parse(receipt)
        return Sent(max(body.records - refused, 0), refused, message, position)

    def _post(self, body: Body) -> httpx.Response:
        try:
            return self._client.post(
                f"/v1/{body.signal.label}", content=body.payload, headers={"Content-Type": body.content_type}
            )
        except httpx.HTTPError as error:
            raise FrontDoorError(
                f"cannot send to {self._url}: {error or type(error).__name__}",
                "start a server with `spanledger serve`, or give its OTLP/HTTP address with --url",
            ) from error


def _partial_success(body: Body, response: httpx.Response) -> tuple[int, str]:
    """Refused records and why, from an Export*ServiceResponse in either encoding."""
    kind, refused_field = _RESPONSES[body.signal]
    try:
        answer: Any = _parsed(kind(), response)
    except (DecodeError, json_format.ParseError) as error:
        raise FrontDoorError(
            f"what answers at {response.url} is not an OTLP receiver: {error}",
            "give the OTLP/HTTP address of a server with --url (`serve` prints it under `otlp_http`)",
        ) from error
    return int(getattr(answer.partial_success, refused_field)), str(answer.partial_success.error_message)


def _message_of(response: httpx.Response) -> str:
    """The reason of a refusal: a google.rpc.Status in either encoding, or the phrase of its status."""
    try:
        answer: Any = _parsed(status_pb2.Status(), response)
    except (DecodeError, json_format.ParseError):
        return response.reason_phrase
    return str(answer.message) or response.reason_phrase


def _parsed(message: Message, response: httpx.Response) -> Message:
    if response.headers.get("content-type", "").startswith(JSON):
        return json_format.Parse(response.content, message, ignore_unknown_fields=True)
    message.ParseFromString(response.content)
    return message


def _retry_after_seconds(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return min(float(text), WAIT_SECONDS_MAX) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
