"""A run by the moments of its steps: windows of its replay, what the agent knew, and how far the record can be relied on."""

import pytest

from store.contract import LIMIT_MAX, RunFilter
from store.errors import BadQuery, NotFound
from store.record import DEFAULT_TENANT


def demo_run(bench):
    [run] = bench.reader.runs(DEFAULT_TENANT, RunFilter(agent="support-agent"), limit=2, cursor=None).rows
    return run


def steps_of(bench, run):
    return bench.reader.steps(DEFAULT_TENANT, run.run_id, limit=LIMIT_MAX, cursor=None, inline=True).rows


def told(events):
    return [(event.position, event.type, event.state) for event in events]


def test_the_moments_of_all_steps_are_the_whole_replay(demo):
    run = demo_run(demo)
    whole = told(demo.reader.replay(DEFAULT_TENANT, run.run_id))
    moments = [
        one
        for seq in range(run.steps)
        for one in told(demo.reader.replay(DEFAULT_TENANT, run.run_id, from_step=seq, until_step=seq))
    ]
    assert moments == whole
    assert len(whole) > 20


@pytest.mark.parametrize("seq", [0, 5, 27])
def test_two_windows_that_meet_are_the_whole_replay(demo, seq):
    run = demo_run(demo)
    before = told(demo.reader.replay(DEFAULT_TENANT, run.run_id, until_step=seq - 1)) if seq else []
    assert before + told(demo.reader.replay(DEFAULT_TENANT, run.run_id, from_step=seq)) == told(
        demo.reader.replay(DEFAULT_TENANT, run.run_id)
    )


def test_the_first_event_of_any_window_says_how_far_the_record_can_be_relied_on(demo):
    run = demo_run(demo)
    for from_step in (None, 9):
        first, *others = demo.reader.replay(DEFAULT_TENANT, run.run_id, from_step=from_step)
        fidelity = first.data["fidelity"]
        assert fidelity["complete"] == (run.completeness.state == "complete")
        assert fidelity["completeness"]["state"] == run.completeness.state
        decisions = demo.reader.decisions(DEFAULT_TENANT, run.run_id)
        assert fidelity["inferred"] == sum(one.evidence == "inferred" for one in decisions) > 0
        assert not any("fidelity" in event.data for event in others)


def test_a_model_call_knows_the_messages_it_was_given(demo):
    run = demo_run(demo)
    calls = [step for step in steps_of(demo, run) if step.kind == "llm"]
    assert len(calls) > 2
    for call in calls:
        state = demo.reader.state(DEFAULT_TENANT, run.run_id, call.seq)
        given = call.content.get("system_instructions", []) + call.content.get("input_messages", [])
        assert (state.messages, state.said, state.model_step_id) == (given, [], call.step_id)


def test_a_tool_knows_what_the_model_before_it_was_given_and_said(demo):
    run = demo_run(demo)
    steps = steps_of(demo, run)
    tool = next(step for step in steps if step.kind == "tool")
    call = [step for step in steps if step.kind == "llm" and step.seq < tool.seq][-1]
    state = demo.reader.state(DEFAULT_TENANT, run.run_id, tool.seq)
    assert state.model_step_id == call.step_id
    assert state.said == call.content["output_messages"]
    assert tool.tool_name in state.state["open_calls"]
    assert len(state.content_ids) >= len(state.messages)


def test_before_the_first_model_call_nothing_is_known(demo):
    run = demo_run(demo)
    state = demo.reader.state(DEFAULT_TENANT, run.run_id, 0)
    assert (state.model_step_id, state.messages, state.state["input_tokens"]) == (None, [], 0)


def test_totals_only_grow_from_step_to_step(demo):
    run = demo_run(demo)
    states = [demo.reader.state(DEFAULT_TENANT, run.run_id, seq).state for seq in range(run.steps)]
    segments = [one for one in states if one]
    tokens = [one["input_tokens"] for one in segments]
    assert tokens == sorted(tokens)
    assert 0 < tokens[-1] <= run.input_tokens


def test_a_step_that_a_run_has_not_is_refused_with_how_many_it_has(demo):
    run = demo_run(demo)
    for name, ask in (
        ("from_step", lambda: demo.reader.replay(DEFAULT_TENANT, run.run_id, from_step=99)),
        ("until_step", lambda: demo.reader.replay(DEFAULT_TENANT, run.run_id, until_step=99)),
        ("step", lambda: demo.reader.state(DEFAULT_TENANT, run.run_id, 99)),
    ):
        with pytest.raises(BadQuery, match=f"it has {run.steps}") as refused:
            ask()
        assert refused.value.parameter == name


def test_the_state_of_an_unknown_run_is_not_found(demo):
    with pytest.raises(NotFound):
        demo.reader.state("nobody", demo_run(demo).run_id, 0)
