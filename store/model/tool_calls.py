"""One logical tool call: what the up to five places that tell of it amount to. `store/model/call_book.py` puts them together.

A model asks (output messages), a person may be asked (approvals), a tool step executes, an MCP client span below it sends,
an MCP server span in another process answers, and the next model call is given the result.
"""

from dataclasses import dataclass, field
from typing import Final

from store.model.dialect import dialect_of_scope
from store.model.ids import step_id
from store.model.span import HOSTED, Span
from store.model.trace import Given

REQUESTING_KINDS: Final = ("llm", "other")
"""Steps whose requests count: the messages of agents, turns and workflows repeat those of the model calls below them."""
_SOURCES: Final = {"mcp": "mcp", "builtin": "builtin", HOSTED: HOSTED}
"""What a tool's type says of where it lives. That it is a function is also said of an MCP server's."""
FUNCTION: Final = "function"


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a call as a model was given it: on which step, and the result's content id."""

    span: Span
    result: str | None


@dataclass(slots=True)
class ToolCall:
    """A logical call while it is put together. Times in ns, 0 when unknown; arguments and result are content ids.

    `executions` ran; `interruptions` stopped to ask somebody first; `refused` were begun, and leave was not given.
    `supposed_by`: the rule by which it was worked out that somebody was asked; None where telemetry says so itself.
    """

    key: str
    id: str | None
    name: str | None
    arguments: str | None = None
    result: str | None = None
    type: str | None = None
    server: str | None = None
    toolset: str | None = None
    supposed_source: str | None = None
    """Where the tools of its toolset ran, of a call that never did (`store/model/toolsets.py`)."""
    requested_ns: int = 0
    asked_ns: int = 0
    waited_ns: int = 0
    """How long somebody was waited for while it ran."""
    requesting: Span | None = None
    asking: Span | None = None
    supposed_by: str | None = None
    executions: list[Span] = field(default_factory=list[Span])
    interruptions: list[Span] = field(default_factory=list[Span])
    refused: list[Span] = field(default_factory=list[Span])
    within: dict[str, list[Span]] = field(default_factory=dict[str, list[Span]])
    """Steps of the same execution below its own, by the span id of that."""
    clients: list[Span] = field(default_factory=list[Span])
    servers: list[Span] = field(default_factory=list[Span])
    told: list[Told] = field(default_factory=list[Told])
    given: list[Given] = field(default_factory=list[Given])
    """The verdicts that telemetry says itself, in order of time."""
    rounds: int = 0

    @property
    def execution(self) -> Span | None:
        """The execution that counts: the last one."""
        return self.executions[-1] if self.executions else None

    @property
    def executed(self) -> bool:
        return bool(self.executions or self.clients or self.servers)

    @property
    def attempts(self) -> int:
        """How often it was tried, attempts included that a step counts within itself."""
        tries = len(self.executions)
        for span in self.executions:
            tries += span.attempts_failed
        return max(tries, 1) if self.executed else 0

    @property
    def answered_ns(self) -> int:
        """When a model was first given an answer: as it was called, or while it spoke where its provider ran the tool."""
        if not self.told:
            return 0
        span = self.told[0].span
        return (span.end_ns or span.start_ns) if span is self.requesting else span.start_ns

    @property
    def steps(self) -> list[Span]:
        """What was executed for it, the tool step first."""
        return [*self.executions[-1:], *self.clients[-1:], *self.servers[-1:]]

    @property
    def failed(self) -> Span | None:
        steps = self.steps
        inner = self.within.get(steps[0].span_id, ()) if self.within and steps else ()
        for span in (*steps, *inner):
            if span.outcome == "error":
                return span
        return None

    @property
    def verdict(self) -> str | None:
        """The last verdict that was said."""
        return next((one.verdict.verdict for one in reversed(self.given) if one.verdict.verdict), None)

    @property
    def outcome(self) -> str:
        if self.executed:
            if self.failed is not None:
                return "error"
            outcomes = [span.outcome for span in self.steps]
            return "requested" if "running" in outcomes else "interrupted" if "cancelled" in outcomes else "ok"
        if self.verdict in ("allow", "deny"):
            return "denied" if self.verdict == "deny" else "ok" if self.told else "requested"
        if self.asked_ns or self.interruptions:
            return "denied" if self.told else "pending_approval"
        return "ok" if self.told else "requested"

    @property
    def unexecuted(self) -> bool:
        """Whether it should have been executed, and no record says that it was. What a provider runs, it need not tell."""
        if self.type == HOSTED:
            return False
        return not self.executed and (self.verdict == "allow" or self.outcome == "requested")

    @property
    def started_ns(self) -> int:
        return self.steps[0].start_ns if self.executed else 0

    @property
    def ended_ns(self) -> int:
        return self.steps[0].end_ns if self.executed else 0

    @property
    def decided_ns(self) -> int:
        """When the approval was answered: as it is said, else as it can be seen by what followed."""
        if not self.asked_ns:
            return 0
        said = next((one.decided_ns for one in self.given if one.verdict.by == "human" and one.decided_ns), 0)
        return said or (self.started_ns if self.executed else self.answered_ns)

    @property
    def wait_ns(self) -> int | None:
        waited_ns = self.waited_ns + (max(self.decided_ns - self.asked_ns, 0) if self.decided_ns else 0)
        return waited_ns if self.decided_ns or self.waited_ns else None

    @property
    def source(self) -> str | None:
        if self.clients or self.servers:
            return "mcp"
        if any(span.kind == "handoff" for span in self.executions):
            return "handoff"
        if self.type in _SOURCES:
            return _SOURCES[self.type]
        if self.executions:
            return FUNCTION
        if self.supposed_source:
            return self.supposed_source
        # Nothing ran that could be an MCP server's, so what a step or the toolset calls a function is one.
        return FUNCTION if self.interruptions or self.refused or self.type == FUNCTION else None

    @property
    def mcp_server(self) -> str | None:
        return self.server or (self.servers[-1].service_name if self.servers else None)

    def ran_by_trace(self) -> dict[str, Span]:
        """By trace: the step that executed it there."""
        found: dict[str, Span] = {}
        for span in (*reversed(self.executions), *self.clients, *self.servers):
            found.setdefault(span.trace_id, span)
        return found

    def told_by_trace(self) -> dict[str, Told]:
        """By trace: what a model was first told there."""
        return {told.span.trace_id: told for told in reversed(self.told)}

    def given_by_trace(self) -> dict[str, Given]:
        """By trace: the verdict that was last said there."""
        return {one.trace_id: one for one in self.given if one.verdict.verdict}

    def outcomes(self) -> dict[str, str]:
        """By step id: how steps of it ended, where the call shows that it is not as they say themselves."""
        found = {name_step(span) or "": "interrupted" for span in self.interruptions if span.outcome == "ok"}
        return found | {name_step(span) or "": "denied" for span in self.refused}


def name_step(span: Span | None) -> str | None:
    return step_id(span.trace_id, span.span_id) if span is not None else None


def is_silent(span: Span) -> bool:
    """Whether a tool's step tells its arguments and no result, where its library always sends the result of what ran."""
    if span.result is not None or span.kind != "tool" or span.outcome != "ok" or span.arguments is None:
        return False
    dialect = dialect_of_scope(span.scope_name or "")
    return dialect is not None and dialect.results_always_sent


def is_loose(span: Span) -> bool:
    """Whether what a step says of its arguments is less than what the model asked for."""
    dialect = dialect_of_scope(span.scope_name or "")
    return dialect is not None and dialect.arguments_are_loose
