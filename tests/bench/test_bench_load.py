"""The client: sends everything once, keeps its schedule, retries what it may, and says what went wrong."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Lock, Thread

import pytest

from bench.bodies import BodyFile
from bench.load import Ack, LoadFailed, send
from bench.measure import percentile
from bench.workloads import Body
from tests.patience import BUSY_SECONDS

BODIES = [Body(b"body-%03d" % number, spans=2) for number in range(40)]


@dataclass
class Receiver:
    """What arrived, by body; `answer` says the status and headers of a body's nth arrival.

    The first request of each connection waits for those of the others: on a busy machine the client's first thread is
    else done with all bodies before the rest of them run.
    """

    answer: Callable[[bytes, int], tuple[int, dict[str, str]]]
    address: tuple[str, int] = ("", 0)
    arrived: Counter[bytes] = field(default_factory=Counter[bytes])
    connections: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    lock: Lock = field(default_factory=Lock)


@contextmanager
def receiving(
    answer: Callable[[bytes, int], tuple[int, dict[str, str]]], *, connections_awaited: int = 1
) -> Generator[Receiver]:
    receiver = Receiver(answer)
    together = Barrier(connections_awaited)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.client_address not in receiver.connections:
                together.wait(BUSY_SECONDS)
            with receiver.lock:
                receiver.arrived[body] += 1
                receiver.connections.add(self.client_address)
                status, headers = receiver.answer(body, receiver.arrived[body])
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.address = ("127.0.0.1", server.server_port)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stored(body: bytes, _: int) -> tuple[int, dict[str, str]]:
    return 200, {"spanledger-position": f"0190c1d2:{int(body[-3:]) + 1}"}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BodyFile]:
    with BodyFile.write(tmp_path / "bodies", BODIES) as file:
        yield file


def test_a_body_file_gives_back_what_was_written_and_counts_it(file: BodyFile) -> None:
    assert [file[index] for index in range(len(file))] == [body.content for body in BODIES]
    assert (file.spans, file.total_bytes, file.bytes_a_span) == (80, 320, 4.0)


def test_every_body_is_sent_once_over_four_connections_and_its_receipt_is_kept(file: BodyFile) -> None:
    told: list[Ack] = []
    with receiving(stored, connections_awaited=4) as receiver:
        sent = send(receiver.address, file, on_ack=told.append)
    assert receiver.arrived == Counter(body.content for body in BODIES)
    assert len(receiver.connections) == 4
    assert {ack.position for ack in sent.acks} == {f"0190c1d2:{number + 1}" for number in range(40)}
    assert sorted(ack.index for ack in told) == list(range(40))
    assert all(ack.due <= ack.sent <= ack.acked <= sent.last_ack for ack in sent.acks)


def test_an_open_loop_sends_by_the_clock(file: BodyFile) -> None:
    with receiving(stored) as receiver:
        sent = send(receiver.address, file, rate=200.0)
    due = sorted(ack.due - sent.started for ack in sent.acks)
    assert due == pytest.approx([number / 200.0 for number in range(40)])
    assert all(ack.sent >= ack.due for ack in sent.acks)
    assert sent.last_ack - sent.started >= 39 / 200.0


def test_a_request_that_is_told_to_come_back_is_sent_again(file: BodyFile) -> None:
    def full_at_first(body: bytes, time: int) -> tuple[int, dict[str, str]]:
        return (429, {"retry-after": "0"}) if time == 1 and body.endswith(b"5") else stored(body, time)

    with receiving(full_at_first) as receiver:
        sent = send(receiver.address, file)
    assert sent.refusals == 4
    assert len(sent.acks) == 40
    assert receiver.arrived[b"body-005"] == 2


def test_a_refusal_for_good_ends_the_load_and_says_so(file: BodyFile) -> None:
    with receiving(lambda _body, _time: (400, {})) as receiver, pytest.raises(LoadFailed, match="400 Bad Request"):
        send(receiver.address, file)


def test_a_server_that_is_not_there_ends_the_load_and_says_so(file: BodyFile) -> None:
    with receiving(stored) as receiver:
        address = receiver.address
    with pytest.raises(LoadFailed, match="Connection refused"):
        send(address, file)


def test_sending_can_be_bounded_in_time(file: BodyFile) -> None:
    with receiving(stored) as receiver:
        sent = send(receiver.address, file, rate=50.0, seconds_max=0.1)
    assert 0 < len(sent.acks) < 40


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)], ids=["median", "p99", "maximum"]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected
