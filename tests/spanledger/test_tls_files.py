"""The files of TLS: what cannot be used is refused before anything is started, with the setting and what is wrong."""

import pytest

from spanledger.errors import UsageError
from spanledger.settings import Settings
from spanledger.tls import tls_of
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_without_files_there_is_no_tls():
    assert tls_of(Settings()) is None


def test_good_files_are_taken(authority):
    pair = authority.sign("server")
    tls = tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.cert))
    assert tls is not None
    assert (tls.cert, tls.key, tls.client_ca) == (pair.cert, pair.key, authority.cert)


@pytest.mark.parametrize("given", [["tls_cert"], ["tls_key"], ["tls_client_ca"], ["tls_cert", "tls_client_ca"]])
def test_half_of_it_is_refused(authority, given):
    pair = authority.sign("server")
    files = {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": authority.cert}
    with pytest.raises(UsageError, match="not enough for TLS"):
        tls_of(Settings(**{name: files[name] for name in given}))


def test_a_file_that_is_not_there_is_named(authority, tmp_path):
    pair = authority.sign("server")
    for name in ("tls_cert", "tls_key", "tls_client_ca"):
        files = {"tls_cert": pair.cert, "tls_key": pair.key} | {name: tmp_path / "nowhere"}
        with pytest.raises(UsageError, match=rf"setting {name}: \S+/nowhere: No such file"):
            tls_of(Settings(**files))


def test_what_is_no_certificate_is_refused(authority):
    pair = authority.sign("server")
    pair.cert.write_text("no certificate")
    with pytest.raises(UsageError, match=r"setting tls_cert: \S+ has no certificate"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key))


def test_a_key_of_another_certificate_is_refused(authority):
    pair, other = authority.sign("server"), authority.sign("other")
    with pytest.raises(UsageError, match="is not the private key of"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=other.key))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(authority):
    pair = authority.sign("server", password=b"something")
    with pytest.raises(UsageError, match="has a password"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key))


def test_what_is_no_key_is_refused(authority):
    pair = authority.sign("server")
    pair.key.write_text("no key")
    with pytest.raises(UsageError, match="setting tls_key"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key))


def test_a_certificate_that_has_ended_is_refused(authority):
    pair = authority.sign("server", days=-1)
    with pytest.raises(UsageError, match="expired on"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key))


def test_a_file_that_is_too_large_is_not_read(authority):
    pair = authority.sign("server")
    pair.cert.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        tls_of(Settings(tls_cert=pair.cert, tls_key=pair.key))
