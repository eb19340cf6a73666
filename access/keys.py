"""API keys: how one looks, how one is made, what is kept of it.

    slk_<prefix>_<secret>     the prefix is shown in lists and logs, the secret is shown once

Kept is the SHA-256 of the whole key. A slow hash protects passwords, which can be guessed; a secret of 256 random bits
cannot, so a slow hash would only let strangers spend our processor time with wrong keys.
"""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from access.errors import KeyRefused
from access.permissions import ROLE_PERMISSIONS, Permission, Principal, Role

KEY_MARK: Final = "slk_"
PREFIX_CHARS: Final = 8
SECRET_CHARS: Final = 43  # log2(62) * 43 = 256 bits.
KEY_CHARS_MAX: Final = 96  # A secret of 64 hexadecimal digits, as `openssl rand -hex 32` makes it, fits too.
NAME_CHARS_MAX: Final = 100

_ALPHABET: Final = string.ascii_letters + string.digits
_KEY: Final = re.compile(r"slk_([0-9A-Za-z]{8})_([0-9A-Za-z]{43,64})")
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as it is kept. Times are Unix seconds; None: never, or not known."""

    prefix: str
    digest: bytes
    name: str
    tenant: str
    role: Role
    granted: frozenset[Permission] = frozenset()
    denied: frozenset[Permission] = frozenset()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    replaces: str | None = None
    requests_per_second: int | None = None
    bytes_per_second: int | None = None

    @property
    def permissions(self) -> frozenset[Permission]:
        return (ROLE_PERMISSIONS[self.role] | self.granted) - self.denied

    def state(self, now: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def principal(self) -> Principal:
        return Principal(
            kind="key",
            name=f"key:{self.prefix}",
            tenant=self.tenant,
            role=self.role,
            permissions=self.permissions,
            key_prefix=self.prefix,
            expires_at=self.expires_at,
            requests_per_second=self.requests_per_second,
            bytes_per_second=self.bytes_per_second,
        )


def new_key() -> str:
    """A key that nobody has seen, with 256 bits of the operating system's randomness."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_CHARS))
    return f"{KEY_MARK}{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARS))


def prefix_of(key: str) -> str | None:
    """The visible part of a key; None where it is not one."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def digest_of(key: str) -> bytes:
    """What is kept of a key: 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def checked_tenant(tenant: str) -> str:
    """Raises KeyRefused for a name that no tenant can have."""
    if not _TENANT.fullmatch(tenant):
        raise KeyRefused(
            f"{tenant[:80]!r} is not the name of a tenant: lower-case letters, digits, '.', '_' and '-', at most 63, "
            "and a letter or digit first"
        )
    return tenant


def rfc3339(seconds: float | None) -> str | None:
    """A time for people."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
