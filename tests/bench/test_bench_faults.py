"""The fault sweep, small: some faults of each kind, and every planted defect is found."""

from collections import Counter
from pathlib import Path

import pytest

from bench import faults
from bench.fault_program import BODIES, DEFECTS
from bench.faults import PLANTED, SCENARIOS, Fault, run, sweep

FINDINGS = {
    "ack-before-sync": "ack 1 was given when 0 of 0 written frames were durable",
    "ignored-sync-error": "ack 2 was given when 1 of 2 written frames were durable",
    "position-before-data": "the view differs from the record in",
}


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


def test_an_occurrence_is_the_same_commit_in_every_run(tmp_path: Path) -> None:
    """strace counts the calls of each thread: were a commit now one thread's and now another's, a sweep would miss some."""
    assert run(SCENARIOS["view"], None, tmp_path).ending == "done"
    calls = [line.split() for line in (tmp_path / "strace.log").read_text().splitlines()]
    syncs = Counter(thread for thread, call, *_ in calls if call.startswith("fdatasync") and ".wal>" in call)
    main = calls[0][0]  # It opens the view before, and closes it after.
    assert [count for thread, count in syncs.items() if thread != main] == [BODIES]


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_a_planted_defect_is_found(defect: str) -> None:
    assert set(PLANTED) == set(DEFECTS)
    name, call, effect = PLANTED[defect]
    outcomes = (outcome for _, outcome in sweep(name, call, effect, plant=defect))
    assert any(FINDINGS[defect] in finding for outcome in outcomes for finding in outcome.findings)


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
