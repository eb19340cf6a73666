"""A run told from its beginning to its end, some steps at a time: its messages, and its replay.

What is read is the record as it was when the telling began: steps by a sequence number, for nothing of theirs is ever
changed, and tool calls and decisions at once, for the projector writes those anew. Nothing is held open between two
statements, so that a slow client holds up nobody.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from store.duckdb.engine import Engine
from store.duckdb.present import present_call
from store.duckdb.rows import particulars_of
from store.duckdb.run_steps import Placed, RunSteps, StepNames
from store.duckdb.run_tree import Hanging, usage_of
from store.duckdb.statements import sql
from store.duckdb.texts import Texts
from store.duckdb.trace_keys import BEFORE_TIME, END_OF_TIME, Extent
from store.duckdb.voices import Below, Records
from store.model.conversation import (
    REPEATING_KINDS,
    SPEAKING_KINDS,
    AskedCalls,
    Conversation,
    Message,
    Pieces,
    Speaker,
    heard_of,
    pieces_of,
    repeats_something,
)
from store.model.happenings import AT_THE_END, Batch, merged, whole
from store.model.ids import step_id
from store.model.replay import Bounds, Noted, Saying, Times, called, decided, evaluated, frame, noted, told
from store.model.rows import DecisionRow, EvaluationRow, ReplayEvent, RunRow
from store.model.span import Event

CALLS_AT_ONCE: Final = (128, 1024)  # At first, and at most: what they were given and answered is in memory meanwhile.
_TALKING_KINDS: Final = SPEAKING_KINDS | REPEATING_KINDS


@dataclass(slots=True)
class Telling:
    """Tells of one run. For one reader, once."""

    engine: Engine
    tenant: str
    run: dict[str, Any]
    steps: RunSteps
    _texts: Texts = field(init=False)
    _records: Records = field(init=False)
    _below: dict[int, Below] = field(init=False, default_factory=dict[int, Below])

    def __post_init__(self) -> None:
        self._texts = Texts(self.engine, self.tenant)
        self._records = Records.read(self.steps)

    def messages(self) -> Iterator[Message]:
        """The conversation in its order."""
        conversation = Conversation(self._texts.read, self._asked_calls)
        for number in range(len(self.steps.traces)):
            for batch in self._batches(number, noted=False):
                talking = [one for one in batch if one.key.kind in _TALKING_KINDS]
                for messages in conversation.hear(self._speakers(number, self._rows(talking))):
                    yield from messages

    def replay(
        self,
        run: RunRow,
        decisions: list[tuple[DecisionRow, Times]],
        evaluations: list[tuple[EvaluationRow, int]],
        *,
        is_alive: bool,
    ) -> Iterator[ReplayEvent]:
        """The run's events in order. `is_alive`: whether it has said something lately."""
        calls = self.engine.table(sql("select_call_times"), {"tenant": self.tenant, "run_id": self.run["run_id"]})
        known_calls = set(calls["tool_call_id"].drop_null().to_pylist())
        extents = [keys.extent() for keys in self.steps.keys]
        bounds = self._bounds(extents)
        hanging = [
            Hanging.read(self.steps, number, self._records.paid_in(trace.trace_id))
            for number, trace in enumerate(self.steps.traces)
        ]
        sub_agents = [one.sub_agents - {extent.root} for one, extent in zip(hanging, extents, strict=True)]
        cut = self._named([one.truncated for one in hanging], self._records.cut)
        redacted = self._named([one.redacted for one in hanging], self._records.redacted)
        happened = merged([
            whole(frame(run, bounds)), self._stepped(Saying(known_calls), sub_agents),
            self._called(calls, is_alive=is_alive), whole(decided(decisions)), whole(evaluated(evaluations)),
        ])  # fmt: skip
        return told(run, bounds, happened, usage_of(hanging), cut=cut, redacted=redacted)

    def _asked_calls(self) -> AskedCalls:
        found = self.engine.table(sql("select_asked_calls"), {"tenant": self.tenant, "run_id": self.run["run_id"]})

        @cache
        def by_step() -> dict[str, list[tuple[str, str | None]]]:
            asked: dict[str, list[tuple[str, str | None]]] = {}
            for row in found.to_pylist():
                asked.setdefault(row["requesting_step"] or "", []).append((row["tool_call_id"], row["tool_name"]))
            return asked

        return AskedCalls(set(found["tool_call_id"].to_pylist()), by_step)

    def _named(self, marked: list[set[str]], of_records: set[tuple[str, str]]) -> set[str]:
        """The ids of steps that are marked: by trace those with marks of their own, and those of log records."""
        return {
            step_id(trace.trace_id, span_id)
            for trace, span_ids in zip(self.steps.traces, marked, strict=True)
            for span_id in span_ids
        } | {step_id(*step) for step in of_records}

    def _bounds(self, extents: list[Extent]) -> Bounds:
        first, last = extents[0].root, extents[-1].root
        if first is None:
            first = self.steps.page(None, 1)[0].key.span_id
        if last is None:
            last = self.steps.starting_at(len(extents) - 1, extents[-1].last_start_ns)[-1].key.span_id
        return Bounds(
            min((extent.begun_ns for extent in extents if extent.begun_ns), default=0),
            max(extent.ended_ns for extent in extents),
            step_id(self.steps.traces[0].trace_id, first),
            step_id(self.steps.traces[-1].trace_id, last),
        )

    def _stepped(self, saying: Saying, sub_agents: list[set[str]]) -> Iterator[Batch]:
        """What steps tell, and what is said on them."""
        conversation = Conversation(self._texts.read)  # What a model asked for is told by the calls.
        floors = [self._floor_ns(number, BEFORE_TIME) for number in range(len(self.steps.traces))]
        for number, trace in enumerate(self.steps.traces):
            for batch in self._batches(number, noted=True):
                rows = self._rows([one for one in batch if _tells(one)])
                speakers = self._speakers(number, [row for row in rows if row["kind"] in _TALKING_KINDS])
                happened = [one for messages in conversation.hear(speakers) for one in saying.said(messages)]
                for row in rows:
                    sub_agent = row["span_id"] in sub_agents[number]
                    happened += noted(Noted(
                        step_id(trace.trace_id, row["span_id"]), row["kind"], row["name"], row["outcome"],
                        row["agent_name"], row["error_type"], row["status_message"], row["start_ns"], row["end_ns"],
                        sub_agent,
                    ))  # fmt: skip
                floors[number] = self._floor_ns(number, batch[-1].key.start_ns)
                yield happened, min(floors[number:])

    def _batches(self, number: int, *, noted: bool) -> Iterator[list[Placed]]:
        """The steps of a trace, those before the first and behind the last that has something to tell left out."""
        if self.steps.held or self._records.tell_in(self.steps.traces[number].trace_id):
            return self.steps.batches(number, 0, END_OF_TIME)  # Whose log records speak may carry nothing itself.
        found = self.engine.rows(sql("select_telling_range"), self.steps.asked(number) | {"noted": noted})[0]
        if found["first_ns"] is None:
            return iter(())
        return self.steps.batches(number, found["first_ns"], found["last_ns"])

    def _called(self, calls: Any, *, is_alive: bool) -> Iterator[Batch]:
        firsts: list[int] = calls["first_ns"].to_pylist()
        first, size = 0, CALLS_AT_ONCE[0]
        while first < len(firsts):
            after = first + size
            rows: list[dict[str, Any]] = calls.slice(first, size).to_pylist()
            texts = self._texts.read(row[name] for row in rows for name in ("arguments", "result") if row[name])
            happened = [
                one
                for row in rows
                for one in called(
                    present_call(row, texts, is_alive=is_alive),
                    Times(row["requested_ns"], row["started_ns"], row["told_ns"]),
                    row["position"],
                )
            ]
            yield happened, firsts[after] if after < len(firsts) else AT_THE_END
            first, size = after, CALLS_AT_ONCE[1]

    def _rows(self, steps: list[Placed]) -> list[dict[str, Any]]:
        """What a replay wants of some steps, in their order."""
        if not steps:
            return []
        places = [one.key.row for one in steps]
        found = {row["place"]: row for row in self.engine.rows(sql("select_telling_steps"), {"places": places})}
        return [found[place] for place in places]

    def _speakers(self, number: int, rows: list[dict[str, Any]]) -> Iterator[Speaker]:
        """What of these steps belongs to the conversation."""
        asked = [
            StepNames.of(row["trace_id"], row["span_id"], row["kind"], row["response_id"])
            for row in rows
            if (row["trace_id"], row["span_id"]) in self._records.tell
        ]
        events = self.steps.speaking_events(asked)
        for row in rows:
            pieces = self._heard(number, row, events.get((row["trace_id"], row["span_id"]), []))
            if pieces is not None and pieces.any:
                step = row["trace_id"], row["span_id"]
                cut = row["truncated"] or step in self._records.cut
                redacted = row["redacted"] or step in self._records.redacted
                yield Speaker(*step, row["start_ns"], row["end_ns"], pieces, row["finish_reason"], cut, redacted)

    def _heard(self, number: int, row: dict[str, Any], events: list[Event]) -> Pieces | None:
        own = pieces_of(row["system_instructions"], row["input_messages"], row["output_messages"], events)
        if row["kind"] in SPEAKING_KINDS:
            return own
        particulars = particulars_of(row)
        if not repeats_something(own, particulars):
            return None
        if number not in self._below:
            self._below[number] = Below.read(self.steps, number, self._records)
        below = self._below[number]
        return heard_of(
            own, particulars, given_below=row["span_id"] in below.given, said_below=row["span_id"] in below.said
        )  # fmt: skip

    def _floor_ns(self, number: int, behind_ns: int) -> int:
        floor_ns = self.steps.keys[number].floor_ns(behind_ns)
        return AT_THE_END if floor_ns is None else floor_ns


def _tells(one: Placed) -> bool:
    return one.key.kind in _TALKING_KINDS or one.key.outcome == "error"
