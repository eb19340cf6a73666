"""A capture as the reader tells it, compared with its golden, fact by fact.

`told` asks the reader what the query API asks it and turns the rows into plain dicts in the golden's words. `compare` is a
function of the two. Runs, segments, tool calls and messages are compared in order, decisions by the best fit (two that
were asked for at once have no order), and all of them completely: a row that the golden does not name is a problem. A step
or event of the golden says how many rows have these fields.

Marks: a field with a `hole` must be told as unknown; a row with one must not be told. A field or row with a `known_gap`
must be told otherwise than it happened: where it no longer is, the mark must go. A field with both is to be told as
unknown, and is not yet. A `surplus` row is told and did not happen.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from store.contract import LIMIT_MAX, EventFilter
from store.model.rows import RunRow, StepRow
from store.record import DEFAULT_TENANT
from tests.captured import Recorded
from tests.golden_facts import TOKENS, Golden, amount, citations, column, marks, own_fields

Told = dict[str, Any]
Facts = dict[str, Any]
_NOT_TOLD = object()
# What a field says when nothing is known, or nothing of what followed a question to a person.
_UNKNOWN: dict[str, tuple[Any, ...]] = {
    "verdict": ("ask",), "action": ("none",), "waits": (False,), "outcome": ("pending_approval",),
    "status": ("interrupted",), "llm_calls": (0,), "run_kind": ("other",), "kind": ("other",),
}  # fmt: skip
_KNOWS_NOTHING: tuple[Any, ...] = (None, [], {}, "")
_SIDES = {
    "requested": "requesting_step", "executed": "executing_step", "client": "mcp_client_step",
    "server": "mcp_server_step",
}  # fmt: skip
_NAMING = ("agent_name", "tool_name", "target", "role", "event_name", "name", "kind")


def told(taken: Recorded) -> Told:
    """Runs (with their steps, tool calls, decisions, messages) and log records, in the golden's words."""
    events = taken.reader.events(DEFAULT_TENANT, EventFilter(), limit=LIMIT_MAX, cursor=None)
    assert events.next_cursor is None
    return {"run": [_run(taken, run) for run in taken.runs()], "event": [_columns(row) for row in events.rows]}


def _columns(row: Any) -> Told:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _run(taken: Recorded, run: RunRow) -> Told:
    steps = taken.steps(run)
    calls = taken.reader.tool_calls(DEFAULT_TENANT, run.run_id)
    names = {call.tool_call_id: call.tool_name for call in calls if call.tool_call_id}
    numbers = {segment.segment_id: segment.segment_no for segment in run.segments}
    return {
        **_columns(run),
        **_columns(run.completeness),
        "completeness_state": run.completeness.state,
        "agents": sorted({step.agent_name for step in steps if step.agent_name}),
        "mcp_servers": sorted({step.mcp_server for step in steps if step.mcp_server}),
        "segment": [
            {**_columns(one), "continues_no": numbers.get(one.continues) if one.continues else None}
            for one in run.segments
        ],
        "steps": Counter(step.kind for step in steps),
        "step": _steps(steps),
        "tool_call": [
            {
                **_columns(call),
                "sides": [side for side, name in _SIDES.items() if getattr(call, name)],
                "waits": call.wait_ns is not None,
            }
            for call in calls
        ],
        "decision": [
            {**_columns(one), "waits": one.wait_ns is not None}
            for one in taken.reader.decisions(DEFAULT_TENANT, run.run_id)
        ],
        "evaluation": [_columns(one) for one in taken.evaluations(run)],
        "message": [
            {**_columns(message), "parts": [_part(part, names) for part in message.parts]}
            for message in taken.reader.messages(DEFAULT_TENANT, run.run_id)
        ],
    }


def _steps(steps: list[StepRow]) -> list[Told]:
    names = {step.step_id: step.name for step in steps}
    return [{**_columns(step), "under": names.get(step.parent_step_id or "")} for step in steps]


def _part(part: dict[str, Any], names: dict[str, str | None]) -> Told:
    name = part.get("name") or names.get(part.get("id") or "")
    match part["type"]:
        case "text" | "reasoning" as kind:
            return {**part, kind: part.get("content")}
        case "tool_call":
            return {**part, "tool_call": name}
        case "tool_call_response":
            return {**part, "tool_result": name}
        case _:
            return part


def compare(golden: Golden, capture: Told) -> list[str]:
    """What does not hold, a sentence each: where, which fact, what is told, the line of the scenario."""
    return [
        *_in_order("run", golden.runs, capture["run"], golden.name, _compare_run),
        *(problem for event in golden.events for problem in _counted("event", event, capture["event"], golden.name)),
    ]


def _compare_run(facts: Facts, run: Told, place: str) -> Iterator[str]:
    yield from _row("run", facts, run, place)
    yield from _row("totals", facts["totals"], run, f"{place}, totals")
    if "steps" in facts:
        counts = {kind: run["steps"].get(kind, 0) for kind in {*own_fields("steps", facts["steps"]), *run["steps"]}}
        yield from _row("steps", facts["steps"], counts, f"{place}, steps")
        for kind in counts.keys() - facts["steps"].keys():
            yield f"{place}, steps: {counts[kind]} of kind {kind} are told, the golden names none"
    if "segment" in facts:
        yield from _in_order("segment", facts["segment"], run["segment"], place)
    for step in facts.get("step", []):
        yield from _counted("step", step, run["step"], place)
    yield from _in_order("tool_call", facts.get("tool_call", []), run["tool_call"], place)
    yield from _best_fit("decision", facts.get("decision", []), run["decision"], place)
    yield from _best_fit("evaluation", facts.get("evaluation", []), run["evaluation"], place)
    yield from _in_order("message", facts.get("message", []), run["message"], place, _compare_message)


def _compare_message(facts: Facts, message: Told, place: str) -> Iterator[str]:
    yield from _row("message", facts, message, place)
    yield from _in_order("part", facts["parts"], message["parts"], place)


def _to_be_told(rows: list[Facts]) -> list[Facts]:
    """The rows that the reader should have: not those that were never sent or that it is known to lack."""
    return [row for row in rows if row.get("surplus") or not ({"*"} & {*marks(row, "hole"), *marks(row, "known_gap")})]


def _in_order(
    kind: str, rows: list[Facts], found: list[Told], place: str,
    inside: Callable[[Facts, Told, str], Iterator[str]] | None = None,
) -> Iterator[str]:  # fmt: skip
    expected = _to_be_told(rows)
    if len(expected) != len(found):
        yield _miscounted(kind, rows, expected, found, place)
    for number, (facts, row) in enumerate(zip(expected, found, strict=False), 1):
        within = f"{place}, {kind} {number}{_named(facts)}"
        yield from inside(facts, row, within) if inside else _row(kind, facts, row, within)


def _best_fit(kind: str, rows: list[Facts], found: list[Told], place: str) -> Iterator[str]:
    expected, left = _to_be_told(rows), list(found)
    if len(expected) != len(found):
        yield _miscounted(kind, rows, expected, found, place)
    for number, facts in enumerate(expected, 1):
        if not left:
            break
        fits = [list(_row(kind, facts, row, f"{place}, {kind} {number}{_named(facts)}")) for row in left]
        best = min(range(len(left)), key=lambda index: len(fits[index]))
        left.pop(best)
        yield from fits[best]


def _counted(kind: str, facts: Facts, found: list[Told], place: str) -> Iterator[str]:
    wanted = facts.get("count", 1)
    count = sum(not any(_row(kind, facts, row, place)) for row in found)
    within = f"{place}, {kind}{_named(facts)}"
    gap, hole = marks(facts, "known_gap").get("*"), marks(facts, "hole").get("*")
    if gap and count == wanted:
        yield f"{within}: known gap {gap!r} has closed, the mark must go {_cites(facts)}"
    elif hole and count:
        yield f"{within}: {count} are told, which hole {hole!r} says is never sent {_cites(facts)}"
    elif count != wanted and not (gap or hole):
        yield f"{within}: {count} are told with {own_fields(kind, facts)}, {wanted} happened {_cites(facts)}"


def _miscounted(kind: str, rows: list[Facts], expected: list[Facts], found: list[Told], place: str) -> str:
    lacking = sorted({name for row in rows for mark in ("known_gap", "hole") if (name := marks(row, mark).get("*"))})
    about = f"; rows are marked with {lacking}: has one of them closed?" if lacking else ""
    return (
        f"{place}: {len(found)} of kind {kind} are told ({_names(found)}), the golden expects {len(expected)} "
        f"({_names(expected)}){about}"
    )


def _row(kind: str, facts: Facts, row: Told, place: str) -> Iterator[str]:
    gaps, holes = marks(facts, "known_gap"), marks(facts, "hole")
    for field, wanted in own_fields(kind, facts).items():
        is_told = row.get(column(field), _NOT_TOLD)
        if field in holes:
            invented = is_told is not _NOT_TOLD and is_told not in _UNKNOWN.get(field, _KNOWS_NOTHING)
            if field in gaps and not invented:
                yield f"{place}: {field}: known gap {gaps[field]!r} has closed, the mark must go {_cites(facts)}"
            elif invented and field not in gaps:
                yield f"{place}: {field} is told as {is_told!r}, which hole {holes[field]!r} says is never sent"
            continue
        holds = is_told is not _NOT_TOLD and _holds(field, wanted, is_told)
        if field in gaps:
            if holds:
                yield f"{place}: {field}: known gap {gaps[field]!r} has closed, the mark must go {_cites(facts)}"
        elif is_told is _NOT_TOLD:
            yield f"{place}: {field} is not told, it is {wanted!r} {_cites(facts)}"
        elif not holds:
            yield f"{place}: {field} is told as {is_told!r}, it is {wanted!r} {_cites(facts)}"


def _holds(field: str, wanted: Any, is_told: Any) -> bool:
    if field.endswith("_set"):
        return (is_told not in _KNOWS_NOTHING) == wanted
    if field.endswith("_has"):
        return wanted in (is_told if isinstance(is_told, str) else json.dumps(is_told, ensure_ascii=False))
    if field in TOKENS:
        return is_told is not None and is_told == amount(wanted)
    return _same(wanted, is_told)


def _same(wanted: Any, is_told: Any) -> bool:
    """Equality of JSON values: 18 and 18.0 are one number, true and 1 are not one value."""
    if isinstance(wanted, dict) and isinstance(is_told, dict):
        return wanted.keys() == is_told.keys() and all(_same(value, is_told[key]) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(is_told, list):
        return len(wanted) == len(is_told) and all(map(_same, wanted, is_told))
    return isinstance(wanted, bool) == isinstance(is_told, bool) and bool(wanted == is_told)


def _name(row: dict[str, Any]) -> str:
    return next((str(row[key]) for key in _NAMING if row.get(key)), "")


def _named(row: dict[str, Any]) -> str:
    return f" ({name})" if (name := _name(row)) else ""


def _names(rows: list[dict[str, Any]]) -> str:
    return ", ".join(_name(row) or "unnamed" for row in rows) or "none"


def _cites(facts: Facts) -> str:
    cited = citations(facts)
    return f"[{', '.join(cited)}]" if cited else ""
