"""The fault sweep, small: some faults of each kind, and every planted defect is found."""

from pathlib import Path

import pytest

from bench import faults
from bench.fault_program import DEFECTS
from bench.faults import PLANTED, SCENARIOS, Fault, run, sweep

FINDINGS = {
    "ack-before-sync": "ack 1 was given when 0 of 0 written frames were durable",
    "ignored-sync-error": "ack 2 was given when 1 of 2 written frames were durable",
    "position-before-data": "the view differs from the record in",
}
# Occurrences that show it; the whole sweep tries them all. Of the view's, the first few make its tables.
FOUND_AT = {"ack-before-sync": (2,), "ignored-sync-error": (2,), "position-before-data": (5, 6, 7, 8)}


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    if reason := faults.unavailable():
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("scenario", "fault", "ending"),
    [
        ("reopened", Fault("fdatasync", "EIO", 2), "JournalFailed"),
        ("reopened", Fault("fallocate", "ENOSPC", 1), "done"),
        ("reopened", Fault("rename", "SIGKILL", 1), "killed"),
        ("reopened", Fault("write", "SIGKILL", 3), "killed"),
        ("new", Fault("fsync", "EIO", 1), "OSError"),
        ("torn", Fault("ftruncate", "SIGKILL", 1), "killed"),
        ("view", Fault("write", "SIGKILL", 4), "killed"),
        ("view", Fault("write", "ENOSPC", 4), "done"),
    ],
    ids=str,
)
def test_a_fault_costs_nothing_that_was_acknowledged(scenario: str, fault: Fault, ending: str, tmp_path: Path) -> None:
    outcome = run(SCENARIOS[scenario], fault, tmp_path)
    assert outcome.fired
    assert outcome.ending == ending
    assert outcome.findings == []


def test_a_sweep_ends_behind_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list(sweep("reopened", "rename", "ENOSPC"))
    assert [fault.occurrence for fault, _ in done] == list(range(1, len(done) + 1))
    assert {outcome.ending for _, outcome in done} == {"done"}
    assert len(done) == 2, "two segments are made"


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_a_planted_defect_is_found(defect: str, tmp_path: Path) -> None:
    assert set(PLANTED) == set(DEFECTS)
    name, call, effect = PLANTED[defect]
    found: list[str] = []
    for occurrence in FOUND_AT[defect]:
        folder = tmp_path / str(occurrence)
        folder.mkdir()
        found += run(SCENARIOS[name], Fault(call, effect, occurrence), folder, plant=defect).findings
    assert any(FINDINGS[defect] in finding for finding in found)


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main(["--scenario", "reopened", "--call", "rename", "--effect", "EIO"]) == 0
    told = capsys.readouterr()
    assert '"faults": 2, "findings": 0' in told.out
    assert "reopened: rename EIO: 2 faults, 0 with findings" in told.err


def test_where_strace_is_missing_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert faults.main([]) == 2
    assert "apt-get install strace" in capsys.readouterr().err
