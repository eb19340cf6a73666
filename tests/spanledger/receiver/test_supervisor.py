"""The journal's side of a real receiver process: what it stores and answers, and what it does when the process is gone."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from access.keyring import KeyHolder
from spanledger.doors import Doors, open_doors
from spanledger.errors import FrontDoorError
from spanledger.receiver import life, supervisor
from spanledger.receiver.readiness import WholeReadiness
from spanledger.receiver.supervisor import Receiver, append
from spanledger.receiver.wire import Kind, Message
from spanledger.settings import Settings
from store.errors import JournalFull
from store.otlp.decode import decode
from store.otlp.leaves import leaves_of_request
from store.record import FrameDraft, Position, Signal
from tests.patience import BUSY_SECONDS

PROTOBUF = {"content-type": "application/x-protobuf"}


def body(trace: int) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.spans.add(trace_id=trace.to_bytes(16, "big"), span_id=b"12345678", name="chat", start_time_unix_nano=1)
    return request.SerializeToString()


def until(holds: Callable[[], object], seconds: float = BUSY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Record:
    """A record that makes everything durable at once, unless it is `held`."""

    def __init__(self) -> None:
        self.drafts: list[FrameDraft] = []
        self.held: list[Future[Position]] | None = None
        self.failure: Exception | None = None

    def submit(self, draft: FrameDraft) -> "Future[Position]":
        if self.failure is not None:
            raise self.failure
        done: Future[Position] = Future()
        self.drafts.append(draft)
        if self.held is None:
            done.set_result(Position("journal", len(self.drafts)))
        else:
            self.held.append(done)
        return done

    def lag_bytes(self, bytes_max: int) -> int:
        return 0

    def lag_excess_seconds(self, seconds_max: float) -> float:
        return 0.0

    def disk(self) -> tuple[int, int]:
        return 10**12, 10**12


class Running:
    """A receiver process with a record of the test's own."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data=folder, otlp_grpc_port=0, otlp_http_port=0, api_port=0, log_format="json")
        self.doors: Doors = open_doors(settings)
        self.http = f"http://127.0.0.1:{self.doors.otlp_http.getsockname()[1]}/v1/traces"
        self.registry = CollectorRegistry()
        self.record = Record()
        try:
            self.receiver = Receiver(settings, self.doors, self.registry, KeyHolder())
        except FrontDoorError:
            self.doors.close()
            raise

    def attended(self) -> "Running":
        self.grpc_port = self.receiver.attend(self.record).result(BUSY_SECONDS)
        self.receiver.tell_keys(None)
        return self

    @property
    def pid(self) -> int:
        return self.receiver._life.pid  # pyright: ignore[reportPrivateUsage]

    def post(self, trace: int) -> httpx.Response:
        return httpx.post(self.http, content=body(trace), headers=PROTOBUF, timeout=BUSY_SECONDS, trust_env=False)

    def grpc_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.grpc_port)) == 0

    def stop(self, grace_seconds: float = 5) -> None:
        self.receiver.stop(grace_seconds)
        self.doors.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Running]]:
    made: list[Running] = []

    def running() -> Running:
        made.append(Running(tmp_path))
        return made[-1]

    yield running
    for one in made:
        one.stop(0)


def test_a_request_is_submitted_with_its_leaves_and_acknowledged_when_it_is_durable(start):
    running = start().attended()
    record = running.record
    record.held = []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.post, 1)
        until(lambda: record.held)
        assert not answer.done()
        [done] = record.held
        done.set_result(Position("journal", 9))
        assert answer.result(BUSY_SECONDS).headers["spanledger-position"] == "journal:9"
    leaves = tuple(leaves_of_request(decode(Signal.TRACES, body(1))))
    assert record.drafts == [FrameDraft("default", Signal.TRACES, body(1), leaves)]
    assert running.receiver.problem is None
    running.stop()
    assert running.receiver.problem == "the receivers have stopped"


def test_what_the_journal_refuses_is_refused_at_the_door_with_the_same_reason(start):
    running = start().attended()
    running.record.failure = JournalFull("no room for another segment: free disk space")
    answer = running.post(1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert b"no room for another segment: free disk space" in answer.content
    assert 'refused_requests_total{reason="journal_full",signal="traces"} 1.0' in page(running)


def page(running: Running) -> str:
    return generate_latest(running.registry).decode()


def test_a_process_that_dies_is_started_again_on_the_same_ports_and_what_was_under_way_is_acknowledged_to_nobody(
    start,
):
    running = start().attended()
    record = running.record
    assert running.post(1).status_code == 200
    before, died = descriptors(), running.pid
    record.held = []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.post, 2)
        until(lambda: record.held)
        os.kill(died, signal.SIGSEGV)
        assert isinstance(answer.exception(BUSY_SECONDS), httpx.RemoteProtocolError | httpx.ReadError)
    until(lambda: running.pid != died)
    assert running.receiver.problem is not None
    [late] = record.held
    late.set_result(Position("journal", 2))  # Who asked for it is gone, and the next process asked for nothing.
    record.held = None
    assert running.post(3).status_code == 200  # It has waited in the listening socket.
    until(lambda: running.receiver.problem is None)
    assert running.grpc_listens()
    assert [draft.body for draft in record.drafts] == [body(1), body(2), body(3)]
    assert descriptors() == before
    assert "spanledger_receiver_deaths_total 1.0" in page(running)


def test_a_process_that_hangs_is_killed_and_started_again(start, monkeypatch, capsys):
    monkeypatch.setattr(life, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(life, "SILENT_SECONDS_MAX", 2)
    running = start().attended()
    hanging = running.pid
    os.kill(hanging, signal.SIGSTOP)
    until(lambda: running.pid != hanging)
    monkeypatch.undo()  # The next one may be slow.
    assert not Path(f"/proc/{hanging}").exists()
    assert "it hung: it gave no sign of life for 2 s" in capsys.readouterr().out
    assert running.post(1).status_code == 200


def test_answers_that_are_not_taken_hold_up_nobody_but_the_process_that_does_not_take_them(start, monkeypatch, capsys):
    monkeypatch.setattr(life, "SEND_SECONDS_MAX", 2)
    running = start().attended()
    hanging = running.receiver._life
    os.kill(hanging.pid, signal.SIGSTOP)
    running.record.failure = JournalFull("no room " * 1000)
    request = Message(Kind.APPEND, 1, msgspec.msgpack.encode(("default", 1)), b"", b"body")
    slowest = 0.0
    for _ in range(4000):  # 32 MB: more than any socket takes.
        begun = time.monotonic()
        append(running.record, request, hanging.tell)
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 1.5
    until(lambda: running.pid != hanging.pid)
    assert "it hung: it does not take what it is told" in capsys.readouterr().out
    running.record.failure = None
    assert running.post(1).status_code == 200


def test_too_many_deaths_are_the_end_with_a_reason(start, monkeypatch):
    monkeypatch.setattr(supervisor, "DEATHS_MAX", 2)
    running = start().attended()
    first = running.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: running.pid != first)
    os.kill(running.pid, signal.SIGKILL)
    error = running.receiver.over.exception(BUSY_SECONDS)
    assert isinstance(error, FrontDoorError)
    assert str(error) == "the receiver process died 2 times within 60 s, at last: killed by SIGKILL"
    assert "receiver_died" in error.hint


def test_a_grpc_port_that_was_taken_meanwhile_is_tried_again(start):
    running = start().attended()
    died = running.pid
    os.kill(died, signal.SIGKILL)
    until(lambda: not running.grpc_listens())
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", running.grpc_port))
        taken.listen()
        until(lambda: running.pid != died)
        second = running.pid
        until(lambda: running.pid != second)
    until(lambda: running.receiver.problem is None)
    assert running.grpc_listens()
    assert "spanledger_receiver_deaths_total 2.0" in page(running)


def test_a_process_that_never_gets_ready_is_an_error_and_not_tried_again(start):
    running = start()
    os.kill(running.pid, signal.SIGKILL)
    error = running.receiver.attend(running.record).exception(BUSY_SECONDS)
    assert isinstance(error, FrontDoorError)
    assert str(error) == "the receiver process did not start (killed by SIGKILL)"
    assert running.receiver.problem is not None


def test_a_process_that_hangs_before_it_is_ready_is_an_error(start, monkeypatch):
    monkeypatch.setattr(life, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(life, "START_SECONDS_MAX", 0.5)
    running = start()
    os.kill(running.pid, signal.SIGSTOP)
    error = running.receiver.attend(running.record).exception(BUSY_SECONDS)
    assert str(error) == "the receiver process did not start (it hung: it was not ready after 0.5 s)"


def test_a_system_that_has_no_process_for_it_is_asked_again_and_given_up_with_a_reason(start, monkeypatch):
    monkeypatch.setattr(supervisor, "_AGAIN_SECONDS", 0.01)
    running = start().attended()

    def none(*_: object) -> None:
        raise BlockingIOError("resource temporarily unavailable")

    monkeypatch.setattr(supervisor, "Life", none)
    os.kill(running.pid, signal.SIGKILL)
    error = running.receiver.over.exception(BUSY_SECONDS)
    assert str(error).startswith("the receiver process died 5 times within 60 s")
    with pytest.raises(FrontDoorError, match="cannot be started: resource temporarily unavailable"):
        start()


def test_a_defect_of_ours_is_the_end_and_not_silence(start, monkeypatch):
    running = start().attended()
    monkeypatch.setattr(running.receiver, "_after", lambda *_: 1 / 0)
    os.kill(running.pid, signal.SIGKILL)
    assert str(running.receiver.over.exception(BUSY_SECONDS)) == "the receiver process cannot be kept alive"


def test_a_grpc_port_that_is_taken_before_the_first_start_is_said_with_its_cause(start):
    running = start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running.receiver._life.end()
        running.receiver._grpc_port = port = taken.getsockname()[1]
        running.receiver._life = running.receiver._born()
        error = running.receiver.attend(running.record).exception(BUSY_SECONDS)
    assert isinstance(error, FrontDoorError)
    assert str(error).startswith(f"cannot listen on 127.0.0.1 port {port}: ")
    assert "choose another port" in error.hint


def test_signals_to_the_whole_group_are_not_the_process_s_from_its_first_moment_on(start):
    running = start()
    pid = running.pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)  # It has not run a line of ours yet.
    running.attended()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert running.post(1).status_code == 200
    assert running.pid == pid


def test_stopped_before_it_is_attended_it_is_gone_at_once(start):
    running = start()
    pid = running.pid
    begun = time.monotonic()
    running.stop(BUSY_SECONDS)
    assert time.monotonic() - begun < BUSY_SECONDS / 3
    assert not Path(f"/proc/{pid}").exists()


def test_a_stop_while_it_starts_leaves_nothing_and_nobody_waiting(start):
    running = start()
    ready = running.receiver.attend(running.record)
    running.stop(BUSY_SECONDS)
    assert not Path(f"/proc/{running.pid}").exists()
    assert ready.done()


def test_a_stop_while_it_is_being_started_again_leaves_nothing(start):
    running = start().attended()
    died = running.pid
    os.kill(died, signal.SIGKILL)
    until(lambda: running.pid != died)
    running.stop()
    assert not Path(f"/proc/{running.pid}").exists()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("receiver-")] == []


def test_a_stop_answers_what_is_in_flight_and_refuses_who_comes_later(start):
    running = start().attended()
    record = running.record
    record.held = []
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(running.post, 1)
        until(lambda: record.held)
        stopping = pool.submit(running.stop)
        until(lambda: refused(running))
        assert not stopping.done()
        [done] = record.held
        done.set_result(Position("journal", 1))
        assert answer.result(BUSY_SECONDS).headers["spanledger-position"] == "journal:1"
        stopping.result(BUSY_SECONDS)


def refused(running: Running) -> bool:
    with socket.socket() as probe:
        port = int(running.http.split(":")[2].partition("/")[0])
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_stop_waits_no_longer_than_it_may_for_a_process_that_hangs(start):
    running = start().attended()
    os.kill(running.pid, signal.SIGSTOP)
    begun = time.monotonic()
    running.stop(1)
    assert 1 <= time.monotonic() - begun < 5
    assert not Path(f"/proc/{running.pid}").exists()


def test_the_page_has_each_family_once_and_the_last_ones_while_nobody_answers(start):
    running = start().attended()
    assert running.post(1).status_code == 200
    told = list(text_string_to_metric_families(page(running)))
    names = [family.name for family in told]
    assert sorted(set(names)) == sorted(names)
    assert {"spanledger_ingest_requests", "spanledger_ack_seconds", "spanledger_receiver_process_resident_memory_bytes",
            "spanledger_receiver_deaths", "spanledger_receiver_up"} <= set(names)  # fmt: skip
    assert [line for line in page(running).splitlines() if line.startswith("# ")] == list(
        dict.fromkeys(line for line in page(running).splitlines() if line.startswith("# "))
    )
    os.kill(running.pid, signal.SIGSTOP)
    begun = time.monotonic()
    last = page(running)
    assert time.monotonic() - begun < 3
    assert 'spanledger_ingest_records_total{signal="traces",tenant="default"} 1.0' in last


def test_readiness_is_the_view_s_and_the_receivers(start):
    class View:
        def wait_for(self, position: Position, timeout_seconds: float) -> bool:
            return position.sequence < 5

        def moved(self, sequence: int, timeout_seconds: float) -> Position:
            return Position("0" * 32, sequence + 1)

        def readiness(self) -> dict[str, object]:
            return {"ready": False, "reasons": ["the view cannot be written"], "lag_ms": 5}

    running = start()
    whole = WholeReadiness(View(), running.receiver)
    assert whole.wait_for(Position("journal", 1), 1)
    assert not whole.wait_for(Position("journal", 9), 1)
    starting = "the receiver process is being started: requests wait meanwhile"
    assert whole.readiness() == {"ready": False, "reasons": ["the view cannot be written", starting], "lag_ms": 5}
    running.attended()
    assert whole.readiness() == View().readiness()
