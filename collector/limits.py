"""Every bound of the receivers, in one place, each with what breaks past it."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one collector process takes in. Sizes are bytes, times are seconds."""

    compressed_bytes_max: int = 16 * MIB
    """A body with a Content-Encoding, as it comes over the wire. Agent traffic shrinks more than tenfold, so a body
    that is larger than this is past `body_bytes_max` anyway."""

    body_bytes_max: int = 64 * MIB
    """A body once decompressed, over HTTP and over gRPC. One of this size takes 0.5 s of one core and three times its
    size in memory (JSON: 4 s and five times) while other requests wait; standard exporters send less than 1 MB."""

    value_messages_max: int = 64
    """Protobuf messages nested inside one attribute value: an array costs two a level, a map three, so 32 arrays or 21
    maps. The official runtime stops at 100, counted from the request, of which up to 8 enclose the value: what passes
    here can be read by every later reader of the record."""

    requests_in_flight_max: int = 64
    """Requests being read, decoded or waiting for the journal, both doors together. Each holds a thread while it waits
    for its fsync, and those that wait together share one; past this senders would only queue inside us."""

    bytes_in_flight_max: int = 256 * MIB
    """Body bytes held by the requests in flight. Decoding makes it three to five times as much in memory."""

    body_read_seconds_max: float = 60.0
    """How long a sender may take to send one body over HTTP. A sender that stalls holds a place others could use."""
