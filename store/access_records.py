"""Access records: who read or changed what, as the journal holds it.

Strategy: a record is one line of canonical JSON (keys in order, nothing that is empty, no white space), and a frame of
type `access` has one line a record. The leaf of a record is RFC 6962's of its line, so a record can be proved like a
span. The names are the format's: one that is added is read by later releases, none is ever given another meaning.

What a record says is bounded by who makes it; here is only how it is written and read back.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from store.errors import MalformedAccess
from store.record import Frame, FrameDraft, FrameType

CONTENT_IDS_MAX: Final = 64
"""Content ids that a record names one by one: a page of steps shows up to some thousands, which would be 70 bytes each. What
has more says how many and the digest over all."""
RECORDS_MAX: Final = 4_096
"""Records of one frame: refusals of one second, or a page of an outbox."""

OTHER_RUN: Final = "other_run"
"""In `detail`: the run that `run_id` was compared with. It is found by that one, too."""
Outcome = Literal["allowed", "refused", "failed"]
_LEAF: Final = b"\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One access. Digests are SHA-256 in lower-case hex, times UTC nanoseconds. None, 0 and () are not written.

    `who` is a caller's name: `key:PREFIX`, `token:SUBJECT`, `open`, `local:USER`, `server`, or `unknown`. `peer` is the
    address that it came from, without a port. `action` is `read`, `replay`, `export`, `statement`, `access` for what was
    shown; `enter` for an attempt that was refused at a door; `key_create`, `key_rotate`, `key_revoke`, `policy` for
    changes. `access_id` is given where a record may be written twice: it counts once.
    """

    at_ns: int
    who: str
    action: str
    outcome: Outcome
    door: str
    access_id: str | None = None
    key_prefix: str | None = None
    role: str | None = None
    peer: str | None = None
    call: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    content_ids: tuple[str, ...] = ()
    content_count: int = 0
    content_digest: str | None = None
    rows: int = 0
    statement_digest: str | None = None
    filters: tuple[str, ...] = ()
    filter_digest: str | None = None
    reason: str | None = None
    purpose: str | None = None
    subject: str | None = None
    detail: dict[str, str] = field(default_factory=dict[str, str])
    count: int = 1
    """How many attempts this stands for: refusals of the same kind within a second are one record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccess:
    """An access record and where it stands in the journal."""

    tenant: str
    sequence: int
    ordinal: int
    received_ns: int
    record: AccessRecord


_NAMES: Final = tuple(member.name for member in fields(AccessRecord))
_ALWAYS: Final = frozenset({"at_ns", "who", "action", "outcome", "door"})
_DECODER: Final = msgspec.json.Decoder(AccessRecord)


def line_of(record: AccessRecord) -> bytes:
    """The record as one line, without its end."""
    said = {name: value for name in _NAMES if (value := getattr(record, name)) or name in _ALWAYS}
    return msgspec.json.encode(said, order="deterministic")


def leaf_of(line: bytes) -> bytes:
    """The digest of a record's line: 32 bytes."""
    return sha256(_LEAF + line).digest()


def access_draft(tenant: str, records: Sequence[AccessRecord]) -> FrameDraft:
    """The frame of some records of one tenant. Raises ValueError for none, or more than `RECORDS_MAX`."""
    if not 0 < len(records) <= RECORDS_MAX:
        raise ValueError(f"a frame has 1 to {RECORDS_MAX} access records, not {len(records)}")
    lines = [line_of(record) for record in records]
    body = b"".join(line + b"\n" for line in lines)
    return FrameDraft(tenant, None, body, tuple(leaf_of(line) for line in lines), FrameType.ACCESS)


def accesses_of(frame: Frame) -> Iterator[StoredAccess]:
    """The records of a frame, in order. Raises MalformedAccess where its body is not what its header says."""
    lines = frame.body.splitlines()
    if len(lines) != frame.records:
        raise MalformedAccess(f"an access frame of {frame.records} records has {len(lines)} lines")
    for ordinal, line in enumerate(lines):
        try:
            record = _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise MalformedAccess(f"access record {ordinal} cannot be read: {error}") from error
        yield StoredAccess(
            tenant=frame.tenant, sequence=frame.sequence, ordinal=ordinal, received_ns=frame.received_ns, record=record
        )


def digest_of_ids(ids: Iterable[str]) -> str:
    """One digest for a set of ids, whatever their order: SHA-256 over them sorted, a line each."""
    return sha256(b"".join(one.encode() + b"\n" for one in sorted(ids))).hexdigest()


def digest_of_filter(pairs: Iterable[tuple[str, Any]]) -> str:
    """One digest for the parameters of a call: SHA-256 over their JSON, sorted by name."""
    return sha256(msgspec.json.encode(sorted((name, str(value)) for name, value in pairs))).hexdigest()
