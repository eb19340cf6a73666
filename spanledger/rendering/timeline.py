"""A run's replay as a timeline for people: when, what kind of thing, what was said or done.

One renderable an event, so that a long run shows while it is still being read. What went wrong is red, what a person
decided stands out, reasoning stands back. The words of a marker are plain text: they survive a copy into a ticket.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spanledger.rendering.phrases import content, cost, count, duration, offset, plural, printable
from store.model.rows import ReplayEvent

TEXT_CHARS: Final = 600  # Of a message: about six lines; the API has the whole.
VALUE_CHARS: Final = 240  # Of arguments and results: about two lines.
FULL_CHARS: Final = 1_000_000

_FAILED: Final = "bold red"
_APPROVAL: Final = "bold yellow"
_MARKERS: Final[dict[str, tuple[str, str]]] = {
    "run_started": ("run started", "bold"),
    "message": ("message", "bold"),
    "reasoning": ("reasoning", "dim"),
    "tool_requested": ("tool asked", "cyan"),
    "approval_asked": ("approval asked", _APPROVAL),
    "decided": ("decided", _APPROVAL),
    "tool_executed": ("tool ran", "cyan"),
    "tool_result": ("tool result", "cyan"),
    "error": ("error", _FAILED),
    "retry": ("retry", "yellow"),
    "sub_run": ("sub-run", "magenta"),
    "evaluation": ("evaluation", "magenta"),
    "run_ended": ("run ended", "bold"),
}
_MARKER_WIDTH: Final = max(len(words) for words, _ in _MARKERS.values())
_OFFSET_WIDTH: Final = 10
_BAD_STATUSES: Final = ("error", "denied", "abandoned", "incomplete", "cancelled")
_STATED_HOLES: Final = {
    "missing_root": "its first step is missing",
    "content_absent": "no messages were sent",
    "models_unseen": "model calls were not recorded",
}
_VERDICTS: Final = {"allow": ("APPROVED", "bold green"), "deny": ("DENIED", _FAILED)}


@dataclass(slots=True)
class Timeline:
    """Draws events as they come, and sums up what it has drawn. `full` shortens nothing."""

    full: bool = False
    _seen: dict[str, int] = field(default_factory=dict[str, int])
    _failures: int = 0
    _last: ReplayEvent | None = None

    def events(self, events: Iterable[ReplayEvent]) -> Iterator[RenderableType]:
        """One renderable an event, in order, then the totals."""
        for event in events:
            yield self.event(event)
        yield self.totals()

    def event(self, event: ReplayEvent) -> RenderableType:
        """One event."""
        self._last = event
        self._seen[event.type] = self._seen.get(event.type, 0) + 1
        words, style = _MARKERS[event.type]
        body = _Body(event.data, FULL_CHARS if self.full else TEXT_CHARS, FULL_CHARS if self.full else VALUE_CHARS)
        if event.type == "message":
            words = printable(str(event.data.get("role") or words))[:_MARKER_WIDTH]
        if body.failed(event.type):
            self._failures += event.type == "error"  # A failed call is an error and a result: one failure.
            style = _FAILED
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=_OFFSET_WIDTH, justify="right", no_wrap=True)
        row.add_column(width=_MARKER_WIDTH, no_wrap=True)
        row.add_column(ratio=1, overflow="fold")
        text = body.text(event.type)
        holes = _holes(event.data.get("fidelity"))
        if holes:
            text.append(f"\nnot the whole of it: {holes}", "not bold yellow")
        for key, done in (("step_truncated", "cut"), ("step_redacted", "redacted")):
            if event.data.get(key):
                text.append(f"  (something of this step was {done})", "not bold yellow")
        row.add_row(Text(offset(event.state.get("elapsed_ns")), "dim"), Text(words, style), text)
        return row

    def totals(self) -> RenderableType:
        """What the run came to, after its last event."""
        if self._last is None:
            return Text("This run has no events.", "dim")
        state = self._last.state
        # Not every framework tells of a call when it is asked for; the run's own count knows better.
        asked = max(self._seen.get("tool_requested", 0), self._last.data.get("tool_calls") or 0)
        facts = [
            duration(state.get("elapsed_ns")),
            plural(sum(self._seen.values()), "event"),
            plural(asked, "tool call"),
            plural(self._seen.get("decided", 0), "decision"),
        ]
        if state.get("input_tokens") is not None or state.get("output_tokens") is not None:
            facts.append(f"{count(state.get('input_tokens'))} tokens in, {count(state.get('output_tokens'))} out")
        if state.get("cost_usd") is not None:
            facts.append(cost(state["cost_usd"]))
        line = Text("total  ", "bold")
        line.append(" · ".join(facts), "not bold")
        if self._failures:
            line.append(f" · {self._failures} failed", _FAILED)
        lines = [line]
        for key, said in (("open_calls", "never answered"), ("pending_approvals", "still waiting for approval")):
            names = state.get(key)
            if names:
                lines.append(Text(f"{said}: {printable(', '.join(map(str, names)))}", _APPROVAL))
        return Group(Text(), *lines)


def _holes(fidelity: Any) -> str:
    """What a record of a run lacks or does not say itself, in words."""
    if not isinstance(fidelity, dict):
        return ""
    said: dict[str, Any] = fidelity
    completeness: dict[str, Any] = said.get("completeness") or {}
    lacking = [
        plural(number, noun)
        for noun, number in (
            ("missing parent", completeness.get("missing_parents")),
            ("unexecuted tool call", completeness.get("unexecuted_tool_calls")),
            ("truncated step", completeness.get("truncated")),
            ("redacted step", completeness.get("redacted")),
            ("inferred decision", said.get("inferred")),
        )
        if number
    ]
    lacking += [words for name, words in _STATED_HOLES.items() if completeness.get(name)]
    if completeness.get("state") == "in_progress":
        lacking.append("it goes on")
    return ", ".join(lacking)


@dataclass(frozen=True, slots=True)
class _Body:
    """What an event's data says, as text."""

    data: dict[str, Any]
    text_chars: int
    value_chars: int

    def failed(self, kind: str) -> bool:
        match kind:
            case "error":
                return True
            case "tool_result" | "tool_executed":
                return self.data.get("outcome") in ("error", "denied")
            case "decided":
                return self.data.get("verdict") == "deny"
            case "run_ended":
                return self.data.get("status") in _BAD_STATUSES
            case _:
                return False

    def text(self, kind: str) -> Text:
        return _WRITERS.get(kind, _Body.other)(self)

    def _value(self, name: str) -> str:
        value = self.data.get(name)
        return "" if value is None else content(value, self.value_chars)

    def _said(self) -> str:
        value = self.data.get("text", self.data.get("content"))
        return "" if value is None else content(value, self.text_chars)

    def reasoning(self) -> Text:
        return Text(self._said(), "dim italic")

    def started(self) -> Text:
        text = Text(self._value("agent_name") or self._value("service_name") or self._value("run_kind"), "bold")
        named = [self._value(name) for name in ("framework", "service_name", "conversation_id")]
        text.append("".join(f"  {name}" for name in named if name), "not bold dim")
        return text

    def message(self) -> Text:
        part = self.data.get("part")
        if not isinstance(part, dict):
            return Text(self._said())
        known: dict[str, Any] = part
        match known.get("type"):
            case "tool_call":
                text = Text(content(known.get("name") or "?", self.value_chars), "cyan")
                return text.append(" " + content(known.get("arguments"), self.value_chars), "dim")
            case "tool_call_response":
                return Text(content(known.get("response"), self.value_chars), "dim")
            case _:
                return Text(content(known, self.value_chars), "dim")

    def call(self) -> Text:
        text = Text(self._tool(), "bold")
        if self.data.get("arguments") is not None:
            text.append(" " + self._value("arguments"), "not bold")
        if self.data.get("mcp_server"):
            text.append(f"  via MCP server {self._value('mcp_server')}", "not bold dim")
        return text

    def _tool(self) -> str:
        return self._value("tool_name") or self._value("target") or self._value("name") or "?"

    def decision(self) -> Text:
        verdict = str(self.data.get("verdict"))
        words, style = _VERDICTS.get(verdict, (verdict.upper(), _APPROVAL))
        text = Text(words, style)
        text.append(f"  {self._tool()}", "bold")
        who = self._value("decided_by") or self._value("decided_by_kind")
        if who:
            text.append(f"  by {who}", "not bold")
        if self.data.get("reason"):
            text.append(f": {self._value('reason')}", "not bold")
        if self.data.get("wait_ns") is not None:
            text.append(f"  after {duration(self.data['wait_ns'])}", "not bold dim")
        if self.data.get("evidence") == "inferred":
            text.append("  (inferred)", "not bold dim")
        return text

    def result(self) -> Text:
        outcome = self._value("outcome")
        if outcome == "error":  # What it said is told by the error event beside this one.
            text = Text(f"{self._tool()}  failed", _FAILED)
        elif outcome == "denied":
            text = Text(f"{self._tool()}  was not run", _FAILED)
        else:
            text = Text(self._tool(), "bold")
            text.append(" " + self._value("result") if self.data.get("result") is not None else "", "not bold")
        if self.data.get("duration_ns") is not None:
            text.append(f"  after {duration(self.data['duration_ns'])}", "not bold dim")
        return text

    def error(self) -> Text:
        named = [self._value(name) for name in ("tool_name", "name", "error_type")]
        text = Text("  ".join(name for name in named if name) or "failed", _FAILED)
        message = self._value("message")
        text.append(f"  {message}" if message else "", "red")
        return text

    def ended(self) -> Text:
        status = self._value("status")
        text = Text(status, _FAILED if self.failed("run_ended") else "bold green" if status == "ok" else _APPROVAL)
        if self.data.get("outcome_reason"):
            text.append(f"  {self._value('outcome_reason')}", "not bold")
        return text

    def other(self) -> Text:
        return Text(" ".join(f"{name}={self._value(name)}" for name, value in self.data.items() if value is not None))


_WRITERS: Final[dict[str, Callable[[_Body], Text]]] = {
    "run_started": _Body.started,
    "message": _Body.message,
    "reasoning": _Body.reasoning,
    "tool_requested": _Body.call,
    "approval_asked": _Body.call,
    "decided": _Body.decision,
    "tool_executed": _Body.call,
    "tool_result": _Body.result,
    "retry": _Body.call,
    "error": _Body.error,
    "run_ended": _Body.ended,
}
