"""Changes of keys that are in no record yet: a table of the control store, written in the transaction of the change.

The command line changes keys while a server holds the journal, or before there is one. Whoever holds the journal records
what stands here, and takes it out when it is durable there. A crash between the two has it recorded twice, under one id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import msgspec
from sqlalchemy import Column, Connection, Float, MetaData, String, Table, delete, insert, select

from access.keys import KeyRecord, rfc3339

CHANGES_MAX: Final = 1_000  # Read and recorded at once.
NOBODY: Final = "unknown"
TABLE: Final = Table(
    "changes",
    MetaData(),
    Column("change_id", String(32), primary_key=True),
    Column("at", Float, nullable=False),
    Column("action", String(16), nullable=False),
    Column("changed_by", String(100), nullable=False),
    Column("prefix", String(8), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("detail", String(4000), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A change of a key that is to be recorded: `action` is `key_create`, `key_rotate` or `key_revoke`, `at` Unix seconds."""

    change_id: str
    at: float
    action: str
    changed_by: str
    prefix: str
    tenant: str
    detail: dict[str, str]


def put(connection: Connection, at: float, action: str, key: KeyRecord, by: str, **more: str) -> None:
    """Remember a change of a key by somebody until it is recorded."""
    detail = {
        "name": key.name,
        "role": key.role.value,
        "granted": ",".join(sorted(key.granted)),
        "denied": ",".join(sorted(key.denied)),
        "expires_at": rfc3339(key.expires_at) or "",
        "replaces": key.replaces or "",
    } | more
    said = msgspec.json.encode({name: value for name, value in detail.items() if value}).decode()
    connection.execute(
        insert(TABLE).values(
            change_id=uuid4().hex,
            at=at,
            action=action,
            changed_by=by,
            prefix=key.prefix,
            tenant=key.tenant,
            detail=said,
        )
    )


def waiting(connection: Connection) -> list[KeyChange]:
    """The oldest changes that are not known to be recorded, `CHANGES_MAX` at most."""
    rows = connection.execute(select(TABLE).order_by(TABLE.c.at, TABLE.c.change_id).limit(CHANGES_MAX)).mappings()
    return [
        KeyChange(
            change_id=row["change_id"],
            at=row["at"],
            action=row["action"],
            changed_by=row["changed_by"],
            prefix=row["prefix"],
            tenant=row["tenant"],
            detail=msgspec.json.decode(row["detail"], type=dict[str, str]),
        )
        for row in rows
    ]


def take_out(connection: Connection, changes: Iterable[KeyChange]) -> None:
    """These changes are durable in a record."""
    for one in changes:
        connection.execute(delete(TABLE).where(TABLE.c.change_id == one.change_id))
