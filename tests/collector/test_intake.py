import weakref
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from collector_bench import Bench, Capture
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import LogCapture

from collector.admission import DecodingGate
from collector.boundary import Passed, Shut
from collector.errors import DecoderPanicked, Overloaded, RedactionUnavailable
from collector.intake import LOG_SECONDS, Outcome
from collector.refusal import REMEDY
from store.errors import JournalFull, MalformedOtlp
from store.metrics import LABEL_VALUES_MAX
from store.otlp.decode import Decoded, decode, records_of
from store.otlp.leaves import leaves_of
from store.record import FrameDraft, Position, Signal
from tests.patience import BUSY_SECONDS

Build = Callable[..., bytes]
DEFAULT = {"signal": "traces", "tenant": "default"}


def test_every_real_body_is_stored_whole_with_the_leaf_of_each_record(bench: Bench, captures: list[Capture]) -> None:
    for capture in captures:
        outcome = bench.intake.accept(capture.signal, capture.body, tenant="acme")
        decoded = decode(capture.signal, capture.body)
        records = records_of(capture.signal, decoded.batch)
        expected = FrameDraft("acme", capture.signal, decoded.body, tuple(leaves_of(records)))
        assert bench.journal.drafts[-1] == expected, capture.name
        assert outcome == Outcome(Position("remembered", len(bench.journal.drafts)), len(records), 0, "")


@pytest.mark.parametrize("signal", Signal)
def test_an_empty_request_is_taken_and_nothing_is_stored(bench: Bench, signal: Signal) -> None:
    assert bench.intake.accept(signal, b"") == Outcome(None, 0, 0, "")
    assert bench.journal.drafts == []


def test_a_request_without_records_is_not_stored(bench: Bench, traces: Build, logs: Build) -> None:
    assert bench.intake.accept(Signal.LOGS, logs()).position is None
    assert bench.journal.drafts == []


def test_refused_spans_are_left_out_and_the_rest_is_stored(bench: Bench, traces: Build) -> None:
    outcome = bench.intake.accept(Signal.TRACES, traces({"name": "a"}, {"trace_id": bytes(16)}, {"name": "b"}))
    why = f"refused 1 of 3 spans: 1 with a trace id that is not 16 bytes or is all zero; {REMEDY}"
    assert outcome == Outcome(Position("remembered", 1), 2, 1, why)
    [draft] = bench.journal.drafts
    assert draft.body == traces({"name": "a"}, {"name": "b"})
    assert len(draft.leaves) == 2
    assert bench.sample("spanledger_ingest_refused_records_total", **DEFAULT, reason="trace_id") == 1
    assert bench.sample("spanledger_ingest_records_total", **DEFAULT) == 2
    assert bench.sample("spanledger_ingest_bytes_total", **DEFAULT) == len(draft.body)


def test_a_request_of_which_all_is_refused_is_not_stored(bench: Bench, traces: Build) -> None:
    outcome = bench.intake.accept(Signal.TRACES, traces({"span_id": b""}, {"trace_id": b""}))
    assert (outcome.position, outcome.accepted, outcome.refused) == (None, 0, 2)
    assert bench.journal.drafts == []


def test_only_what_the_boundary_lets_through_becomes_durable(make_bench: Callable[..., Bench], traces: Build) -> None:
    class Redacting:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            return Passed(decode(decoded.signal, decoded.body.replace(b"secret", b"******")))

    bench = make_bench(boundary=Redacting())
    bench.intake.accept(Signal.TRACES, traces({"name": "my secret"}))
    assert bench.journal.drafts[0].body == traces({"name": "my ******"})


def test_when_the_boundary_fails_nothing_is_stored(make_bench: Callable[..., Bench], traces: Build) -> None:
    class Broken:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            raise RuntimeError("no policy")

    bench = make_bench(boundary=Broken())
    with pytest.raises(RuntimeError, match="no policy"):
        bench.intake.accept(Signal.TRACES, traces())
    assert bench.journal.drafts == []


def test_where_there_is_no_policy_to_follow_nothing_is_stored(make_bench: Callable[..., Bench], traces: Build) -> None:
    bench = make_bench(boundary=Shut())
    with pytest.raises(RedactionUnavailable, match="no policy"):
        bench.intake.accept(Signal.TRACES, traces())
    assert bench.journal.drafts == []


def test_a_truncated_body_is_malformed(bench: Bench, traces: Build) -> None:
    with pytest.raises(MalformedOtlp, match=r"not an OTLP traces request.*look at the sender's endpoint"):
        bench.intake.accept(Signal.TRACES, traces()[:-1])


def test_what_the_journal_refuses_is_not_counted_as_stored(bench: Bench, traces: Build) -> None:
    bench.journal.failure = JournalFull("no room for another segment")
    with pytest.raises(JournalFull):
        bench.intake.accept(Signal.TRACES, traces())
    assert bench.sample("spanledger_ingest_records_total", **DEFAULT) == 0


def test_a_span_without_resource_and_scope_is_stored(bench: Bench) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    assert bench.intake.accept(Signal.TRACES, request.SerializeToString()).accepted == 1


def test_a_panic_of_the_decoder_becomes_an_error_that_can_be_answered(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    panic = type("PanicException", (BaseException,), {})

    class Panicking:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            raise panic("called unwrap on an Err")

    bench = make_bench(boundary=Panicking())
    with pytest.raises(DecoderPanicked, match="traces request, which is not stored"):
        bench.intake.accept(Signal.TRACES, traces())


def test_an_interrupt_is_not_taken_for_a_panic(make_bench: Callable[..., Bench], traces: Build) -> None:
    class Interrupted:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_bench(boundary=Interrupted()).intake.accept(Signal.TRACES, traces())


def test_tenants_past_the_bound_are_counted_as_other(bench: Bench, traces: Build) -> None:
    for number in range(LABEL_VALUES_MAX + 5):
        bench.intake.accept(Signal.TRACES, traces(), tenant=f"tenant {number}")
    counted = "spanledger_ingest_records_total"
    assert bench.sample(counted, signal="traces", tenant="tenant 0") == 1
    assert bench.sample(counted, signal="traces", tenant="other") == 5


def test_what_is_decoded_of_a_request_is_gone_while_it_waits_for_the_disk(
    make_bench: Callable[..., Bench], traces: Build
) -> None:
    seen: list[weakref.ref[Any]] = []

    class Watching:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            seen.extend((weakref.ref(decoded), weakref.ref(decoded.batch)))
            return Passed(decoded)

    bench = make_bench(boundary=Watching())
    bench.journal.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(bench.intake.accept, Signal.TRACES, traces())
        assert bench.journal.entered.wait(BUSY_SECONDS)
        assert [one() for one in seen] == [None, None]
        bench.journal.gate.set()
        request.result(BUSY_SECONDS)


def test_a_request_is_decoded_inside_the_gate_and_waits_for_the_disk_outside(
    make_bench: Callable[..., Bench], traces: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    class Gate(DecodingGate):
        @contextmanager
        def passing(self, size: int) -> Generator[None]:
            with super().passing(size):
                seen.append(("in", size))
                yield
            seen.append("out")

    class Watching:
        def apply(self, tenant: str, decoded: Decoded) -> Passed:
            seen.append("boundary")
            return Passed(decoded)

    def watched_decode(signal: Signal, body: bytes) -> Decoded:
        seen.append("decode")
        return decode(signal, body)

    monkeypatch.setattr("collector.intake.decode", watched_decode)
    monkeypatch.setattr("collector.intake.DecodingGate", Gate)
    bench = make_bench(boundary=Watching())
    append = bench.journal.append

    def watched_append(draft: FrameDraft) -> Position:
        seen.append("append")
        return append(draft)

    monkeypatch.setattr(bench.journal, "append", watched_append)
    body = traces()
    bench.intake.accept(Signal.TRACES, body)
    assert seen == [("in", len(body)), "decode", "boundary", "out", "append"]


def test_a_crowd_that_is_refused_is_logged_once_a_second_with_how_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, now = LogCapture(), [100.0]
    monkeypatch.setattr("collector.intake._log", structlog.wrap_logger(None, processors=[capture]))
    monkeypatch.setattr("collector.intake.time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in range(1000):
        bench.intake.declined(Signal.TRACES, "http", Overloaded("full"))
    bench.intake.declined(Signal.TRACES, "http", JournalFull("no room"))
    now[0] += LOG_SECONDS
    bench.intake.declined(Signal.TRACES, "http", Overloaded("full"))
    logged = [(entry["reason"], entry.get("since_last_line")) for entry in capture.entries]
    assert logged == [("overloaded", None), ("journal_full", None), ("overloaded", 999)]
    assert bench.sample("spanledger_ingest_refused_requests_total", signal="traces", reason="overloaded") == 1001
