"""The keys in memory, and how they stay as new as the control store says.

Every door looks keys up here: a wrong key costs one digest and one look into a dictionary, never a query. The keyring is
replaced whole when the control store's revision moves, so a reader needs no lock.
"""

import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from access.errors import AccessUnknown, Unauthenticated
from access.keys import KeyRecord, digest_of, prefix_of, rfc3339

KEYS_MAX: Final = 10_000  # Live ones: some 5 MB in each process.
# As long as the control store may be out of reach before nobody is let in any more. A revocation cannot be seen meanwhile.
STALE_SECONDS_MAX: Final = 10.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys as of one revision of the control store. `known` says whether there ever was a key."""

    revision: int = 0
    known: bool = False
    keys: Mapping[bytes, KeyRecord] = field(default_factory=dict[bytes, KeyRecord], repr=False)
    by_prefix: Mapping[str, KeyRecord] = field(default_factory=dict[str, KeyRecord], repr=False)

    @classmethod
    def of(cls, revision: int, keys: Sequence[KeyRecord], *, known: bool) -> "Keyring":
        return cls(revision, known, {one.digest: one for one in keys}, {one.prefix: one for one in keys})

    def find(self, key: str, now: float) -> KeyRecord:
        """The record of a key that may be used at `now` (Unix seconds). Raises Unauthenticated."""
        if prefix_of(key) is None:
            raise Unauthenticated(
                "the credential has not the form of a key (slk_..._...) nor that of a token", "malformed"
            )
        digest = digest_of(key)
        found = self.keys.get(digest)
        # The look-up leaks no more than a digest would, which is of no use; the comparison costs nothing.
        if found is None or not hmac.compare_digest(found.digest, digest):
            raise Unauthenticated("the key is not one of this server's", "unknown")
        check(found, now)
        return found

    def packed(self) -> bytes:
        """For another process of this server: there are digests in it, and no secrets."""
        return msgspec.msgpack.encode((self.revision, self.known, list(self.keys.values())))

    @classmethod
    def unpacked(cls, data: bytes) -> "Keyring":
        revision, known, keys = msgspec.msgpack.decode(data, type=tuple[int, bool, list[KeyRecord]])
        return cls.of(revision, keys, known=known)


def check(key: KeyRecord, now: float) -> None:
    """Raises Unauthenticated for a key that is revoked or expired."""
    match key.state(now):
        case "revoked":
            raise Unauthenticated(f"the key {key.prefix} was revoked on {rfc3339(key.revoked_at)}", "revoked", key=key)
        case "expired":
            raise Unauthenticated(f"the key {key.prefix} expired on {rfc3339(key.expires_at)}", "expired", key=key)
        case _:
            pass


class KeyHolder:
    """The keyring that holds now, and which keys were used. Thread-safe."""

    def __init__(self, keyring: Keyring | None = None, clock: Clock = time.monotonic) -> None:
        self.keyring = keyring or Keyring()
        self._clock = clock
        self._fresh_until = clock() + STALE_SECONDS_MAX
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}

    def replace(self, keyring: Keyring) -> None:
        """Let another keyring hold from now on."""
        self.keyring = keyring
        self.confirm()

    def confirm(self) -> None:
        """The control store was asked just now, and nothing has changed."""
        self._fresh_until = self._clock() + STALE_SECONDS_MAX

    def current(self) -> Keyring:
        """The keyring. Raises AccessUnknown where it is so old that a revocation may have been missed."""
        if self._clock() > self._fresh_until:
            raise AccessUnknown(
                "the control store, which holds the keys, has not answered for some time: nobody can be let in until it "
                "does; try again later"
            )
        return self.keyring

    def used(self, prefix: str, now: float) -> None:
        """Remember that a key was used at `now` (Unix seconds). Bounded by the number of keys."""
        with self._lock:
            self._used[prefix] = now

    def take_used(self) -> dict[str, float]:
        """When keys were used last, since the last call."""
        with self._lock:
            used, self._used = self._used, {}
        return used
