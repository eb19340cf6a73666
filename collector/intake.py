"""The one path to the journal, whichever door a request came through.

    admit -> decode -> refuse invalid records -> boundary -> cut to bounds -> leaves -> journal append -> outcome

All of it but the append is a function of the bytes. A door admits the request while it reads the body (so that memory
is bounded before there is a body), calls `accept`, and tells the sender what `Outcome` or `Answer` says.
"""

import time
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

import structlog

from collector.admission import Admission, DecodingGate
from collector.boundary import Boundary
from collector.bounds import bounded
from collector.errors import UNFORESEEN, Answer, DecoderPanicked, answer_for
from collector.headroom import Headroom, Space
from collector.limits import Limits
from collector.metrics import IngestMetrics, Transport
from collector.nesting import is_runtime_limit, refuse_deep_values, too_deep
from collector.refusal import refusals_of, without_refused
from store.errors import MalformedOtlp
from store.otlp.decode import Decoded, decode
from store.otlp.leaves import leaves_of_request
from store.record import DEFAULT_TENANT, FrameDraft, Position, Signal

LOG_SECONDS: Final = 1.0  # Between two lines of one reason: a crowd that is refused must not fill the disk by that.

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
    """What became of a request: `position` is None when there was nothing to store.

    `message` says what was refused and what was cut, and why; '' for neither.
    """

    position: Position | None
    accepted: int
    refused: int
    message: str


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is to be stored of a request, if anything; how many of its records are refused; what was cut, by reason; what was
    redacted, by rule.
    """

    draft: FrameDraft | None
    refused: int
    cuts: dict[str, int]
    redactions: dict[str, int]
    message: str


class Intake:
    """Takes decompressed OTLP protobuf in. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        *,
        metrics: IngestMetrics,
        boundary: Boundary,
        limits: Limits | None = None,
        space: Space | None = None,
    ) -> None:
        """`space` is asked before each request whether the store has room for it; None is always."""
        self.limits = limits or Limits()
        self.admission = Admission(self.limits, Headroom(self.limits, space) if space else None)
        self.decoding = DecodingGate(self.limits)
        self._journal = journal
        self._boundary = boundary
        self._metrics = metrics
        self._sparing = _Sparing()
        metrics.watch_in_flight(lambda: self.admission.requests_in_flight, lambda: self.admission.bytes_in_flight)

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
        # What is decoded is several times the body, and an fsync may take its time: it is gone before the append.
        with self.decoding.passing(len(body)):
            prepared = self._prepared(signal, body, tenant)
        draft = prepared.draft
        if draft is None:
            return Outcome(None, 0, prepared.refused, prepared.message)
        position = self._journal.append(draft)
        self._metrics.stored(signal, tenant, len(draft.leaves), len(draft.body))
        self._metrics.truncated(signal, tenant, prepared.cuts)
        self._metrics.redacted(signal, tenant, prepared.redactions)
        return Outcome(position, len(draft.leaves), prepared.refused, prepared.message)

    def _prepared(self, signal: Signal, body: bytes, tenant: str) -> _Prepared:
        decoded = self._decoded(signal, body)
        refusals = refusals_of(decoded)
        if refusals.total:
            self._metrics.records_refused(signal, tenant, refusals.counts)
        if refusals.all:
            return _Prepared(None, refusals.total, {}, {}, refusals.message)
        if refusals.total:
            decoded = without_refused(decoded, refusals)
        passed = self._boundary.apply(tenant, decoded)
        within = bounded(passed.decoded, self.limits)
        decoded = within.decoded
        leaves = tuple(leaves_of_request(decoded))
        message = "; ".join(filter(None, (refusals.message, within.message)))
        draft = FrameDraft(tenant, signal, decoded.body, leaves)
        return _Prepared(draft, refusals.total, within.cuts, passed.redactions, message)

    def acknowledged(self, signal: Signal, transport: Transport, outcome: Outcome, seconds: float) -> None:
        """Count a request that is about to be acknowledged."""
        if outcome.position:
            ending = "partial" if outcome.refused else "stored"
        else:
            ending = "refused" if outcome.refused else "empty"
        self._metrics.request_ended(signal, transport, ending)
        self._metrics.acknowledged(signal, seconds)

    def declined(self, signal: Signal | None, transport: Transport, error: Exception) -> Answer:
        """Count a request that gets an error, log it if its reason was not logged just now, and return how to tell it."""
        answer = answer_for(error)
        self._metrics.request_ended(signal, transport, "retry" if answer.retryable else "refused")
        self._metrics.request_refused(signal, answer.reason)
        unsaid = self._sparing.unsaid(answer.reason)
        if unsaid is None:
            return answer
        said: dict[str, object] = {
            "signal": signal.label if signal else None,
            "transport": transport,
            "reason": answer.reason,
        }
        if unsaid:
            said["since_last_line"] = unsaid
        if answer.reason in UNFORESEEN:
            _log.error("ingest_failed", **said, exc_info=error)
        elif answer.retryable:
            _log.warning("ingest_unavailable", **said, cause=str(error))
        else:
            _log.info("ingest_refused", **said, cause=str(error))
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
            raise MalformedOtlp(
                f"{error}; nothing of it is stored. It was cut on the way, or is not protobuf of {signal.label}: "
                "look at the sender's endpoint, protocol and timeout"
            ) from error
        refuse_deep_values(decoded, self.limits.value_messages_max)
        return decoded


class _Sparing:
    """Lets one line in `LOG_SECONDS` through for each reason, and counts the others."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def unsaid(self, reason: str) -> int | None:
        """How many lines of that reason were held back since the last one, if it is time for another; else None."""
        now = time.monotonic()
        with self._lock:
            at, count = self._said.get(reason, (float("-inf"), 0))
            if now - at < LOG_SECONDS:
                self._said[reason] = (at, count + 1)
                return None
            self._said[reason] = (now, 0)
            return count
