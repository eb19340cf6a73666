"""What the spans of a trace amount to, gathered in one walk over them: a run is worked out anew with every batch it is in."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from store.model.span import Particulars, Span
from store.model.trace import Trace
from store.model.truncation import cut_steps, redacted_steps

MODEL_KINDS: Final = frozenset({"llm", "embedding", "rerank"})
_REPEATING_KINDS: Final = ("agent", "workflow")
_TELLING: Final = {"agent": 0, "workflow": 1, "llm": 2, "tool": 3, "mcp_client": 4}
"""Kinds of steps whose scope may be called the run's framework, the most telling first."""


@dataclass(slots=True)
class Tally:
    """Of one trace, or summed of several in order of time. Times in ns, 0 when there is none."""

    root: Span | None = None
    """Of the first trace that has one."""
    missing_root: bool = False
    missing_parents: int = 0
    steps: int = 0
    start_ns: int = 0
    end_ns: int = 0
    last_event_ns: int = 0
    last_received_ns: int = 0
    llm_calls: int = 0
    content_present: bool = False
    truncated: int = 0
    redacted: int = 0
    agents: list[str] = field(default_factory=list[str])
    """Names of agents by their own steps, and `agents_named` by others', in order of time."""
    agents_named: list[str] = field(default_factory=list[str])
    workflows: list[str] = field(default_factory=list[str])
    particulars: list[Particulars] = field(default_factory=list[Particulars])
    kinds: set[str] = field(default_factory=set[str])
    models: set[str] = field(default_factory=set[str])
    frameworks: dict[str | None, int] = field(default_factory=dict[str | None, int])
    """Scopes, each with the rank of the most telling kind of step that it made."""

    @property
    def open_reason(self) -> str | None:
        """Why the end of a single trace is not recorded; None where it is."""
        if self.root is None:
            return "missing_root"
        return "unended" if self.root.end_ns == 0 else None

    @property
    def agent_name(self) -> str | None:
        return next(iter((*self.agents, *self.agents_named)), None)

    @property
    def framework(self) -> str | None:
        return max(self.frameworks, key=lambda scope: (-self.frameworks[scope], scope or ""), default=None)


def tally_of(trace: Trace) -> Tally:
    """The tally of one trace that has spans."""
    spans, talk = trace.ordered(), trace.talk()
    root = trace.root()
    end_ns = max(span.end_ns for span in spans)
    tally = Tally(
        root=root,
        missing_root=root is None,
        missing_parents=trace.missing_parents(),
        steps=len(spans),
        start_ns=start_of(spans),
        end_ns=end_ns,
        last_event_ns=max(end_ns, spans[-1].start_ns),
        last_received_ns=max(span.received_ns for span in spans),
        truncated=len(cut_steps(trace)),
        redacted=len(redacted_steps(trace)),
    )
    for span in spans:
        kind = span.kind
        tally.kinds.add(kind)
        if kind in _TELLING:
            _rank(tally, span.scope_name, _TELLING[kind])
        if span.agent_name:
            (tally.agents if kind == "agent" else tally.agents_named).append(span.agent_name)
        if span.workflow_name:
            tally.workflows.append(span.workflow_name)
        if span.particulars is not None:
            tally.particulars.append(span.particulars)
        if kind in MODEL_KINDS and span.model:
            tally.models.add(span.model)
        if kind == "llm":
            tally.llm_calls += 1
            tally.content_present = tally.content_present or talk[span.span_id].present
        elif span.all_messages or (kind in _REPEATING_KINDS and talk[span.span_id].present):
            tally.content_present = True
    return tally


def summed(tallies: list[Tally]) -> Tally:
    """One tally of the traces of a run, in order of time."""
    if len(tallies) == 1:
        return tallies[0]
    total = Tally(root=next((one.root for one in tallies if one.root), None))
    total.start_ns = min((one.start_ns for one in tallies if one.start_ns), default=0)
    for one in tallies:
        total.missing_root = total.missing_root or one.missing_root
        total.missing_parents += one.missing_parents
        total.steps += one.steps
        total.end_ns = max(total.end_ns, one.end_ns)
        total.last_event_ns = max(total.last_event_ns, one.last_event_ns)
        total.last_received_ns = max(total.last_received_ns, one.last_received_ns)
        total.llm_calls += one.llm_calls
        total.content_present = total.content_present or one.content_present
        total.truncated += one.truncated
        total.redacted += one.redacted
        total.agents += one.agents
        total.agents_named += one.agents_named
        total.workflows += one.workflows
        total.particulars += one.particulars
        total.kinds |= one.kinds
        total.models |= one.models
        for scope, rank in one.frameworks.items():
            _rank(total, scope, rank)
    return total


def start_of(spans: Iterable[Span]) -> int:
    """The earliest start, in ns; 0 where none is set."""
    return min((span.start_ns for span in spans if span.start_ns), default=0)


def _rank(tally: Tally, scope_name: str | None, rank: int) -> None:
    tally.frameworks[scope_name] = min(tally.frameworks.get(scope_name, rank), rank)
