"""The wire between the two processes: what is sent arrives whole and in order, and an end that is gone is noticed."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.receiver.wire import READ_BYTES, Ended, Kind, Message, Stalled, Wire
from tests.patience import BUSY_SECONDS

Pair = tuple[Wire, Wire]
RUBBISH = [
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    bytes(24),
    struct.pack("<3sBIIIQ", b"Slw", 200, 0, 0, 0, 0),
    struct.pack("<3sBIIIQ", b"Slw", Kind.APPEND, 0, 2**32 - 1, 0, 0),
    struct.pack("<3sBIIIQ", b"Slw", Kind.APPEND, 0, 0, 0, 2**63),
]


def pair(**options: int) -> tuple[Wire, Wire]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Wire(ours, **options), Wire(theirs)


@pytest.fixture
def wires() -> Iterator[Pair]:
    ends = pair(send_seconds_max=1)
    yield ends
    for end in ends:
        end.close()


# Around what is read at once, where a message may end in the middle of what came with it.
_sizes = st.one_of(
    st.integers(0, 200),
    st.integers(READ_BYTES - 100, READ_BYTES + 100),
    st.sampled_from([READ_BYTES // 2, 3 * READ_BYTES, 1_000_000]),
)
_messages = st.builds(
    lambda kind, document, digests, body: (kind, document, digests, body),
    st.sampled_from([Kind.APPEND, Kind.DURABLE, Kind.METRICS]),
    st.integers(0, 300),
    st.integers(0, 40),
    _sizes,
)


def filled(thread: int, number: int, sizes: tuple[Kind, int, int, int]) -> Message:
    """A message of the given sizes, of which every part is its own."""
    kind, document, digests, body = sizes
    mark = struct.pack("<II", thread, number)
    return Message(
        kind,
        thread * 1000 + number,
        *((mark * (size // 8 + 1))[:size] for size in (document, digests * 32, body)),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_messages, max_size=12), min_size=1, max_size=4), st.booleans())
def test_whatever_many_threads_send_arrives_whole_and_each_thread_s_in_order(
    sizes: list[list[tuple[Kind, int, int, int]]], together: bool
) -> None:
    sending, receiving = pair()
    sent = [[filled(thread, number, one) for number, one in enumerate(of)] for thread, of in enumerate(sizes)]

    def send(messages: list[Message]) -> None:
        if together and messages:
            sending.send(*messages)
            return
        for message in messages:
            sending.send(message)

    threads = [threading.Thread(target=send, args=(messages,)) for messages in sent]
    try:
        for thread in threads:
            thread.start()
        received = [receiving.receive() for _ in range(sum(map(len, sent)))]
        for thread in threads:
            thread.join(BUSY_SECONDS)
    finally:
        sending.close()
        receiving.close()
    assert [[one for one in received if one.number // 1000 == thread] for thread in range(len(sent))] == sent


def test_both_ends_may_talk_at_once(wires: Pair) -> None:
    ours, theirs = wires
    body = os.urandom(3 * READ_BYTES)

    def answer() -> None:
        for _ in range(50):
            message = theirs.receive()
            theirs.send(Message(Kind.DURABLE, message.number, message.body[:10]))

    answering = threading.Thread(target=answer)
    answering.start()
    for number in range(50):
        ours.send(Message(Kind.APPEND, number, b"x", b"", body))
    assert [ours.receive() for _ in range(50)] == [Message(Kind.DURABLE, number, body[:10]) for number in range(50)]
    answering.join(BUSY_SECONDS)


def test_who_waits_for_a_process_that_ends_hears_of_it(wires: Pair) -> None:
    ours, theirs = wires
    theirs.send(Message(Kind.ALIVE))
    closing = threading.Timer(0.05, theirs.close)
    closing.start()
    assert ours.receive() == Message(Kind.ALIVE)
    with pytest.raises(Ended):
        ours.receive()
    closing.join(BUSY_SECONDS)


def test_who_tells_a_process_that_has_ended_hears_of_it(wires: Pair) -> None:
    ours, theirs = wires
    theirs.close()
    with pytest.raises(Ended):
        ours.send(Message(Kind.ALIVE))


def test_a_message_that_is_cut_off_is_none() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    receiving = Wire(ours)
    with theirs:
        theirs.sendall(struct.pack("<3sBIIIQ", b"Slw", Kind.APPEND, 1, 0, 0, 1_000_000) + b"the beginning of it")
    with pytest.raises(Ended):
        receiving.receive()
    receiving.close()


@pytest.mark.parametrize("rubbish", RUBBISH, ids=["text", "zeros", "kind", "document", "body"])
def test_a_header_that_is_no_message_ends_it(rubbish: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    receiving = Wire(ours)
    with theirs:
        theirs.sendall(rubbish.ljust(100, b"\0"))
        with pytest.raises(Ended, match="no message"):
            receiving.receive()
    receiving.close()


@pytest.mark.parametrize("document", [b"", b"\xc1", b"\xa5tex"], ids=["empty", "unused", "cut"])
def test_a_document_that_says_nothing_ends_it(document: bytes) -> None:
    with pytest.raises(Ended, match="no message"):
        Message(Kind.READY, document=document).said()


def test_an_end_that_does_not_read_is_given_up_and_told_nothing_more(wires: Pair) -> None:
    ours, theirs = wires
    body = bytes(64 * 1024 * 1024)  # More than any system keeps for a socket.
    begun = time.monotonic()
    with pytest.raises(Stalled):
        ours.send(Message(Kind.APPEND, body=body))
    assert 0.9 < time.monotonic() - begun < 10
    # What came behind half a message would be read as the rest of it.
    begun = time.monotonic()
    with pytest.raises(Ended):
        ours.send(Message(Kind.ALIVE))
    assert time.monotonic() - begun < 0.9
    with pytest.raises(Ended):
        theirs.receive()


def test_ending_wakes_whoever_waits_at_either_end(wires: Pair) -> None:
    woken: list[Ended] = []

    def wait(end: Wire) -> None:
        with pytest.raises(Ended) as ended:
            end.receive()
        woken.append(ended.value)

    threads = [threading.Thread(target=wait, args=(end,)) for end in wires]
    for thread in threads:
        thread.start()
    wires[0].end()
    for thread in threads:
        thread.join(BUSY_SECONDS)
    assert len(woken) == 2
