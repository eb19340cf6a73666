"""Steps as lines, for `tail`: one a step, as it is recorded."""

from typing import Final

from rich.text import Text

from spanledger.rendering.phrases import clock, cut, duration, printable
from store.model.rows import StepRow

_OUTCOME_STYLES: Final = {
    "ok": "green",
    "error": "red",
    "denied": "red",
    "interrupted": "yellow",
    "pending": "yellow",
    "retried": "yellow",
    "running": "cyan",
    "cancelled": "magenta",
}
_NAME_CHARS: Final = 60
_RUN_CHARS: Final = 12


def step_line(step: StepRow) -> Text:
    """`12:00:01  a1b2c3d4e5f6  tool  execute_tool deploy  error  250 ms  ToolError`."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(clock(step.started_at)[11:].ljust(8), "dim")
    line.append("  " + step.run_id[:_RUN_CHARS].ljust(_RUN_CHARS), "dim")
    line.append("  " + step.kind.ljust(13), "bold")
    line.append("  " + step.outcome.ljust(11), _OUTCOME_STYLES[step.outcome])
    line.append("  " + duration(step.duration_ns).rjust(9))
    line.append("  " + cut(printable(step.name).replace("\n", " "), _NAME_CHARS))
    subject = step.model or step.tool_name or ""
    if subject not in step.name:
        line.append("  " + printable(subject), "cyan")
    if step.error_type:
        line.append("  " + printable(step.error_type), "red")
    return line
