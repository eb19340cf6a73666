"""The stable bytes of a record, and their digest.

A record is evidence only together with what it was said about: its leaf is SHA-256 over 0x00 (RFC 6962's leaf prefix),
the digest of its resource, the digest of its scope (each with its schema URL), and the record's own protobuf. The root
over the leaves of a request (RFC 6962's tree) is what a journal frame carries.

The protobuf is what the official runtime writes too, so that anybody can compute a leaf, with two exceptions: fields that
OTLP does not know are in the frame but not in the leaf (but for those inside arrays and maps), and the doubles of a
metric that proto3 leaves out when they are 0.0 are left out when they are -0.0.
"""

from hashlib import sha256
from typing import Any

import pyarrow as pa

from store.otlp.decode import Records
from store.otlp.schema import RECORD_HANDLERS, RESOURCE_HANDLER, SCOPE_HANDLER

EMPTY_ROOT = sha256(b"").digest()


def leaves_of(records: Records) -> list[bytes]:
    """The leaf digest of every record, in order. 32 bytes each."""
    if not len(records):
        return []
    resources = _enclosing_digests(RESOURCE_HANDLER, records.resources, "resource")
    scopes = _enclosing_digests(SCOPE_HANDLER, records.scopes, "scope")
    bodies = _protobuf(RECORD_HANDLERS[records.signal], records.records)
    return [
        sha256(b"\x00" + resources[resource] + scopes[scope] + body).digest()
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


def _enclosing_digests(handler: Any, enclosing: pa.StructArray, name: str) -> list[bytes]:
    bodies = _protobuf(handler, enclosing.field(name))
    urls = enclosing.field("schema_url").to_pylist()
    return [
        sha256(len(body).to_bytes(8, "big") + body + url.encode()).digest()
        for body, url in zip(bodies, urls, strict=True)
    ]


def _protobuf(handler: Any, structs: pa.StructArray) -> list[bytes]:
    """Each struct as protobuf; one that was not sent (a request may leave its resource or scope out) as no bytes."""
    present = structs.drop_null()
    bodies: list[bytes] = handler.record_batch_to_array(pa.RecordBatch.from_struct_array(present)).to_pylist()
    if len(bodies) == len(structs):
        return bodies
    given = iter(bodies)
    return [next(given) if valid else b"" for valid in structs.is_valid().to_pylist()]
