"""Statements that take all they can get, while agents go on sending: they are ended, and the record does not notice.

A real ledger, with journal and projector; the statements run as the API runs them. What is measured is how long what was
acknowledged takes to be seen, the memory of this process, and that nothing failed.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from access.permissions import ALL_PERMISSIONS, Principal
from collector.boundary import PassThrough
from collector.intake import Intake
from collector.metrics import IngestMetrics
from query.trail import Note
from query.view import ReadLimits, View
from store.ledger import Ledger
from store.questions import ResultForm, SqlLimits, SqlTimeout, SqlTooLarge
from store.record import Signal
from tests.query.hostile_statements import BOUNDED
from tests.store.ledger_bench import captures

LIMITS = SqlLimits(seconds=3.0, rows=1000, memory_mb=96)
END_SECONDS = 10.0  # How much later than its time a statement may end on a machine with much else to do.
SEEN_SECONDS = 10.0  # How long what was acknowledged may take to be seen there.
GROWTH_MB_MAX = 400
WHO = Principal(kind="open", name="open", tenant="default", role=None, permissions=ALL_PERMISSIONS)
QUICK = ("a cross join that explodes", "a list of everything", "a text that is doubled", "a recursion that multiplies")


class Sending:
    """An agent's traces again and again, each under ids of its own, until it is stopped."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
        self.bodies = [body.data for body in captures()["openai-genai-1.3b0-latest"] if body.signal == Signal.TRACES]
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._number = 0

    def send(self) -> None:
        """One round: accepted, and waited for until it is seen."""
        self._number += 1
        for body in self.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            for outer in request.resource_spans:
                for inner in outer.scope_spans:
                    for span in inner.spans:
                        span.trace_id = self._number.to_bytes(4, "big") + span.trace_id[4:]
                        for link in span.links:
                            link.trace_id = self._number.to_bytes(4, "big") + link.trace_id[4:]
            position = self.intake.accept(Signal.TRACES, request.SerializeToString()).position
        assert position is not None
        begun = time.monotonic()
        assert self.ledger.waiter.wait_for(position, SEEN_SECONDS), "what was acknowledged is not seen"
        self.seconds.append(time.monotonic() - begun)

    def until_stopped(self) -> None:
        while not self._stop.is_set():
            self.send()

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    ledger = Ledger.open(tmp_path)
    one = Sending(ledger)
    for _ in range(30):
        one.send()
    one.seconds.clear()
    try:
        yield one
    finally:
        ledger.close()


def memory_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


def outcome(view: View, text: str) -> tuple[str, float]:
    begun = time.monotonic()
    try:
        answer = view.of(WHO, Note()).statement(text, ResultForm.JSON, 1000).answer()
    except (SqlTimeout, SqlTooLarge) as error:
        return type(error).__name__, time.monotonic() - begun
    return f"{answer.rows} rows", time.monotonic() - begun


def held_up(sending: Sending, names: tuple[str, ...]) -> None:
    view = View(sending.ledger.reader, sending.ledger.waiter, ReadLimits(sql=LIMITS))
    before = memory_mb()
    with ThreadPoolExecutor(3) as threads:
        going_on = threads.submit(sending.until_stopped)
        try:
            ended = dict(zip(names, threads.map(lambda name: outcome(view, BOUNDED[name]), names), strict=True))
        finally:
            sending.stop()
        going_on.result()
    assert sending.seconds, "nothing was recorded meanwhile"
    assert max(sending.seconds) < LIMITS.seconds + END_SECONDS
    for name, (came, seconds) in ended.items():
        assert seconds < LIMITS.seconds + END_SECONDS, (name, came, seconds)
    assert {came for came, _ in ended.values()} & {"SqlTimeout", "SqlTooLarge"}, ended
    assert memory_mb() - before < GROWTH_MB_MAX
    readiness = sending.ledger.waiter.readiness()
    assert (readiness["ready"], readiness["quarantined_frames"]) == (True, 0)
    whole = view.of(WHO, Note()).statement("SELECT count(*) AS n FROM runs", ResultForm.JSON, 1).answer()
    assert json.loads(whole.body)["rows"][0]["n"] >= 30


def test_hostile_statements_neither_fail_nor_hold_up_what_is_recorded(sending: Sending) -> None:
    held_up(sending, QUICK)


@pytest.mark.slow
def test_all_of_them(sending: Sending) -> None:
    held_up(sending, tuple(BOUNDED))
