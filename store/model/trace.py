"""A trace as the model sees it: the current version of each of its spans, and the log records that speak for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from store.model.order import depths, in_order
from store.model.paid import PAID_KINDS, Paid, paid_for, reported_by
from store.model.span import Event, Span, ToolAnswer, ToolRequest, Verdict

USAGE_KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(slots=True)
class Trace:
    """One trace's current spans by id. `versions` holds the digests of every version ever recorded, oldest first."""

    tenant: str
    trace_id: str
    spans: dict[str, Span] = field(default_factory=dict[str, Span])
    versions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    events: dict[str, Event] = field(default_factory=dict[str, Event])
    first_sequence: int = 0
    last_sequence: int = 0
    """Where in the record its versions stand, superseded ones included; 0 before the first."""
    _ordered: list[Span] | None = field(default=None, repr=False, compare=False)
    _depths: dict[str, int] | None = field(default=None, repr=False, compare=False)
    _talk: "dict[str, Talk] | None" = field(default=None, repr=False, compare=False)
    _verdicts: "list[Given] | None" = field(default=None, repr=False, compare=False)
    _responses: dict[str, str] | None = field(default=None, repr=False, compare=False)
    """Worked out when first asked for, until something comes in: half a dozen readers ask for each."""
    _answering: dict[str, list[str]] = field(default_factory=dict[str, list[str]], repr=False, compare=False)
    """By response: the span ids of model calls of which a version names it."""
    _bills: dict[str, list[Event]] = field(default_factory=dict[str, list[Event]], repr=False, compare=False)
    """Log records that say what a step cost, by what they name it by: its response, its span."""

    def admit(self, span: Span) -> Span | None:
        """Take in a version. Returns the version that is no longer current because of it: an older one, or `span` itself.

        Sets `span.revision`. The caller has checked that this digest is new (see `knows`).
        """
        digests = self.versions.get(span.span_id)
        if digests is None:
            digests = self.versions[span.span_id] = []
        digests.append(span.digest)
        self.first_sequence = min(self.first_sequence or span.sequence, span.sequence)
        self.last_sequence = max(self.last_sequence, span.sequence)
        span.revision = len(digests)
        if span.response_id and span.kind == "llm":
            answering = self._answering.setdefault(span.response_id, [])
            if span.span_id not in answering:
                answering.append(span.span_id)
        current = self.spans.get(span.span_id)
        if current is not None and span.rank <= current.rank:
            return span
        self.spans[span.span_id] = span
        self._ordered = self._depths = self._talk = self._verdicts = self._responses = None
        return current

    def hear(self, event: Event) -> None:
        """Take in a log record that speaks for one of the spans."""
        if event.cost_usd is not None and event.event_id not in self.events:
            for name in filter(None, (event.response_id, event.span_id)):
                self._bills.setdefault(name, []).append(event)
        self.events[event.event_id] = event
        self._talk = self._verdicts = None

    def knows(self, span: Span) -> bool:
        """Whether exactly this version is recorded already: the same span sent again counts once."""
        return span.digest in self.versions.get(span.span_id, ())

    def ordered(self) -> list[Span]:
        """Spans by start; of the same start, parents before children (see `store.model.order`). Not to be changed."""
        if self._ordered is None:
            self._ordered = in_order(self.spans.values())
        return self._ordered

    def ancestors(self, span: Span) -> Iterator[Span]:
        """From the parent up to the root, as far as the record goes. A cycle (telemetry can lie) ends the walk."""
        seen = {span.span_id}
        while span.parent_span_id and span.parent_span_id not in seen:
            parent = self.spans.get(span.parent_span_id)
            if parent is None:
                return
            seen.add(parent.span_id)
            yield parent
            span = parent

    def depths(self) -> dict[str, int]:
        """How far below its root each span is, by span id; in a cycle all are on top. Not to be changed."""
        if self._depths is None:
            self._depths = depths({span.span_id: span.parent_span_id for span in self.spans.values()})
        return self._depths

    def root(self) -> Span | None:
        """The earliest span without a parent; None when its root was never recorded."""
        roots = [span for span in self.spans.values() if span.parent_span_id is None]
        return min(roots, key=lambda span: (span.start_ns, span.span_id), default=None)

    def missing_parents(self) -> int:
        """How many parents are named by a recorded span but were never recorded themselves."""
        named = {span.parent_span_id for span in self.spans.values() if span.parent_span_id}
        return len(named - self.spans.keys())

    def mcp_servers(self) -> dict[str, str | None]:
        """The service that answered, by the span id of each MCP client span above it: of several, the first to start."""
        found: dict[str, str | None] = {}
        for span in sorted(self.spans.values(), key=lambda span: (span.start_ns, span.span_id)):
            if span.kind != "mcp_server":
                continue
            for above in self.ancestors(span):
                if above.kind == "mcp_server" or above.span_id in found:
                    break
                if above.kind == "mcp_client":
                    found[above.span_id] = span.service_name
        return found

    def talk(self) -> "dict[str, Talk]":
        """What every span said, by span id: from its own attributes, else from its log records. Not to be changed."""
        if self._talk is None:
            self._talk = self._hear_all()
        return self._talk

    def _hear_all(self) -> "dict[str, Talk]":
        said = {
            span.span_id: Talk(
                span.tool_requests, span.tool_answers, span.reasoning, _speaks(span), approvals=span.approvals
            )
            for span in self.spans.values()
        }
        for event in events_in_order(self.events.values()):
            span_id = self.step_of(event)
            talk = said.get(span_id)
            if talk is not None and not talk.from_span:
                said[span_id] = Talk(
                    talk.requests + event.tool_requests,
                    talk.answers + event.tool_answers,
                    talk.reasoning or event.reasoning,
                    False,
                    talk.from_events or event.has_messages,
                    talk.approvals + event.approvals,
                )
        return said

    def verdicts(self) -> "list[Given]":
        """The answers to questions for leave that telemetry says itself, in order of time. Not to be changed."""
        if self._verdicts is None:
            found = [
                Given(verdict, self.trace_id, span, *_asked_and_decided(span))
                for span in self.spans.values()
                for verdict in span.verdicts
            ]
            for event in self.events.values():
                decided_ns, span = event.time_ns or event.observed_ns, self.spans.get(self.step_of(event))
                found += [Given(verdict, self.trace_id, span, 0, decided_ns) for verdict in event.verdicts or ()]
            self._verdicts = sorted(found, key=_order_of_verdicts)
        return self._verdicts

    def paid(self, span: Span) -> Paid:
        """What one of its steps cost, as its span or a log record says, else by the table of prices."""
        return paid_for(span, reported_by(self.bills(span)) if self._bills else None)

    def bills(self, span: Span) -> list[Event]:
        """The log records that say what one of its steps cost."""
        if not self._bills or span.kind not in PAID_KINDS:
            return []
        named = [event for name in (span.response_id, span.span_id) for event in self._bills.get(name or "", ())]
        return [event for event in named if self.step_of(event) == span.span_id]

    def step_of(self, event: Event) -> str:
        """The span id of the step that a log record speaks for; empty where it names none."""
        answering = self._answering.get(event.response_id) if event.response_id is not None else None
        if answering is None:
            return event.span_id or ""
        if len(answering) == 1:
            said = self.spans[answering[0]]
            return said.span_id if _answers(said) == event.response_id else event.span_id or ""
        if self._responses is None:
            self._responses = {found: span.span_id for span in self.ordered() if (found := _answers(span))}
        return self._responses.get(event.response_id or "", event.span_id or "")


def _answers(span: Span) -> str | None:
    return span.response_id if span.kind == "llm" else None


def events_in_order(events: Iterable[Event]) -> list[Event]:
    """Log records by their time, or where they say none by when they were observed: never by how they arrived."""
    return sorted(events, key=lambda event: (event.time_ns or event.observed_ns, event.event_id))


@dataclass(frozen=True, slots=True)
class Talk:
    """What was said on a step: calls asked for, answers given. `from_span`: by the span itself."""

    requests: list[ToolRequest]
    answers: list[ToolAnswer]
    reasoning: bool
    from_span: bool
    from_events: bool = False
    approvals: list[ToolRequest] = field(default_factory=list[ToolRequest])

    @property
    def present(self) -> bool:
        return self.from_span or self.from_events


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict, and the step that it was told on; None where a log record named no recorded one. Times in ns, 0: unknown."""

    verdict: Verdict
    trace_id: str
    span: Span | None
    asked_ns: int
    decided_ns: int

    def tells_the_same(self, other: "Given") -> bool:
        """Whether two tell of one decision: a library may send a step and a log record."""
        one, two = self.verdict, other.verdict
        return self.trace_id == other.trace_id and (one.verdict, one.kind) == (two.verdict, two.kind)


def _asked_and_decided(span: Span) -> tuple[int, int]:
    """A step that waited lasted from the question to the answer; another one only brought the answer."""
    return (span.start_ns, span.end_ns) if span.kind == "approval_wait" else (0, span.start_ns)


def _order_of_verdicts(given: Given) -> tuple[int, str, str, str, str, int]:
    said = given.verdict
    step = given.span.span_id if given.span else ""
    return (given.decided_ns, step, said.id or "", said.verdict or "", said.reason or "", given.asked_ns)


def _speaks(span: Span) -> bool:
    return bool(span.input_messages or span.output_messages)


def has_usage(span: Span) -> bool:
    """Whether the span says any tokens."""
    return (
        span.input_tokens is not None
        or span.output_tokens is not None
        or span.cache_read_tokens is not None
        or span.cache_write_tokens is not None
        or span.reasoning_tokens is not None
    )


def usage_leaves(spans: Iterable[Span], trace: Trace) -> list[Span]:
    """The spans whose usage counts: those with usage that have no descendant with usage. Totals on parents repeat it."""
    bearing = [span for span in spans if has_usage(span)]
    above_some: set[str] = set()
    for span in bearing:
        for above in trace.ancestors(span):
            if above.span_id in above_some:
                break  # From here on up another leaf has been before.
            above_some.add(above.span_id)
    return [span for span in bearing if span.span_id not in above_some]
