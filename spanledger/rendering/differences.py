"""Two runs beside each other for people: totals, the steps in order, and what tool calls were given and answered otherwise.

Marks are plain characters that survive a copy into a ticket: a space for the same, `~` for changed, `-` for what only the
first run has, `+` for what only the second has, and `>` before the step at which they first went different ways.
"""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from spanledger.rendering.phrases import content, cost, count, duration, printable
from store.model.diff_rows import DiffCall, DiffRun, DiffSide, DiffStep, RunDiff

VALUE_CHARS: Final = 240  # Of arguments and results: about two lines.
_MARKS: Final = {"same": (" ", "dim"), "changed": ("~", "yellow"), "only_a": ("-", "red"), "only_b": ("+", "green")}
_WORDS: Final = {
    "changed": "changed: {}",
    "only_a": "only in A",
    "only_b": "only in B",
    "same": "",
}


def diff_lines(found: RunDiff) -> Iterator[RenderableType]:
    """The comparison, from its totals to its tool calls."""
    yield _totals(found)
    yield Text()
    yield _steps(found)
    differing = [call for call in found.tool_calls if call.arguments is not None or call.result is not None]
    for call in differing:
        yield Text()
        yield _call(call)
    yield Text()
    yield _verdict(found)


def _totals(found: RunDiff) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "RUN", "AGENT", "STATUS"):
        table.add_column(title, no_wrap=True)
    for title in ("STEPS", "MODEL CALLS", "TOOLS", "FAILED", "TOKENS IN", "OUT", "COST", "TOOK"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, run in (("A", found.a), ("B", found.b)):
        table.add_row(name, run.run_id, printable(run.agent_name or "-"), run.status, *_counts(run))
    return table


def _counts(run: DiffRun) -> tuple[str, ...]:
    return (
        count(run.steps), count(run.llm_calls), count(run.tool_calls), count(run.tool_errors), count(run.input_tokens),
        count(run.output_tokens), cost(run.cost_usd), duration(run.duration_ns),
    )  # fmt: skip


def _steps(found: RunDiff) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("A", justify="right", no_wrap=True)
    table.add_column("B", justify="right", no_wrap=True)
    table.add_column("STEP", overflow="fold")
    table.add_column("DIFFERENCE", overflow="fold")
    table.add_column("A TOOK", justify="right", no_wrap=True)
    table.add_column("B TOOK", justify="right", no_wrap=True)
    for step in found.steps:
        mark, style = _MARKS[step.status]
        first = ">" if step.index == found.first_divergence else " "
        table.add_row(
            Text(first + mark, style), _seq(step.a), _seq(step.b), Text(printable(f"{step.kind} {step.label}"), style),
            Text(_difference(step), style), _took(step.a), _took(step.b),
        )  # fmt: skip
    return table


def _seq(side: DiffSide | None) -> str:
    return "" if side is None else str(side.seq)


def _took(side: DiffSide | None) -> str:
    return "" if side is None else duration(side.duration_ns)


def _difference(step: DiffStep) -> str:
    said = _WORDS[step.status].format(", ".join(step.changed))
    if step.a is not None and step.b is not None:
        for name in ("outcome", "model"):
            if name in step.changed:
                said += f" ({printable(str(getattr(step.a, name)))} / {printable(str(getattr(step.b, name)))})"
    return said


def _call(call: DiffCall) -> Text:
    text = Text(f"tool call {printable(call.tool_name or '?')}", "bold")
    for name, both in (("arguments", call.arguments), ("result", call.result)):
        if both is not None:
            text.append(f"\n- {name} {content(both['a'], VALUE_CHARS)}", "not bold red")
            text.append(f"\n+ {name} {content(both['b'], VALUE_CHARS)}", "not bold green")
    return text


def _verdict(found: RunDiff) -> Text:
    counts = found.counts
    text = Text(
        f"{counts['same']} the same, {counts['changed']} changed, {counts['only_a']} only in A, {counts['only_b']} only in B"
    )
    if found.first_divergence is None:
        text.append("; the agents did the same" if found.whole else "; as far as compared, the agents did the same")
    else:
        step = found.steps[found.first_divergence]
        text.append(f"; they first diverge at {printable(step.kind)} {printable(step.label)}", "bold")
    if not found.whole:
        text.append(
            f"\nonly the first {found.a.compared_steps:,} and {found.b.compared_steps:,} steps were compared", "yellow"
        )
    return text
