"""What the query service may rely on (`store.contract.Reader`): one thing by its id, and what a run is made of."""

import json
from collections import Counter

import pytest

from store.contract import PLACE_AT_END, RunFilter, StepFilter, StepPlace
from store.errors import NotFound
from store.model.ids import segment_id
from store.otlp.schema import REQUEST_MESSAGES
from store.otlp.values import key_values
from store.record import DEFAULT_TENANT, Position, Signal
from tests.conformance.engines import JOURNAL_ID, NOON_NS, SECOND_NS, flat, pages
from tests.store.ledger_bench import captures
from tests.store.spans import ASKED, spans_body

HOUR_NS = 3600 * SECOND_NS


def only_run(bench, tenant=DEFAULT_TENANT):
    rows = bench.reader.runs(tenant, RunFilter(), limit=100, cursor=None).rows
    assert len(rows) == 1
    return rows[0]


def all_steps(bench, run_id, tenant=DEFAULT_TENANT, *, inline=False):
    return bench.reader.steps(tenant, run_id, limit=1000, cursor=None, inline=inline).rows


def test_an_empty_view_answers_with_nothing(bench):
    status = bench.reader.status()
    assert status.position == Position(JOURNAL_ID, 0)
    assert status.quarantined_frames == 0
    assert not any(status.counts.values())
    assert bench.reader.runs(DEFAULT_TENANT, RunFilter(), limit=10, cursor=None).rows == []
    assert bench.reader.new_steps(DEFAULT_TENANT, None, limit=10) == []


def test_a_run_is_found_by_its_id_by_any_segments_and_by_any_trace(demo):
    run = only_run(demo)
    assert len(run.trace_ids) == len(run.segments) == 2
    names = [run.run_id, *run.trace_ids, *(segment.segment_id for segment in run.segments)]
    assert run.run_id == run.segments[0].segment_id
    for name in names:
        assert demo.reader.run(DEFAULT_TENANT, name) == run


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader, tenant, run, _: reader.run(tenant, run),
        lambda reader, tenant, run, _: reader.steps(tenant, run, limit=10, cursor=None, inline=False),
        lambda reader, tenant, _, step: reader.step(tenant, step),
        lambda reader, tenant, run, _: reader.tool_calls(tenant, run),
        lambda reader, tenant, run, _: reader.decisions(tenant, run),
        lambda reader, tenant, run, _: reader.messages(tenant, run),
        lambda reader, tenant, run, _: reader.replay(tenant, run),
    ],
    ids=["run", "steps", "step", "tool_calls", "decisions", "messages", "replay"],
)
def test_what_another_tenant_recorded_does_not_exist(demo, ask):
    run = only_run(demo)
    step = all_steps(demo, run.run_id)[0].step_id
    ask(demo.reader, DEFAULT_TENANT, run.run_id, step)
    for tenant, run_id, step_id in (("b", run.run_id, step), (DEFAULT_TENANT, "0" * 32, "0" * 32 + "-" + "0" * 16)):
        with pytest.raises(NotFound, match="there is no"):
            ask(demo.reader, tenant, run_id, step_id)


def test_an_unknown_run_is_said_before_the_first_replay_event_is_asked_for(bench):
    with pytest.raises(NotFound):
        bench.reader.replay(DEFAULT_TENANT, "0" * 32)


def test_the_demo_run_says_what_happened(demo):
    run = only_run(demo)
    assert (run.run_kind, run.agent_name, run.framework, run.status) == ("agent", "support-agent", "pydantic-ai", "ok")
    assert (run.steps, run.llm_calls, run.tool_calls, run.tool_errors, run.decisions) == (28, 4, 4, 1, 2)
    assert run.completeness.state == "complete"
    calls = demo.reader.tool_calls(DEFAULT_TENANT, run.run_id)
    assert [(call.tool_name, call.outcome) for call in calls] == [
        ("get_order", "ok"), ("track_parcel", "error"), ("refund_order", "ok"), ("issue_voucher", "denied"),
    ]  # fmt: skip
    assert calls[0].arguments == {"order_id": "FP-1042"}
    assert calls[0].result["customer"] == "Ines Carvalho"
    decisions = demo.reader.decisions(DEFAULT_TENANT, run.run_id)
    assert [(one.target, one.verdict) for one in decisions] == [("refund_order", "allow"), ("issue_voucher", "deny")]
    assert {one.tool_call_key for one in decisions} <= {call.tool_call_key for call in calls}


def test_every_step_that_a_call_names_is_a_step_of_the_run(demo):
    run = only_run(demo)
    steps = {step.step_id for step in all_steps(demo, run.run_id)}
    named = [
        name
        for call in demo.reader.tool_calls(DEFAULT_TENANT, run.run_id)
        for name in (call.requesting_step, call.executing_step, call.mcp_client_step, call.mcp_server_step)
        if name
    ]
    assert len(named) > 8
    assert set(named) <= steps


def test_steps_come_by_start_with_parents_before_children(full):
    for run in full.reader.runs("a", RunFilter(), limit=1000, cursor=None).rows:
        steps = all_steps(full, run.run_id, "a")
        assert [step.seq for step in steps] == list(range(len(steps))) == list(range(run.steps))
        place = {step.step_id: step.seq for step in steps}
        for trace_id in run.trace_ids:
            starts = [step.started_at for step in steps if step.trace_id == trace_id]
            assert starts == sorted(starts)
        for step in steps:
            assert step.run_id == run.run_id
            parent = next((other for other in steps if other.step_id == step.parent_step_id), None)
            if parent is not None and parent.started_at == step.started_at:
                assert place[parent.step_id] < step.seq


def test_content_comes_by_reference_or_inline_and_is_the_same(full):
    checked = 0
    for run in full.reader.runs("a", RunFilter(), limit=1000, cursor=None).rows[::2]:
        inline = all_steps(full, run.run_id, "a", inline=True)
        for referring, holding in zip(all_steps(full, run.run_id, "a"), inline, strict=True):
            assert set(referring.content) == set(holding.content)
            for role, ids in referring.content.items():
                texts = [full.reader.content("a", piece).text for piece in ids]
                assert len(json.dumps(holding.content[role])) > 1
                checked += len(texts)
    assert checked > 100


def test_every_attribute_of_every_span_is_on_its_step(full):
    checked = 0
    for bodies in list(captures().values())[::2]:  # All of them are gone through elsewhere, by the API.
        for body in bodies:
            if body.signal is not Signal.TRACES:
                continue
            for outer in REQUEST_MESSAGES[Signal.TRACES].FromString(body.data).resource_spans:
                for inner in outer.scope_spans:
                    for span in inner.spans:
                        detail = full.reader.step("a", f"{span.trace_id.hex()}-{span.span_id.hex()}")
                        assert set(key_values(span.attributes)) <= set(detail.attributes)
                        assert detail.resource == key_values(outer.resource.attributes)
                        assert len(detail.events) == len(span.events)
                        checked += 1
    assert checked > 150


def test_a_step_is_the_same_in_its_run_and_alone(demo):
    run = only_run(demo)
    for step in all_steps(demo, run.run_id):
        assert demo.reader.step(DEFAULT_TENANT, step.step_id).step == step


@pytest.mark.parametrize("step_id", ["", "nonsense", "zz-zz", "-", "a" * 32 + "-" + "b" * 16])
def test_an_id_that_names_no_step_is_not_found(demo, step_id):
    with pytest.raises(NotFound, match="there is no step"):
        demo.reader.step(DEFAULT_TENANT, step_id)


def test_content_belongs_to_its_tenant(demo):
    run = only_run(demo)
    piece = next(ids[0] for step in all_steps(demo, run.run_id) for ids in step.content.values() if ids)
    found = demo.reader.content(DEFAULT_TENANT, piece)
    assert (found.content_id, found.bytes) == (piece, len(found.text.encode()))
    with pytest.raises(NotFound):
        demo.reader.content("b", piece)
    with pytest.raises(NotFound):
        demo.reader.content(DEFAULT_TENANT, "0" * 32)


def test_a_replay_begins_with_the_run_ends_with_it_and_never_goes_back_in_time(full):
    kinds: Counter[str] = Counter()
    for run in full.reader.runs("a", RunFilter(), limit=1000, cursor=None).rows:
        events = list(full.reader.replay("a", run.run_id))
        assert [event.position for event in events] == list(range(len(events)))
        assert events[0].type == "run_started"
        assert events[-1].type == "run_ended" or run.status in ("running", "incomplete", "abandoned")
        # The end of the run stands last, though an evaluation may have come behind it.
        times = [event.at for event in events[:-1] if event.at]
        assert times == sorted(times)
        kinds.update(event.type for event in events)
    assert {"message", "reasoning", "tool_requested", "approval_asked", "decided", "tool_executed", "tool_result",
            "error"} <= set(kinds)  # fmt: skip


def test_a_conversation_has_every_message_once_and_in_order(demo):
    run = only_run(demo)
    messages = list(demo.reader.messages(DEFAULT_TENANT, run.run_id))
    assert [message.ordinal for message in messages] == list(range(len(messages)))
    assert [message.role for message in messages][:2] == ["system", "user"]
    assert "assistant" in {message.role for message in messages}
    times = [message.at for message in messages]
    assert times == sorted(times)


def test_an_open_run_is_running_until_it_has_been_silent_for_too_long(bench):
    bench.record(
        spans_body({"trace": 1, "span": 1, "start": 0, "name": "agent", "gen_ai.operation.name": "invoke_agent"})
    )
    for hours, status in ((0.4, "running"), (0.6, "abandoned")):
        bench.clock.now_ns = NOON_NS + int(hours * HOUR_NS)
        assert only_run(bench).status == status
        assert [
            row.status for row in bench.reader.runs(DEFAULT_TENANT, RunFilter(status=status), limit=9, cursor=None).rows
        ]
        assert {name: n for name, n in bench.reader.status().counts.items() if name.startswith("runs.")} == {
            f"runs.{status}": 1
        }
    other = {"running": "abandoned", "abandoned": "running"}[status]
    assert bench.reader.runs(DEFAULT_TENANT, RunFilter(status=other), limit=9, cursor=None).rows == []


def test_a_run_in_progress_says_what_it_is_at_and_for_how_long(bench):
    first = "01" * 16
    opened = [
        {"trace": 1, "span": 1, "start": 0, "name": "agent", "gen_ai.operation.name": "invoke_agent"},
        {"trace": 1, "span": 2, "parent": 1, "start": 1, "end": 2, "name": "done"},
        {"trace": 1, "span": 3, "parent": 1, "start": 3, "name": "tool", "gen_ai.operation.name": "execute_tool"},
    ]
    bench.clock.now_ns = NOON_NS + 10 * SECOND_NS
    bench.record(spans_body(*opened))
    bench.record(spans_body({"trace": 2, "span": 1, "start": 0, "end": 1, "name": "another run, that has ended"}))
    begun = bench.reader.run(DEFAULT_TENANT, first).current_step
    assert begun is not None
    bench.clock.now_ns += 5 * SECOND_NS
    for run in (
        bench.reader.run(DEFAULT_TENANT, first),
        *bench.reader.runs(DEFAULT_TENANT, RunFilter(status="running"), limit=9, cursor=None).rows,
    ):
        assert (run.current_step.name, run.current_step.kind) == ("tool", "tool")
        assert run.current_step.step_id == f"{first}-{'03' * 8}"
        assert (
            run.current_step.running_ns
            == begun.running_ns + 5 * SECOND_NS
            == bench.clock.now_ns - (NOON_NS + 3 * SECOND_NS)
        )
    assert bench.reader.run(DEFAULT_TENANT, "02" * 16).current_step is None
    bench.record(spans_body(opened[2] | {"end": 4}))
    assert bench.reader.run(DEFAULT_TENANT, first).current_step.name == "agent"
    bench.record(spans_body(opened[0] | {"end": 5}))
    assert bench.reader.run(DEFAULT_TENANT, first).current_step is None


def test_a_run_whose_root_never_came_is_incomplete_once_it_is_silent(bench):
    bench.record(spans_body({"trace": 1, "span": 2, "parent": 1, "start": 0, "end": 3, "name": "child"}))
    assert only_run(bench).status == "running"
    bench.clock.now_ns = NOON_NS + HOUR_NS
    run = only_run(bench)
    assert (run.status, run.completeness.missing_root, run.completeness.missing_parents) == ("incomplete", True, 1)


def test_an_old_run_that_is_recorded_now_is_not_running(bench):
    bench.clock.now_ns = NOON_NS + 24 * HOUR_NS
    bench.record(spans_body({"trace": 1, "span": 1, "start": 0, "name": "open since yesterday"}))
    assert only_run(bench).status == "abandoned"


def test_two_traces_joined_by_a_pending_call_are_one_run_and_both_ids_lead_to_it(bench):
    said = {"gen_ai.conversation.id": "C"}
    bench.record(spans_body({
        "trace": 1, "span": 1, "start": 0, "end": 1, "name": "chat", "gen_ai.operation.name": "chat",
        "gen_ai.output.messages": ASKED, **said,
    }))  # fmt: skip
    bench.record(spans_body({
        "trace": 2, "span": 1, "start": 9, "end": 10, "name": "execute_tool deploy", "gen_ai.tool.name": "deploy",
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.id": "c1", **said,
    }))  # fmt: skip
    run = only_run(bench)
    assert run.trace_ids == ["01" * 16, "02" * 16]
    assert [segment.continues for segment in run.segments] == [None, run.run_id]
    assert bench.reader.run(DEFAULT_TENANT, segment_id(DEFAULT_TENANT, "02" * 16)) == run
    assert [call.outcome for call in bench.reader.tool_calls(DEFAULT_TENANT, run.run_id)] == ["ok"]


def test_new_steps_come_in_the_order_of_the_record_after_a_position(demo):
    every = demo.reader.new_steps(DEFAULT_TENANT, None, limit=1000)
    assert len(every) == 28
    sequences = [Position.parse(step.position).sequence for step in every]
    assert sequences == sorted(sequences)
    for after in (0, 3, 7, 12):
        found = demo.reader.new_steps(DEFAULT_TENANT, Position(JOURNAL_ID, after), limit=1000)
        assert found == [step for step, sequence in zip(every, sequences, strict=True) if sequence > after]
    assert demo.reader.new_steps(DEFAULT_TENANT, None, limit=5) == every[:5]
    assert demo.reader.new_steps("b", None, limit=5) == []
    assert {step.run_id for step in every} == {only_run(demo).run_id}


def test_a_later_version_of_a_step_is_a_new_step_of_the_record(bench):
    bench.record(spans_body({"trace": 1, "span": 1, "start": 0, "name": "open"}))
    bench.record(spans_body({"trace": 1, "span": 1, "start": 0, "end": 5, "name": "ended"}))
    found = bench.reader.new_steps(DEFAULT_TENANT, None, limit=10)
    assert [(step.name, step.revision) for step in found] == [("open", 1), ("ended", 2)]
    assert [(step.name, step.revision) for step in all_steps(bench, "01" * 16)] == [("ended", 2)]


def test_steps_are_paged_without_a_gap_or_a_repetition(demo):
    run = only_run(demo)
    every = all_steps(demo, run.run_id)
    for limit in (1, 3, 27, 28, 29):
        found = pages(
            lambda cursor, limit=limit: demo.reader.steps(
                DEFAULT_TENANT, run.run_id, limit=limit, cursor=cursor, inline=False
            )
        )
        assert flat(found) == every
        assert all(len(page) == limit for page in found[:-1])
        assert found[-1]


BEFORE_ALL = StepPlace(0, -1)


def _behind(bench, where, *, behind=BEFORE_ALL, limit=1000):
    return bench.reader.steps_behind(DEFAULT_TENANT, where, behind=behind, until=1000, limit=limit)


def test_steps_behind_any_place_are_the_rest_of_the_record(demo):
    every = _behind(demo, StepFilter()).rows
    assert [step for _, step in every] == demo.reader.new_steps(DEFAULT_TENANT, None, limit=1000)
    assert [place for place, _ in every] == sorted({place for place, _ in every})
    for number, (place, step) in enumerate(every):
        assert step.position == f"{JOURNAL_ID}:{place.sequence}"
        found = _behind(demo, StepFilter(), behind=place)
        assert found.rows == every[number + 1 :]
        assert found.through == StepPlace(1000, PLACE_AT_END)


def test_pages_of_steps_behind_a_place_are_all_of_them_once(demo):
    for where in (StepFilter(), StepFilter(outcome="ok"), StepFilter(kind="tool")):
        seen, at = [], StepPlace(0, -1)
        while at.ordinal != PLACE_AT_END:
            found = _behind(demo, where, behind=at, limit=3)
            assert len(found.rows) <= 3
            seen += found.rows
            at = found.through
        assert seen == _behind(demo, where).rows != []


def test_no_step_beyond_the_frame_that_was_named_is_told(demo):
    every = _behind(demo, StepFilter()).rows
    until = every[len(every) // 2][0].sequence
    found = demo.reader.steps_behind(DEFAULT_TENANT, StepFilter(), behind=StepPlace(0, -1), until=until, limit=1000)
    assert found.rows == [one for one in every if one[0].sequence <= until]
    assert found.through == StepPlace(until, PLACE_AT_END)
    late = demo.reader.steps_behind(DEFAULT_TENANT, StepFilter(), behind=StepPlace(until + 1, 0), until=until, limit=9)
    assert (late.rows, late.through) == ([], StepPlace(until + 1, 0)), "a place ahead of the view stays where it is"


def test_steps_behind_a_place_are_those_that_fulfil_each_condition(demo):
    every = [step for _, step in _behind(demo, StepFilter()).rows]
    run = demo.reader.runs(DEFAULT_TENANT, RunFilter(agent="support-agent"), limit=1, cursor=None).rows[0]
    columns = {"tool": "tool_name", "model": "model", "kind": "kind", "service": "service_name", "outcome": "outcome"}
    for name, of in columns.items():
        values = {getattr(step, of) for step in every} - {None}
        assert values
        for value in values:
            found = [step for _, step in _behind(demo, StepFilter(**{name: value})).rows]
            assert found == [step for step in every if getattr(step, of) == value]
    for name in (run.run_id, run.trace_ids[-1], run.segments[0].segment_id):
        found = [step for _, step in _behind(demo, StepFilter(run=name)).rows]
        assert found == [step for step in every if step.run_id == run.run_id]
    mine = [step for _, step in _behind(demo, StepFilter(agent="support-agent")).rows]
    assert mine == [
        step for step in every
        if step.agent_name == "support-agent" or (step.agent_name is None and step.run_id == run.run_id)
    ]  # fmt: skip
    assert any(step.agent_name is None for step in mine), "a step that names no agent is its run's"
    assert _behind(demo, StepFilter(agent="nobody")).rows == []
    assert demo.reader.steps_behind("b", StepFilter(), behind=StepPlace(0, -1), until=1000, limit=9).rows == []
