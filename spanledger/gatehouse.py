"""What the settings say of access, made into a gate, and the keys that it looks at.

    settings -> control store (keys in files are put into it) -> KeyWatch -> KeyHolder -> Gate of each process

A server that strangers can reach has to have a key, a token's issuer, or both; else it refuses to start, and says how.
"""

import re
import socket
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog

from access.gate import Gate
from access.keyring import KeyHolder
from access.keys import KeyRecord, digest_of, prefix_of
from access.permissions import Role
from access.rates import Rates
from access.refusals import Refusals
from access.tokens import TokenRules, TokenVerifier, usable_url
from collector.limits import MIB
from spanledger.errors import FrontDoorError, UsageError
from spanledger.settings import Settings, pairs_of

KEY_FILE_BYTES_MAX: Final = 4096
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_KEY_FILES: Final = {
    "first_key_file": Role.ADMIN,
    "first_ingest_key_file": Role.INGEST,
    "metrics_key_file": Role.METRICS,
}
_CREATE: Final = "`spanledger keys create --data DIR --role admin --name NAME`"

_log: Final = structlog.stdlib.get_logger(__name__)


def is_loopback(host: str) -> bool:
    """Whether a server at `host` can be reached from this machine only."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False  # What it is, listening will say.
    return bool(found) and all(ip_address(one.partition("%")[0]).is_loopback for one in found)


def gate_of(settings: Settings, holder: KeyHolder, refusals: Refusals | None = None) -> Gate:
    """The gate of one process, which counts in `refusals` whom it does not let in.

    Raises UsageError for settings that do not go together.
    """
    loopback = is_loopback(settings.host)
    rules = token_rules_of(settings)
    return Gate(
        holder,
        trusting=loopback,
        tokens=TokenVerifier(rules) if rules else None,
        rates=Rates(settings.key_requests_per_second, settings.key_mb_per_second * MIB),
        hosts=_hosts_of(settings, loopback=loopback),
        metrics_open=settings.metrics_access == "open" or (settings.metrics_access == "loopback" and loopback),
        refusals=refusals,
    )


def token_rules_of(settings: Settings) -> TokenRules | None:
    """Whose tokens are taken; None where nobody's are. Raises UsageError."""
    if settings.oidc_issuer is None:
        given = [
            name for name in ("oidc_audience", "oidc_roles", "oidc_jwks_url") if getattr(settings, name) is not None
        ]
        if given:
            raise UsageError(f"{', '.join(given)}: given without oidc_issuer", "give oidc_issuer, too, or none of them")
        return None
    if settings.oidc_audience is None or settings.oidc_roles is None:
        raise UsageError(
            "oidc_issuer: given without oidc_audience or oidc_roles",
            "a token of that issuer for another service must not open this one: give both",
        )
    roles = pairs_of(settings.oidc_roles)
    unknown = sorted(set(roles.values()) - set(Role))
    if unknown:
        raise UsageError(f"setting oidc_roles: {', '.join(unknown)}: no such role", "roles are " + ", ".join(Role))
    for name in ("oidc_issuer", "oidc_jwks_url"):
        try:
            usable_url(getattr(settings, name) or "https://")
        except ValueError as error:
            raise UsageError(f"setting {name}: {error}", "give an https address") from error
    return TokenRules(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        jwks_url=settings.oidc_jwks_url,
        skew_seconds=settings.oidc_skew_seconds,
        role_claim=settings.oidc_role_claim,
        roles={value: Role(role) for value, role in roles.items()},
        tenant_claim=settings.oidc_tenant_claim,
        tenants=pairs_of(settings.oidc_tenants),
    )


def keys_in_files(settings: Settings) -> list[KeyRecord]:
    """The keys that the settings give in files. Raises UsageError, which repeats nothing of them."""
    found: list[KeyRecord] = []
    for setting, role in _KEY_FILES.items():
        path: Path | None = getattr(settings, setting)
        if path is not None:
            key = read_key_file(path, f"setting {setting}: ")
            now = time.time()
            name = setting.removesuffix("_file").replace("_", " ")
            found.append(
                KeyRecord(
                    prefix=prefix_of(key) or "",
                    digest=digest_of(key),
                    name=name,
                    tenant="default",
                    role=role,
                    created_at=now,
                )
            )
    return found


def read_key_file(path: Path, what: str = "") -> str:
    """The key in a file. Raises UsageError, which repeats nothing of it."""
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{what}{path}: {error.strerror}", "name a file that this user can read") from error
    key = content.decode("latin-1").strip()
    if prefix_of(key) is None:
        raise UsageError(
            f"{what}{path} does not hold one key and nothing else",
            "`spanledger keys create` prints one; or: printf 'slk_%s_%s' $(openssl rand -hex 4) $(openssl rand -hex 32)",
        )
    return key


def check_guarded(settings: Settings, holder: KeyHolder) -> None:
    """Refuse to open doors to strangers that nobody can be kept from. Raises FrontDoorError."""
    if is_loopback(settings.host):
        return
    now = time.time()
    keyring = holder.keyring
    if settings.oidc_issuer is None and not any(key.state(now) == "active" for key in keyring.keys.values()):
        raise FrontDoorError(
            f"host {settings.host} can be reached by others, and there is no key that they would need",
            f"make one first: {_CREATE}; or name a file with one as first_key_file; or give oidc_issuer; or stay on "
            "127.0.0.1",
        )
    if settings.tls_cert is None:
        _log.warning("keys_in_the_clear", host=settings.host, remedy="give tls_cert and tls_key, or end TLS in front")


def _hosts_of(settings: Settings, *, loopback: bool) -> set[str] | None:
    given = [one.strip() for one in (settings.allowed_hosts or "").split(",") if one.strip()]
    if not given and not loopback:
        return None
    return {re.sub(r"^\[|\]$", "", one) for one in (*_LOOPBACK_NAMES, settings.host, *given)}
