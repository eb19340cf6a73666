"""Attempts that were refused, counted until somebody writes them down.

Strangers may try as often as they like, so an attempt must not cost a record: what is the same (who, from where, at which
door, for which reason) is one entry with a count, and the entries of one period are bounded. What has no room counts under
its door and reason alone: nothing is lost but from where it came.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from access.errors import (
    AccessError,
    AccessUnknown,
    CredentialInUrl,
    Forbidden,
    HostRefused,
    RateExceeded,
    Unauthenticated,
)
from access.permissions import Principal

ENTRIES_MAX: Final = 256
"""Distinct ones between two times that they are taken: some 100 KB of records a second at most."""
OTHERS: Final = "others"
UNKNOWN: Final = "unknown"
_REASONS: Final[dict[type[AccessError], str]] = {
    Forbidden: "forbidden",
    CredentialInUrl: "credential_in_url",
    HostRefused: "host_refused",
    RateExceeded: "rate_exceeded",
    AccessUnknown: "access_unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What attempts have in common that are counted together. `tenant` None: it is not known whose they are."""

    who: str
    door: str
    reason: str
    tenant: str | None = None
    key_prefix: str | None = None
    role: str | None = None
    peer: str | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """So many attempts, of which the first was at `at_ns` (UTC)."""

    refusal: Refusal
    count: int
    at_ns: int


def refusal_of(
    error: AccessError, *, door: str, peer: str | None, who: Principal | None = None, call: str | None = None
) -> Refusal:
    """What is counted of an attempt. Nothing that was presented is in it but the visible part of a key that was ours."""
    reason = error.reason if isinstance(error, Unauthenticated) else _REASONS.get(type(error), "refused")
    if isinstance(error, Forbidden):
        reason = f"{reason}: {error.missing}"
    if who is None:
        dead = error.key if isinstance(error, Unauthenticated) else None
        if dead is None:
            return Refusal(who=UNKNOWN, door=door, reason=reason, peer=peer, call=call)
        who = dead.principal()
    return Refusal(
        who=who.name,
        door=door,
        reason=reason,
        tenant=who.tenant,
        key_prefix=who.key_prefix,
        role=who.role,
        peer=peer,
        call=call,
    )


class Refusals:
    """Refused attempts of one process. Thread-safe."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._counts: dict[Refusal, tuple[int, int]] = {}

    def note(self, refusal: Refusal) -> None:
        """Count one attempt."""
        self._add(refusal, 1, self._clock_ns())

    def put(self, counted: Iterable[Counted]) -> None:
        """Count what another process counted, or what could not be written down."""
        for one in counted:
            self._add(one.refusal, one.count, one.at_ns)

    def take(self) -> list[Counted]:
        """What was counted since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [Counted(refusal=refusal, count=count, at_ns=at_ns) for refusal, (count, at_ns) in counts.items()]

    def _add(self, refusal: Refusal, count: int, at_ns: int) -> None:
        with self._lock:
            if refusal not in self._counts and len(self._counts) >= ENTRIES_MAX:
                refusal = _without_sender(refusal)
            before, first_ns = self._counts.get(refusal, (0, at_ns))
            self._counts[refusal] = (before + count, min(first_ns, at_ns))


def _without_sender(refusal: Refusal) -> Refusal:
    """By tenant, door and reason: of those there are few, for a tenant is one that has keys."""
    return replace(refusal, who=OTHERS, key_prefix=None, role=None, peer=None, call=None)


def packed(counted: list[Counted]) -> bytes:
    """For another process of this server."""
    return msgspec.msgpack.encode(counted)


def unpacked(data: bytes) -> list[Counted]:
    return msgspec.msgpack.decode(data, type=list[Counted])
