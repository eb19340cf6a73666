"""The command line without a server: usage, settings, and a data folder that no server holds."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from spanledger.local_user import local_user

CAPTURES = Path(__file__).parents[1] / "fixtures" / "captures"
CAPTURE = CAPTURES / "pydantic-ai-2.68-v5"


def _refused(ended, status: int) -> tuple[str, str]:
    """The two lines of an expected failure."""
    assert ended.status == status
    assert ended.out == ""
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error, hint


def test_version_is_that_of_the_package(command):
    ended = command("version")
    assert (ended.status, ended.out) == (0, f"spanledger {version('spanledger')}\n")


def test_help_names_every_command(command):
    ended = command("--help")
    assert ended.status == 0
    for name in ("serve", "demo", "import", "runs", "replay", "tail", "rebuild", "version"):
        assert f"\n  {name}" in ended.out


def test_an_unknown_command_or_option_is_a_usage_error(command):
    assert "'serv'" in _refused(command("serv"), 2)[0]
    assert "--dtaa" in _refused(command("serve", "--dtaa", "x"), 2)[0]
    assert "RUN" in _refused(command("replay"), 2)[0]


def test_a_wrong_setting_names_itself_its_value_and_its_source(command):
    error, hint = _refused(command("serve", "--api-port", "http"), 2)
    assert all(text in error for text in ("api_port", "'http'", "--api-port"))
    assert "0 to 65535" in hint
    error, _ = _refused(command("runs", SPANLEDGER_VIEW_MEMORY_MB="lots"), 2)
    assert all(text in error for text in ("view_memory_mb", "'lots'", "SPANLEDGER_VIEW_MEMORY_MB"))


@pytest.mark.parametrize("option", [("--since", "yesterday"), ("--status", "finished"), ("--trace-id", "xyz")])
def test_a_wrong_condition_names_its_option(command, option, tmp_path):
    error, _ = _refused(command("runs", *option, "--data", tmp_path), 2)
    assert option[0] in error


def test_a_folder_that_is_not_there_is_not_made_by_looking(command, tmp_path):
    data = tmp_path / "missing"
    for arguments in (["runs"], ["replay", "x"], ["tail"], ["rebuild"]):
        error, hint = _refused(command(*arguments, "--data", data), 1)
        assert str(data) in error
        assert "--data" in hint
    assert not data.exists()


def test_a_server_that_is_not_there_is_an_error_with_its_address(command):
    error, hint = _refused(command("runs", "--url", "http://127.0.0.1:1"), 1)
    assert "http://127.0.0.1:1" in error
    assert "spanledger serve" in hint
    assert "'localhost'" in _refused(command("runs", "--url", "localhost"), 2)[0]


def test_a_file_where_the_folder_should_be_is_an_error(command, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for arguments in (["serve"], ["import", CAPTURE / "001.pb"]):
        error, _ = _refused(command(*arguments, "--data", file / "data", "--config", ""), 1)
        assert str(file) in error


def test_import_without_a_server_then_runs_replay_tail_and_rebuild(command, tmp_path):
    data = tmp_path / "data"
    ended = command("import", CAPTURE / "001.pb", CAPTURE / "002.pb", "--data", data)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == ("total: 2 files, 2 requests: 19 spans, 1 metric accepted, 0 records refused")
    assert ended.err == ""

    runs = [json.loads(line) for line in command("runs", "--data", data).out.splitlines()]
    assert sum(run["steps"] for run in runs) == 19
    assert len(command("runs", "--limit", 1, "--data", data).out.splitlines()) == 1
    assert [run["run_id"] for run in runs] == sorted(
        (run["run_id"] for run in runs),
        key=lambda i: next(r["started_at"] for r in runs if r["run_id"] == i),
        reverse=True,
    )

    events = [json.loads(line) for line in command("replay", runs[0]["run_id"], "--data", data).out.splitlines()]
    assert events[0]["type"] == "run_started"
    assert [event["position"] for event in events] == list(range(len(events)))
    timeline = command("replay", runs[0]["run_id"], "--data", data, "--format", "text")
    assert "run started" in timeline.out
    assert "total" in timeline.out.splitlines()[-1]

    steps = command("tail", "--all", "--no-follow", "--data", data).out.splitlines()
    assert len({json.loads(line)["step_id"] for line in steps}) == 19

    accesses = [json.loads(line) for line in command("access", "--data", data).out.splitlines()]
    assert {one["who"] for one in accesses} == {local_user()}
    assert [one["call"] for one in accesses][:3] == ["tail", "replay", "replay"]
    first, second = command("rebuild", "--data", data), command("rebuild", "--data", data)
    assert first.status == 0
    assert first.out == second.out
    assert first.out.startswith(f"frames {2 + len(accesses) + 1}, quarantined 0\n"), "two requests, and who read what"
    assert "\nruns " in first.out
    assert [json.loads(line) for line in command("runs", "--data", data).out.splitlines()] == runs


def test_tail_without_a_server_says_that_nothing_will_come(command, tmp_path):
    data = tmp_path / "data"
    assert command("import", CAPTURE / "002.pb", "--data", data).status == 0
    error, hint = _refused(command("tail", "--data", data), 1)
    assert "no server" in error
    assert "--no-follow" in hint


def test_an_unknown_run_is_an_error_that_says_where_to_look(command, tmp_path):
    data = tmp_path / "data"
    assert command("import", CAPTURE / "002.pb", "--data", data).status == 0
    error, hint = _refused(command("replay", "nobody", "--data", data), 1)
    assert "nobody" in error
    assert "spanledger runs" in hint


def test_import_ends_with_1_when_anything_was_refused_and_keeps_the_rest(command, tmp_path):
    data, lines = tmp_path / "data", tmp_path / "run.jsonl"
    lines.write_text("{broken\n" + json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat"},
        {"traceId": "0" * 32, "spanId": "eee19b7ec3c1b175", "name": "lost"},
    ]}]}]}))  # fmt: skip
    ended = command("import", lines, "--data", data)
    assert ended.status == 1
    assert "line 1: is not JSON" in ended.out
    assert ended.out.splitlines()[-1] == (
        "total: 1 file, 2 requests: 1 span accepted, 1 record refused, 1 request refused whole"
    )
    assert len(command("runs", "--data", data).out.splitlines()) == 1


def test_import_refuses_a_signal_that_is_none(command):
    assert "'spans'" in _refused(command("import", CAPTURE / "001.pb", "--signal", "spans"), 2)[0]


@pytest.mark.parametrize("arguments", [("serve",), ("rebuild",), ("runs",)])
def test_a_table_of_prices_that_cannot_be_used_is_refused_before_anything_is_done(command, tmp_path, arguments):
    table = tmp_path / "prices.toml"
    table.write_text('[[price]]\nproviders = ["a"]\n')
    folder = tmp_path / "data"
    if arguments != ("serve",):
        folder.mkdir()
    error, hint = _refused(command(*arguments, "--data", str(folder), SPANLEDGER_PRICES=str(table)), 1)
    assert str(table) in error
    assert "entry 1: models, input, source, date must be said" in error
    assert "--prices" in hint
    assert not folder.exists() or not list(folder.iterdir())
