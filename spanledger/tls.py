"""TLS for all three doors: the files are read, and refused with what is wrong, before anything is started."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509

from spanledger.errors import UsageError
from spanledger.settings import Settings

FILE_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of TLS, known to be usable. `client_ca`: who connects must have a certificate by one of these."""

    cert: Path
    key: Path
    client_ca: Path | None

    def of_uvicorn(self) -> dict[str, Any]:
        """What uvicorn's configuration is told."""
        told: dict[str, Any] = {"ssl_certfile": str(self.cert), "ssl_keyfile": str(self.key)}
        if self.client_ca is not None:
            told |= {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": int(ssl.CERT_REQUIRED)}
        return told

    def of_grpc(self) -> grpc.ServerCredentials:
        """What gRPC is told."""
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.cert.read_bytes())],
            root_certificates=self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )


def tls_of(settings: Settings) -> Tls | None:
    """The TLS of a server; None is without. Raises UsageError for files that cannot be used, with what is wrong."""
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None or key is None:
        given = {"tls_cert": cert, "tls_key": key, "tls_client_ca": client_ca}
        named = [name for name, value in given.items() if value is not None]
        if not named:
            return None
        raise UsageError(f"{', '.join(named)}: not enough for TLS", "give tls_cert and tls_key, or none of the three")
    chain = _certificates("tls_cert", cert)
    _check_time("tls_cert", cert, chain[0])
    _content("tls_key", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(
            f"setting tls_key: {key} is not the private key of {cert}, or has a password ({error.reason or error})",
            "give the key that the certificate was made with, in PEM, without a password",
        ) from error
    if client_ca is not None:
        for authority in _certificates("tls_client_ca", client_ca):
            _check_time("tls_client_ca", client_ca, authority)
    return Tls(cert, key, client_ca)


def _no_password() -> bytes:
    return b""  # Or OpenSSL would ask for one on the terminal.


def _content(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"setting {setting}: {path}: {error.strerror}", "name a file that this user can read"
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise UsageError(f"setting {setting}: {path} is larger than 1 MiB", "is this the right file?")
    return content


def _certificates(setting: str, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(setting, path))
    except ValueError as error:
        raise UsageError(
            f"setting {setting}: {path} has no certificate in PEM", "give the certificate and its chain"
        ) from error


def _check_time(setting: str, path: Path, certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise UsageError(
            f"setting {setting}: the certificate in {path} expired on {certificate.not_valid_after_utc.isoformat()}",
            "renew it",
        )
    if certificate.not_valid_before_utc > now:
        raise UsageError(
            f"setting {setting}: the certificate in {path} begins on {certificate.not_valid_before_utc.isoformat()}",
            "is this machine's clock right?",
        )
