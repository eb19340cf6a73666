"""What steps do not say of themselves, judged when all of a run's calls are put together.

That one stopped to ask, that one was executed anew when the run was gone on with, that one was refused.
"""

from typing import Final

from store.model.dialect import dialect_of_scope
from store.model.span import Span
from store.model.tool_calls import ToolCall

_BY_SILENCE: Final = (
    "the tool's step ended without a result, which this library always sends, and no model was told one"
)
_BY_REPETITION: Final = (
    "the call was executed again when the run was gone on with, and no model was told a first result"
)


def judge_silence(silent: list[tuple[ToolCall, Span]]) -> None:
    """A tool's step without a result, where results are always sent, either returned nothing or stopped to ask.

    It returned if the same trace goes on to tell the model an answer.
    """
    told: dict[str, set[str]] = {}
    returned: dict[str, set[int]] = {}
    calls: dict[str, ToolCall] = {}
    for call, span in silent:
        if call.key not in told:
            told[call.key] = {one.span.trace_id for one in call.told}
        if span.trace_id in told[call.key]:
            calls[call.key] = call
            returned.setdefault(call.key, set()).add(id(span))
            call.executions.append(span)
        elif not call.asked_ns:
            call.asking, call.asked_ns, call.supposed_by = span, span.end_ns or span.start_ns, _BY_SILENCE
    for key, call in calls.items():
        call.interruptions = [span for span in call.interruptions if id(span) not in returned[key]]


def judge_repetition(calls: list[ToolCall]) -> None:
    """Where a resume keeps the run's id, a call that a later trace executes again had only stopped to ask."""
    for call in calls:
        if len({span.trace_id for span in call.executions}) < 2:
            continue
        last = call.executions[-1].trace_id
        told = {one.span.trace_id for one in call.told}
        stopped = [
            span
            for span in call.executions
            if span.trace_id != last and span.trace_id not in told and _resumes_keep_run_id(span)
        ]
        if not stopped:
            continue
        gone = {id(span) for span in stopped}
        call.executions = [span for span in call.executions if id(span) not in gone]
        call.interruptions += stopped
        if not call.asked_ns:
            first = stopped[0]
            call.asking, call.asked_ns, call.supposed_by = first, first.end_ns or first.start_ns, _BY_REPETITION


def judge_refusal(calls: list[ToolCall]) -> None:
    """The step of a call that was refused ran nothing: it has no result, and no step within it."""
    for call in calls:
        denied = {given.trace_id for given in call.given if given.verdict.verdict == "deny"}
        if not denied:
            continue
        refused = [span for span in call.executions if span.trace_id in denied and _ran_nothing(call, span)]
        if refused:
            gone = {id(span) for span in refused}
            call.executions = [span for span in call.executions if id(span) not in gone]
            call.refused += refused


def _resumes_keep_run_id(span: Span) -> bool:
    dialect = dialect_of_scope(span.scope_name or "")
    return dialect is not None and dialect.resumes_keep_run_id


def _ran_nothing(call: ToolCall, span: Span) -> bool:
    return span.result is None and span.span_id not in call.within and span.outcome in ("ok", "error")
