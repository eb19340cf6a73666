"""How a server and a sandbox speak: documents of JSON with their length before them; what follows one is said in it."""

import struct
from typing import Any, BinaryIO, Final

import msgspec

_LENGTH: Final = struct.Struct("<I")
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024  # An order is a statement and some SELECTs; more is not one.


def write_document(stream: BinaryIO, document: dict[str, Any]) -> None:
    """Raises OSError."""
    body = msgspec.json.encode(document)
    stream.write(_LENGTH.pack(len(body)) + body)


def read_document(stream: BinaryIO) -> dict[str, Any]:
    """Raises EOFError where the stream ends before a whole one, and OSError."""
    (length,) = _LENGTH.unpack(read_exactly(stream, _LENGTH.size))
    if length > DOCUMENT_BYTES_MAX:
        raise EOFError(f"a document of {length} bytes is none of ours")
    return msgspec.json.decode(read_exactly(stream, length))


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """Raises EOFError, OSError."""
    found = stream.read(length)
    if len(found) < length:
        raise EOFError(f"the stream ended {length - len(found)} bytes early")
    return found
