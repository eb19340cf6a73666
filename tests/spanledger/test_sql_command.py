"""`spanledger sql`: of a running server, and of a folder that none holds."""

import io
import json
from pathlib import Path

import pyarrow.parquet

CAPTURE = sorted((Path(__file__).parents[1] / "fixtures" / "captures" / "spanledger-demo").glob("*.pb"))
STATEMENT = "SELECT tool_name, outcome FROM tool_calls ORDER BY call_no"
ROWS = [
    {"tool_name": "get_order", "outcome": "ok"},
    {"tool_name": "track_parcel", "outcome": "error"},
    {"tool_name": "refund_order", "outcome": "ok"},
    {"tool_name": "issue_voucher", "outcome": "denied"},
]


def test_a_folder_and_its_server_answer_the_same(serve, command, tmp_path):
    data = tmp_path / "data"
    assert command("import", *CAPTURE, "--data", data).status == 0
    alone = command("sql", STATEMENT, "--data", data)
    assert (alone.status, [json.loads(line) for line in alone.out.splitlines()]) == (0, ROWS)
    server = serve(data)
    served = command("sql", STATEMENT, "--data", data)
    assert (served.status, served.out, served.err) == (0, alone.out, "")
    text = command("sql", STATEMENT, "--data", data, "--format", "text").out.splitlines()
    assert (text[0].split(), text[2].split()) == (["tool_name", "outcome"], ["track_parcel", "error"])
    file = tmp_path / "calls.parquet"
    assert command("sql", STATEMENT, "--data", data, "--format", "parquet", "--output", file).status == 0
    assert pyarrow.parquet.read_table(io.BytesIO(file.read_bytes())).to_pylist() == ROWS
    cut = command("sql", STATEMENT, "--data", data, "--limit", "2", "--format", "csv")
    assert cut.out.splitlines() == ['"tool_name","outcome"', '"get_order","ok"', '"track_parcel","error"']
    assert cut.err == "There are more rows than these; --limit gives more.\n"
    assert server.stop()[0] == 0


def test_what_is_wrong_with_a_statement_is_two_lines(command, tmp_path):
    data = tmp_path / "data"
    assert command("import", CAPTURE[0], "--data", data).status == 0
    for text, said in (("SELECT getenv('HOME')", "getenv"), ("SELECT tool FROM runs", "tools"), ("SELEC", "SELECT")):
        ended = command("sql", text, "--data", data)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith("error: ")
        assert said in ended.err
        assert "(at character " in ended.err
        assert len(ended.err.splitlines()) == 2
    assert command("sql", "SELECT 1", "--data", data, "--limit", "9999999").status == 1
