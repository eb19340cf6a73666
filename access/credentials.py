"""What a request presents: one `Authorization: Bearer` header, and nothing anywhere else.

A credential in a URL is in every proxy's log and every browser's history, so it is refused, never used, and never repeated
in an answer or a log. Two Authorization headers are how requests are smuggled past somebody who reads only one.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from access.errors import CredentialInUrl, Unauthenticated
from access.keys import KEY_CHARS_MAX, KEY_MARK

CREDENTIAL_BYTES_MAX: Final = 8 * 1024  # Tokens with many groups come to 4 KB.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]+)")
_IN_URL: Final = re.compile(
    rb"slk_[0-9A-Za-z]{8}_[0-9A-Za-z]|(?:^|[?&;])(?:api[_-]?key|key|(?:access|id|auth|bearer)?[_-]?token|authorization)=|"
    rb"eyJ[\w-]+\.eyJ[\w-]+\.",
    re.IGNORECASE,
)


def bearer(authorization: Sequence[str], *, other_header: bool = False) -> str | None:
    """The credential of a request's Authorization headers; None without any. `other_header`: an x-api-key was sent.

    Raises Unauthenticated for what is not one bearer credential.
    """
    if not authorization:
        if other_header:
            raise Unauthenticated("send the key as `Authorization: Bearer KEY`; x-api-key is not read", "malformed")
        return None
    if len(authorization) > 1:
        raise Unauthenticated("there is more than one Authorization header: send one", "malformed")
    value = authorization[0]
    if len(value) > CREDENTIAL_BYTES_MAX:
        raise Unauthenticated(
            f"the Authorization header has {len(value):,} bytes and {CREDENTIAL_BYTES_MAX:,} are the limit", "oversized"
        )
    found = _BEARER.fullmatch(value.strip(" \t"))
    if found is None:
        raise Unauthenticated("the Authorization header is not `Bearer` and a key or a token", "malformed")
    credential = found[1]
    if credential.startswith(KEY_MARK) and len(credential) > KEY_CHARS_MAX:
        raise Unauthenticated("the credential is longer than a key can be", "malformed")
    return credential


def refuse_credential_in_url(path: str, query: bytes) -> None:
    """Raises CredentialInUrl, whose message repeats nothing of it."""
    target = path.encode(errors="replace") + b"?" + query
    if _IN_URL.search(target) or (b"%" in query and _IN_URL.search(unquote_to_bytes(target))):
        raise CredentialInUrl(
            "there is a credential in the URL, where proxies and histories keep it: it was not used. Send it as "
            "`Authorization: Bearer`, and take this one for disclosed: `spanledger keys revoke` it"
        )
