"""What every door asks before anything else: who is this, and may it come in now.

One gate a process. It decides from memory: keys from the keyring, tokens from those verified a moment ago; only a token that
was not seen before needs a thread, because its issuer's keys may have to be fetched.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final

from access.credentials import bearer, refuse_credential_in_url
from access.errors import AccessUnknown, HostRefused, Unauthenticated
from access.keyring import KeyHolder
from access.keys import KEY_MARK
from access.permissions import ALL_PERMISSIONS, Principal
from access.rates import KeyRates, Rates
from access.refusals import Refusals
from access.tokens import TokenVerifier

OPEN_TENANT: Final = "default"
TOKEN_THREADS: Final = 2  # Checking a signature takes 0.1 ms; more threads would only wait for the same issuer.
TOKENS_WAITING_MAX: Final = 64
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*))(?::\d{1,5})?")

_OPEN: Final = Principal(kind="open", name="open", tenant=OPEN_TENANT, role=None, permissions=ALL_PERMISSIONS)


class Gate:
    """Lets callers in or says why not. Thread-safe."""

    def __init__(
        self,
        holder: KeyHolder,
        *,
        trusting: bool,
        tokens: TokenVerifier | None = None,
        rates: Rates | None = None,
        hosts: Collection[str] | None = None,
        metrics_open: bool = False,
        refusals: Refusals | None = None,
    ) -> None:
        """`trusting`: everybody is let in for as long as there never was a key (a server on loopback). `hosts`: the names
        that a Host header may have, without ports; None does not look. `metrics_open`: `/metrics` needs no credential.
        `refusals`: where the doors of this process count what they refuse.
        """
        self._holder = holder
        self._trusting = trusting and tokens is None
        self._tokens = tokens
        self._hosts = None if hosts is None else frozenset(one.lower() for one in hosts)
        self.rates = KeyRates(rates or Rates())
        self.metrics_open = metrics_open
        self.refusals = refusals or Refusals()
        self._threads = ThreadPoolExecutor(
            TOKEN_THREADS, thread_name_prefix="tokens"
        )  # Started when the first one comes.
        self._places = BoundedSemaphore(TOKENS_WAITING_MAX)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def admit(self, authorization: Sequence[str], *, other_header: bool = False) -> "Principal | Future[Principal]":
        """Who presents these Authorization headers, or a future of it where that takes a while.

        Raises Unauthenticated, AccessUnknown; the future does, too.
        """
        keyring = self._holder.current()
        if self._trusting and not keyring.known:
            return _OPEN
        credential = bearer(authorization, other_header=other_header)
        if credential is None:
            raise Unauthenticated("a credential is needed: send `Authorization: Bearer` and a key", "missing")
        if credential.startswith(KEY_MARK) or self._tokens is None:
            now = time.time()
            key = keyring.find(credential, now)
            self._holder.used(key.prefix, now)
            return key.principal()
        return self._tokens.remembered(credential) or self._verified(self._tokens.verify, credential)

    def admit_waiting(self, authorization: Sequence[str]) -> Principal:
        """As `admit`, for a thread that may wait."""
        found = self.admit(authorization)
        return found if isinstance(found, Principal) else found.result()

    def is_valid(self, who: Principal) -> bool:
        """Whether somebody who was let in may still be there."""
        try:
            keyring = self._holder.current()
        except AccessUnknown:
            return False
        match who.kind:
            case "open":
                return self._trusting and not keyring.known
            case "key":
                key = keyring.by_prefix.get(who.key_prefix or "")
                return key is not None and key.state(time.time()) == "active"
            case _:
                return who.expires_at is None or time.time() < who.expires_at

    def check_host(self, host: Sequence[str]) -> None:
        """Raises HostRefused for a Host header that names somebody else."""
        if self._hosts is None:
            return
        name = _host_name(host[0]) if len(host) == 1 else ""
        if name not in self._hosts:
            raise HostRefused(
                "the Host header does not name this server: ask it by the address that it prints, or add the name to "
                "allowed_hosts"
            )

    def check_target(self, path: str, query: bytes) -> None:
        """Raises CredentialInUrl."""
        refuse_credential_in_url(path, query)

    def _verified(self, verify: Callable[[str], Principal], credential: str) -> "Future[Principal]":
        if not self._places.acquire(blocking=False):
            raise AccessUnknown(f"{TOKENS_WAITING_MAX} tokens wait to be checked already: come again in a second")
        try:
            checking = self._threads.submit(verify, credential)
        except BaseException:
            self._places.release()
            raise
        checking.add_done_callback(lambda _: self._places.release())
        return checking


def _host_name(host: str) -> str:
    """The name in a Host header, lower-case, without its port; '' where it is not of that form."""
    found = _HOST.fullmatch(host.strip().lower())
    return (found[1] or found[2]) if found else ""
