"""The JSON decoder on mutants of captures: a refusal or a request that both protobuf decoders read alike, never a crash.

`python -m bench.fuzz_decoders --decoder json` runs it for longer.
"""

import json
from typing import Any

import pytest

from bench import decoder_oracle
from bench.decoder_oracle import Difference, check_json
from bench.fuzz_decoders import fuzz, main, read_captures
from bench.json_mutations import json_mutant, to_otlp_json
from collector.otlp_json import to_protobuf
from store.otlp.decode import decode
from store.record import Signal

CAPTURES = read_captures()
MUTANTS_A_SEED = 1_500  # about 4 s of CPU


@pytest.mark.parametrize("signal", Signal)
def test_every_capture_written_as_json_is_the_same_request(signal: Signal) -> None:
    for body in (body for body in CAPTURES if body.signal is signal):
        text = json.dumps(to_otlp_json(body)).encode()
        assert to_protobuf(signal, text) == decode(signal, body.content).body


@pytest.mark.parametrize("seed", [1, 2])
def test_mutants_are_refused_or_read(seed: int) -> None:
    tally = fuzz("json", CAPTURES, seed=seed, mutations=MUTANTS_A_SEED)
    assert tally.differences == []
    assert tally.accepted + tally.refused == MUTANTS_A_SEED
    assert tally.accepted > 0.15 * MUTANTS_A_SEED, "refusals alone would test little"


def one_span(span: str) -> bytes:
    return f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{span}]}}]}}]}}'.encode()


@pytest.mark.parametrize(
    "span",
    [
        '{"kind": "\\ud800"}',  # the runtime's table of enum names fails on half of a surrogate pair
        '{"name": "\\ud800"}',
        '{"traceId": "\\ud800"}',
        '{"attributes": [{"key": "\\ud800"}]}',
        '{"flags": "\\ud800"}',
    ],
)
def test_half_of_a_surrogate_pair_is_refused_as_a_value(span: str) -> None:
    assert check_json(Signal.TRACES, one_span(span)) is False


@pytest.mark.parametrize("span", ['{"\\ud800": 1}', '{"name": "n", "x\\ud800": {"\\ud800": "\\ud800"}}'])
def test_half_of_a_surrogate_pair_in_an_unknown_name_is_ignored_with_it(span: str) -> None:
    assert check_json(Signal.TRACES, one_span(span)) is True


def test_the_mutants_of_a_seed_are_always_the_same() -> None:
    once = [json_mutant(3, number, CAPTURES) for number in range(30)]
    assert once == [json_mutant(3, number, CAPTURES) for number in range(30)]
    assert once != [json_mutant(4, number, CAPTURES) for number in range(30)]


def gives_no_request(_signal: Signal, _body: bytes) -> bytes:
    return b"\xff"


def crashes(_signal: Signal, _body: bytes) -> bytes:
    raise RecursionError("maximum recursion depth exceeded")


@pytest.mark.parametrize(("broken", "says"), [(gives_no_request, "refused as protobuf"), (crashes, "RecursionError")])
def test_the_check_sees_a_decoder_that_is_wrong(monkeypatch: pytest.MonkeyPatch, broken: Any, says: str) -> None:
    monkeypatch.setattr(decoder_oracle, "to_protobuf", broken)
    with pytest.raises(Difference, match=says):
        check_json(Signal.TRACES, b"{}")


def test_the_program_reports_each_decoder_in_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mutations", "40", "--seed", "11"]) == 0
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(report["decoder"], report["mutants"], report["differences"]) for report in reports] == [
        ("protobuf", 40, 0),
        ("json", 40, 0),
    ]
    assert all(report["accepted"] + report["refused"] == 40 for report in reports)


def test_the_program_ends_when_its_cpu_seconds_are_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--decoder", "protobuf", "--seconds", "0.2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mutants"] > 0
    assert report["cpu_seconds"] < 5


def test_the_program_says_which_difference_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_oracle, "to_protobuf", crashes)
    assert main(["--decoder", "json", "--mutations", "3", "--start", "5", "--seed", "2"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["differences"] == 3
    assert "json seed 2 number 5" in captured.err
    assert "RecursionError" in captured.err
