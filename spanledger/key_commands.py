"""`spanledger keys`: makes, lists, rotates and revokes keys in the control store, with or without a server that runs.

A running server sees each change within a second. A secret is printed once, on stdout and nothing else there, so that it can
be sent into a file; what people want to know beside it goes to stderr.
"""

import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from access.control import Control, control_url, sqlite_file
from access.errors import ControlError, KeyRefused
from access.keys import NAME_CHARS_MAX, KeyRecord, checked_tenant, digest_of, new_key, prefix_of, rfc3339
from access.permissions import Permission, Role
from collector.limits import MIB
from spanledger.errors import FrontDoorError, UsageError
from spanledger.local_user import local_user
from spanledger.settings import Settings

OVERLAP_DEFAULT: Final = "24h"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECONDS_MAX: Final = 10 * 366 * 86400


def seconds_of(text: str, option: str) -> float:
    """A duration as `90s`, `15m`, `24h`, `30d`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= _SECONDS_MAX:
        raise UsageError(f"{option} {text!r} is not a duration", "give one as 90s, 15m, 24h or 30d, at most ten years")
    return float(seconds)


@contextmanager
def opened(settings: Settings, *, make: bool) -> Generator[Control]:
    """The control store of a data folder. `make` it where there is none. Raises FrontDoorError."""
    url = control_url(settings.data, settings.control_url)
    file = sqlite_file(url)
    if file is not None and not make and not file.exists():
        raise FrontDoorError(f"there are no keys: {file} does not exist", "make one with `spanledger keys create`")
    try:
        control = Control.open(url)
        try:
            yield control
        finally:
            control.close()
    except KeyRefused as error:
        raise FrontDoorError(str(error), "see `spanledger keys --help`") from error
    except ControlError as error:
        raise FrontDoorError(str(error), "name the folder of a server with --data, or correct control_url") from error


def create(
    settings: Settings,
    *,
    role: str,
    name: str,
    tenant: str,
    expires: str | None,
    grant: list[str],
    deny: list[str],
    requests_per_second: int | None,
    mb_per_second: int | None,
    key_file: Path | None,
) -> None:
    """Make a key and print its secret."""
    if role not in set(Role):
        raise UsageError(f"--role {role!r} is not a role", "roles are " + ", ".join(Role))
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise UsageError("--name cannot be used", f"give 1 to {NAME_CHARS_MAX} characters that can be printed")
    now = time.time()
    key = new_key()
    try:
        record = KeyRecord(
            prefix=prefix_of(key) or "",
            digest=digest_of(key),
            name=name,
            tenant=checked_tenant(tenant),
            role=Role(role),
            granted=_permissions("--grant", grant),
            denied=_permissions("--deny", deny),
            created_at=now,
            expires_at=None if expires is None else now + seconds_of(expires, "--expires"),
            requests_per_second=requests_per_second,
            bytes_per_second=None if mb_per_second is None else mb_per_second * MIB,
        )
    except KeyRefused as error:
        raise UsageError(f"--tenant: {error}", "give another name") from error
    with opened(settings, make=True) as control:
        control.add(record, by=local_user())
    _hand_over(key, key_file)
    print(f"key {record.prefix}: {record.role} of tenant {record.tenant}, {_until(record)}", file=sys.stderr)


def rotate(settings: Settings, named: str, *, overlap: str, key_file: Path | None) -> None:
    """Make a key in place of another, which is valid for a while yet, and print its secret."""
    now = time.time()
    until = now + seconds_of(overlap, "--overlap")
    key = new_key()
    with opened(settings, make=False) as control:
        old = control.find(named, now)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        successor = replace(
            old,
            prefix=prefix_of(key) or "",
            digest=digest_of(key),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            last_used_at=None,
            replaces=old.prefix,
        )
        control.rotate(old.prefix, successor, old_until=until, by=local_user())
    _hand_over(key, key_file)
    ends = until if old.expires_at is None else min(until, old.expires_at)
    print(f"key {successor.prefix} replaces {old.prefix}, which is valid until {rfc3339(ends)}", file=sys.stderr)


def revoke(settings: Settings, named: str) -> None:
    """Let a key be of no use."""
    now = time.time()
    with opened(settings, make=False) as control:
        key = control.find(named, now)
        control.revoke(key.prefix, now, by=local_user())
    print(f"key {key.prefix} ({key.name}) is revoked; a running server refuses it within a second", file=sys.stderr)


def show(settings: Settings, *, text: bool) -> None:
    """List the keys, without their secrets, which nobody has."""
    with opened(settings, make=False) as control:
        keys = control.every_key()
    now = time.time()
    rows = [_row(key, now) for key in keys]
    if not text:
        for row in rows:
            print(msgspec.json.encode(row).decode())
        return
    table = Table(box=None, pad_edge=False)
    shown = ("key", "name", "tenant", "role", "state", "expires_at", "last_used_at")
    for column in shown:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[column] or "") for column in shown))
    Console(markup=False, emoji=False, highlight=False).print(table)


def _row(key: KeyRecord, now: float) -> dict[str, Any]:
    return {
        "key": f"slk_{key.prefix}",
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role,
        "granted": sorted(key.granted),
        "denied": sorted(key.denied),
        "state": key.state(now),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "revoked_at": rfc3339(key.revoked_at),
        "last_used_at": rfc3339(key.last_used_at),
        "replaces": key.replaces and f"slk_{key.replaces}",
        "requests_per_second": key.requests_per_second,
        "bytes_per_second": key.bytes_per_second,
    }


def _permissions(option: str, given: list[str]) -> frozenset[Permission]:
    unknown = sorted(set(given) - set(Permission))
    if unknown:
        raise UsageError(f"{option} {unknown[0]!r} is not a permission", "permissions are " + ", ".join(Permission))
    return frozenset(Permission(one) for one in given)


def _until(key: KeyRecord) -> str:
    return "without an end" if key.expires_at is None else f"until {rfc3339(key.expires_at)}"


def _hand_over(key: str, key_file: Path | None) -> None:
    """The secret, once: on stdout, or in a new file that its owner alone may read."""
    if key_file is None:
        print(key)
        return
    try:
        key_file.touch(mode=0o600, exist_ok=False)
        key_file.write_text(key + "\n")
    except OSError as error:
        print(key)  # It is kept already: it must not be lost.
        raise FrontDoorError(
            f"{key_file} cannot be written: {error.strerror}; the key is on stdout instead", "store it, or revoke it"
        ) from error
