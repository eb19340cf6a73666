"""What the receivers count, on a registry that is passed in.

Labels have few values and all of them are known beforehand, but for the tenant's: past a bound tenants are counted under
`other`, so a sender cannot make time series without end.
"""

from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from store.metrics import BoundedLabel
from store.record import Signal

Transport = Literal["http", "grpc"]
Ending = Literal["stored", "partial", "empty", "refused", "retry", "disconnected"]

NO_SIGNAL: Final = "none"  # the label of a request that did not get as far as to say its signal
# An fsync takes 0.1 to 10 ms, decoding 1 to 100 ms; past a second senders begin to retry.
ACK_SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class IngestMetrics:
    """The collectors of one process. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "spanledger_ingest_requests_total",
            "Export requests by how they ended: stored, partial, empty, refused, retry (refused for now), disconnected.",
            ["signal", "transport", "outcome"],
            registry=registry,
        )
        self._records = Counter(
            "spanledger_ingest_records_total",
            "Spans, log records and metrics in the journal.",
            ["signal", "tenant"],
            registry=registry,
        )
        self._refused_records = Counter(
            "spanledger_ingest_refused_records_total",
            "Records refused while the rest of their request was stored.",
            ["signal", "tenant", "reason"],
            registry=registry,
        )
        self._truncations = Counter(
            "spanledger_ingest_truncations_total",
            "Values and lists of recorded requests that were cut, by the bound that they were past.",
            ["signal", "tenant", "reason"],
            registry=registry,
        )
        self._redactions = Counter(
            "spanledger_ingest_redactions_total",
            "Values of recorded requests that were redacted, by rule.",
            ["signal", "tenant", "rule"],
            registry=registry,
        )
        self._policy_refused = Gauge(
            "spanledger_ingest_redaction_policy_refused",
            "1 while the policy's file cannot be used and what it said before stays in force, else 0.",
            registry=registry,
        )
        self._bytes = Counter(
            "spanledger_ingest_bytes_total",
            "Bytes of OTLP protobuf in the journal, before the journal compresses them.",
            ["signal", "tenant"],
            registry=registry,
        )
        self._ack_seconds = Histogram(
            "spanledger_ack_seconds",
            "Seconds from the last byte of a body to its acknowledgement, fsync included.",
            ["signal"],
            buckets=ACK_SECONDS_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "spanledger_ingest_requests_in_flight",
            "Requests being read, decoded or waiting for the journal.",
            registry=registry,
        )
        self._bytes_in_flight = Gauge(
            "spanledger_ingest_bytes_in_flight", "Body bytes held by the requests in flight.", registry=registry
        )
        self._refused_requests = Counter(
            "spanledger_ingest_refused_requests_total",
            "Requests that were answered with an error, by cause.",
            ["signal", "reason"],
            registry=registry,
        )

        self._tenant = BoundedLabel()
        self._rule = BoundedLabel()

    def watch_in_flight(self, requests: Callable[[], int], size: Callable[[], int]) -> None:
        """Read the gauges from where requests and their bytes are counted."""
        self._in_flight.set_function(requests)
        self._bytes_in_flight.set_function(size)

    def stored(self, signal: Signal, tenant: str, records: int, size: int) -> None:
        """Records and bytes that are durable now."""
        labels = (signal.label, self._tenant(tenant))
        self._records.labels(*labels).inc(records)
        self._bytes.labels(*labels).inc(size)

    def records_refused(self, signal: Signal, tenant: str, counts: dict[str, int]) -> None:
        """Records of one request that were left out, by reason."""
        for reason, count in counts.items():
            self._refused_records.labels(signal.label, self._tenant(tenant), reason).inc(count)

    def truncated(self, signal: Signal, tenant: str, counts: dict[str, int]) -> None:
        """What was cut of one request that is durable now, by reason."""
        for reason, count in counts.items():
            self._truncations.labels(signal.label, self._tenant(tenant), reason).inc(count)

    def redacted(self, signal: Signal, tenant: str, counts: dict[str, int]) -> None:
        """What was redacted of one request that is durable now, by rule."""
        for rule, count in counts.items():
            self._redactions.labels(signal.label, self._tenant(tenant), self._rule(rule)).inc(count)

    def policy_read(self, usable: bool) -> None:
        """The policy of redaction was read again, and could be used or not."""
        self._policy_refused.set(not usable)

    def request_ended(self, signal: Signal | None, transport: Transport, ending: Ending) -> None:
        """One request is over, however it went."""
        self._requests.labels(signal.label if signal else NO_SIGNAL, transport, ending).inc()

    def acknowledged(self, signal: Signal, seconds: float) -> None:
        """The time one acknowledgement took."""
        self._ack_seconds.labels(signal.label).observe(seconds)

    def request_refused(self, signal: Signal | None, reason: str) -> None:
        """One request was answered with an error."""
        self._refused_requests.labels(signal.label if signal else NO_SIGNAL, reason).inc()
