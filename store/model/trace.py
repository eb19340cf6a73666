"""A trace as the model sees it: the current version of each of its spans, and the log records that speak for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from store.model.order import depths, in_order
from store.model.span import Event, Span, ToolAnswer, ToolRequest

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

    def admit(self, span: Span) -> Span | None:
        """Take in a version. Returns the version that is no longer current because of it: an older one, or `span` itself.

        Sets `span.revision`. The caller has checked that this digest is new (see `knows`).
        """
        digests = self.versions.setdefault(span.span_id, [])
        digests.append(span.digest)
        self.first_sequence = min(self.first_sequence or span.sequence, span.sequence)
        self.last_sequence = max(self.last_sequence, span.sequence)
        span.revision = len(digests)
        current = self.spans.get(span.span_id)
        if current is None:
            self.spans[span.span_id] = span
            return None
        if span.rank > current.rank:
            self.spans[span.span_id] = span
            return current
        return span

    def knows(self, span: Span) -> bool:
        """Whether exactly this version is recorded already: the same span sent again counts once."""
        return span.digest in self.versions.get(span.span_id, ())

    def ordered(self) -> list[Span]:
        """Spans by start; of the same start, parents before children (see `store.model.order`)."""
        return in_order(self.spans.values())

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
        """How far below its root each span is, by span id; in a cycle all are on top."""
        return depths({span.span_id: span.parent_span_id for span in self.spans.values()})

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
        """What every span said, by span id: from its own attributes, else from the log records that belong to it."""
        said = {
            span.span_id: Talk(span.tool_requests, span.tool_answers, span.reasoning, _speaks(span))
            for span in self.spans.values()
        }
        for event in sorted(self.events.values(), key=lambda event: (event.time_ns, event.sequence, event.ordinal)):
            talk = said.get(event.span_id or "")
            if talk is not None and not talk.from_span:
                said[event.span_id or ""] = Talk(
                    talk.requests + event.tool_requests,
                    talk.answers + event.tool_answers,
                    talk.reasoning or event.reasoning,
                    False,
                    True,
                )
        return said


@dataclass(frozen=True, slots=True)
class Talk:
    """What was said on a step: calls asked for, answers given. `from_span`: by the span itself."""

    requests: list[ToolRequest]
    answers: list[ToolAnswer]
    reasoning: bool
    from_span: bool
    from_events: bool = False

    @property
    def present(self) -> bool:
        return self.from_span or self.from_events


def _speaks(span: Span) -> bool:
    return bool(span.input_messages or span.output_messages)


def usage_leaves(spans: Iterable[Span], trace: Trace) -> list[Span]:
    """The spans whose usage counts: those with usage that have no descendant with usage. Totals on parents repeat it."""
    bearing = [span for span in spans if any(getattr(span, name) is not None for name in USAGE_KINDS)]
    above_some: set[str] = set()
    for span in bearing:
        for above in trace.ancestors(span):
            if above.span_id in above_some:
                break  # From here on up another leaf has been before.
            above_some.add(above.span_id)
    return [span for span in bearing if span.span_id not in above_some]
