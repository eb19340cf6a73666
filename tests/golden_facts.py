"""Golden files: what happened when a capture was made, each fact with the line of the scenario that made it so.

A golden is TOML, one file a capture (`fixtures/golden/README.md` says how to write one). Here it is read and held to its
form; `golden_sources` holds it to the scenario, `golden_comparison` compares it with what the reader tells.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from store.model.rows import (
    Completeness,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    RunRow,
    SegmentRow,
    StepKind,
    StepRow,
    ToolCallRow,
)

GOLDENS = Path(__file__).parent / "fixtures" / "golden"
NAMES = sorted(file.stem for file in GOLDENS.glob("*.toml"))

# What a table says about its own facts; everything else in it is a fact or a table of facts.
NOTES = frozenset({"from", "hole", "known_gap", "worked_out", "surplus", "count"})
TOKENS = frozenset(
    {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"}
    | {f"reported_{kind}_tokens" for kind in ("input", "output", "cache_read", "cache_write", "reasoning")}
)
HOW_CHARACTERS_MIN = 10  # Less explains nothing.
_TERM = r"\d+(?: \* \d+)*"
SUM = re.compile(rf"{_TERM}(?: \+ {_TERM})*")


def _columns(row: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(row))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of table. `model_words`: fields in the model's words, which no scenario need contain."""

    fields: frozenset[str]
    required: frozenset[str] = frozenset()
    model_words: frozenset[str] = frozenset()


_RUN_WORDS = frozenset(
    {"run_kind", "status", "framework", "completeness_state", "conversation_id_source", "cost_source"}
)
KINDS: dict[str, Kind] = {
    "run": Kind(
        _columns(RunRow) | _columns(Completeness) | {"completeness_state", "agents", "mcp_servers"},
        frozenset({"run_kind", "agent_name", "status", "totals"}), _RUN_WORDS,
    ),
    "totals": Kind(
        _columns(RunRow), frozenset({"llm_calls", "input_tokens", "output_tokens"}), frozenset({"llm_calls"})
    ),
    "steps": Kind(frozenset(StepKind.__args__), frozenset(), frozenset(StepKind.__args__)),
    "segment": Kind(
        _columns(SegmentRow) | {"continues_no"}, frozenset({"status"}), frozenset({"status", "joined_by"})
    ),
    "step": Kind(
        _columns(StepRow) | {"under"}, frozenset({"kind"}),
        frozenset({"kind", "operation", "outcome", "finish_reason", "provider", "dialect", "scope_name", "mcp_method"}),
    ),
    "tool_call": Kind(
        _columns(ToolCallRow) | {"sides", "waits"},
        frozenset({"tool_name", "tool_source", "outcome", "arguments", "result", "sides", "waits"}),
        frozenset({"tool_source", "outcome", "sides"}),
    ),
    "decision": Kind(
        _columns(DecisionRow) | {"waits"},
        frozenset({"kind", "target", "verdict", "action", "evidence"}),
        frozenset({"kind", "verdict", "action", "evidence", "evidence_rule", "decided_by_kind"}),
    ),
    "evaluation": Kind(
        _columns(EvaluationRow), frozenset({"name"}), frozenset({"source", "label", "evaluator_kind"})
    ),
    "message": Kind(
        _columns(MessageRow), frozenset({"role", "parts"}), frozenset({"role", "direction", "finish_reason"})
    ),
    "part": Kind(
        frozenset({"text", "reasoning", "tool_call", "arguments", "tool_result", "response", "type", "modality",
                   "mime_type", "uri", "content", "id", "digest", "bytes"}),
        frozenset(), frozenset({"type", "modality", "mime_type"}),
    ),
    "event": Kind(_columns(EventRow), frozenset({"event_name"}), frozenset({"severity"})),
}  # fmt: skip
# Tables of tables: the field that holds them, and their kind.
NESTED = {
    "run": {"totals": "totals", "steps": "steps", "segment": "segment", "step": "step", "tool_call": "tool_call",
            "decision": "decision", "evaluation": "evaluation", "message": "message"},
    "message": {"parts": "part"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden as read. `tables` are its runs and events; a fact table is a dict with `from`."""

    name: str
    runs: list[dict[str, Any]]
    events: list[dict[str, Any]]
    holes: dict[str, dict[str, Any]]
    gaps: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of facts with where it stands, and what it cites (its own `from`, else that of the table around it)."""

    place: str
    kind: str
    facts: dict[str, Any]
    cited: tuple[str, ...]


@cache
def read_golden(name: str) -> Golden:
    """The golden of a capture. Raises AssertionError where its outer form is wrong."""
    said = tomllib.loads((GOLDENS / f"{name}.toml").read_text())
    unknown = said.keys() - {"capture", "about", "run", "event", "hole", "gap"}
    assert not unknown, f"{name}.toml: {sorted(unknown)} are not tables of a golden"
    assert said.get("capture") == name, f"{name}.toml: capture = {said.get('capture')!r} is not its file's name"
    assert said.get("run"), f"{name}.toml tells of no run"
    return Golden(
        name,
        said["run"],
        said.get("event", []),
        {hole["id"]: hole for hole in said.get("hole", [])},
        {gap["id"]: gap["why"] for gap in said.get("gap", [])},
    )


def tables(golden: Golden) -> Iterator[Table]:
    """Every table of facts, outer ones first."""
    for index, run in enumerate(golden.runs, 1):
        yield from _tables(f"run {index}", "run", run, ())
    for index, event in enumerate(golden.events, 1):
        yield from _tables(f"event {index}", "event", event, ())


def _tables(place: str, kind: str, facts: dict[str, Any], around: tuple[str, ...]) -> Iterator[Table]:
    cited = citations(facts) or around
    yield Table(place, kind, facts, cited)
    for key, inner in NESTED.get(kind, {}).items():
        found = facts.get(key, [])
        for index, one in enumerate(found if isinstance(found, list) else [found], 1):
            within = f"{place}, {key} {index}" if isinstance(found, list) else f"{place}, {key}"
            yield from _tables(within, inner, one, cited if kind == "message" else ())


def citations(facts: dict[str, Any]) -> tuple[str, ...]:
    said = facts.get("from", [])
    return (said,) if isinstance(said, str) else tuple(said)


def own_fields(kind: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a table itself, without its notes and the tables below it."""
    return {key: value for key, value in facts.items() if key not in NOTES and key not in NESTED.get(kind, {})}


def marks(facts: dict[str, Any], mark: str) -> dict[str, str]:
    """Which fields are marked with a hole or a known gap, and with which; `*` stands for the whole row."""
    said = facts.get(mark, {})
    return {"*": said} if isinstance(said, str) else said


def column(field: str) -> str:
    """The API's field behind `x_has` and `x_set`."""
    return field.removesuffix("_has").removesuffix("_set")


def amount(said: int | str) -> int:
    """A number of tokens: itself, or a sum of products as the scenario makes it up, `2 * 120 + 6`."""
    if isinstance(said, int):
        return said
    total = 0
    for term in said.split(" + "):
        product = 1
        for factor in term.split(" * "):
            product *= int(factor)
        total += product
    return total


def form_problems(golden: Golden) -> list[str]:
    """What is wrong with the file itself, a sentence each."""
    found = [problem for table in tables(golden) for problem in _form(golden, table)]
    used: dict[str, set[str]] = {"hole": set(), "known_gap": set()}
    for table in tables(golden):
        for mark, names in used.items():
            names.update(marks(table.facts, mark).values())
    found += [f"gap {name}: no fact is marked with it" for name in golden.gaps.keys() - used["known_gap"]]
    for name, hole in golden.holes.items():
        missing = {"what", "from", "evidence"} - hole.keys()
        unknown = hole.keys() - {"id", "what", "from", "evidence", "never_sent"}
        found += [f"hole {name}: {sorted(missing)} missing"] if missing else []
        found += [f"hole {name}: {sorted(unknown)} unknown"] if unknown else []
        if name not in used["hole"] and not hole.get("never_sent"):
            found.append(f"hole {name}: no fact is marked with it and it names nothing that was never sent")
    return found


def _form(golden: Golden, table: Table) -> Iterator[str]:
    kind, facts, own = KINDS[table.kind], table.facts, own_fields(table.kind, table.facts)
    if not table.cited:
        yield f"{table.place}: cites no line of the scenario (from)"
    for field in own:
        if column(field) not in kind.fields and field not in marks(facts, "known_gap"):
            yield f"{table.place}: a {table.kind} of the API has no {column(field)!r}, and no known_gap says so"
        if field.endswith("_set") and not isinstance(own[field], bool):
            yield f"{table.place}: {field} is true or false"
        if column(field) in TOKENS and isinstance(own[field], str) and not SUM.fullmatch(own[field]):
            yield f"{table.place}: {field} is a number or a sum of products"
    for field in sorted(kind.required - {column(field) for field in facts}):
        yield f"{table.place}: a {table.kind} must say {field} (or {field}_has, {field}_set)"
    yield from _form_of_notes(golden, table, own)


def _form_of_notes(golden: Golden, table: Table, own: dict[str, Any]) -> Iterator[str]:
    gaps, holes = marks(table.facts, "known_gap"), marks(table.facts, "hole")
    for mark, named, known in (("known_gap", gaps, golden.gaps), ("hole", holes, golden.holes)):
        for field, name in named.items():
            if name not in known:
                yield f"{table.place}: {mark} {name!r} is not described in this file"
            if field != "*" and field not in own:
                yield f"{table.place}: {mark} is about {field}, which is not among its facts"
    for field, how in table.facts.get("worked_out", {}).items():
        if field not in own or len(how) < HOW_CHARACTERS_MIN:
            yield f"{table.place}: worked_out says in a sentence how a fact of this table comes about, not {field}"
    if table.facts.get("surplus") and "*" not in gaps | holes:
        yield f"{table.place}: a surplus row names the hole or the known_gap that it comes from"


def known_gaps() -> Iterator[str]:
    """Every known gap of every golden, with the facts that are marked with it."""
    for name in NAMES:
        golden = read_golden(name)
        for gap, why in golden.gaps.items():
            yield f"{name}: {gap}: {why}"
            for table in tables(golden):
                about = [field for field, marked in marks(table.facts, "known_gap").items() if marked == gap]
                yield from (f"    {table.place}: {'all of it' if field == '*' else field}" for field in about)


if __name__ == "__main__":
    print("\n".join(known_gaps()))
