"""One zstd stream over the bodies of many frames, because agents send their history again with every request.

    frame 7         frame 8         frame 9         frame 10
    begins, body -> continues ----> continues       begins, body -> ...

The stream is flushed at the end of each body, so a frame can be read as soon as it is there; it needs every frame before it
back to the one that began its stream, and they are of one segment. What was compressed is in the compressor's window and
will be pointed at: whoever does not write the frame must begin a new stream. So compression happens in the order of
sequences, in the one thread that writes.

The figures behind the constants are in docs/adr/0012.
"""

from typing import IO, Final, cast

import zstandard

from store.errors import JournalCorrupt, JournalFull
from store.journal.format import Part, StoredBody

# What a frame read at random costs, and what a damaged frame takes with it: at most so many bytes of bodies (40 to 110 ms;
# streams without an end are 2% smaller), and so many frames, because a small one costs its 8 us whatever it holds.
STREAM_BYTES_MAX: Final = 128 * 1024 * 1024
STREAM_FRAMES_MAX: Final = 16_384
WINDOW_LOG: Final = 25  # 32 MiB, some nine large requests. It is the memory of a reader, and of the writer.
_LEVEL: Final = 3  # One more gains nothing here, and two cost half as much again.
_TABLE_LOG: Final = 19  # Level 3 has room for far fewer places to point at than there are in the window.
# RFC 8878, 3.1.1.2: what a block holds, and the least bytes for so much. A frame that claims more gets no memory for it.
_BLOCK_BYTES_MAX: Final = 128 * 1024
_BLOCK_STORED_BYTES_MIN: Final = 4
_EMPTY_BLOCK: Final = bytes(3)

_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL, window_log=WINDOW_LOG, hash_log=_TABLE_LOG, chain_log=_TABLE_LOG
)


class StreamWriter:
    """Compresses bodies in the order in which they are written. One thread's. Holds 39 MB once it is at work."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
        self._stream: zstandard.ZstdCompressionObj | None = None
        self._stream_bytes = 0
        self._stream_frames = 0

    def store(self, body: bytes) -> StoredBody:
        """The next body as it is to be written. If it is not, call `begin_anew`. Raises JournalFull without memory."""
        stream, stream_bytes, frames = self._stream, self._stream_bytes + len(body), self._stream_frames + 1
        self._stream = None  # A body of which only a part got in must not be pointed at either.
        begins = stream is None or stream_bytes > STREAM_BYTES_MAX or frames > STREAM_FRAMES_MAX
        try:
            if stream is None or begins:
                stream, stream_bytes, frames = self._compressor.compressobj(), len(body), 1
            data = stream.compress(body) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        except (MemoryError, zstandard.ZstdError) as error:
            raise JournalFull(
                f"no memory to compress a request of {len(body)} bytes ({error!r}): nothing of it was "
                "written. Give the process more memory, or let senders send less at once; Spanledger goes on by itself"
            ) from error
        self._stream, self._stream_bytes, self._stream_frames = stream, stream_bytes, frames
        return StoredBody(len(body), data, Part.BEGINS if begins else Part.CONTINUES)

    def begin_anew(self) -> None:
        """Let the next body point at nothing before it."""
        self._stream = None


class StreamReader:
    """Gives bodies back. Frames of a stream must come in order, without one left out. Holds 34 MB in a stream."""

    def __init__(self) -> None:
        # One that asks for more memory than any writer does is refused.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
        self._input = _Input()
        self._stream: zstandard.ZstdDecompressionReader | None = None

    def body(self, stored: StoredBody, source: str) -> bytes:
        """The body of the next frame. `source` names the frame in errors.

        Makes no more bytes than the frame says that there are. Raises JournalCorrupt; after that, only a frame that does
        not continue a stream can be read.
        """
        stream, self._stream = self._stream, None
        try:
            if stored.part is Part.WHOLE:
                return self._whole(stored, source)
            if stored.part is Part.BEGINS:
                # `read` is all that is asked of it.
                stream = self._decompressor.stream_reader(cast("IO[bytes]", self._input), closefd=False)
            elif stream is None:
                raise JournalCorrupt(f"{source} continues a compression stream that no frame before it begins")
            body = self._take(stream, stored, source)
        except zstandard.ZstdError as error:
            raise JournalCorrupt(f"{source} cannot be decompressed: {error}") from error
        self._stream = stream
        return body

    def _take(self, stream: zstandard.ZstdDecompressionReader, stored: StoredBody, source: str) -> bytes:
        """Exactly the bytes that the frame says, and nothing behind them before the next one."""
        if stored.raw_bytes > (len(stored.data) // _BLOCK_STORED_BYTES_MIN) * _BLOCK_BYTES_MAX:
            raise _too_few(stored, source)
        self._input.data = stored.data
        try:
            body = stream.read(stored.raw_bytes)
        except _InputOver:
            raise _too_few(stored, source) from None
        # A decompressor may have taken all the input in and still hold output back; it shows that only when there is more
        # input.
        self._input.data += _EMPTY_BLOCK if stored.data else b""
        try:
            if stream.read(1):
                raise JournalCorrupt(f"{source} holds more than the {stored.raw_bytes} bytes that it says")
        except _InputOver:
            if len(body) == stored.raw_bytes:
                return body
        raise _too_few(stored, source)

    def _whole(self, stored: StoredBody, source: str) -> bytes:
        # Unless it is asked, zstd takes its own header's word for how much there is to come.
        if zstandard.frame_content_size(stored.data) in (-1, stored.raw_bytes):
            body = self._decompressor.decompress(stored.data, max_output_size=max(stored.raw_bytes, 1))
            if len(body) == stored.raw_bytes:
                return body
        raise JournalCorrupt(f"{source} does not hold the {stored.raw_bytes} bytes that it says")


class _InputOver(Exception):
    """The stream asks for more than its frame holds. An end of input would end the stream for good, this does not."""


class _Input:
    """What a decompressor reads from: the stored bytes of one frame, then of the next."""

    data = b""

    def read(self, _size: int) -> bytes:
        data, self.data = self.data, b""
        if not data:
            raise _InputOver
        return data


def _too_few(stored: StoredBody, source: str) -> JournalCorrupt:
    return JournalCorrupt(f"{source} holds fewer than the {stored.raw_bytes} bytes that it says")
