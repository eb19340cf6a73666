"""The stable bytes of a record, and their digest.

A record is evidence only together with what it was said about: its leaf is SHA-256 over 0x00 (RFC 6962's leaf prefix),
the digest of its resource, the digest of its scope (each with its schema URL), and the record's own protobuf. The root
over the leaves of a request (RFC 6962's tree) is what a journal frame carries.

The protobuf is what the official runtime writes too, so that anybody can compute a leaf, with two exceptions: fields that
OTLP does not know are in the frame but not in the leaf (but for those inside arrays and maps), and the doubles of a
metric that proto3 leaves out when they are 0.0 are left out when they are -0.0.

So there are two ways to the same leaves. A request with neither exception is written by the official runtime already, and
its records are slices of its body: nothing has to be decoded or written. The columns know neither exception and serve all.
"""

from hashlib import sha256
from typing import Any, Final

import pyarrow as pa

from store.otlp.decode import Decoded, Records, records_of
from store.otlp.schema import RECORD_HANDLERS, RESOURCE_HANDLER, SCOPE_HANDLER
from store.otlp.wire import parts
from store.record import Signal

EMPTY_ROOT = sha256(b"").digest()

_LEAF: Final = b"\x00"
_NEGATIVE_ZERO: Final = b"\x00\x00\x00\x00\x00\x00\x00\x80"
# Field numbers that the messages of all signals share: Resource* and Scope*, each with its schema URL, in *Request.
_ENCLOSING, _ENCLOSED = 1, 2


def leaves_of_request(decoded: Decoded) -> list[bytes]:
    """The leaf digest of every record of a request, in order: what `leaves_of` says of its columns. 32 bytes each."""
    if not decoded.plain or (decoded.signal is Signal.METRICS and _NEGATIVE_ZERO in decoded.body):
        return leaves_of(records_of(decoded.signal, decoded.batch))
    body, view = decoded.body, memoryview(decoded.body)
    leaves: list[bytes] = []
    for _, start, end in parts(body, 0, len(body)):
        resource, scopes = _digest_and_enclosed(body, start, end)
        for scope_start, scope_end in scopes:
            scope, records = _digest_and_enclosed(body, scope_start, scope_end)
            enclosing = sha256(_LEAF + resource + scope)
            for record_start, record_end in records:
                leaf = enclosing.copy()
                leaf.update(view[record_start:record_end])
                leaves.append(leaf.digest())
    return leaves


def leaves_of(records: Records) -> list[bytes]:
    """The leaf digest of every record, in order. 32 bytes each."""
    if not len(records):
        return []
    resources = _enclosing_digests(RESOURCE_HANDLER, records.resources, "resource")
    scopes = _enclosing_digests(SCOPE_HANDLER, records.scopes, "scope")
    bodies = _protobuf(RECORD_HANDLERS[records.signal], records.records)
    return [
        sha256(_LEAF + resources[resource] + scopes[scope] + body).digest()
        for body, resource, scope in zip(bodies, records.resource.tolist(), records.scope.tolist(), strict=True)
    ]


def root_of(leaves: list[bytes] | tuple[bytes, ...]) -> bytes:
    """The Merkle tree root over leaf digests as RFC 6962 defines it (section 2.1). 32 bytes."""
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    # Joining neighbours and carrying a last odd node up gives the same tree as splitting at the largest power of two.
    while len(level) > 1:
        joined = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = joined + level[len(level) & ~1 :]
    return level[0]


def _digest_and_enclosed(body: bytes, start: int, end: int) -> tuple[bytes, list[tuple[int, int]]]:
    """Of a Resource* or Scope* message: the digest of what it says, and where in the body is what it encloses."""
    said = url = b""
    enclosed: list[tuple[int, int]] = []
    for number, part_start, part_end in parts(body, start, end):
        if number == _ENCLOSED:
            enclosed.append((part_start, part_end))
        elif number == _ENCLOSING:
            said = body[part_start:part_end]
        else:
            url = body[part_start:part_end]
    return _enclosing_digest(said, url), enclosed


def _enclosing_digest(said: bytes, url: bytes) -> bytes:
    return sha256(len(said).to_bytes(8, "big") + said + url).digest()


def _enclosing_digests(handler: Any, enclosing: pa.StructArray, name: str) -> list[bytes]:
    bodies = _protobuf(handler, enclosing.field(name))
    urls = enclosing.field("schema_url").to_pylist()
    return [_enclosing_digest(body, url.encode()) for body, url in zip(bodies, urls, strict=True)]


def _protobuf(handler: Any, structs: pa.StructArray) -> list[bytes]:
    """Each struct as protobuf; one that was not sent (a request may leave its resource or scope out) as no bytes."""
    present = structs.drop_null()
    bodies: list[bytes] = handler.record_batch_to_array(pa.RecordBatch.from_struct_array(present)).to_pylist()
    if len(bodies) == len(structs):
        return bodies
    given = iter(bodies)
    return [next(given) if valid else b"" for valid in structs.is_valid().to_pylist()]
