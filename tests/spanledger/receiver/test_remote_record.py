"""The journal as the receiver process has it, over a real wire to what the other process does with a request."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from access.keyring import KeyHolder
from access.refusals import Refusal, Refusals, unpacked
from collector.errors import answer_for
from spanledger.receiver import families
from spanledger.receiver.record import RemoteRecord
from spanledger.receiver.supervisor import append
from spanledger.receiver.wire import Ended, Kind, Message, Wire
from spanledger.redaction import PolicySaid
from store import errors
from store.errors import JournalClosed, JournalFull, StoreError
from store.record import FrameDraft, Position, Signal
from tests.patience import BUSY_SECONDS
from tests.spanledger.receiver.test_wire import pair

ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, StoreError)]


def draft(number: int, *, records: int = 3) -> FrameDraft:
    leaves = tuple(hashlib.sha256(b"%d %d" % (number, record)).digest() for record in range(records))
    return FrameDraft(f"tenant {number}", Signal.LOGS, b"body %d" % number, leaves)


def raised(kind: type[StoreError]) -> StoreError:
    return kind("min_position", "what happened") if kind is errors.BadQuery else kind("what happened")  # type: ignore[call-arg]


class Journal:
    """Takes drafts; the test says what becomes of each."""

    def __init__(self) -> None:
        self.drafts: list[FrameDraft] = []
        self.done: list[Future[Position]] = []
        self.at_once: Exception | None = None
        self._changed = threading.Condition()

    def submit(self, draft: FrameDraft) -> "Future[Position]":
        if self.at_once is not None:
            raise self.at_once
        with self._changed:
            self.drafts.append(draft)
            self.done.append(Future())
            self._changed.notify_all()
            return self.done[-1]

    def wait_for(self, drafts: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.drafts) >= drafts, BUSY_SECONDS)

    def lag_bytes(self, bytes_max: int) -> int:
        raise AssertionError

    def lag_excess_seconds(self, seconds_max: float) -> float:
        raise AssertionError

    def disk(self) -> tuple[int, int]:
        raise AssertionError


class Ends:
    """Both processes as two threads: `record` here, `wire` is the other end, answered from `journal` where it appends."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.statuses: list[int] = []
        self.others: list[Message] = []
        registry = CollectorRegistry()
        near, self.wire = pair()
        self._near: Wire = near
        self.refusals = Refusals()
        self.record = RemoteRecord(
            near,
            keys=KeyHolder(),
            metrics=lambda: families.packed(registry),
            stop=self.statuses.append,
            refusals=self.refusals,
        )
        self._threads = [threading.Thread(target=self.record.follow), threading.Thread(target=self._answer)]
        for thread in self._threads:
            thread.start()
        self.senders = ThreadPoolExecutor(8)

    def _answer(self) -> None:
        try:
            while True:
                message = self.wire.receive()
                if message.kind is Kind.APPEND:
                    append(self.journal, message, self._tell)
                else:
                    self.others.append(message)
        except Ended:
            pass

    def _tell(self, message: Message) -> None:
        self.wire.send(message)

    def end(self) -> None:
        self.wire.end()
        for thread in self._threads:
            thread.join(BUSY_SECONDS)
            assert not thread.is_alive()
        self.senders.shutdown()
        self.wire.close()
        self._near.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.end()


def test_a_request_arrives_as_it_was_and_returns_when_it_is_durable(ends: Ends) -> None:
    waiting = ends.senders.submit(ends.record.append, draft(1))
    ends.journal.wait_for(1)
    assert ends.journal.drafts == [draft(1)]
    assert not waiting.done()
    ends.journal.done[0].set_result(Position("journal", 7))
    assert waiting.result(BUSY_SECONDS) == Position("journal", 7)


def test_many_are_under_way_at_once_and_each_gets_its_own_position(ends: Ends) -> None:
    waiting = [ends.senders.submit(ends.record.append, draft(number)) for number in range(8)]
    ends.journal.wait_for(8)
    for one, done in reversed(list(zip(ends.journal.drafts, ends.journal.done, strict=True))):
        done.set_result(Position("journal", int(one.body.removeprefix(b"body "))))
    assert [one.result(BUSY_SECONDS).sequence for one in waiting] == list(range(8))


@pytest.mark.parametrize("kind", ERRORS, ids=[kind.__name__ for kind in ERRORS])
@pytest.mark.parametrize("at_once", [True, False], ids=["refused", "failed"])
def test_every_error_of_the_store_is_the_same_on_this_side(ends: Ends, kind: type[StoreError], at_once: bool) -> None:
    if at_once:
        ends.journal.at_once = raised(kind)
    waiting = ends.senders.submit(ends.record.append, draft(1))
    if not at_once:
        ends.journal.wait_for(1)
        ends.journal.done[0].set_exception(raised(kind))
    error = waiting.exception(BUSY_SECONDS)
    assert type(error) is kind
    assert str(error) == "what happened"
    assert error.retryable is kind.retryable
    assert answer_for(error) == answer_for(raised(kind))


def test_what_is_no_error_of_the_store_is_one_of_ours_and_retryable(ends: Ends) -> None:
    ends.journal.at_once = ValueError("a tenant's name has at most 255 bytes")
    error = ends.senders.submit(ends.record.append, draft(1)).exception(BUSY_SECONDS)
    assert isinstance(error, RuntimeError)
    assert str(error) == "ValueError: a tenant's name has at most 255 bytes"
    assert answer_for(error).retryable


def test_a_file_name_that_is_no_text_does_not_stop_an_error(ends: Ends) -> None:
    ends.journal.at_once = JournalFull("no room for \udcff.seg")
    error = ends.senders.submit(ends.record.append, draft(1)).exception(BUSY_SECONDS)
    assert (type(error), str(error)) == (JournalFull, "no room for ?.seg")


def test_when_the_other_process_is_gone_everybody_who_waits_is_told_to_come_again(ends: Ends) -> None:
    waiting = [ends.senders.submit(ends.record.append, draft(number)) for number in range(8)]
    ends.journal.wait_for(8)
    ends.wire.end()
    wait(waiting, BUSY_SECONDS)
    assert [type(one.exception(0)) for one in waiting] == [JournalClosed] * 8
    with pytest.raises(JournalClosed):
        ends.record.append(draft(9))
    for done in ends.journal.done:
        done.set_result(Position("journal", 1))  # It is durable there; nobody here may hear of it any more.


def test_the_end_of_the_other_process_ends_this_one_as_a_failure_and_a_stop_as_none(ends: Ends) -> None:
    ends.wire.send(Message(Kind.STOP))
    until(lambda: ends.statuses == [0])
    waiting = ends.senders.submit(ends.record.append, draft(1))  # What is in flight is still stored.
    ends.journal.wait_for(1)
    ends.journal.done[0].set_result(Position("journal", 1))
    assert waiting.result(BUSY_SECONDS) == Position("journal", 1)
    ends.wire.end()
    until(lambda: ends.statuses == [0, 1])


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.DURABLE, 1, b"no position"),
        Message(Kind.REFUSED, 1, b"\xc1"),
        Message(Kind.APPEND, 1),
    ],
    ids=["position", "refusal", "kind"],
)
def test_an_answer_that_cannot_be_understood_ends_this_process_and_leaves_nobody_waiting(
    ends: Ends, message: Message
) -> None:
    waiting = ends.senders.submit(ends.record.append, draft(1))
    ends.journal.wait_for(1)
    ends.wire.send(message)
    assert isinstance(waiting.exception(BUSY_SECONDS), JournalClosed)
    until(lambda: ends.statuses == [1])


def test_an_answer_to_nobody_harms_nobody(ends: Ends) -> None:
    ends.wire.send(Message(Kind.DURABLE, 99, b"journal:1"))
    waiting = ends.senders.submit(ends.record.append, draft(1))
    ends.journal.wait_for(1)
    ends.journal.done[0].set_result(Position("journal", 2))
    assert waiting.result(BUSY_SECONDS) == Position("journal", 2)


def test_the_room_is_what_was_told_last_and_unknown_before(ends: Ends) -> None:
    import msgspec

    record = ends.record
    assert (record.lag_bytes(1), record.lag_excess_seconds(1)) == (0, 0.0)
    with pytest.raises(OSError, match="not known"):
        record.disk()
    for told in ((5, 0.5, 10, 100), (6, 0.0, 0, 0)):
        ends.wire.send(Message(Kind.SPACE, document=msgspec.msgpack.encode(told)))
        until(lambda told=told: record.lag_bytes(1) == told[0])
        assert record.lag_excess_seconds(1) == told[1]
        if told[3]:
            assert record.disk() == (10, 100)
    with pytest.raises(OSError, match="not known"):
        record.disk()


def test_it_answers_for_its_metrics_and_that_it_is_alive(ends: Ends) -> None:
    ends.wire.send(Message(Kind.METRICS, 5), Message(Kind.ALIVE))
    until(lambda: len(ends.others) == 2)
    assert ends.others == [Message(Kind.METRICS, 5, families.packed(CollectorRegistry())), Message(Kind.ALIVE)]


def test_who_was_refused_is_told_when_it_is_asked_whether_it_is_alive_and_at_the_end(ends: Ends) -> None:
    for kind in (Kind.ALIVE, Kind.STOP):
        ends.others.clear()
        ends.refusals.note(Refusal(who="unknown", door="otlp-http", reason="missing", peer="192.0.2.1"))
        ends.refusals.note(Refusal(who="unknown", door="otlp-http", reason="missing", peer="192.0.2.1"))
        ends.wire.send(Message(kind))
        until(lambda: any(one.kind is Kind.REFUSALS for one in ends.others))
        [told] = [one for one in ends.others if one.kind is Kind.REFUSALS]
        assert [(one.refusal.peer, one.count) for one in unpacked(told.document)] == [("192.0.2.1", 2)]


def test_what_became_of_a_policy_is_told(ends: Ends) -> None:
    said = PolicySaid(version="v2", before="v1", outcome="allowed", reason="", at_ns=7)
    ends.record.tell_policy(said)
    until(lambda: ends.others)
    assert (ends.others[0].kind, ends.others[0].said()["version"]) == (Kind.POLICY, "v2")
    ends.wire.end()
    until(lambda: ends.statuses == [1])
    ends.record.tell_policy(said)  # Nobody hears it, and it is no failure.


def until(holds: Callable[[], Any]) -> None:
    """Wait for something that another thread does."""
    changed = threading.Event()
    for _ in range(round(BUSY_SECONDS) * 100):
        if holds():
            return
        changed.wait(0.01)
    raise AssertionError("it did not come to that")
