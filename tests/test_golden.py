"""Every golden holds: what the reader tells of a capture is what happened, by the scenario that made it.

The goldens are in `fixtures/golden`; `golden_facts` reads them, `golden_sources` holds them to the scenario,
`golden_comparison` compares. That a wrong fact would be seen is tested on the goldens themselves: each of their facts is
changed in turn, each row is taken away.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.captured import NAMES as CAPTURES
from tests.captured import recorded
from tests.golden_comparison import Told, compare, told
from tests.golden_facts import (
    NAMES,
    NESTED,
    TOKENS,
    Golden,
    amount,
    column,
    form_problems,
    marks,
    own_fields,
    read_golden,
)
from tests.golden_sources import cited_lines, says, source_problems

every_golden = pytest.mark.parametrize("name", NAMES)
COMPLETE = ("run", "segment", "tool_call", "decision", "evaluation", "message", "part")
Where = tuple[Any, ...]  # The keys and indexes that lead to a table of a golden.


@pytest.fixture(scope="module", params=NAMES)
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, Told]:
    with recorded(request.param, tmp_path_factory.mktemp("golden") / "data") as taken:
        return read_golden(request.param), told(taken)


def test_every_capture_has_a_golden_and_every_golden_is_of_a_capture() -> None:
    assert NAMES == CAPTURES


@every_golden
def test_a_golden_has_the_form_that_its_readme_describes(name: str) -> None:
    assert form_problems(read_golden(name)) == []


@every_golden
def test_every_fact_stands_on_the_lines_that_it_cites(name: str) -> None:
    assert source_problems(read_golden(name)) == []


def test_what_happened_is_what_is_told(compared: tuple[Golden, Told]) -> None:
    golden, capture = compared
    problems = compare(golden, capture)
    assert not problems, "\n" + "\n".join(problems)


def test_every_changed_fact_is_seen(compared: tuple[Golden, Told]) -> None:
    golden, capture = compared
    unseen, seen = [], 0
    for what, changed in _changed(golden):
        if compare(changed, capture):
            seen += 1
        else:
            unseen.append(what)
    assert unseen == []
    assert seen > 10 * len(golden.runs)


def test_every_row_that_the_golden_does_not_name_is_seen(compared: tuple[Golden, Told]) -> None:
    golden, capture = compared
    unseen = [what for what, changed in _shortened(golden) if not compare(changed, capture)]
    assert unseen == []


def _changed(golden: Golden) -> Iterator[tuple[str, Golden]]:
    """The golden with one fact changed, for each fact that is compared."""
    for path, kind, table in _compared_tables(golden):
        for field, value in own_fields(kind, table).items():
            if field not in {*marks(table, "hole"), *marks(table, "known_gap")}:
                changed = deepcopy(golden)
                _at(changed, path)[field] = _other(field, value)
                yield f"{path}.{field}", changed


def _shortened(golden: Golden) -> Iterator[tuple[str, Golden]]:
    """The golden without one row, for each row of a kind that a golden names completely."""
    for path, kind, _ in _compared_tables(golden):
        changed = deepcopy(golden)
        rows = _at(changed, path[:-1])
        if kind in COMPLETE and (kind != "segment" or len(rows) > 1):  # Without segments nothing is said about them.
            del rows[path[-1]]
            yield str(path), changed


def _compared_tables(golden: Golden) -> Iterator[tuple[Where, str, dict[str, Any]]]:
    """Every table whose facts are compared, with the way to it: not rows that the reader does not have."""

    def below(path: Where, kind: str, table: dict[str, Any]) -> Iterator[tuple[Where, str, dict[str, Any]]]:
        if "*" in {*marks(table, "hole"), *marks(table, "known_gap")} and not table.get("surplus"):
            return
        yield path, kind, table
        for key, inner in NESTED.get(kind, {}).items():
            found = table.get(key, [])
            ways = [((*path, key), found)] if isinstance(found, dict) else [
                ((*path, key, index), one) for index, one in enumerate(found)
            ]  # fmt: skip
            for way, one in ways:
                yield from below(way, inner, one)

    for index, run in enumerate(golden.runs):
        yield from below(("runs", index), "run", run)
    for index, event in enumerate(golden.events):
        yield from below(("events", index), "event", event)


def _at(golden: Golden, path: Where) -> Any:
    found: Any = getattr(golden, str(path[0]))
    for key in path[1:]:
        found = found[key]
    return found


def _other(field: str, value: Any) -> Any:
    if column(field) in TOKENS and not isinstance(value, bool):
        return amount(value) + 1
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "~"
        case list():
            return [*value, "~"]
        case _:
            return {**value, "~": 0}


# Fact files themselves


def _golden(facts: dict[str, Any], **more: Any) -> Golden:
    run = {
        "from": "s_pydantic.py:21", "run_kind": "agent", "agent_name": "support-agent", "status": "ok",
        "totals": {"from": "s_pydantic.py:16", "llm_calls": 1, "input_tokens": 120, "output_tokens": 45}, **facts,
    }  # fmt: skip
    return Golden("pydantic-ai-2.68-v5", [run], [], more.get("holes", {}), more.get("gaps", {}))


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"agnet_name": "support-agent"}, "has no 'agnet_name'"),
        ({"from": []}, "cites no line"),
        ({"conversation_id_set": "yes"}, "true or false"),
        ({"known_gap": {"status": "nowhere"}}, "'nowhere' is not described"),
        ({"totals": {"from": "s_pydantic.py:16", "llm_calls": 1, "input_tokens": 120}}, "must say output_tokens"),
        ({"surplus": True}, "names the hole or the known_gap"),
        ({"worked_out": {"status": "so"}}, "worked_out says in a sentence"),
    ],
)
def test_a_golden_of_a_wrong_form_is_refused(facts: dict[str, Any], problem: str) -> None:
    assert form_problems(_golden({})) == []
    assert any(problem in one for one in form_problems(_golden(facts)))


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"from": "s_pydantic.py:58"}, "nothing on these lines"),
        ({"from": "s_pydantic.py:0"}, "nothing on these lines"),
        ({"from": "s_nobody.py:1"}, "no such scenario"),
        ({"from": "s_pydantic.py"}, "is not file.py:line"),
        ({"from": "s_pydantic.py:1-57"}, "cites more than"),
        ({"from": "s_pydantic.py:36"}, "'support-agent' does not stand"),
        ({"from": "spanledger/demo/script.py::nobody"}, "there is no nobody"),
        ({"totals": {"from": "s_pydantic.py:16", "llm_calls": 1, "input_tokens": "3 * 12", "output_tokens": 45}},
         "'3 * 12' does not stand"),
    ],
)  # fmt: skip
def test_a_fact_that_does_not_stand_where_it_says_is_refused(facts: dict[str, Any], problem: str) -> None:
    assert source_problems(_golden({})) == []
    assert any(problem in one for one in source_problems(_golden(facts)))


def test_what_a_hole_says_was_never_sent_must_be_of_the_scenario_and_in_no_body() -> None:
    said = {"what": "", "from": "s_pydantic.py:21", "evidence": "", "never_sent": ["You are a support agent.", "moon"]}
    problems = source_problems(_golden({}, holes={"all": said}))
    assert any("'You are a support agent.' was sent after all, in 001.pb" in one for one in problems)
    assert any("'moon' does not stand on the cited lines" in one for one in problems)


def test_what_the_program_puts_together_stands_in_pieces() -> None:
    line = cited_lines("s_pydantic.py:29")
    assert says(line, "refunded 1200.0 for ORD-42") is False
    assert says(line + cited_lines("s_pydantic.py:19"), "refunded 1200.0 for ORD-42") is True
    assert [says('"amount": 1200.0', number) for number in (1200, 1200.0, 120, 200.0, 0)] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_a_mark_that_is_no_longer_true_must_go() -> None:
    capture: Told = {"run": [_told_run()], "event": []}
    gaps = {"wrong-status": "why"}
    assert compare(_golden({"status": "error", "known_gap": {"status": "wrong-status"}}, gaps=gaps), capture) == []
    [closed] = compare(_golden({"known_gap": {"status": "wrong-status"}}, gaps=gaps), capture)
    assert "status: known gap 'wrong-status' has closed" in closed


def test_a_row_that_was_never_sent_must_not_be_told_and_a_surplus_one_must() -> None:
    asked = {"from": "s_pydantic.py:26", "kind": "human_approval", "target": "refund", "hole": "unsaid"}
    shown = {"kind": "human_approval", "target": "refund"}
    assert compare(_golden({"decision": [asked]}), {"run": [_told_run()], "event": []}) == []
    with_it: Told = {"run": [_told_run() | {"decision": [shown]}], "event": []}
    [told_after_all] = compare(_golden({"decision": [asked]}), with_it)
    assert "1 of kind decision are told (refund)" in told_after_all
    assert "has one of them closed?" in told_after_all
    surplus = _golden({"decision": [asked | {"surplus": True}]})
    assert compare(surplus, with_it) == []
    assert compare(surplus, {"run": [_told_run()], "event": []}) != []


def test_a_field_that_was_never_sent_must_be_told_as_unknown() -> None:
    golden = _golden({"agent_name": "support-agent", "hole": {"agent_name": "unsaid"}})
    assert compare(golden, {"run": [_told_run() | {"agent_name": None}], "event": []}) == []
    [invented] = compare(golden, {"run": [_told_run()], "event": []})
    assert "agent_name is told as 'support-agent', which hole 'unsaid' says is never sent" in invented


def test_a_field_with_a_hole_and_a_gap_must_be_told_as_something_until_it_is_told_as_unknown() -> None:
    golden = _golden({"hole": {"status": "unsaid"}, "known_gap": {"status": "invented"}}, gaps={"invented": "why"})
    assert compare(golden, {"run": [_told_run()], "event": []}) == []
    [closed] = compare(golden, {"run": [_told_run() | {"status": "interrupted"}], "event": []})
    assert "status: known gap 'invented' has closed" in closed


def _told_run() -> Told:
    return {
        "run_kind": "agent", "agent_name": "support-agent", "status": "ok", "llm_calls": 1, "input_tokens": 120,
        "output_tokens": 45, "steps": {}, "step": [], "segment": [], "tool_call": [], "decision": [],
        "evaluation": [], "message": [],
    }  # fmt: skip
