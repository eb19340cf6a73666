"""What a request may present, and where."""

import pytest

from access.credentials import CREDENTIAL_BYTES_MAX, bearer, refuse_credential_in_url
from access.errors import CredentialInUrl, Unauthenticated
from access.keys import new_key


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_one_bearer_header_gives_its_credential(scheme):
    key = new_key()
    assert bearer([scheme + key]) == key


def test_without_a_header_there_is_no_credential():
    assert bearer([]) is None


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([f"Bearer {new_key()}", f"Bearer {new_key()}"], "more than one"),
        ([""], "not `Bearer`"),
        (["Bearer"], "not `Bearer`"),
        (["Bearer "], "not `Bearer`"),
        (["Basic dTpw"], "not `Bearer`"),
        ([new_key()], "not `Bearer`"),
        ([f"Bearer {new_key()}, Bearer {new_key()}"], "not `Bearer`"),
        ([f"Bearer {new_key()} x"], "not `Bearer`"),
        ([f"Bearer {new_key()}\x00"], "not `Bearer`"),
        (["Bearer kéy"], "not `Bearer`"),
        (["Bearer " + "a" * CREDENTIAL_BYTES_MAX], "are the limit"),
        ([f"Bearer {new_key()}{'a' * 100}"], "longer than a key"),
    ],
)
def test_what_is_not_one_bearer_credential_is_refused_and_not_repeated(headers, message):
    with pytest.raises(Unauthenticated, match=message) as refused:
        bearer(headers)
    for header in headers:
        assert len(header) < 10 or header not in str(refused.value)


def test_x_api_key_is_not_read_and_that_is_said():
    with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
        bearer([], other_header=True)


# Of a key's shape: a fresh one would give a test another name in every process.
KEY = "slk_" + "k7RzT2mX" + "_" + "Qw3n9TbVa" * 4 + "Lm5pXc2"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/runs", f"key={KEY}"),
        ("/v1/runs", f"agent=x&x={KEY}"),
        ("/v1/runs", "access_token=abc"),
        ("/v1/runs", "limit=1;api-key=abc"),
        ("/v1/runs", "api_key=abc"),
        ("/v1/runs", "Authorization=Bearer"),
        ("/v1/runs", f"x={KEY.replace('_', '%5F')}"),
        ("/v1/runs", "x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abc"),
        (f"/v1/runs/{KEY}", ""),
    ],
)
def test_a_credential_in_a_url_is_refused_and_not_repeated(path, query):
    with pytest.raises(CredentialInUrl) as refused:
        refuse_credential_in_url(path, query.encode())
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/runs", "q=my+key%3D5&cursor=WzFd"),
        ("/v1/runs/5d9be592494ecde084863c774e705ed3/steps", "content=inline"),
        ("/v1/contents/abc", "min_position=a:1"),
        ("/v1/runs", "tool=get_token"),
    ],
)
def test_an_ordinary_url_passes(path, query):
    refuse_credential_in_url(path, query.encode())
