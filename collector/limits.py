"""Every bound of the receivers, in one place, each with what breaks past it.

What they add up to with the defaults, in MB of the process: 200 for code and libraries, 64 of recent frames that the
journal keeps for the projector, 73 of its compression window and a reader's, 300 for a batch being projected and the traces
it remembers, up to 512 for the view's engine, 128 of bodies, 128 for the 32 of them that are being decoded. The engine
takes its share only for heavy reads, so what is seen is well below that: 64 senders of 4 MB bodies over 8 s made it 712 MiB
over HTTP and 816 over gRPC, 4 senders 481 and 527.
"""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one collector process takes in. Sizes are bytes, times are seconds."""

    compressed_bytes_max: int = 16 * MIB
    """A body with a Content-Encoding, as it comes over the wire. Agent traffic shrinks more than tenfold, so a body
    that is larger than this is past `body_bytes_max` anyway."""

    body_bytes_max: int = 64 * MIB
    """A body once decompressed, over HTTP and over gRPC. One of this size takes 0.5 s of one core and three times its
    size in memory (JSON: 4 s and five times) while other requests wait; standard exporters send less than 1 MB."""

    value_messages_max: int = 90
    """Protobuf messages nested inside one attribute value: an array costs two a level, a map three, so 45 arrays or 30
    maps. The official runtime stops at 100, counted from the request, of which up to 8 enclose the value: what passes
    here can be read by every later reader of the record."""

    attributes_max: int = 16 * KIB
    """Attributes of one span, log record, span event, link, resource, scope or data point; what comes after them is dropped
    and marked. SDKs stop at 128 unless told otherwise, instrumentations that flatten messages to attributes at thousands.
    Each is an object of Python in the projector, and every shape of span is remembered with all its keys."""

    attribute_bytes_max: int = 16 * MIB
    """One attribute value or log body: a string's UTF-8, bytes, an array's or map's protobuf; it is cut there and marked.
    It holds a 12 MB file as base64. A value is one piece for whoever works with it: 16 MiB are 40 ms of the projector,
    70 ms and 60 MB of the view's engine, and as much again for each reader of the step."""

    span_events_max: int = 16 * KIB
    """Span events of one span, dropped and marked beyond that. SDKs stop at 128 unless told otherwise; some libraries send
    one for each piece of a streamed answer. All of them are one row of the view."""

    span_links_max: int = 16 * KIB
    """Links of one span, as its events."""

    http_requests_max: int = 1024
    """HTTP requests being read, waiting for a thread, decoded or waiting for the journal. Beside its body one costs some
    20 KB. It is many times `http_threads`, so that senders who dawdle over their bodies, which need no thread, do not
    take the places of those who are done; at the pace of small requests a queue of this length is half a second."""

    http_threads: int = 32
    """Threads that decode HTTP bodies and wait for the journal. Two would do for decoding, which holds the interpreter's
    lock; those that wait for one fsync share it, and 32 at once fill a group commit."""

    grpc_calls_max: int = 32
    """gRPC calls being read, decoded or waiting for the journal. Each holds a thread from its first byte on, because gRPC's
    Python server has no other way to wait for a body, and its body twice while gRPC hands it over."""

    bytes_in_flight_max: int = 128 * MIB
    """Body bytes held by the requests in flight, both doors together: a second of work at 100 MB/s, so that a longer
    queue would only make senders time out."""

    grpc_body_bytes_expected: int = 256 * KIB
    """Counted at least for a gRPC call before its body is read, because gRPC does not tell the size before the body is
    whole. Calls are expected to be as large as the largest of late; one that is larger still is counted when it is there,
    and refused then if it is too much."""

    decoding_bytes_max: int = 32 * MIB
    """Bodies being decoded at the same time: it makes three to five times as much of them, and gives that back before
    it waits for the journal. More at once would not be faster, because decoding holds the interpreter's lock."""

    decoding_small_bytes: int = 256 * KIB
    """A body of up to this size is decoded beside that bound, so that it never waits behind one of tens of MB. As many
    as there are threads take 100 MB."""

    body_idle_seconds_max: float = 10.0
    """How long a sender may let its body rest over HTTP. One that stalls holds bytes that others could use."""

    body_read_seconds_max: float = 60.0
    """How long a sender may take to send one body over HTTP, however steadily: 64 MiB at 1 MiB/s."""

    grpc_body_read_seconds_max: float = 15.0
    """How long a sender may take to send one body over gRPC, which does not show that one is on its way. A stalled call
    holds a thread."""

    view_lag_bytes_max: int = 1024 * MIB
    """Request bytes that are in the journal and not in the view yet; 0 is no bound. It is how long the engine may be down
    without a refusal: 17 minutes of 1 MB/s, in 20 to 100 MB of journal."""

    view_lag_seconds_max: float = 5.0
    """How long the view may need for what is in the journal and not in it, where senders are the cause; 0 is no bound. After
    too much the service is to be as new within 10 s: half of them for this, the rest for what was in flight, an estimate
    that is wrong and the clients' last attempts. Less would refuse gusts that are projected before anybody looks. It does
    not hold while the view stands still (see `store.backlog`); then `view_lag_bytes_max` alone is the budget."""

    disk_reserve_bytes: int = 512 * MIB
    """Bytes that stay free on the data folder's file system; 0 is no reserve. Without room the view cannot be written
    any more, not even to be brought up to date, and a full disk harms whoever else uses it. On a small file system it is
    an eighth of it at most."""
