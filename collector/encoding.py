"""Decompression that stops at a bound.

Every decoder is fed and emptied in small pieces, and the pieces are counted before the next one is made: a few KB that
expand to hundreds of MB are refused after the bound, not after the expansion. A stream that ends early or is followed by
anything but another stream of its kind is an error, because a body that is only partly understood must not be stored.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from collector.errors import BodyTooLarge, MalformedBody, UnsupportedEncoding
from collector.limits import MIB
from collector.quoting import quoted

CONTENT_ENCODINGS: Final = ("gzip", "deflate", "zstd", "identity")

_INFLATE_IN_BYTES: Final = 64 * 1024  # zlib hands back what it did not consume; a small piece keeps that copy small
_INFLATE_OUT_BYTES: Final = MIB
# One block of zstd is at least 4 bytes and at most 128 KiB when expanded, and zstandard's decompressobj gives all that
# a piece of input expands to: 512 bytes are at most 16 MiB.
_ZSTD_IN_BYTES: Final = 512
# RFC 9659 lets a sender of Content-Encoding zstd use 8 MiB; encoders in the field go up to 32 MiB at high levels.
_ZSTD_WINDOW_BYTES_MAX: Final = 32 * MIB
# Streams one after the other in one body: block compressors write one for each 64 KiB or so. Each costs a decoder.
_STREAMS_MAX: Final = 4096

_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 15
_RAW_WBITS: Final = -15
_ZLIB_METHOD_DEFLATE: Final = 8


def encoding_of(header: str) -> str:
    """The one encoding that a Content-Encoding header names, '' being identity. Raises UnsupportedEncoding."""
    name = header.strip().lower() or "identity"
    name = name.removeprefix("x-") if name == "x-gzip" else name
    if "," in name:
        raise UnsupportedEncoding(
            f"Content-Encoding {quoted(header)} names several encodings; compress once, "
            f"with one of {', '.join(CONTENT_ENCODINGS)}"
        )
    if name not in CONTENT_ENCODINGS:
        raise UnsupportedEncoding(
            f"Content-Encoding {quoted(header)} is not known; use one of {', '.join(CONTENT_ENCODINGS)}"
        )
    return name


def decompress(encoding: str, body: bytes, *, bytes_max: int, on_growth: Callable[[int], None]) -> bytes:
    """The body without its encoding (one of CONTENT_ENCODINGS).

    `on_growth` hears the size of each piece before it is kept, and may raise. Raises BodyTooLarge past `bytes_max`,
    MalformedBody where the stream is broken, ends early or is followed by something else.
    """
    if encoding == "identity":
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    pieces: list[bytes] = []
    size = 0
    for piece in _pieces(encoding, body):
        size += len(piece)
        if size > bytes_max:
            raise _too_large(bytes_max)
        on_growth(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _pieces(encoding: str, body: bytes) -> Iterator[bytes]:
    try:
        match encoding:
            case "gzip":
                yield from _inflate(body, _GZIP_WBITS, encoding, streams_max=_STREAMS_MAX)
            case "deflate":
                yield from _inflate(body, _deflate_wbits(body), encoding, streams_max=1)
            case _:
                yield from _unzstd(body)
    except (zlib.error, zstandard.ZstdError) as error:
        raise MalformedBody(f"the body is not {encoding}, as its Content-Encoding says: {error}") from error


def _deflate_wbits(body: bytes) -> int:
    """HTTP's deflate is zlib (RFC 9110, 8.4.1.2), yet some senders leave zlib's two header bytes out."""
    has_header = len(body) >= 2 and body[0] & 0x0F == _ZLIB_METHOD_DEFLATE and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB_WBITS if has_header else _RAW_WBITS


def _inflate(body: bytes, wbits: int, encoding: str, *, streams_max: int) -> Iterator[bytes]:
    position = 0
    for _ in range(streams_max):
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            piece = stream.unconsumed_tail
            if not piece:
                piece = body[position : position + _INFLATE_IN_BYTES]
                position += len(piece)
            expanded = stream.decompress(piece, _INFLATE_OUT_BYTES)
            if not (piece or expanded or stream.eof):
                raise _truncated(encoding)
            yield expanded
        position -= len(stream.unused_data)
        if position == len(body):
            return
    raise _trailing(encoding, position, len(body), streams_max)


def _unzstd(body: bytes) -> Iterator[bytes]:
    position = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    for _ in range(_STREAMS_MAX):
        stream = decompressor.decompressobj()
        while not stream.eof:
            piece = body[position : position + _ZSTD_IN_BYTES]
            if not piece:
                raise _truncated("zstd")
            position += len(piece)
            yield stream.decompress(piece)
        position -= len(stream.unused_data)
        if position == len(body):
            return
    raise _trailing("zstd", position, len(body), _STREAMS_MAX)


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than {bytes_max:,} bytes when decompressed; send fewer records in one request"
    )


def _truncated(encoding: str) -> MalformedBody:
    return MalformedBody(f"the {encoding} body ends before its stream does: it was cut on the way")


def _trailing(encoding: str, position: int, size: int, streams_max: int) -> MalformedBody:
    said = "after the end of its stream" if streams_max == 1 else f"after {streams_max} streams, which is the limit"
    return MalformedBody(f"the {encoding} body goes on for {size - position:,} bytes {said}")
