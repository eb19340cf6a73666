"""What a timeline says of a record that is not whole."""

from io import StringIO

from rich.console import Console

from spanledger.rendering.timeline import Timeline
from tests.builders import make_replay_event


def drawn(fidelity: object) -> str:
    out = StringIO()
    event = make_replay_event(0, type="run_started", data={"agent_name": "scout", "fidelity": fidelity})
    Console(file=out, width=120, markup=False).print(Timeline().event(event))
    return out.getvalue()


def test_what_is_missing_cut_or_inferred_is_said_with_the_first_event():
    text = drawn(
        {"completeness": {"state": "partial", "missing_root": True, "redacted": 2}, "inferred": 1, "complete": False}
    )
    assert "not the whole of it: 2 redacted steps, 1 inferred decision, its first step is missing" in text


def test_a_whole_record_needs_no_words():
    assert "not the whole" not in drawn({"completeness": {"state": "complete", "redacted": 0}, "inferred": 0})
