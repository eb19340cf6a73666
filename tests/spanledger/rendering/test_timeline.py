"""A run's replay as a timeline."""

from io import StringIO

from rich.console import Console
from rich.text import Text

from spanledger.rendering.timeline import Timeline
from store.model.rows import ReplayEvent
from tests.builders import make_replay_event

STATE = {"input_tokens": 1200, "output_tokens": 340, "cost_usd": 0.0123, "open_calls": [], "pending_approvals": []}


def _state(position: int, **changed) -> dict:
    return {"elapsed_ns": position * 1_000_000_000} | STATE | changed


def _run() -> list[ReplayEvent]:
    told = [
        ("run_started", {"agent_name": "release-manager", "service_name": "deploys", "segments": 1}),
        ("message", {"role": "user", "direction": "input", "text": "Deploy billing\n1.4.2"}),
        ("reasoning", {"role": "assistant", "text": "The list comes first."}),
        ("tool_requested", {"tool_name": "list_services", "arguments": {"all": True}}),
        ("tool_executed", {"tool_name": "list_services", "arguments": {"all": True}, "mcp_server": "deploys"}),
        ("tool_result", {"tool_name": "list_services", "outcome": "ok", "result": ["billing"], "duration_ns": 5_000_000}),
        ("error", {"tool_name": "deploy", "error_type": "ToolError", "message": "window closed"}),
        ("tool_result", {"tool_name": "deploy", "outcome": "error", "error_type": "ToolError", "result": "window closed"}),
        ("approval_asked", {"target": "restart", "tool_name": "restart", "kind": "human_approval"}),
        ("decided", {"target": "restart", "verdict": "allow", "decided_by_kind": "human", "wait_ns": 1_000_000_000,
                     "evidence": "explicit"}),
        ("decided", {"target": "drop", "verdict": "deny", "reason": "not on Fridays", "evidence": "inferred"}),
        ("evaluation", {"name": "tone", "score": 0.9, "label": None}),
        ("run_ended", {"status": "ok", "outcome_reason": None, "tool_calls": 4}),
    ]  # fmt: skip
    return [
        make_replay_event(position, type=kind, data=data, state=_state(position))
        for position, (kind, data) in enumerate(told)
    ]


def _drawn(events: list[ReplayEvent], *, full: bool = False) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=120, markup=False, highlight=False)
    for renderable in Timeline(full=full).events(events):
        console.print(renderable)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _body(kind: str, data: dict) -> Text:
    """What stands in the last column, with its styles."""
    row = Timeline().event(make_replay_event(0, type=kind, data=data))
    return next(iter(row.columns[2].cells))


def test_a_run_reads_from_top_to_bottom():
    assert _drawn(_run()) == [
        "  +0.000 s  run started     release-manager  deploys",
        "  +1.000 s  user            Deploy billing 1.4.2",
        "  +2.000 s  reasoning       The list comes first.",
        '  +3.000 s  tool asked      list_services {"all":true}',
        '  +4.000 s  tool ran        list_services {"all":true}  via MCP server deploys',
        '  +5.000 s  tool result     list_services ["billing"]  after 5.0 ms',
        "  +6.000 s  error           deploy  ToolError  window closed",
        "  +7.000 s  tool result     deploy  failed",
        "  +8.000 s  approval asked  restart",
        "  +9.000 s  decided         APPROVED  restart  by human  after 1.0 s",
        " +10.000 s  decided         DENIED  drop: not on Fridays  (inferred)",
        " +11.000 s  evaluation      name=tone score=0.9",
        " +12.000 s  run ended       ok",
        "",
        "total  12.0 s · 13 events · 4 tool calls · 2 decisions · 1,200 tokens in, 340 out · $0.0123 · 1 failed",
    ]


def test_failures_are_red_reasoning_is_dim_and_approvals_stand_out():
    assert "red" in str(_body("error", {"error_type": "ToolError"}).style)
    assert "red" in str(_body("tool_result", {"tool_name": "deploy", "outcome": "error"}).style)
    assert "red" in str(_body("decided", {"verdict": "deny", "target": "drop"}).style)
    assert "red" in str(_body("run_ended", {"status": "error"}).style)
    assert "dim" in str(_body("reasoning", {"text": "hm"}).style)
    assert "green" in str(_body("decided", {"verdict": "allow", "target": "restart"}).style)
    assert "red" not in str(_body("tool_result", {"tool_name": "deploy", "outcome": "ok"}).style)


def test_long_arguments_and_results_are_shortened_unless_all_is_asked_for():
    events = [
        make_replay_event(0, type="tool_requested", data={"tool_name": "deploy", "arguments": {"a": "x" * 5000}}),
        make_replay_event(1, type="tool_result", data={"tool_name": "deploy", "outcome": "ok", "result": "y" * 5000}),
    ]
    short, full = "".join(_drawn(events)), "".join(_drawn(events, full=True))
    assert short.count("x") < 300
    assert short.count("y") < 300
    assert short.count("…") == 2
    assert full.count("x") == 5000
    assert "…" not in full


def test_what_was_never_answered_or_decided_is_said_at_the_end():
    state = _state(0, open_calls=["deploy"], pending_approvals=["restart"])
    lines = _drawn([make_replay_event(0, type="tool_requested", data={"tool_name": "deploy"}, state=state)])
    assert "never answered: deploy" in lines
    assert "still waiting for approval: restart" in lines


def test_what_is_told_of_a_step_that_was_cut_says_so():
    assert str(_body("message", {"text": "Deploy bil", "step_truncated": True})) == (
        "Deploy bil  (something of this step was cut)"
    )
    assert str(_body("message", {"text": "Deploy billing"})) == "Deploy billing"


def test_parts_that_are_no_text_are_shown_by_their_kind():
    call = {"role": "assistant", "part": {"type": "tool_call", "name": "deploy", "arguments": {"a": 1}}}
    assert _body("message", call).plain == 'deploy {"a":1}'
    answer = {"role": "tool", "part": {"type": "tool_call_response", "id": "1", "response": {"ok": True}}}
    assert _body("message", answer).plain == '{"ok":true}'
    image = {"role": "user", "part": {"type": "blob", "mime_type": "image/png"}}
    assert _body("message", image).plain == '{"type":"blob","mime_type":"image/png"}'


def test_every_kind_of_event_is_drawn_even_with_nothing_in_it():
    kinds = ReplayEvent.__annotations__["type"].__args__
    lines = _drawn([make_replay_event(n, type=kind, state=_state(n)) for n, kind in enumerate(kinds)])
    assert len(lines) == len(kinds) + 2


def test_a_run_without_events_says_so():
    assert _drawn([]) == ["This run has no events."]


def test_content_cannot_move_the_cursor():
    events = [make_replay_event(0, data={"role": "\x1b[2J", "text": "\x1b]0;owned\x07"})]
    assert not any("\x1b" in line or "\x07" in line for line in _drawn(events))
