"""Gates for tests: one that lets everybody in, and one with keys that a test makes."""

import time
from typing import Any

from access.gate import Gate
from access.keyring import KeyHolder, Keyring
from access.keys import KeyRecord, digest_of, new_key, prefix_of
from access.permissions import Role


class TimelessHolder(KeyHolder):
    """A keyring that never grows stale: nobody asks a control store."""

    def current(self) -> Keyring:
        return self.keyring


def open_gate() -> Gate:
    """As of a server on loopback that never had a key."""
    return Gate(TimelessHolder(), trusting=True, metrics_open=True)


def key_record(key: str, role: Role | str = Role.OPERATOR, tenant: str = "default", **changed: Any) -> KeyRecord:
    """The record of a key."""
    prefix = prefix_of(key)
    assert prefix
    return KeyRecord(
        **{
            "prefix": prefix,
            "digest": digest_of(key),
            "name": "a key of a test",
            "tenant": tenant,
            "role": Role(role),
            "created_at": time.time(),
        }
        | changed
    )


class KeyedGate:
    """A gate with keys. `make` adds one and returns it."""

    def __init__(self, **arguments: Any) -> None:
        self.records: list[KeyRecord] = []
        self.holder = TimelessHolder(Keyring.of(1, [], known=True))
        self.gate = Gate(self.holder, **({"trusting": False} | arguments))

    def make(self, role: Role | str = Role.OPERATOR, tenant: str = "default", **changed: Any) -> str:
        key = new_key()
        self.records.append(key_record(key, role, tenant, **changed))
        self._replace()
        return key

    def change(self, key: str, **changed: Any) -> None:
        """Have another record hold for a key."""
        self.records = [
            key_record(key, one.role, one.tenant, **changed) if one.digest == digest_of(key) else one
            for one in self.records
        ]
        self._replace()

    def _replace(self) -> None:
        self.holder.replace(Keyring.of(self.holder.keyring.revision + 1, self.records, known=True))


def bearing(key: str) -> dict[str, str]:
    """The headers that present a key."""
    return {"authorization": f"Bearer {key}"}
