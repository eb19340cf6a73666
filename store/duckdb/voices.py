"""Who speaks in a run: the steps for which log records do, and agents whose model calls tell for themselves.

Both are worked out from few columns of the whole run. The rules are those of `store.model.trace.Trace.step_of`,
`store.model.paid.reported_by`, `store.model.truncation.cut_steps` and `redacted_steps`, and
`store.model.conversation.heard_of`.
"""

from dataclasses import dataclass, field

import pyarrow as pa

from store.duckdb.run_steps import RunSteps
from store.duckdb.run_tree import Tree
from store.duckdb.statements import sql
from store.model.conversation import REPEATING_KINDS, SPEAKING_KINDS
from store.model.truncation import MARKS_BEGIN, has_mark
from store.otlp.redaction import MARK as REDACTED
from store.otlp.truncation import MARK as TRUNCATED

_StepKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Records:
    """The steps of a run, by trace id and span id, for which log records speak."""

    tell: set[_StepKey] = field(default_factory=set[_StepKey])
    """Those for which they tell messages; `given` and `said`: messages that the model was given, that it said."""
    given: set[_StepKey] = field(default_factory=set[_StepKey])
    said: set[_StepKey] = field(default_factory=set[_StepKey])
    cut: set[_StepKey] = field(default_factory=set[_StepKey])
    redacted: set[_StepKey] = field(default_factory=set[_StepKey])
    """Those that a log record names of which something was cut, or redacted."""
    paid: dict[_StepKey, float] = field(default_factory=dict[_StepKey, float])
    """What they say that steps cost, in US dollars."""

    @classmethod
    def read(cls, steps: RunSteps) -> "Records":
        rows = steps.engine.rows(sql("select_speaking_records"), {
            "tenant": steps.tenant, "trace_ids": [trace.trace_id for trace in steps.traces], "until": steps.until,
            "marks_begin": MARKS_BEGIN,
        })  # fmt: skip
        answering = steps.answering((row["trace_id"], row["response_id"]) for row in rows)
        found = cls()
        bills: dict[_StepKey, tuple[int, str, float]] = {}
        for row in rows:
            span_id = answering.get((row["trace_id"], row["response_id"]), row["span_id"])
            if span_id:
                step = row["trace_id"], span_id
                for named, is_so in ((found.tell, "tells"), (found.given, "given"), (found.said, "said")):
                    if row[is_so]:
                        named.add(step)
                if row["paid"] is not None:
                    bill = row["paid"]["at_ns"], row["paid"]["event_id"], row["paid"]["cost_usd"]
                    bills[step] = min(bills.get(step, bill), bill)
            if row["span_id"] and row["marked"]:
                for named, mark in ((found.cut, TRUNCATED), (found.redacted, REDACTED)):
                    if any(has_mark(mark, one["attributes"], one["pieces"]) for one in row["marked"]):
                        named.add((row["trace_id"], row["span_id"]))
        found.paid.update((step, usd) for step, (_, _, usd) in bills.items())
        return found

    def paid_in(self, trace_id: str) -> dict[str, float]:
        """What they say that steps of a trace cost, by span id."""
        return {span_id: usd for (trace, span_id), usd in self.paid.items() if trace == trace_id}

    def tell_in(self, trace_id: str) -> bool:
        """Whether they tell messages of a step of a trace."""
        return any(trace == trace_id for trace, _ in self.tell)


@dataclass(frozen=True, slots=True)
class Below:
    """The agents and workflows of a trace below which a model call was given messages; below which a step said some."""

    given: set[str]
    said: set[str]

    @classmethod
    def read(cls, steps: RunSteps, number: int, records: Records) -> "Below":
        """Reads the parents of every step of the trace, and who carries messages."""
        trace_id = steps.traces[number].trace_id
        voices = steps.engine.table(sql("select_trace_voices"), steps.asked(number) | {
            "kinds": [*SPEAKING_KINDS, *REPEATING_KINDS], "repeating": list(REPEATING_KINDS),
            "told_given": [span_id for trace, span_id in records.given if trace == trace_id],
            "told_said": [span_id for trace, span_id in records.said if trace == trace_id],
        })  # fmt: skip
        tree = Tree.read(steps, number)
        repeating = voices.filter(voices["repeating"])["span_id"]
        places = tree.numbers(repeating)

        def above(which: str) -> set[str]:
            found = tree.above(tree.numbers(voices.filter(voices[which])["span_id"]))
            return set(repeating.filter(pa.array([place in found for place in places], pa.bool_())).to_pylist())

        return cls(above("given"), above("said"))
