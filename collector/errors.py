"""Why a request is not acknowledged, and the one table that says how each door tells the sender.

What the data causes is refused for good; what we cause is retryable, and says when. A cause has one row in `ANSWERS`,
found along the exception's class hierarchy, so that a new error of the store is answered as its parent until it gets a
row of its own.
"""

from dataclasses import dataclass, replace
from typing import Final

from google.rpc import code_pb2

from access.errors import (
    AccessError,
    AccessUnknown,
    CredentialInUrl,
    Forbidden,
    HostRefused,
    RateExceeded,
    Unauthenticated,
)
from store.errors import JournalClosed, JournalFailed, JournalFull, MalformedOtlp, StoreError


class CollectorError(Exception):
    """A receiver did not take a request, or could not be started."""


class MalformedBody(CollectorError):
    """The body is not what its headers say: its compression or its JSON is broken."""


class NestedTooDeep(CollectorError):
    """An attribute value is nested deeper than every reader of the record can follow."""


class BodyTooLarge(CollectorError):
    """The body is past a bound, on the wire or decompressed."""


class BodyTooSlow(CollectorError):
    """The sender did not finish the body in time."""


class UnsupportedContentType(CollectorError):
    """The body is neither OTLP protobuf nor OTLP JSON."""


class UnsupportedEncoding(CollectorError):
    """The body is compressed in a way that is not known here."""


class UnknownPath(CollectorError):
    """There is nothing at this path."""


class WrongMethod(CollectorError):
    """The path exists; the HTTP method does not."""


class Overloaded(CollectorError):
    """As many requests or bytes are in flight as the limits allow. Retryable: nothing was stored."""

    def __init__(self, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """When to come back, where that is known better than `ANSWERS` can."""


class ViewBehind(Overloaded):
    """The view is further behind the record than may be. Retryable: it catches up, and nothing was read."""


class DiskNearlyFull(Overloaded):
    """The disk has less left than is kept free. Retryable: room may come back, and nothing was read."""


class DecoderPanicked(CollectorError):
    """The native decoder met a defect of its own in a request. Nothing of the request is stored."""


class RedactionUnavailable(CollectorError):
    """Redaction itself failed: nothing of the request is stored. Retryable: it is not the request's fault."""


class ClientDisconnected(CollectorError):
    """The sender went away in the middle of its body. There is nobody to answer."""


class PortUnavailable(CollectorError):
    """A receiver cannot listen where it was told to."""

    def __init__(self, host: str, port: int, cause: str, hint: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {cause}; {hint}")
        self.host = host
        self.port = port
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Answer:
    """How a cause is told: HTTP status, google.rpc code, the label metrics count it under, when to come back."""

    http_status: int
    rpc_code: int
    reason: str
    retry_after_seconds: int | None = None

    @property
    def retryable(self) -> bool:
        """Whether the sender may send the same request again."""
        return self.retry_after_seconds is not None


# Exporters give up a batch at once when the wait does not fit into what is left of their timeout, which is 10 s for a batch
# unless they are told otherwise: a longer wait than this loses the data that it is meant to save.
RETRY_SECONDS_MAX: Final = 5

# Retryable statuses are those of the OTLP specification: 429 and 503 over HTTP; RESOURCE_EXHAUSTED (only together with
# a RetryInfo) and UNAVAILABLE over gRPC. 500 and INTERNAL are final there, so what fails inside us is never that.
ANSWERS: Final[dict[type[Exception], Answer]] = {
    MalformedOtlp: Answer(400, code_pb2.INVALID_ARGUMENT, "malformed"),
    MalformedBody: Answer(400, code_pb2.INVALID_ARGUMENT, "malformed"),
    NestedTooDeep: Answer(400, code_pb2.INVALID_ARGUMENT, "nested_too_deep"),
    BodyTooLarge: Answer(413, code_pb2.RESOURCE_EXHAUSTED, "too_large"),
    BodyTooSlow: Answer(408, code_pb2.ABORTED, "too_slow"),
    UnsupportedContentType: Answer(415, code_pb2.INVALID_ARGUMENT, "content_type"),
    UnsupportedEncoding: Answer(415, code_pb2.INVALID_ARGUMENT, "content_encoding"),
    UnknownPath: Answer(404, code_pb2.NOT_FOUND, "unknown_path"),
    WrongMethod: Answer(405, code_pb2.UNIMPLEMENTED, "wrong_method"),
    Unauthenticated: Answer(401, code_pb2.UNAUTHENTICATED, "unauthenticated"),
    Forbidden: Answer(403, code_pb2.PERMISSION_DENIED, "forbidden"),
    CredentialInUrl: Answer(400, code_pb2.INVALID_ARGUMENT, "credential_in_url"),
    HostRefused: Answer(421, code_pb2.INVALID_ARGUMENT, "host_refused"),
    RateExceeded: Answer(429, code_pb2.RESOURCE_EXHAUSTED, "rate_exceeded", retry_after_seconds=1),
    AccessUnknown: Answer(503, code_pb2.UNAVAILABLE, "access_unknown", retry_after_seconds=2),
    Overloaded: Answer(429, code_pb2.RESOURCE_EXHAUSTED, "overloaded", retry_after_seconds=1),
    ViewBehind: Answer(429, code_pb2.RESOURCE_EXHAUSTED, "view_behind", retry_after_seconds=2),
    DiskNearlyFull: Answer(503, code_pb2.UNAVAILABLE, "disk_reserve", retry_after_seconds=2),
    JournalFull: Answer(503, code_pb2.UNAVAILABLE, "journal_full", retry_after_seconds=RETRY_SECONDS_MAX),
    JournalFailed: Answer(503, code_pb2.UNAVAILABLE, "journal_failed", retry_after_seconds=RETRY_SECONDS_MAX),
    JournalClosed: Answer(503, code_pb2.UNAVAILABLE, "shutting_down", retry_after_seconds=RETRY_SECONDS_MAX),
    StoreError: Answer(503, code_pb2.UNAVAILABLE, "storage", retry_after_seconds=RETRY_SECONDS_MAX),
    DecoderPanicked: Answer(503, code_pb2.UNAVAILABLE, "decoder_panicked", retry_after_seconds=RETRY_SECONDS_MAX),
    RedactionUnavailable: Answer(
        503, code_pb2.UNAVAILABLE, "redaction_unavailable", retry_after_seconds=RETRY_SECONDS_MAX
    ),
    Exception: Answer(503, code_pb2.UNAVAILABLE, "internal", retry_after_seconds=RETRY_SECONDS_MAX),
}

# Reasons that nobody foresaw: their log line carries a traceback. A full disk does not need one for every request.
UNFORESEEN: Final = frozenset({"storage", "decoder_panicked", "internal"})

INTERNAL_MESSAGE: Final = (
    "the collector failed while it took this request, which is not acknowledged; send it again. "
    "The cause is in the collector's log"
)


def answer_for(error: Exception) -> Answer:
    """The row of the nearest class of `error` that has one, with the error's own time to come back where it has one."""
    answer = next(ANSWERS[cause] for cause in type(error).__mro__ if cause in ANSWERS)
    if isinstance(error, Overloaded | RateExceeded) and error.retry_after_seconds is not None:
        return replace(answer, retry_after_seconds=error.retry_after_seconds)
    return answer


def message_for(error: Exception) -> str:
    """What the sender is told. Errors that are not ours to word keep their text for the log."""
    return str(error) if isinstance(error, CollectorError | StoreError | AccessError) else INTERNAL_MESSAGE
