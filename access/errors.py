"""Why somebody is not let in, and why the control store cannot be used. No message ever has a credential in it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from access.keys import KeyRecord


class AccessError(Exception):
    """A caller may not do what it asked for, or it cannot be found out whether it may."""


class Unauthenticated(AccessError):
    """Nobody knows who this is: no credential, or one that is not valid. `reason` is a constant word for logs; `key` is
    the one that was presented, where it was this server's and may not be used any more.
    """

    def __init__(self, message: str, reason: str = "unknown", *, key: "KeyRecord | None" = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.key = key


class Forbidden(AccessError):
    """It is known who this is, and the permission `missing` is not theirs."""

    def __init__(self, message: str, missing: str) -> None:
        super().__init__(message)
        self.missing = missing


class CredentialInUrl(AccessError):
    """A credential stands in the path or the query, where proxies and histories keep it."""


class HostRefused(AccessError):
    """The Host header names somebody else: a page of a stranger's site has its browser ask us."""


class RateExceeded(AccessError):
    """The key has used up what it may use for now. Nothing was taken; retryable."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AccessUnknown(AccessError):
    """It cannot be found out whether the caller may: the control store or the identity provider is out of reach.
    Retryable; until then nobody is let in.
    """


class ControlError(Exception):
    """The control store failed: what was attempted and what to do."""


class ControlUnusable(ControlError):
    """The control store cannot be opened, read or written."""


class ControlVersionUnknown(ControlError):
    """A newer Spanledger wrote the control store."""


class KeyRefused(ControlError):
    """A key cannot be made, rotated or revoked as asked."""
