"""The bytes of the journal: a segment's header and a frame. Pure: bytes in, frames out.

A segment is a header and then frames, one after another; the preallocated rest is zeros, so a frame's magic that reads as
zeros is the end. Every frame ends in a CRC-32 over all of it, so a torn write is seen. A frame is named by
`journal_id:sequence`, never by a byte offset: segments may be rewritten.

Layout, little-endian. Header (64 bytes): magic 8s, version u16, journal id 16s, first sequence u64, created ns i64,
zeros, CRC u32. Frame: magic 4s, version u8, type u8, signal u8, codec u8, tenant bytes u16, reserved u16, records u32,
raw bytes u32, stored bytes u32, sequence u64, received ns i64, root 32s; tenant; body as stored; CRC u32.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import zstandard

from store.errors import JournalCorrupt, JournalVersionUnknown
from store.record import Frame, FrameType, Signal

SEGMENT_VERSION: Final = 1
FRAME_VERSION: Final = 1
HEADER_BYTES: Final = 64
TENANT_BYTES_MAX: Final = 255
ZSTD_LEVEL: Final = 3  # Agent traffic repeats itself: higher levels gain a few percent and cost half the speed.

_SEGMENT_MAGIC: Final = b"SPANLDGR"
_FRAME_MAGIC: Final = b"SPLF"
_NO_FRAME: Final = b"\x00\x00\x00\x00"
_HEADER: Final = struct.Struct("<8sH16sQq")
_FRAME: Final = struct.Struct("<4sBBBBHHIIIQq32s")
_CRC: Final = struct.Struct("<I")
_CODEC_ZSTD: Final = 1
FRAME_OVERHEAD_BYTES: Final = _FRAME.size + _CRC.size


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself. `journal_id` is 32 hex characters."""

    journal_id: str
    first_sequence: int
    created_ns: int


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body as it will be written, compressed before its sequence is known, so that callers compress in parallel."""

    raw_bytes: int
    data: bytes


def pack_header(header: SegmentHeader) -> bytes:
    """64 bytes."""
    packed = _HEADER.pack(
        _SEGMENT_MAGIC, SEGMENT_VERSION, bytes.fromhex(header.journal_id), header.first_sequence, header.created_ns
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
    return SegmentHeader(journal_id.hex(), first_sequence, created_ns)


def store_body(body: bytes) -> StoredBody:
    """Compress a body. Safe in any thread."""
    return StoredBody(len(body), zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body))


def frame_bytes(tenant: str, stored: StoredBody) -> int:
    """How many bytes the frame will take in a segment."""
    return FRAME_OVERHEAD_BYTES + len(tenant.encode()) + len(stored.data)


def pack_frame(frame: Frame, stored: StoredBody) -> bytes:
    """One frame as bytes; `frame.body` itself is not looked at, `stored` is."""
    tenant = frame.tenant.encode()
    packed = (
        _FRAME.pack(
            _FRAME_MAGIC,
            FRAME_VERSION,
            frame.type,
            frame.signal,
            _CODEC_ZSTD,
            len(tenant),
            0,
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


def unpack_frame(data: memoryview, offset: int, source: str) -> tuple[Frame, int] | None:
    """The frame at `offset` and the offset behind it; None at the end of what was written.

    Raises JournalCorrupt where bytes are there but are not a whole frame: torn, or damaged.
    """
    if offset + _FRAME.size > len(data):
        if any(data[offset:]):
            raise JournalCorrupt(f"{source} ends in a piece of a frame at byte {offset}")
        return None
    magic = bytes(data[offset : offset + 4])
    if magic == _NO_FRAME:
        return None
    if magic != _FRAME_MAGIC:
        raise JournalCorrupt(f"{source} has no frame at byte {offset}")
    (
        _,
        version,
        kind,
        signal,
        codec,
        tenant_bytes,
        _,
        records,
        raw_bytes,
        stored_bytes,
        sequence,
        received_ns,
        root,
    ) = _FRAME.unpack_from(data, offset)
    body_at = offset + _FRAME.size + tenant_bytes
    crc_at = body_at + stored_bytes
    if crc_at + _CRC.size > len(data):
        raise JournalCorrupt(f"{source} ends in the middle of the frame at byte {offset}")
    (crc,) = _CRC.unpack_from(data, crc_at)
    if crc != zlib.crc32(data[offset:crc_at]):
        raise JournalCorrupt(f"{source} has a frame with a wrong checksum at byte {offset}")
    if version > FRAME_VERSION or codec != _CODEC_ZSTD:
        raise JournalVersionUnknown(f"{source} has a frame of version {version}, codec {codec} at byte {offset}")
    body = zstandard.ZstdDecompressor().decompress(data[body_at:crc_at], max_output_size=max(raw_bytes, 1))
    tenant = bytes(data[offset + _FRAME.size : body_at]).decode()
    frame = Frame(sequence, FrameType(kind), tenant, Signal(signal), received_ns, records, root, body)
    return frame, crc_at + _CRC.size
