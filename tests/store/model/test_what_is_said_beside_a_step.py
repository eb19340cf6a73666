"""What dialects say beside their steps: that a span has begun, that attempts failed, what was decided."""

import re
from dataclasses import replace

import pytest
from model_bench import NOON_NS, TRACE, normalise_one, normalised, request_of

from store.model.asides import Asides, VerdictRule, compile_asides
from store.model.dialect import dialect_of_scope
from store.model.runs import status_at
from store.model.tally import tally_of
from store.model.trace import Trace

PENDING = {
    "logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16, "gen_ai.operation.name": "invoke_agent",
}  # fmt: skip
BEGUN, MARKER = (9).to_bytes(8, "big"), (10).to_bytes(8, "big")


def _trace(*requests: object) -> Trace:
    trace = Trace("acme", TRACE)
    for span in normalised(*requests).spans:  # pyright: ignore[reportArgumentType] - requests of the bench
        assert not trace.knows(span)
        trace.admit(span)
    return trace


def test_a_start_marker_shows_its_parent_as_running_until_that_one_has_ended() -> None:
    marker = request_of({"span_id": MARKER, "parent_span_id": BEGUN, "attributes": PENDING}, scope="logfire")
    [step] = _trace(marker).ordered()
    assert (step.span_id, step.parent_span_id, step.kind, step.outcome, step.end_ns) == (
        BEGUN.hex(),
        None,
        "agent",
        "running",
        0,
    )
    tally = tally_of(_trace(marker))
    assert tally.open_reason == "unended"
    assert status_at("ok", tally.open_reason, NOON_NS, NOON_NS, now_ns=NOON_NS) == "running"
    ended = request_of({"span_id": BEGUN, "attributes": {"gen_ai.operation.name": "invoke_agent"}}, scope="logfire")
    for order in ((marker, ended), (ended, marker)):
        [step] = _trace(*order).ordered()
        assert (step.outcome, step.end_ns > 0) == ("ok", True)


def test_a_start_marker_below_another_step_keeps_its_place() -> None:
    below = PENDING | {"logfire.pending_parent_id": "00000000000000ff"}
    marker = request_of({"span_id": MARKER, "parent_span_id": BEGUN, "attributes": below}, scope="logfire")
    [step] = _trace(marker).ordered()
    assert (step.span_id, step.parent_span_id) == (BEGUN.hex(), "00000000000000ff")
    # Without a parent it marks nothing, and is a span as any other.
    [odd] = _trace(request_of({"span_id": MARKER, "attributes": PENDING}, scope="logfire")).ordered()
    assert (odd.span_id, odd.outcome) == (MARKER.hex(), "ok")


def test_failed_attempts_within_a_step_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dialect_of_scope("logfire")
    assert known is not None
    asides = Asides(attempt=re.compile("^Step attempt [0-9]+ failed"))
    monkeypatch.setattr("store.model.plan.dialect_of", lambda _scope, _keys: replace(known, asides=asides))
    events = [("Step attempt 0 failed", {}), ("Step attempt 1 failed", {}), ("else", {})]
    assert normalise_one({"a.key": 1}, scope="of attempts", events=events).span.attempts_failed == 2
    assert normalise_one({"a.key": 1}, scope="of attempts").span.attempts_failed == 0


def test_a_verdict_is_read_by_its_rule_and_odd_ones_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dialect_of_scope("logfire")
    assert known is not None
    rule = VerdictRule(
        "said", values={"yes": "allow"}, reason="why", call_id="call", source="by",
        sources={"file": {"kind": "permission_rule", "by": "config"}},
    )  # fmt: skip
    resumed = VerdictRule("input", path=("resume",))
    asides = Asides((rule, resumed))
    monkeypatch.setattr("store.model.plan.dialect_of", lambda _scope, _keys: replace(known, asides=asides))
    one = normalise_one({"said": "yes", "why": "because", "call": "c1", "by": "file"}, scope="of verdicts")
    [verdict] = one.span.verdicts
    assert (verdict.id, verdict.verdict, verdict.kind, verdict.by) == ("c1", "allow", "permission_rule", "config")
    assert one.texts[verdict.reason or ""] == "because"
    for odd in ("no", 1, True, ["yes"], "", None):
        assert normalise_one({"said": odd}, scope="of verdicts").span.verdicts == []
    went_on = normalise_one({"input": '{"resume": {"decision": "approve"}}'}, scope="of verdicts")
    [answer] = went_on.span.verdicts
    assert (answer.id, answer.verdict, went_on.json(answer.reason)) == (None, None, {"decision": "approve"})
    for odd in ('{"resume": ', '{"else": 1}', "[]", 7):
        assert normalise_one({"input": odd}, scope="of verdicts").span.verdicts == []


def test_a_dialect_that_extends_another_has_its_rules_too() -> None:
    base = compile_asides({"verdict": [{"attribute": "a"}], "attempts": {"failed": "x"}}, Asides())
    own = compile_asides({"verdict": [{"attribute": "b", "event": "decided"}]}, base)
    assert [rule.attribute for rule in own.verdicts] == ["b", "a"]
    assert own.attempt is base.attempt
    shape = own.of_shape(("a", "b"))
    assert shape is not None
    assert [rule.attribute for rule in shape.verdicts] == ["a"]  # That of a log record is none of a span's.
    assert Asides().of_shape(("a",)) is None
