"""The control store: tenants and keys, in one small transactional database.

SQLite in the data folder by default, PostgreSQL by URL. The server, its command line and other servers may have it open at
the same time, so every change is one transaction that also moves the revision, and whoever keeps a copy compares that
number. SQLite runs without a write-ahead log: its rollback journal is safe for processes that come and go, needs no
shared memory, and the store is written a few times a day.

A change is also a line in an outbox, of the same transaction: whoever holds the journal records it there and takes it out. It
may be recorded twice, under one id, and never not at all.

The schema has a version. An older store is brought up to date when it is opened, a newer one is refused.
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from access import outbox
from access.errors import ControlError, ControlUnusable, ControlVersionUnknown, KeyRefused
from access.keyring import KEYS_MAX, Keyring
from access.keys import KeyRecord, rfc3339
from access.outbox import KeyChange
from access.permissions import Permission, Role

SCHEMA_VERSION: Final = 3
CONTROL: Final = "control.sqlite3"
BUSY_SECONDS: Final = 5.0  # Another process may be in the middle of a change, which takes milliseconds.
DEAD_SECONDS_KEPT: Final = 24 * 3600.0  # A dead key is told why for a day; later it is unknown, and still in the list.
_WRITER_LOCK: Final = 0x534C4B31  # PostgreSQL's advisory lock of whoever changes anything, the schema included.

_metadata: Final = MetaData()
_numbers: Final = Table(
    "control_numbers", _metadata, Column("name", String(32), primary_key=True), Column("value", Integer, nullable=False)
)
_tenants: Final = Table(
    "tenants", _metadata, Column("tenant", String(63), primary_key=True), Column("created_at", Float, nullable=False)
)
_keys: Final = Table(
    "keys",
    _metadata,
    Column("prefix", String(8), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("role", String(32), nullable=False),
    Column("granted", String(500), nullable=False),
    Column("denied", String(500), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("last_used_at", Float),
    Column("replaces", String(8)),
    Column("requests_per_second", Integer),
    Column("bytes_per_second", Integer),
)
_ADDED_BY_2: Final = ("requests_per_second", "bytes_per_second")


def _to_1(connection: Connection) -> None:
    """Tenants and keys."""
    for table in (_numbers, _tenants):
        connection.execute(CreateTable(table))
    first = Table(
        "keys",
        MetaData(),
        *(
            Column(one.name, one.type, primary_key=one.primary_key, unique=one.unique, nullable=one.nullable)
            for one in _keys.columns
            if one.name not in _ADDED_BY_2
        ),
    )
    connection.execute(CreateTable(first))
    connection.execute(insert(_numbers), [{"name": "schema_version", "value": 0}, {"name": "revision", "value": 1}])


def _to_2(connection: Connection) -> None:
    """What a key may use, where it differs from what all may."""
    for name in _ADDED_BY_2:
        connection.execute(text(f"ALTER TABLE keys ADD COLUMN {name} INTEGER"))


def _to_3(connection: Connection) -> None:
    """What was changed and is not in a record yet."""
    connection.execute(CreateTable(outbox.TABLE))


_MIGRATIONS: Final[tuple[Callable[[Connection], None], ...]] = (_to_1, _to_2, _to_3)


class Control:
    """An open control store. Thread-safe. Every method raises ControlUnusable where the database fails."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "Control":
        """Open the store at a database URL, and make or update its tables.

        Raises ControlUnusable, ControlVersionUnknown.
        """
        control = cls(_engine(url))
        try:
            control._migrate()
        except BaseException:
            control.close()
            raise
        return control

    def close(self) -> None:
        self._engine.dispose()

    def revision(self) -> int:
        """A number that moves with every change of a key."""
        with self._connection(writes=False) as connection:
            return _number(connection, "revision")

    def keyring(self, now: float) -> Keyring:
        """The keys that may be used at `now` (Unix seconds), and those that died in the last day."""
        recent = now - DEAD_SECONDS_KEPT
        with self._connection(writes=False) as connection:
            revision = _number(connection, "revision")
            known = connection.execute(select(_keys.c.prefix).limit(1)).first() is not None
            rows = connection.execute(
                select(_keys)
                .where(or_(_keys.c.revoked_at.is_(None), _keys.c.revoked_at > recent))
                .where(or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > recent))
            )
            return Keyring.of(revision, [_record(row) for row in rows.mappings()], known=known)

    def every_key(self) -> list[KeyRecord]:
        """Every key there ever was, the latest first."""
        with self._connection(writes=False) as connection:
            rows = connection.execute(select(_keys).order_by(_keys.c.created_at.desc()))
            return [_record(row) for row in rows.mappings()]

    def add(self, key: KeyRecord, *, by: str = outbox.NOBODY) -> bool:
        """Keep a key; False where its digest is kept already. `by` is who made it. Raises KeyRefused."""
        with self._connection(writes=True) as connection:
            if connection.execute(select(_keys.c.prefix).where(_keys.c.digest == key.digest)).first():
                return False
            _insert(connection, key)
            outbox.put(connection, key.created_at, "key_create", key, by)
        return True

    def rotate(self, prefix: str, successor: KeyRecord, *, old_until: float, by: str = outbox.NOBODY) -> None:
        """Keep `successor` in place of a key, which may be used until `old_until`. Raises KeyRefused."""
        with self._connection(writes=True) as connection:
            old = _live(connection, prefix, successor.created_at)
            _insert(connection, successor)
            ends = old_until if old.expires_at is None else min(old.expires_at, old_until)
            connection.execute(update(_keys).where(_keys.c.prefix == prefix).values(expires_at=ends))
            outbox.put(connection, successor.created_at, "key_rotate", successor, by, old_until=rfc3339(ends) or "")

    def revoke(self, prefix: str, now: float, *, by: str = outbox.NOBODY) -> None:
        """Let a key be of no use from now on. Raises KeyRefused."""
        with self._connection(writes=True) as connection:
            key = _live(connection, prefix, now)
            connection.execute(update(_keys).where(_keys.c.prefix == prefix).values(revoked_at=now))
            _moved(connection)
            outbox.put(connection, now, "key_revoke", key, by)

    def changes(self) -> list[KeyChange]:
        """The oldest changes that are not known to be recorded, `outbox.CHANGES_MAX` at most."""
        with self._connection(writes=False) as connection:
            return outbox.waiting(connection)

    def recorded(self, changes: Iterable[KeyChange]) -> None:
        """These changes are durable in a record: they need not be kept here."""
        with self._connection(writes=True) as connection:
            outbox.take_out(connection, changes)

    def find(self, named: str, now: float) -> KeyRecord:
        """The live key of a prefix, or of a name that only one has. Raises KeyRefused."""
        wanted = named.removeprefix("slk_")
        live = [one for one in self.every_key() if one.state(now) == "active"]
        found = [one for one in live if one.prefix == wanted] or [one for one in live if one.name == named]
        if len(found) != 1:
            many = "more than one active key is" if found else "no active key is"
            raise KeyRefused(f"{many} called {named[:80]!r}: name one by its prefix; `spanledger keys list` has them")
        return found[0]

    def used(self, at: Mapping[str, float]) -> None:
        """When keys were used last, by prefix. It is no change of a key: the revision stays."""
        with self._connection(writes=True) as connection:
            for prefix, seconds in at.items():
                later = or_(_keys.c.last_used_at.is_(None), _keys.c.last_used_at < seconds)
                connection.execute(
                    update(_keys).where(_keys.c.prefix == prefix).where(later).values(last_used_at=seconds)
                )

    def _migrate(self) -> None:
        with self._connection(writes=True) as connection:
            version = _number(connection, "schema_version") if inspect(connection).has_table(_numbers.name) else 0
            if version > SCHEMA_VERSION:
                raise ControlVersionUnknown(
                    f"the control store has schema version {version}, this Spanledger knows up to {SCHEMA_VERSION}: start "
                    "the release that wrote it, or a newer one"
                )
            for migration in _MIGRATIONS[version:]:
                migration(connection)
            if version < SCHEMA_VERSION:
                connection.execute(
                    update(_numbers).where(_numbers.c.name == "schema_version").values(value=SCHEMA_VERSION)
                )

    @contextmanager
    def _connection(self, *, writes: bool) -> Generator[Connection]:
        """One transaction. A writer has the store to itself from the beginning: two cannot both have read the old state."""
        try:
            with self._engine.connect().execution_options(writes=writes) as connection, connection.begin():
                if writes and connection.dialect.name == "postgresql":  # SQLite's BEGIN has done it.
                    connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK)))
                yield connection
        except SQLAlchemyError as error:
            raise ControlUnusable(f"the control store {_shown(self._engine.url)} failed: {_cause(error)}") from error


def control_url(data: Path, setting: str | None) -> str:
    """The database URL of a data folder's control store."""
    return setting or URL.create("sqlite", database=str(data / CONTROL)).render_as_string(hide_password=False)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for another database. Raises ControlUnusable."""
    parsed = _parsed(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ControlUnusable("control_url is not a database URL, as postgresql+psycopg://user@host/name") from error


def _engine(url: str) -> Engine:
    parsed = _parsed(url)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ControlUnusable(f"control_url is of {parsed.get_backend_name()}: sqlite and postgresql are what there is")
    file = sqlite_file(url)
    try:
        if file is not None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        engine = create_engine(
            parsed,
            hide_parameters=True,
            pool_pre_ping=file is None,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False} if file else {"connect_timeout": 5},
        )
    except (ArgumentError, ModuleNotFoundError) as error:
        raise ControlUnusable(
            f"the driver of control_url is not installed ({error}): install spanledger[postgres] and write "
            "postgresql+psycopg://"
        ) from error
    except OSError as error:
        raise ControlUnusable(f"the control store {file} cannot be used: {error.strerror}") from error
    if file is not None:
        event.listen(engine, "connect", _own_transactions)
        event.listen(engine, "begin", _begin)
    return engine


def _own_transactions(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # sqlite3 would end transactions before a change of the schema.
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _number(connection: Connection, name: str) -> int:
    return connection.execute(select(_numbers.c.value).where(_numbers.c.name == name)).scalar_one()


def _moved(connection: Connection) -> None:
    connection.execute(update(_numbers).where(_numbers.c.name == "revision").values(value=_numbers.c.value + 1))


def _insert(connection: Connection, key: KeyRecord) -> None:
    live = connection.execute(select(func.count()).select_from(_keys).where(_keys.c.revoked_at.is_(None))).scalar_one()
    if live >= KEYS_MAX:
        raise KeyRefused(f"there are {KEYS_MAX:,} keys, which is as many as there may be: revoke some")
    if not connection.execute(select(_tenants).where(_tenants.c.tenant == key.tenant)).first():
        connection.execute(insert(_tenants).values(tenant=key.tenant, created_at=key.created_at))
    values = {name: getattr(key, name) for name in _keys.columns.keys()}  # noqa: SIM118 (columns are no mapping)
    values |= {name: ",".join(sorted(getattr(key, name))) for name in ("granted", "denied")} | {"role": key.role.value}
    try:
        connection.execute(insert(_keys).values(values))
    except IntegrityError as error:
        raise KeyRefused(f"there is another key with the prefix {key.prefix}") from error
    _moved(connection)


def _live(connection: Connection, prefix: str, now: float) -> KeyRecord:
    row = connection.execute(select(_keys).where(_keys.c.prefix == prefix)).mappings().first()
    if row is None:
        raise KeyRefused(f"there is no key {prefix!r}: `spanledger keys list` has them")
    found = _record(row)
    if found.state(now) != "active":
        raise KeyRefused(f"the key {prefix} is {found.state(now)} already")
    return found


def _record(row: RowMapping) -> KeyRecord:
    values: dict[str, Any] = dict(row)
    for name in ("granted", "denied"):
        values[name] = frozenset(Permission(one) for one in values[name].split(",") if one)
    values["role"] = Role(values["role"])
    values["digest"] = bytes(values["digest"])
    return KeyRecord(**values)


def _shown(url: URL) -> str:
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _cause(error: SQLAlchemyError) -> str:
    """The database's own words: SQLAlchemy's would bring the statement and a link along."""
    return " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())


__all__ = ["CONTROL", "SCHEMA_VERSION", "Control", "ControlError", "KeyChange", "control_url", "sqlite_file"]
