"""`spanledger demo`: the whole of it, from the server's start to its end."""

import json
import signal
import subprocess
import sys
import urllib.request

from tests.patience import BUSY_SECONDS

# In a timeline each stands at its own event: reasoning, a call that succeeds, one that fails, approvals both ways.
SHOWN = ("reasoning", "tool result     get_order", "track_parcel", "APPROVED  refund_order", "DENIED  issue_voucher")


def test_demo_once_records_an_agent_replays_its_run_and_ends_with_0(command, tmp_path):
    ended = command("demo", "--once", "--data", tmp_path / "demo")
    assert ended.status == 0, ended.err
    assert "error" not in ended.err
    _, _, timeline = ended.out.partition("The run as it was recorded: ")
    run_id = timeline.splitlines()[0]
    for words in SHOWN:
        assert words in timeline, words
    assert "1 failed" in timeline
    assert "error           track_parcel" in timeline
    [run] = [json.loads(line) for line in command("runs", "--data", tmp_path / "demo").out.splitlines()]
    assert run["run_id"] == run_id
    assert len(run["trace_ids"]) == 2


def test_demo_serves_until_it_is_told_to_stop(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "demo", "--data", str(tmp_path / "demo")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert demo.stdout is not None
        api = ""
        for line in demo.stdout:
            if line.startswith("  API"):
                api = line.split()[1]
            if "Serving until Ctrl-C" in line:
                break
        with urllib.request.urlopen(api, timeout=BUSY_SECONDS) as answer:
            assert json.load(answer)["runs"]
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(BUSY_SECONDS) == 0
    finally:
        demo.kill()
        demo.communicate()


def test_demo_on_a_folder_that_is_in_use_says_why(serve, command, tmp_path):
    server = serve(tmp_path / "demo")
    ended = command("demo", "--once", "--data", tmp_path / "demo")
    assert ended.status == 1
    assert str(server.process.pid) in ended.err
    assert "the demo's server did not start" in ended.err
