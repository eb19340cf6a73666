"""Words of a request are repeated in messages about it, and what could be a secret is not."""

from random import Random

import pytest

from bench.planted import MAKERS, planted
from collector.quoting import described, quoted


@pytest.mark.parametrize(
    "text",
    [
        "/v1/trace",
        "/api/v2/spans",
        "text/plain",
        "application/x-protobuf",
        "br",
        "gzip, zstd",
        "application/vnd.otlp+json",
    ],
)
def test_what_is_made_of_words_is_repeated(text: str) -> None:
    assert quoted(text) == repr(text)


@pytest.mark.parametrize("rule", MAKERS)
def test_no_value_of_any_rule_is_repeated(rule: str) -> None:
    rng = Random(rule)
    for _ in range(200):
        secret = planted(rng, rule).secret
        if not secret.isascii() or any(character.isupper() or character.isdigit() for character in secret):
            for text in (secret, f"/v1/{secret}", f"application/{secret}"):
                assert quoted(text) == f"... ({len(text):,} characters)"
        assert described(secret) == f"a string of {len(secret):,} characters"


def test_short_numbers_and_truth_are_shown_and_long_ones_are_not() -> None:
    assert [described(value) for value in (True, -1, 1.5, 4111111111111111)] == [
        "true", "-1", "1.5", "a number of 16 characters",
    ]  # fmt: skip
