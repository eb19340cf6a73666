"""The bytes of the journal: a segment's header and a frame. Pure: bytes in, frames out.

A segment is a header and then frames, one after another; the preallocated rest is zeros, so a frame's magic that reads as
zeros is the end. Every frame ends in a CRC-32 over all of it, so a torn write is seen. A frame is named by
`journal_id:sequence`, never by a byte offset: segments may be rewritten.

Layout, little-endian. Header (64 bytes): magic 8s, version u16, journal id 16s, first sequence u64, created ns i64,
zeros, CRC u32. Frame: magic 4s, version u8, type u8, signal u8, codec u8, tenant bytes u16, flags u16, records u32,
raw bytes u32, stored bytes u32, sequence u64, received ns i64, root 32s; tenant; body as stored; CRC u32.

Flag 1 says that the frame begins a commit: when it was written, everything before it was durable. So a broken frame with such
a frame behind it was damaged after the fact, and one without was torn by a crash before anybody was told of it.

Codec 1 is a zstd frame for each body. Codec 2 is a stream over the bodies of frames that follow one another in a segment
(`stream.py`); flag 2 says that it begins here. Whether a frame is whole shows without its body, which is not read here.

A frame layout that an older reader would misread raises the segment version too: the header is read before any frame. Version
1 knew codec 1 alone.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from store.errors import JournalCorrupt, JournalVersionUnknown
from store.record import Frame, FrameType, Signal

SEGMENT_VERSION: Final = 2
FRAME_VERSION: Final = 1
HEADER_BYTES: Final = 64
FRAME_MAGIC: Final = b"SPLF"
TENANT_BYTES_MAX: Final = 255

_SEGMENT_MAGIC: Final = b"SPANLDGR"
_NO_FRAME: Final = b"\x00\x00\x00\x00"
_HEADER: Final = struct.Struct("<8sH16sQq")
_FRAME: Final = struct.Struct("<4sBBBBHHIIIQq32s")
_CRC: Final = struct.Struct("<I")
_CODEC_ZSTD: Final = 1
_CODEC_ZSTD_STREAM: Final = 2
_BEGINS_COMMIT: Final = 1
_BEGINS_STREAM: Final = 2
_NO_SIGNAL: Final = 0  # Of a frame that is not of telemetry.
_KINDS: Final = frozenset(FrameType)
_SIGNALS: Final = {
    FrameType.OTLP: frozenset(map(int, Signal)),
    FrameType.ACCESS: frozenset({_NO_SIGNAL}),
}
FRAME_OVERHEAD_BYTES: Final = _FRAME.size + _CRC.size


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself. `journal_id` is 32 hex characters."""

    journal_id: str
    first_sequence: int
    created_ns: int
    version: int = SEGMENT_VERSION


class Part(Enum):
    """How a body is compressed: for itself, or as the first or a later one of a stream."""

    WHOLE = "whole"
    BEGINS = "begins"
    CONTINUES = "continues"


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body as it stands in a frame."""

    raw_bytes: int
    data: bytes
    part: Part


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame whose checksum is right, with its body as stored."""

    sequence: int
    type: FrameType
    tenant: str
    signal: Signal | None
    received_ns: int
    records: int
    root: bytes
    stored: StoredBody

    def with_body(self, body: bytes) -> Frame:
        return Frame(
            self.sequence, self.type, self.tenant, self.signal, self.received_ns, self.records, self.root, body
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where a frame stands in a segment, by its own lengths; nothing is checked yet. Offsets in bytes."""

    offset: int
    end: int
    sequence: int
    begins_commit: bool
    continues: bool
    """Its body cannot be read without those before it in its stream."""


def pack_header(header: SegmentHeader) -> bytes:
    """64 bytes."""
    packed = _HEADER.pack(
        _SEGMENT_MAGIC, header.version, bytes.fromhex(header.journal_id), header.first_sequence, header.created_ns
    )
    padded = packed.ljust(HEADER_BYTES - _CRC.size, b"\x00")
    return padded + _CRC.pack(zlib.crc32(padded))


def unpack_header(data: bytes, source: str) -> SegmentHeader:
    """Read a segment's header. Raises JournalCorrupt, or JournalVersionUnknown for one written by a newer release."""
    if len(data) < HEADER_BYTES or data[:8] != _SEGMENT_MAGIC:
        raise JournalCorrupt(f"{source} does not begin with a segment header")
    _, version, journal_id, first_sequence, created_ns = _HEADER.unpack_from(data)
    if version > SEGMENT_VERSION:
        raise JournalVersionUnknown(
            f"{source} has journal version {version}, this Spanledger reads up to {SEGMENT_VERSION}: "
            "open the data folder with the release that wrote it, or a newer one"
        )
    (crc,) = _CRC.unpack_from(data, HEADER_BYTES - _CRC.size)
    if crc != zlib.crc32(data[: HEADER_BYTES - _CRC.size]):
        raise JournalCorrupt(f"{source} has a damaged segment header")
    return SegmentHeader(journal_id.hex(), first_sequence, created_ns, version)


def frame_bytes(tenant: str, stored: StoredBody) -> int:
    """How many bytes the frame will take in a segment."""
    return FRAME_OVERHEAD_BYTES + len(tenant.encode()) + len(stored.data)


def pack_frame(frame: Frame, stored: StoredBody, *, begins_commit: bool) -> bytes:
    """One frame as bytes; `frame.body` itself is not looked at, `stored` is."""
    tenant = frame.tenant.encode()
    flags = (_BEGINS_COMMIT if begins_commit else 0) | (_BEGINS_STREAM if stored.part is Part.BEGINS else 0)
    packed = (
        _FRAME.pack(
            FRAME_MAGIC,
            FRAME_VERSION,
            frame.type,
            frame.signal or _NO_SIGNAL,
            _CODEC_ZSTD if stored.part is Part.WHOLE else _CODEC_ZSTD_STREAM,
            len(tenant),
            flags,
            frame.records,
            stored.raw_bytes,
            len(stored.data),
            frame.sequence,
            frame.received_ns,
            frame.root,
        )
        + tenant
        + stored.data
    )
    return packed + _CRC.pack(zlib.crc32(packed))


def locate_frame(data: memoryview, offset: int, source: str) -> FramePlace | None:
    """The frame that begins at `offset`; None at the end of what was written.

    Raises JournalCorrupt where bytes are there but no frame begins, or it does not end inside `data`.
    """
    if offset + _FRAME.size > len(data):
        if any(data[offset:]):
            raise JournalCorrupt(f"{source} ends in a piece of a frame at byte {offset}")
        return None
    magic = bytes(data[offset : offset + 4])
    if magic == _NO_FRAME:
        return None
    if magic != FRAME_MAGIC:
        raise JournalCorrupt(f"{source} has no frame at byte {offset}")
    place = stated_place(data, offset)
    if place is None:
        raise JournalCorrupt(f"{source} ends in the middle of the frame at byte {offset}")
    return place


def stated_place(data: memoryview, offset: int) -> FramePlace | None:
    """What the bytes at `offset` say if they are a frame's; None where that frame would not fit into `data`."""
    if offset + FRAME_OVERHEAD_BYTES > len(data):
        return None
    _, _, _, _, codec, tenant_bytes, flags, _, _, stored_bytes, sequence, _, _ = _FRAME.unpack_from(data, offset)
    end = offset + FRAME_OVERHEAD_BYTES + tenant_bytes + stored_bytes
    if end > len(data):
        return None
    return FramePlace(offset, end, sequence, bool(flags & _BEGINS_COMMIT), _part(codec, flags) is Part.CONTINUES)


def unpack_frame(data: memoryview, place: FramePlace, source: str) -> StoredFrame:
    """The frame at a place. Raises JournalCorrupt for a wrong checksum, JournalVersionUnknown for what is newer."""
    crc_at = place.end - _CRC.size
    (crc,) = _CRC.unpack_from(data, crc_at)
    if crc != zlib.crc32(data[place.offset : crc_at]):
        raise JournalCorrupt(f"{source} has a frame with a wrong checksum at byte {place.offset}")
    _, version, kind, signal, codec, tenant_bytes, flags, records, raw_bytes, _, sequence, received_ns, root = (
        _FRAME.unpack_from(data, place.offset)
    )
    part = _part(codec, flags)
    if version > FRAME_VERSION or part is None or kind not in _KINDS or signal not in _SIGNALS[kind]:
        raise JournalVersionUnknown(
            f"{source} has a frame of version {version}, type {kind}, signal {signal}, codec {codec} at byte "
            f"{place.offset}, which this Spanledger does not know: open the data folder with the release that wrote it"
        )
    body_at = place.offset + _FRAME.size + tenant_bytes
    try:
        tenant = bytes(data[place.offset + _FRAME.size : body_at]).decode()
    except UnicodeDecodeError as error:
        raise JournalCorrupt(f"{source} has a frame whose tenant is not UTF-8 at byte {place.offset}") from error
    # A copy: what is read from a mapped file must not outlive the mapping.
    stored = StoredBody(raw_bytes, bytes(data[body_at:crc_at]), part)
    spoken = Signal(signal) if signal else None
    return StoredFrame(sequence, FrameType(kind), tenant, spoken, received_ns, records, root, stored)


def _part(codec: int, flags: int) -> Part | None:
    if codec == _CODEC_ZSTD:
        return Part.WHOLE
    if codec == _CODEC_ZSTD_STREAM:
        return Part.BEGINS if flags & _BEGINS_STREAM else Part.CONTINUES
    return None
