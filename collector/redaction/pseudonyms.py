"""Keyed pseudonyms: the same value gives the same token, and only who has the key can tell which value a token is of.

HMAC-SHA-256 under a key of the tenant's own, which is derived from the key in the file `pseudonym_key_file`. That file is the
operator's and lies outside the data folder: who has the folder alone cannot try values.
"""

import hmac
from hashlib import sha256
from pathlib import Path
from typing import Final

from collector.redaction.errors import PolicyUnusable

KEY_BYTES_MIN: Final = 32
KEY_BYTES_MAX: Final = 4096  # More is the wrong file.
TOKEN_DIGITS: Final = 16
"""Of hex: 64 bits, with which a million values of a tenant have two alike once in 37 million times."""
_HINT: Final = "make one with `head -c 48 /dev/urandom | base64 > FILE`, readable for the server alone"


class Pseudonyms:
    """Tokens for values. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._tenants: dict[str, bytes] = {}

    def token(self, tenant: str, value: bytes) -> str:
        """16 hex digits."""
        key = self._tenants.get(tenant)
        if key is None:
            key = self._tenants[tenant] = hmac.digest(self._key, b"spanledger pseudonyms of " + tenant.encode(), sha256)
        return hmac.digest(key, value, sha256).hex()[:TOKEN_DIGITS]


def read_key(path: Path, data: Path) -> Pseudonyms:
    """The pseudonyms of a key file. Raises PolicyUnusable: cannot be read, too short, in the data folder."""
    try:
        with path.open("rb") as file:
            key = file.read(KEY_BYTES_MAX + 1).strip()
    except OSError as error:
        raise PolicyUnusable(f"pseudonym_key_file {path}: {error.strerror}; {_HINT}") from error
    if path.resolve().is_relative_to(data.resolve()):
        raise PolicyUnusable(
            f"pseudonym_key_file {path} lies in the data folder: who takes that has both; put it elsewhere"
        )
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise PolicyUnusable(
            f"pseudonym_key_file {path} has {len(key):,} bytes; {KEY_BYTES_MIN} to {KEY_BYTES_MAX:,} are wanted: {_HINT}"
        )
    return Pseudonyms(key)
