"""What a stream of bodies gives back, and what it refuses to make of bytes that are not what they say."""

import os
import tracemalloc

import pytest
import zstandard

from store.errors import JournalCorrupt, JournalFull
from store.journal import stream as stream_module
from store.journal.format import Part, StoredBody
from store.journal.stream import WINDOW_LOG, StreamReader, StreamWriter

MIB = 1024 * 1024


def flushed(body: bytes, *, window_log: int = 20) -> bytes:
    """The first piece of a stream of somebody else's."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(body) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def begins(data: bytes, raw_bytes: int) -> StoredBody:
    return StoredBody(raw_bytes, data, Part.BEGINS)


def refused(stored: StoredBody, match: str) -> StreamReader:
    reader = StreamReader()
    with pytest.raises(JournalCorrupt, match=f"^frame 7 {match}"):
        reader.body(stored, "frame 7")
    return reader


def test_bodies_of_every_size_come_back_in_their_order():
    sizes = [0, 1, 5, 0, 0, 1_000, 128 * 1024, 128 * 1024 + 1, 300_000, 0, 17 * MIB, 2]
    bodies = [os.urandom(size) if index % 2 else b"the same " * (size // 9) for index, size in enumerate(sizes)]
    writer, reader = StreamWriter(), StreamReader()
    stored = [writer.store(body) for body in bodies]
    assert [one.part for one in stored] == [Part.BEGINS, *[Part.CONTINUES] * (len(bodies) - 1)]
    assert [reader.body(one, "a frame") for one in stored] == bodies


def test_what_an_earlier_body_held_is_pointed_at_and_not_stored_again():
    history = os.urandom(400_000)
    writer = StreamWriter()
    first = writer.store(history)
    second = writer.store(b"a turn more" + history)
    assert len(first.data) > len(history)
    assert len(second.data) < 1_000


def test_a_stream_ends_where_a_random_read_would_become_dear(monkeypatch):
    monkeypatch.setattr(stream_module, "STREAM_BYTES_MAX", 1_000)
    writer, reader = StreamWriter(), StreamReader()
    sizes = [400, 600, 1, 999, 1, 5_000, 5_000, 0, 10]
    stored = [writer.store(bytes(size)) for size in sizes]
    beginning = [one.part is Part.BEGINS for one in stored]
    assert beginning == [True, False, True, False, True, True, True, True, False]
    assert [len(reader.body(one, "a frame")) for one in stored] == sizes
    assert len(StreamReader().body(stored[6], "a frame")) == 5_000


def test_a_stream_of_small_bodies_ends_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(stream_module, "STREAM_FRAMES_MAX", 3)
    writer = StreamWriter()
    stored = [writer.store(b"small") for _ in range(8)]
    assert [one.part is Part.BEGINS for one in stored] == [number % 3 == 0 for number in range(8)]
    reader = StreamReader()
    assert [reader.body(one, "a frame") for one in stored[6:]] == [b"small"] * 2


def test_a_body_that_was_not_written_leaves_nothing_behind():
    history = os.urandom(50_000)
    writer, reader = StreamWriter(), StreamReader()
    before, _not_written = writer.store(b"before"), writer.store(history)
    writer.begin_anew()
    after = writer.store(history)
    assert after.part is Part.BEGINS
    assert [reader.body(one, "a frame") for one in (before, after)] == [b"before", history]


class Broken:
    """A compressor that takes some of a body and then finds no memory."""

    def __init__(self, stream, error: Exception) -> None:
        self.stream = stream
        self.error = error

    def compress(self, body: bytes) -> bytes:
        self.stream.compress(body)
        raise self.error


@pytest.mark.parametrize("error", [MemoryError(), zstandard.ZstdError("cannot compress: Allocation error")])
def test_no_memory_refuses_one_body_and_the_next_points_at_nothing_of_it(error):
    writer, reader = StreamWriter(), StreamReader()
    first = writer.store(b"first")
    stream = writer._stream
    assert stream is not None
    writer._stream = Broken(stream, error)
    history = os.urandom(200_000)
    with pytest.raises(JournalFull, match=r"no memory to compress a request of 200000 bytes \(.+\).*goes on by itself"):
        writer.store(history)
    after = writer.store(history)
    assert after.part is Part.BEGINS
    assert [reader.body(one, "a frame") for one in (first, after)] == [b"first", history]


def test_a_body_that_unpacks_to_more_than_it_says_is_refused_before_it_has():
    bomb = flushed(bytes(200 * MIB))
    assert len(bomb) < 20_000
    for said in (0, 1, 1_000, 200 * MIB - 1):
        if said < MIB:
            tracemalloc.start()
        refused(begins(bomb, said), f"holds more than the {said} bytes that it says")
        if said < MIB:
            assert tracemalloc.get_traced_memory()[1] < MIB
            tracemalloc.stop()


def test_a_body_that_says_more_than_it_holds_costs_no_more_than_it_holds():
    tracemalloc.start()
    refused(begins(flushed(b"little"), 2**32 - 1), "holds fewer than the 4294967295 bytes that it says")
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()


def test_not_one_byte_more_or_less_than_a_body_holds_is_taken():
    whole = os.urandom(1_000) * 600
    for size in (600_000, 128 * 1024, 1, 128 * 1024 + 1, 262_143, 0, 999, 333_333):
        for wrong in {0, 1, size - 1, size + 1} - {size, -1}:
            refused(begins(flushed(whole[:size]), wrong), "holds (more|fewer) than" if size else "holds fewer")


@pytest.mark.parametrize(
    ("data", "raw_bytes", "why"),
    [
        (b"no zstd at all", 5, "cannot be decompressed: "),
        (b"no zstd at all", 0, "cannot be decompressed: "),
        (flushed(b"five!")[:-2], 3, "holds more"),
        (b"", 5, "holds fewer"),
        (flushed(b"five!")[:-2], 5, "holds fewer"),
        (zstandard.compress(b"five!"), 5, "cannot be decompressed"),
        (zstandard.compress(b"five!"), 6, "cannot be decompressed"),
        (flushed(b"five!", window_log=WINDOW_LOG + 1), 5, "cannot be decompressed: .*memory"),
    ],
    ids=[
        "garbage",
        "garbage and no body",
        "cut and short",
        "nothing",
        "cut",
        "ended",
        "ended and short",
        "a window larger than any of ours",
    ],
)
def test_bytes_that_are_no_stream_are_refused_with_a_reason(data, raw_bytes, why):
    refused(begins(data, raw_bytes), why)


def test_nothing_continues_a_stream_that_did_not_begin_or_could_not_be_read():
    writer = StreamWriter()
    _, second, third = (writer.store(body) for body in (b"one", b"two", b"three"))
    reader = refused(second, "continues a compression stream that no frame before it begins")
    assert reader.body(StoredBody(3, zstandard.compress(b"one"), Part.WHOLE), "frame 6") == b"one"
    with pytest.raises(JournalCorrupt, match="frame 7 continues"):
        reader.body(third, "frame 7")
    assert reader.body(begins(flushed(b"again"), 5), "frame 8") == b"again"
    with pytest.raises(JournalCorrupt, match="frame 9 cannot be decompressed"):
        reader.body(StoredBody(3, b"\xff" * 8, Part.CONTINUES), "frame 9")
    with pytest.raises(JournalCorrupt, match="frame 10 continues"):
        reader.body(third, "frame 10")


@pytest.mark.parametrize("said", [4, 6, 0, 2**32 - 1])
@pytest.mark.parametrize("sized", [True, False])
def test_a_body_compressed_for_itself_must_be_as_long_as_it_says(sized, said):
    data = zstandard.ZstdCompressor(write_content_size=sized).compress(b"five!")
    assert StreamReader().body(StoredBody(5, data, Part.WHOLE), "frame 7") == b"five!"
    refused(StoredBody(said, data, Part.WHOLE), "(does not hold|cannot be decompressed)")
