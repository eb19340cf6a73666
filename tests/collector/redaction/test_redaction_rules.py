"""Each built-in rule against values of its kind and against what only looks like them."""

import json
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.planted import LOOK_ALIKES, MAKERS, look_alike, planted
from collector.redaction.errors import ExpressionRefused
from collector.redaction.escapes import Unescaped, blanked
from collector.redaction.expressions import NEAR_BYTES, Prefilter, without_anchors
from collector.redaction.finding import Finder
from collector.redaction.policy import built_in_policy
from collector.redaction.rules import OWN_MATCHES_MAX, built_in, own_rule
from collector.redaction.validators import luhn

TENANT = built_in_policy().others
FINDER, RULES = TENANT.finder, TENANT.general.rules


def found_in(text: bytes) -> list[tuple[str, bytes]]:
    return [(one.rule.name, one.value) for one in FINDER.found_in(text, FINDER.candidates(text), RULES)]


def test_every_rule_that_is_on_has_values_to_be_tried_with() -> None:
    assert {name for name, rule in built_in().rules.items() if rule.on and rule.expression} == MAKERS.keys()


def test_a_rule_that_is_off_says_why() -> None:
    off = [rule for rule in built_in().rules.values() if not rule.on]
    assert {rule.name for rule in off} == {"ip_v4", "ip_v6", "phone_local"}
    assert all(rule.why.startswith("off: ") for rule in off)


@pytest.mark.parametrize("rule", MAKERS)
def test_a_rule_finds_every_value_of_its_kind(rule: str) -> None:
    rng = Random(rule)
    for _ in range(150):
        one = planted(rng, rule)
        text = one.text.encode()
        left = text
        for found in reversed(FINDER.found_in(text, FINDER.candidates(text), RULES)):
            left = left[: found.start] + b"#" + left[found.end :]
        assert one.secret.encode() not in left, one.text


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_what_only_looks_like_it_is_left_alone(kind: str) -> None:
    rng = Random(kind)
    texts = [look_alike(rng, kind).text for _ in range(600)]
    assert [(text, found_in(text.encode())) for text in texts if found_in(text.encode())] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1234 4111 1111 1111 1111", [("card", b"4111 1111 1111 1111")]),
        ("4111 1111 1111 1112", []),
        ("41111111111111111", []),
        ("DE89 3704 0044 0532 0130 00", [("iban", b"DE89 3704 0044 0532 0130 00")]),
        ("DE89 3704 0044 0532 0130 01", []),
        ("GB82WEST12345698765432", [("iban", b"GB82WEST12345698765432")]),
        ("a@b.co,c@d.org", [("email", b"a@b.co"), ("email", b"c@d.org")]),
        ("https://u:pa55word@db.example.org/x", [("url_password", b"pa55word")]),
        ("see \\u003canna@example.org\\u003e", [("email", b"anna@example.org")]),
        ("C:\\\\new\\\\anna@example.org", [("email", b"anna@example.org")]),
        ("key=sk-ant-api03-" + "aB3" * 20 + "&x=1", [("anthropic_key", b"sk-ant-api03-" + b"aB3" * 20)]),
        ("call%3A%2B491760000", []),
        ("+49 176 12345678", [("phone", b"+49 176 12345678")]),
        ("1e+4917612345678", []),
        ("+491761234.5678", []),
    ],
)
def test_where_a_value_begins_and_ends(text: str, found: list[tuple[str, bytes]]) -> None:
    assert found_in(text.encode()) == found


def test_a_longer_value_than_what_is_looked_at_first_is_found_whole() -> None:
    local = "anna" * 200
    assert found_in(f"x {local}@example.org y".encode()) == [("email", f"{local}@example.org".encode())]
    token = "".join(Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000)).encode()
    assert found_in(b"Authorization: Bearer " + token) == [("authorization", token)]


def test_the_check_digit_of_luhn() -> None:
    assert luhn(b"79927398713")
    assert not luhn(b"79927398710")


@pytest.mark.parametrize(
    "password", ["d'artagnan99", 'hunt"er-2', "back\\slash\\", '","x":"', "o" * 3000, "a/b'c\"d\\e"]
)
@pytest.mark.parametrize("nested", range(4))
def test_a_password_in_json_goes_whole_whatever_it_has_in_it(password: str, nested: int) -> None:
    text = json.dumps({"user": "anna", "password": password, "host": "db"})
    for _ in range(nested):
        text = json.dumps({"said": text, "then": "more"})
    written = password
    for _ in range(nested + 1):
        written = json.dumps(written)[1:-1]
    assert found_in(text.encode()) == [("secret_field", written.encode())]


def test_letters_of_a_password_that_only_the_outer_json_escapes_hide_nothing_of_it() -> None:
    inner = json.dumps({"password": "pässwörd/9", "user": "anna"}, ensure_ascii=False)
    for text in (json.dumps({"said": inner}), json.dumps({"said": json.dumps([inner], ensure_ascii=False)})):
        for written in (text, text.replace("/", "\\/")):
            [(rule, value), *rest] = found_in(written.encode())
            assert (rule, rest) == ("secret_field", [])
            assert value.startswith(b"p")
            assert value.endswith(b"9")


@pytest.mark.parametrize("nested", range(4))
def test_a_password_in_json_that_was_cut_goes_to_its_end(nested: int) -> None:
    text = json.dumps({"user": "anna", "password": "correct horse"})
    for _ in range(nested):
        text = json.dumps({"said": text})
    cut = text[: text.index("horse") + 3].encode()
    assert found_in(cut) == [("secret_field", b"correct hor")]


# Escapes


@given(
    st.lists(st.sampled_from(["a", "\\n", "\\u0040", "\\\\u00e9", "\\/", '\\"', "é", "\\", "x@y.org "]), max_size=30)
)
def test_a_piece_of_unescaped_text_is_found_where_it_stood(pieces: list[str]) -> None:
    original = "".join(pieces).encode()
    plain = Unescaped(original)
    assert len(blanked(original)) == len(original)
    for start in range(len(plain.text)):
        for end in range(start + 1, len(plain.text) + 1):
            begin, behind = plain.span(start, end)
            assert 0 <= begin < behind <= len(original)
            assert plain.text[start:end] in Unescaped(original[begin:behind]).text


# Expressions


@pytest.mark.parametrize(
    ("pattern", "rest"),
    [
        (rb"^a$", b"a"),
        (rb"\bEMP-\d+\b", rb"EMP-\d+"),
        (rb"[\^$b]+x", rb"[\^$b]+x"),
        (rb"[^]a$]x", rb"[^]a$]x"),
        (rb"[[:alpha:]$]\$", rb"[[:alpha:]$]\$"),
        (rb"(?:^|,)a\\b\z", rb"(?:|,)a\\b"),
    ],
)
def test_a_prefilter_is_the_pattern_without_its_anchors(pattern: bytes, rest: bytes) -> None:
    assert without_anchors(pattern) == rest


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", r"(?=a)b", r"(?<!a)b", r"a*", r"(", r"\Qa\E", r"[ä]b", r"a{5000}", "x" * 5000, r"^*a", r"(a|b)++"],
)
def test_what_the_engines_cannot_do_is_refused(pattern: str) -> None:
    with pytest.raises(ExpressionRefused):
        own_rule("own", pattern=pattern, keys=[], why="")


def test_matches_that_are_near_each_other_are_one_candidate() -> None:
    prefilter = Prefilter([b"a"])
    assert prefilter.candidates(b"a" * NEAR_BYTES + b"b" * 1000 + b"a") == [
        (0, NEAR_BYTES - 1, 0),
        (NEAR_BYTES + 1000,) * 2 + (0,),
    ]


def test_a_value_of_an_own_rule_is_its_group_in_whole_characters() -> None:
    rule = own_rule("own", pattern="nr: (?P<secret>.{3})", keys=[], why="")
    finder = Finder([rule])
    text = "nr: aé€ and nr: xyz".encode()
    assert [one.value.decode() for one in finder.found_in(text, finder.candidates(text), {"own": rule})] == [
        "aé",
        "xyz",
    ]


def test_a_text_with_more_matches_of_an_own_rule_than_are_counted_is_the_value() -> None:
    rule = own_rule("own", pattern="a", keys=[], why="")
    finder = Finder([rule])
    for count in (OWN_MATCHES_MAX, OWN_MATCHES_MAX + 1):
        text = b"a " * count
        found = finder.found_in(text, finder.candidates(text), {"own": rule})
        assert len(found) == (count if count == OWN_MATCHES_MAX else 1)
    assert (found[0].start, found[0].end) == (0, len(text))


# Hostile inputs: time grows as the text does


HOSTILE = {
    "at signs": b"a@",
    "addresses without end": b"a@b.",
    "digits": b"4",
    "digits apart": b"4 ",
    "begins of keys": b"-----BEGIN RSA PRIVATE KEY-----",
    "begins of tokens": b"eyJhbGciOiJ9.eyJhbGciOiJ9.",
    "addresses of databases": b"a://b:c",
    "pairs": b"host= password=x ",
    "escapes": b"\\u0040\\",
    "backslashes": b"\\",
    "capital letters": b"DE89",
    "hyphens": b"-",
    "plus signs": b"+1 2",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_rule_takes_more_than_linear_time(name: str) -> None:
    def seconds(count: int) -> float:
        text = HOSTILE[name] * (count // len(HOSTILE[name]))
        took: list[float] = []
        for _ in range(3):
            began = time.thread_time()
            found_in(text)
            took.append(time.thread_time() - began)
        return min(took)

    seconds(2_000)
    small, large = seconds(20_000), seconds(160_000)
    assert large < 8 * small * 2.5 + 0.05, f"{small:.4f} s for 20 KB and {large:.4f} s for 160 KB"


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"(a|aa)+b", r"a.*b.*c", r"(?:a?){30}a{30}", r"\b(\w+\s?)+:", r"a(.*b)?"]
)
def test_no_rule_that_somebody_wrote_does_either(pattern: str) -> None:
    rule = own_rule("own", pattern=pattern, keys=[], why="")
    finder = Finder([rule])

    def seconds(count: int) -> float:
        text = b"a" * count + b"!"
        began = time.thread_time()
        finder.found_in(text, finder.candidates(text), {"own": rule})
        return time.thread_time() - began

    seconds(1_000)
    assert seconds(160_000) < 8 * seconds(20_000) * 2.5 + 0.05


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_text_makes_it_fail(text: bytes) -> None:
    for one in FINDER.found_in(text, FINDER.candidates(text), RULES):
        assert 0 <= one.start < one.end <= len(text)
