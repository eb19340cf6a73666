"""The one path to the journal, whichever door a request came through.

    admit -> decode -> refuse invalid records -> boundary -> leaves -> journal append -> outcome

All of it but the append is a function of the bytes. A door admits the request while it reads the body (so that memory
is bounded before there is a body), calls `accept`, and tells the sender what `Outcome` or `Answer` says.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from collector.admission import Admission
from collector.boundary import Boundary, PassThrough
from collector.errors import UNFORESEEN, Answer, DecoderPanicked, answer_for
from collector.limits import Limits
from collector.metrics import IngestMetrics, Transport
from collector.nesting import is_runtime_limit, refuse_deep_values, too_deep
from collector.refusal import refusals_of, without_refused
from store.errors import MalformedOtlp
from store.otlp.decode import Decoded, decode, records_of
from store.otlp.leaves import leaves_of
from store.record import DEFAULT_TENANT, FrameDraft, Position, Signal

_PANIC: Final = "PanicException"
_log: Final = structlog.stdlib.get_logger(__name__)


class Journal(Protocol):
    """Where accepted requests become durable."""

    def append(self, draft: FrameDraft) -> Position:
        """Store one request and return where it is, once it is on the disk (fsync done). Thread-safe; blocks.

        Raises JournalFull, JournalFailed or JournalClosed, each with `retryable`: then nothing was acknowledged.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: `position` is None when there was nothing to store."""

    position: Position | None
    accepted: int
    refused: int
    message: str


class Intake:
    """Takes decompressed OTLP protobuf in. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        *,
        metrics: IngestMetrics,
        limits: Limits | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.admission = Admission(self.limits)
        self._journal = journal
        self._boundary = boundary or PassThrough()
        self._metrics = metrics
        metrics.watch_in_flight(lambda: self.admission.requests_in_flight)

    def accept(self, signal: Signal, body: bytes, *, tenant: str = DEFAULT_TENANT) -> Outcome:
        """Make one request durable, less the records that are refused. Blocks until the journal has it.

        Raises MalformedOtlp, NestedTooDeep, DecoderPanicked, and what the boundary or the journal raise; then nothing is
        stored.
        """
        try:
            return self._accepted(signal, body, tenant)
        except BaseException as error:
            # A panic in Rust arrives as a BaseException that is no Exception: it would pass every handler on the way
            # and leave the sender without an answer. Its class cannot be imported.
            if type(error).__name__ != _PANIC:
                raise
            raise DecoderPanicked(f"the decoder failed on this {signal.label} request, which is not stored") from error

    def _accepted(self, signal: Signal, body: bytes, tenant: str) -> Outcome:
        decoded = self._decoded(signal, body)
        refusals = refusals_of(records_of(signal, decoded.batch))
        if refusals.total:
            self._metrics.records_refused(signal, refusals.counts)
        if refusals.total == len(refusals.mask):
            return Outcome(None, 0, refusals.total, refusals.message)
        if refusals.total:
            decoded = without_refused(decoded, refusals)
        decoded = self._boundary.apply(tenant, decoded)
        leaves = tuple(leaves_of(records_of(signal, decoded.batch)))
        position = self._journal.append(FrameDraft(tenant, signal, decoded.body, leaves))
        self._metrics.stored(signal, len(leaves), len(decoded.body))
        return Outcome(position, len(leaves), refusals.total, refusals.message)

    def acknowledged(self, signal: Signal, transport: Transport, outcome: Outcome, seconds: float) -> None:
        """Count a request that is about to be acknowledged."""
        if outcome.position:
            ending = "partial" if outcome.refused else "stored"
        else:
            ending = "refused" if outcome.refused else "empty"
        self._metrics.request_ended(signal, transport, ending)
        self._metrics.acknowledged(signal, seconds)

    def declined(self, signal: Signal | None, transport: Transport, error: Exception) -> Answer:
        """Count and log a request that gets an error, and return how to tell it."""
        answer = answer_for(error)
        self._metrics.request_ended(signal, transport, "retry" if answer.retryable else "refused")
        self._metrics.request_refused(answer.reason)
        label = signal.label if signal else None
        if answer.reason in UNFORESEEN:
            _log.error("ingest_failed", signal=label, transport=transport, reason=answer.reason, exc_info=error)
        elif answer.retryable:
            _log.warning(
                "ingest_unavailable", signal=label, transport=transport, reason=answer.reason, cause=str(error)
            )
        else:
            _log.info("ingest_refused", signal=label, transport=transport, reason=answer.reason, cause=str(error))
        return answer

    def disconnected(self, signal: Signal, transport: Transport) -> None:
        """Count a request whose sender went away."""
        self._metrics.request_ended(signal, transport, "disconnected")

    def _decoded(self, signal: Signal, body: bytes) -> Decoded:
        try:
            decoded = decode(signal, body)
        except MalformedOtlp as error:
            if is_runtime_limit(error):
                raise too_deep(self.limits.value_messages_max) from error
            raise
        refuse_deep_values(decoded.batch, self.limits.value_messages_max)
        return decoded
