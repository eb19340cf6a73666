"""OIDC bearer tokens: whose they are and what their claims permit.

    token -> header (alg, kid) -> key of the issuer with that kid -> signature, issuer, audience, times -> tenant and role

PyJWT does the cryptography. What it is asked is decided here: which algorithms are tried follows from the kind of the
issuer's key and never from the token, and only asymmetric ones exist, so a token cannot choose `none` or have a public key
taken for a secret. The issuer's keys are fetched when an unknown kid comes, at most once in `REFETCH_SECONDS`.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt
import msgspec
import structlog

from access.errors import AccessUnknown, KeyRefused, Unauthenticated
from access.keys import checked_tenant
from access.permissions import ROLE_PERMISSIONS, Principal, Role

FETCH_SECONDS_MAX: Final = 5.0
FETCH_BYTES_MAX: Final = 512 * 1024
KEYS_MAX: Final = 100
KEYS_SECONDS: Final = 3600.0  # A key that the issuer took back is trusted no longer than that.
REFETCH_SECONDS: Final = 30.0  # Between two fetches for the sake of unknown kids: strangers can invent those.
RSA_BITS_MIN: Final = 2048
CACHED_MAX: Final = 4096
CACHED_SECONDS: Final = 60.0
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}

_log: Final = structlog.stdlib.get_logger(__name__)
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """Whose tokens are taken, and what their claims mean."""

    issuer: str
    audience: str
    jwks_url: str | None = None
    """None: as the issuer's discovery document says."""
    skew_seconds: int = 60
    role_claim: str = "roles"
    roles: Mapping[str, Role]
    """The role of a value of `role_claim`; of several values the first in this order."""
    tenant_claim: str = "tenant"
    tenants: Mapping[str, str]
    """The tenant of a value of `tenant_claim`; where it is empty the value itself is the tenant."""


@dataclass(frozen=True, slots=True)
class _IssuerKey:
    key: Any
    algorithms: tuple[str, ...]


class TokenVerifier:
    """Verifies tokens of one issuer. Thread-safe; may block for as long as a fetch takes."""

    def __init__(
        self, rules: TokenRules, clock: Clock = time.monotonic, fetch: Callable[[str], bytes] | None = None
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._fetch = fetch or fetched
        self._fetching = threading.Lock()
        self._lock = threading.Lock()
        self._keys: dict[str | None, _IssuerKey] = {}
        self._asked_at = self._fetched_at = float("-inf")
        self._verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def remembered(self, token: str) -> Principal | None:
        """Who a token is of, where it was verified a moment ago. Does not block."""
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            found = self._verified.get(digest)
        if found is None or found[1] < self._clock() or not self._lives(found[0]):
            return None
        return found[0]

    def verify(self, token: str) -> Principal:
        """Who a token is of. Raises Unauthenticated, AccessUnknown."""
        found = self.remembered(token)
        if found is not None:
            return found
        header = _header(token)
        key = self._key(header.get("kid"))
        algorithm = header.get("alg")
        if algorithm not in key.algorithms:
            raise Unauthenticated("the token's algorithm is not one that the issuer's key is for", "algorithm")
        claims = self._claims(token, key)
        principal = self._principal(claims)
        with self._lock:
            self._verified[hashlib.sha256(token.encode()).digest()] = (principal, self._clock() + CACHED_SECONDS)
            while len(self._verified) > CACHED_MAX:
                self._verified.popitem(last=False)
        return principal

    def _lives(self, principal: Principal) -> bool:
        return principal.expires_at is None or time.time() < principal.expires_at

    def _claims(self, token: str, key: _IssuerKey) -> dict[str, Any]:
        rules = self._rules
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.skew_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired: get another one", "expired") from error
        except jwt.InvalidIssuerError as error:
            raise Unauthenticated("the token is of another issuer", "issuer") from error
        except jwt.InvalidAudienceError as error:
            raise Unauthenticated("the token is for another audience", "audience") from error
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated(
                "the token is not valid: its signature or one of its claims is wrong", "invalid"
            ) from error

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        rules = self._rules
        subject = str(claims["sub"])[:200]
        given = set(_values(claims, rules.role_claim))
        role = next((role for value, role in rules.roles.items() if value in given), None)
        if role is None:
            raise Unauthenticated(
                f"the token's claim {rules.role_claim} names no role of this server (setting oidc_roles)", "role"
            )
        named = _values(claims, rules.tenant_claim)
        tenant = (rules.tenants.get(named[0]) if rules.tenants else named[0]) if len(named) == 1 else None
        try:
            tenant = checked_tenant(tenant or "")
        except KeyRefused as error:
            raise Unauthenticated(
                f"the token's claim {rules.tenant_claim} names no tenant of this server (settings oidc_tenant_claim, "
                "oidc_tenants)",
                "tenant",
            ) from error
        return Principal(
            kind="token",
            name=f"token:{subject}",
            tenant=tenant,
            role=role,
            permissions=ROLE_PERMISSIONS[role],
            expires_at=float(claims["exp"]) + rules.skew_seconds,
        )

    def _key(self, kid: Any) -> _IssuerKey:
        if kid is not None and not isinstance(kid, str):
            raise Unauthenticated("the token's kid is not a text", "malformed")
        if self._clock() - self._fetched_at > KEYS_SECONDS or self._known(kid) is None:
            self._refetch(kid)
        found = self._known(kid)
        if found is None:
            raise Unauthenticated("the token is signed with a key that its issuer does not have", "unknown_kid")
        return found

    def _known(self, kid: str | None) -> _IssuerKey | None:
        if kid is None:  # Allowed where there is no choice.
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _refetch(self, kid: str | None) -> None:
        with self._fetching:
            now = self._clock()
            if now - self._asked_at < REFETCH_SECONDS:
                if not self._keys or now - self._fetched_at > 2 * KEYS_SECONDS:
                    raise AccessUnknown("the issuer's keys could not be fetched: come again later")
                return
            self._asked_at = now
            try:
                self._keys = _issuer_keys(self._fetch(self._jwks_url()))
            except (httpx.HTTPError, ValueError, msgspec.DecodeError, jwt.PyJWTError) as error:
                _log.warning("issuer_keys_unfetched", cause=f"{type(error).__name__}: {error}"[:300])
                if self._known(kid) is None or now - self._fetched_at > 2 * KEYS_SECONDS:
                    raise AccessUnknown("the issuer's keys could not be fetched: come again later") from error
                return
            self._fetched_at = now

    def _jwks_url(self) -> str:
        rules = self._rules
        if rules.jwks_url is not None:
            return rules.jwks_url
        said = msgspec.json.decode(self._fetch(rules.issuer.rstrip("/") + "/.well-known/openid-configuration"))
        if (
            not isinstance(said, dict)
            or said.get("issuer") != rules.issuer
            or not isinstance(said.get("jwks_uri"), str)
        ):
            raise ValueError("the issuer's discovery document names another issuer, or no keys")
        return usable_url(said["jwks_uri"])


def usable_url(url: str) -> str:
    """An address that keys may be fetched from: https, or this machine. Raises ValueError."""
    parsed = httpx.URL(url)
    if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in ("127.0.0.1", "localhost", "::1")):
        raise ValueError("keys are fetched over https, or over http from this machine")
    return url


def fetched(url: str) -> bytes:
    """What is at an address, within bounds of time and size. Raises httpx.HTTPError, ValueError."""
    body = bytearray()
    deadline = time.monotonic() + FETCH_SECONDS_MAX
    with (
        httpx.Client(timeout=FETCH_SECONDS_MAX, follow_redirects=False) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"the issuer answers {response.status_code}")
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > FETCH_BYTES_MAX:
                raise ValueError(f"the issuer sends more than {FETCH_BYTES_MAX:,} bytes")
            if time.monotonic() > deadline:
                raise ValueError(f"the issuer takes longer than {FETCH_SECONDS_MAX:g} s")
    return bytes(body)


def _issuer_keys(document: bytes) -> dict[str | None, _IssuerKey]:
    """The usable keys of a JWKS: public, asymmetric, for signatures. Others are left out, not an error."""
    said = msgspec.json.decode(document)
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the issuer's keys are no JWKS")  # noqa: TRY004 (what was sent is wrong, not what was called)
    keys: dict[str | None, _IssuerKey] = {}
    for one in listed[:KEYS_MAX]:
        algorithms = _algorithms(one)
        if not algorithms:
            continue
        try:
            key = jwt.PyJWK({"alg": algorithms[0]} | one, algorithm=algorithms[0]).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if getattr(key, "key_size", RSA_BITS_MIN) >= RSA_BITS_MIN or one["kty"] != "RSA":
            keys[one.get("kid")] = _IssuerKey(key, algorithms)
    return keys


def _algorithms(key: Any) -> tuple[str, ...]:
    """What a key may be used with, by its kind; () for one that is not for us."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig" or "d" in key or "k" in key:
        return ()
    match key.get("kty"):
        case "RSA":
            kind = _RSA
        case "EC" | "OKP":
            kind = _CURVES.get(str(key.get("crv")), ())
        case _:
            return ()
    stated = key.get("alg")
    return kind if stated is None else tuple(one for one in kind if one == stated)


def _header(token: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthenticated(
            "the credential is neither a key (slk_..._...) nor a signed token", "malformed"
        ) from error
    if "crit" in header:
        raise Unauthenticated("the token demands an extension that is not known here", "malformed")
    return header


def _values(claims: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a claim, by its name or by the path to it (`realm_access.roles`)."""
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    given = found if isinstance(found, list) else [found]
    return [one for one in given if isinstance(one, str)]
