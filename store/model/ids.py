"""Ids that follow from what they name, so that any order of arrival and any rebuild gives the same ones."""

from functools import lru_cache
from hashlib import sha256
from typing import Final

_HASHED_AT_ONCE_BYTES: Final = 1536
"""From 2 KiB on hashlib gives up the interpreter's lock, and waits milliseconds to have it back from a busy thread."""


def segment_id(tenant: str, trace_id: str) -> str:
    """The id of a trace's segment, and of the run that it begins: 32 hex characters."""
    return _digest("segment", tenant, trace_id)


def content_id(tenant: str, content: bytes) -> str:
    """The id of a piece of content, per tenant: equal content of two tenants has two ids. 32 hex characters."""
    seed = _content_seed(tenant)
    if len(content) < _HASHED_AT_ONCE_BYTES:
        return sha256(seed + content).hexdigest()[:32]
    digest = sha256(seed)
    for at in range(0, len(content), _HASHED_AT_ONCE_BYTES):
        digest.update(content[at : at + _HASHED_AT_ONCE_BYTES])
    return digest.hexdigest()[:32]


def step_id(trace_id: str, span_id: str) -> str:
    """`<trace>-<span>`: the span's own name, so that a person can find the step from a log line."""
    return f"{trace_id}-{span_id}"


def split_step_id(text: str) -> tuple[str, str] | None:
    """The trace and span id of a step id, or None where it is not one."""
    trace_id, _, span_id = text.partition("-")
    return (trace_id, span_id) if len(trace_id) == 32 and len(span_id) == 16 else None


def record_id(kind: str, *parts: str) -> str:
    """An id for what has no id of its own: a log record, a metric point, a decision. 32 hex characters."""
    return _digest(kind, *parts)


def _digest(kind: str, *parts: str) -> str:
    digest = sha256(kind.encode())
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.hexdigest()[:32]


@lru_cache(maxsize=4096)
def _content_seed(tenant: str) -> bytes:
    return b"content\x00" + tenant.encode() + b"\x00"
