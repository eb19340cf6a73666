"""`spanledger backup` beside a running server, and the procedure of docs/operations.md to get it back."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

CAPTURE = Path(__file__).parents[1] / "fixtures" / "captures" / "spanledger-demo"
PRINTED = re.compile(r"position ([0-9a-f]{32}:(\d+)), frames (\d+), segments 1, bytes (\d+)\n")


def record(server: Any) -> str:
    """Send the demo's traces; returns the position."""
    [first, *_] = [entry for entry in json.loads((CAPTURE / "index.json").read_text()) if entry["signal"] == "traces"]
    answer = httpx.post(
        server.ready["otlp_http"] + "/v1/traces",
        content=(CAPTURE / first["file"]).read_bytes(),
        headers={"content-type": "application/x-protobuf"},
        trust_env=False,
    )
    assert answer.status_code == 200
    return answer.headers["spanledger-position"]


def runs_at(server: Any, position: str) -> list[dict[str, Any]]:
    answer = server.api.get("/v1/runs", params={"min_position": position})
    assert answer.status_code == 200, answer.text
    return answer.json()["runs"]


def test_a_backup_taken_from_a_running_server_is_restored_by_starting_on_it(serve, command, tmp_path):
    server = serve(tmp_path / "data")
    position = record(server)
    runs = runs_at(server, position)
    assert runs
    ended = command("backup", tmp_path / "backup", "--data", tmp_path / "data")
    assert (ended.status, ended.err) == (0, "")
    printed = PRINTED.fullmatch(ended.out)
    assert printed
    assert printed[1] == position
    assert printed[2] == printed[3]
    later = record(server)
    assert server.stop()[0] == 0

    shutil.copytree(tmp_path / "backup", tmp_path / "new")
    ended = command("rebuild", "--data", tmp_path / "new")
    assert ended.out.startswith(f"frames {printed[3]}, quarantined 0\n")
    restored = serve(tmp_path / "new")
    assert runs_at(restored, position) == runs
    assert restored.api.get("/readyz").json()["journal_position"] == position
    assert restored.api.get("/v1/runs", params={"min_position": later}).status_code == 422
    assert record(restored) == later, "it goes on where the backup ended"
    assert restored.stop()[0] == 0
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["journal"]


@pytest.mark.parametrize("made", [False, True], ids=["no folder", "an empty folder"])
def test_a_backup_that_cannot_be_made_says_why_and_what_to_do(command, tmp_path, made):
    if made:
        (tmp_path / "data").mkdir()
    ended = command("backup", tmp_path / "backup", "--data", tmp_path / "data")
    error, hint = ended.err.splitlines()
    assert (ended.status, ended.out) == (1, "")
    assert str(tmp_path / "data") in error
    assert "--data" in hint
    assert not (tmp_path / "backup").exists()


def test_a_backup_never_writes_over_anything(command, tmp_path):
    data = tmp_path / "data"
    assert command("import", CAPTURE / "001.pb", "--data", data).status == 0
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "notes").write_text("mine")
    ended = command("backup", tmp_path / "backup", "--data", data)
    assert ended.status == 1
    assert ended.err == (
        f"error: {tmp_path / 'backup'} is not empty (it holds notes): a backup never writes over anything, so name a folder "
        "that does not exist\nhint: name a folder that does not exist, on a disk with room for the journal\n"
    )
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["notes"]
