"""OIDC tokens against an issuer of the test's own: real keys, a real JWKS over HTTP, and what hostile clients forge."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from access import tokens as tokens_module
from access.errors import AccessUnknown, Unauthenticated
from access.permissions import ROLE_PERMISSIONS, Role
from access.tokens import REFETCH_SECONDS, TokenRules, TokenVerifier, usable_url

AUDIENCE = "spanledger"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = b"a shared secret of thirty-two bytes or more"


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm, ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
             ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm}  # fmt: skip
    kind = next(found for base, found in kinds.items() if isinstance(key, base))
    return kind.to_jwk(key.public_key(), as_dict=True) | {"kid": kid} | more


class Issuer:
    """An HTTP server with a discovery document and keys."""

    def __init__(self) -> None:
        self.keys = [jwk(RSA, "rsa", use="sig"), jwk(EC, "ec"), jwk(ED, "ed", alg="EdDSA")]
        self.asked: list[str] = []
        self.discovery: dict[str, Any] = {}
        self.failing = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                said = issuer.discovery if "openid" in self.path else {"keys": issuer.keys}
                body = json.dumps(said).encode()
                self.send_response(500 if issuer.failing else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rules(issuer: Issuer, **changed: Any) -> TokenRules:
    return TokenRules(
        **{
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "roles": {"auditors": Role.AUDITOR, "sre": Role.OPERATOR},
            "tenants": {},
        }
        | changed
    )


@pytest.fixture
def verifier(issuer, clock) -> TokenVerifier:
    return TokenVerifier(rules(issuer), clock)


def claims(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    said = {
        "iss": issuer.url,
        "aud": AUDIENCE,
        "sub": "somebody",
        "exp": int(time.time()) + 300,
        "roles": ["sre"],
        "tenant": "acme",
    } | changed
    return {name: value for name, value in said.items() if value is not None}


def token(issuer: Issuer, key: Any = RSA, kid: str | None = "rsa", algorithm: str = "RS256", **changed: Any) -> str:
    return jwt.encode(claims(issuer, **changed), key, algorithm, {"kid": kid} if kid else {})


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [(RSA, "rsa", "RS256"), (RSA, "rsa", "PS384"), (EC, "ec", "ES256"), (ED, "ed", "EdDSA")],
)
def test_a_token_of_the_issuer_has_the_tenant_and_role_of_its_claims(issuer, verifier, key, kid, algorithm):
    who = verifier.verify(token(issuer, key, kid, algorithm))
    assert (who.kind, who.name, who.tenant, who.role) == ("token", "token:somebody", "acme", Role.OPERATOR)
    assert who.permissions == ROLE_PERMISSIONS[Role.OPERATOR]


def unsigned(issuer: Issuer, header: dict[str, Any], **changed: Any) -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims(issuer, **changed)).encode()]
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."


def hmac_with_public_key(issuer: Issuer, header: dict[str, Any]) -> str:
    import hashlib
    import hmac

    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = unsigned(issuer, header)[:-1]
    digest = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


HOSTILE = {
    "expired": (lambda i: token(i, exp=int(time.time()) - 120), "expired"),
    "of another issuer": (lambda i: token(i, iss="https://elsewhere.example"), "issuer"),
    "for another audience": (lambda i: token(i, aud="another-service"), "audience"),
    "for no audience": (lambda i: token(i, aud=None), "invalid"),
    "without an end": (lambda i: token(i, exp=None), "invalid"),
    "without a subject": (lambda i: token(i, sub=None), "invalid"),
    "not valid yet": (lambda i: token(i, nbf=int(time.time()) + 600), "invalid"),
    "issued in the future": (lambda i: token(i, iat=int(time.time()) + 600), "invalid"),
    "signed by a stranger with a known kid": (lambda i: token(i, OTHER_RSA), "invalid"),
    "signed by a stranger with a kid of its own": (lambda i: token(i, OTHER_RSA, "theirs"), "unknown_kid"),
    "without a kid where there are several keys": (lambda i: token(i, kid=None), "unknown_kid"),
    "with alg none": (lambda i: unsigned(i, {"alg": "none", "kid": "rsa"}), "algorithm"),
    "with alg None": (lambda i: unsigned(i, {"alg": "None", "kid": "rsa"}), "algorithm"),
    "without alg": (lambda i: unsigned(i, {"kid": "rsa"}), "algorithm"),
    "HS256 with the public key": (lambda i: hmac_with_public_key(i, {"alg": "HS256", "kid": "rsa"}), "algorithm"),
    "HS256 with the public key and alg RS256": (
        lambda i: hmac_with_public_key(i, {"alg": "RS256", "kid": "rsa"}),
        "invalid",
    ),
    "HS256 with a secret": (lambda i: token(i, SECRET, "rsa", "HS256"), "algorithm"),
    "ES256 under the kid of an RSA key": (lambda i: token(i, EC, "rsa", "ES256"), "algorithm"),
    "RS256 under the kid of an EC key": (lambda i: token(i, RSA, "ec"), "algorithm"),
    "with its own key in the header": (
        lambda i: jwt.encode(claims(i), OTHER_RSA, "RS256", {"kid": "rsa", "jwk": jwk(OTHER_RSA, "rsa")}),
        "invalid",
    ),
    "with a kid that is a path": (lambda i: token(i, OTHER_RSA, "../../etc/passwd"), "unknown_kid"),
    "with an extension that must be known": (
        lambda i: jwt.encode(claims(i), RSA, "RS256", {"kid": "rsa", "crit": ["b64"], "b64": True}),
        "malformed",
    ),
    "changed after it was signed": (lambda i: _changed(token(i)), "invalid"),
    "without its signature": (lambda i: token(i).rpartition(".")[0] + ".", "invalid"),
    "without a role of ours": (lambda i: token(i, roles=["everybody"]), "role"),
    "with a role that is no text": (lambda i: token(i, roles=[{"a": 1}, 5]), "role"),
    "without a tenant": (lambda i: token(i, tenant=None), "tenant"),
    "with two tenants": (lambda i: token(i, tenant=["acme", "other"]), "tenant"),
    "with a tenant that cannot be one": (lambda i: token(i, tenant="a/../b"), "tenant"),
    "that is no token": (lambda _: "a.b.c", "malformed"),
    "that is a word": (lambda _: "hello", "malformed"),
    "with a header that is a list": (lambda i: "W10." + token(i).partition(".")[2], "malformed"),
}


def _changed(good: str) -> str:
    header, payload, signature = good.split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | {"roles": ["auditors"]}
    return ".".join((header, base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode(), signature))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_token_is_refused(name, issuer, verifier):
    make, reason = HOSTILE[name]
    made = make(issuer)
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(made)
    assert refused.value.reason == reason
    assert made not in str(refused.value)


def test_a_clock_that_is_a_little_off_is_forgiven(issuer, clock):
    late = token(issuer, exp=int(time.time()) - 30)
    assert TokenVerifier(rules(issuer), clock).verify(late)
    with pytest.raises(Unauthenticated, match="expired"):
        TokenVerifier(rules(issuer, skew_seconds=5), clock).verify(late)


def test_a_token_that_was_verified_is_remembered_but_not_past_its_end(issuer, verifier, monkeypatch):
    good = token(issuer)
    who = verifier.verify(good)
    assert verifier.remembered(good) is who
    assert len(issuer.asked) == 2
    verifier.verify(good)
    assert len(issuer.asked) == 2
    monkeypatch.setattr(tokens_module.time, "time", lambda: who.expires_at + 1)
    assert verifier.remembered(good) is None


def test_memory_of_verified_tokens_is_bounded(issuer, verifier, monkeypatch):
    monkeypatch.setattr(tokens_module, "CACHED_MAX", 3)
    for number in range(5):
        verifier.verify(token(issuer, sub=f"s{number}"))
    assert len(verifier._verified) == 3


def test_a_new_key_of_the_issuer_is_fetched_and_unknown_kids_fetch_seldom(issuer, verifier, clock):
    verifier.verify(token(issuer))
    fetched = len(issuer.asked)
    for number in range(50):
        with pytest.raises(Unauthenticated):
            verifier.verify(token(issuer, OTHER_RSA, f"kid-{number}"))
    assert len(issuer.asked) == fetched
    issuer.keys.append(jwk(OTHER_RSA, "new"))
    clock.now += REFETCH_SECONDS
    assert verifier.verify(token(issuer, OTHER_RSA, "new")).name == "token:somebody"


def test_a_key_that_the_issuer_took_back_is_not_trusted_after_the_next_fetch(issuer, verifier, clock):
    good = token(issuer)
    verifier.verify(good)
    issuer.keys = issuer.keys[1:]
    clock.now += tokens_module.KEYS_SECONDS + 1
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(good)
    assert refused.value.reason == "unknown_kid"


def test_an_issuer_that_cannot_be_reached_is_no_refusal_for_good(issuer, verifier, clock):
    issuer.failing = True
    for _ in range(2):
        with pytest.raises(AccessUnknown):
            verifier.verify(token(issuer))
    issuer.failing = False
    clock.now += REFETCH_SECONDS
    assert verifier.verify(token(issuer))


def test_an_issuer_that_is_gone_for_a_while_does_not_lock_out_keys_that_are_known(issuer, verifier, clock):
    verifier.verify(token(issuer))
    issuer.failing = True
    clock.now += tokens_module.KEYS_SECONDS + 1
    assert verifier.verify(token(issuer, sub="another"))
    clock.now += tokens_module.KEYS_SECONDS
    with pytest.raises(AccessUnknown):
        verifier.verify(token(issuer, sub="a third"))


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://elsewhere.example"}, {"jwks_uri": "http://169.254.169.254/keys"}, {"jwks_uri": 5}],
)
def test_a_discovery_document_of_somebody_else_is_not_followed(issuer, verifier, change):
    issuer.discovery |= change
    with pytest.raises(AccessUnknown):
        verifier.verify(token(issuer))


def test_keys_that_are_not_for_this_are_left_out(issuer, verifier):
    issuer.keys = [
        jwk(RSA, "rsa", use="enc"),
        jwk(WEAK_RSA, "weak"),
        jwk(RSA, "hs", alg="HS256"),
        {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET).decode()},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        "no key at all",
        jwk(EC, "ec"),
    ]
    for key, kid, algorithm in (
        (RSA, "rsa", "RS256"),
        (WEAK_RSA, "weak", "RS256"),
        (RSA, "hs", "RS256"),
        (SECRET, "oct", "HS256"),
    ):
        with pytest.warns() if key is WEAK_RSA else nullcontext(), pytest.raises(Unauthenticated) as refused:
            verifier.verify(token(issuer, key, kid, algorithm))
        assert refused.value.reason == "unknown_kid"
    assert verifier.verify(token(issuer, EC, "ec", "ES256"))


def test_a_document_that_does_not_end_is_not_read_to_its_end(issuer, verifier, monkeypatch):
    monkeypatch.setattr(tokens_module, "FETCH_BYTES_MAX", 100)
    with pytest.raises(AccessUnknown):
        verifier.verify(token(issuer))


def test_claims_are_mapped_and_found_by_their_path(issuer, clock):
    mapped = rules(
        issuer, role_claim="realm_access.roles", tenants={"Acme Inc": "acme"}, tenant_claim="https://x.example/org"
    )
    verifier = TokenVerifier(mapped, clock)
    said = {"realm_access": {"roles": ["offline", "sre", "auditors"]}, "https://x.example/org": "Acme Inc"}
    who = verifier.verify(token(issuer, **said))
    assert (who.tenant, who.role) == ("acme", Role.AUDITOR), "of several roles the first of the setting counts"
    with pytest.raises(Unauthenticated):
        verifier.verify(token(issuer, **(said | {"https://x.example/org": "acme"})))


@pytest.mark.parametrize("url", ["http://elsewhere.example/keys", "ftp://127.0.0.1/", "file:///etc/passwd"])
def test_keys_are_fetched_over_https_or_from_this_machine(url):
    with pytest.raises(ValueError, match="https"):
        usable_url(url)
