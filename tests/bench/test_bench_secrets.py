"""Planted secrets, small: a killed server leaves nothing of them, and the search finds them where nobody redacts."""

import base64
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bench.plaintext import Plaintext, forms
from bench.planted import MAKERS, planted
from bench.secret_places import PLACES
from bench.secrets import PAGE, Findings, Trial, page
from bench.sowing import RULES, Coding, parcels
from collector.otlp_json import to_protobuf
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.policy import built_in_policy
from store.otlp.decode import decode

NOW_NS = 1_795_000_000_000_000_000


def of_kind(found: Findings, kind: str) -> set[int]:
    return set[int]().union(*(numbers for place, numbers in found.found.items() if place.startswith(kind)))


def test_a_killed_server_leaves_no_planted_value_in_any_byte(tmp_path: Path) -> None:
    found = Trial(tmp_path, values=300, kills=2, seed=7).run()
    assert {place: numbers for place, numbers in found.found.items() if numbers} == {}
    assert found.good
    assert {"log", "stdout", "/metrics and /readyz", "control.sqlite3", "view.duckdb"} <= found.found.keys()
    assert any(place.startswith("frames of ") for place in found.found)
    assert {"import", "import without a server"} <= found.requests.keys()
    assert "| `card` |" in page(found)


def test_without_redaction_every_value_that_is_kept_is_found_and_in_each_kind_of_file(tmp_path: Path) -> None:
    found = Trial(tmp_path, values=300, kills=1, seed=8, redaction="off").run()
    assert len(found.expected) > 200
    assert found.expected - of_kind(found, "frames of ") == set()
    assert found.good
    for kind in ("view: ", "view.duckdb", "journal/"):
        assert of_kind(found, kind), kind
    assert of_kind(found, "log") == set()


def test_one_value_that_is_left_makes_the_trial_bad() -> None:
    sown = next(iter(parcels(1, 1, NOW_NS))).sown
    found = Findings(1, "on", 0, list(sown), found={"log": set(), "view: steps.name": {0}})
    assert not found.good
    assert not Findings(1, "off", 0, list(sown)).good


def test_the_sowing_has_every_rule_in_every_coding_and_all_places() -> None:
    sown = [(parcel.coding, one) for parcel in parcels(3, 3000, NOW_NS) for one in parcel.sown]
    assert {(coding, one.rule) for coding, one in sown} >= {(coding, rule) for coding in Coding for rule in RULES}
    places = Counter(one.place.partition(",")[0] for _, one in sown)
    assert {place.name for place in PLACES} <= places.keys()
    assert sum(name.startswith("refused: ") for name in places) >= 8


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_of_what_is_sown_passes_the_boundary_and_all_that_is_kept_comes_to_it(seed: int) -> None:
    whole = [parcel for parcel in parcels(seed, 4000, NOW_NS) if parcel.accepted]
    sown = [one for parcel in whole for one in parcel.sown]
    plaintext, policy = Plaintext([one.forms for one in sown]), built_in_policy()
    boundary = RedactingBoundary(lambda: policy)
    came, left = set[int](), set[int]()
    for parcel in whole:
        body = parcel.body if parcel.coding is Coding.PROTOBUF else to_protobuf(parcel.signal, parcel.body)
        decoded = decode(parcel.signal, body)
        came |= plaintext.in_bytes(decoded.body)
        left |= plaintext.in_bytes(boundary.apply("default", decoded).decoded.body)
    assert [sown[number] for number in left] == []
    assert [one for number, one in enumerate(sown) if one.kept and number not in came] == []


# The search


@pytest.mark.parametrize("rule", MAKERS)
def test_a_value_is_found_in_each_form_that_it_could_have(rule: str) -> None:
    rng = Random(rule)
    values = [planted(rng, rule).secret for _ in range(20)]
    plaintext = Plaintext([forms(value) for value in values])
    for number, value in enumerate(values):
        nested = json.dumps(json.dumps({"a": json.dumps(value)}))
        for text in (
            value.encode(),
            nested.encode(),
            *(base64.b64encode(b"!" * n + value.encode() + b"??") for n in range(3)),
        ):
            if len(value) >= 9 or text == value.encode():
                assert number in plaintext.in_bytes(b"before it: " + text + b"\x00behind")


def test_a_value_that_straddles_two_pieces_of_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plaintext.PIECE_BYTES", 64)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 55 + b"sk-ant-api03-aB3dE5gH" + b"y" * 200)
    assert Plaintext([forms("sk-ant-api03-aB3dE5gH")]).in_file(path) == {0}


def test_digits_within_a_longer_number_are_not_the_value() -> None:
    plaintext = Plaintext([forms("123456782")])
    assert plaintext.in_bytes(b"1795123456782000000") == set()
    assert plaintext.in_bytes(b"at 1795123456782000000 by BSN 123456782") == {0}


def test_the_committed_page_tells_of_at_least_20_000_values_and_none_found() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    by_rule = {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`")}
    assert by_rule.keys() == set(RULES)
    assert sum(int(planted) for planted, _ in by_rule.values()) >= 20_000
    assert all(found == "0" for _, found in by_rule.values())
