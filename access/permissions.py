"""What can be permitted, and which role permits what.

Content, reasoning and raw telemetry are permissions of their own, so that a key can be given one without the others.
`SCRAPE` is of the whole server and not of a tenant: metrics have labels (tools, models, tenants) of everybody, so no role
that belongs to a tenant has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from access.errors import Forbidden


class Permission(StrEnum):
    """One thing that a caller may do, in its own tenant."""

    WRITE = "write"
    READ_RUNS = "read_runs"
    READ_METRICS = "read_metrics"
    READ_CONTENT = "read_content"
    READ_REASONING = "read_reasoning"
    READ_RAW = "read_raw"
    READ_ACCESS = "read_access"
    MANAGE_KEYS = "manage_keys"
    SCRAPE = "scrape"
    DESCRIBE = "describe"


class Role(StrEnum):
    """What a key is for."""

    INGEST = "ingest"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    METRICS = "metrics"


_METADATA: Final = frozenset({Permission.READ_RUNS, Permission.READ_METRICS, Permission.DESCRIBE})
ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.INGEST: frozenset({Permission.WRITE}),
    Role.OPERATOR: _METADATA,
    Role.AUDITOR: _METADATA
    | {Permission.READ_CONTENT, Permission.READ_REASONING, Permission.READ_RAW, Permission.READ_ACCESS},
    Role.ADMIN: _METADATA | {Permission.MANAGE_KEYS},
    Role.METRICS: frozenset({Permission.SCRAPE}),
}
ALL_PERMISSIONS: Final = frozenset(Permission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. `name` is for people and records (`key:ab12cd34`, `token:somebody`, `open`)."""

    kind: Literal["key", "token", "open", "local"]
    name: str
    tenant: str
    role: Role | None
    permissions: frozenset[Permission] = field(repr=False)
    key_prefix: str | None = None
    expires_at: float | None = None
    """Unix seconds; None does not expire."""
    requests_per_second: int | None = None
    bytes_per_second: int | None = None
    """What this one may use, where it differs from what all may. 0 is no bound."""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raises Forbidden."""
        if permission not in self.permissions:
            holders = [role.value for role, held in ROLE_PERMISSIONS.items() if permission in held]
            role = f"the role {self.role}" if self.role else "this caller"
            raise Forbidden(
                f"{role} does not have the permission {permission.value}; the roles that have it: {', '.join(holders)}",
                permission.value,
            )
