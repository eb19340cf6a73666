"""How something was judged: evaluation results, as log records, numbered attributes or JSON attributes send them.

An evaluation is about a step: the one that its record names, or the one whose model answered with the response id that it
names (which is looked for when it is read, for it may come before the step). What is of no kind that is known here stays an
attribute or a log record, which it is anyway.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from store.model.columns import read_number, read_text
from store.model.ids import record_id
from store.model.indexed import numbered
from store.model.nesting import NotJson, read_json
from store.model.plan import Plan
from store.model.span import Event, Span

EVALUATION_EVENT: Final = "gen_ai.evaluation.result"
_PREFIX: Final = "gen_ai.evaluation."
_LABELS: Final = {"pass": True, "passed": True, "true": True, "fail": False, "failed": False, "false": False}


@dataclass(slots=True)
class Evaluation:
    """One result. Of a span's own attributes it goes with that version of the span (`revision`; 0 for a log record)."""

    tenant: str
    evaluation_id: str
    sequence: int
    ordinal: int
    time_ns: int
    trace_id: str | None
    span_id: str | None
    revision: int
    source: str
    name: str
    score: float | None = None
    label: str | None = None
    passed: bool | None = None
    explanation: str | None = None
    evaluator_name: str | None = None
    evaluator_version: str | None = None
    evaluator_kind: str | None = None
    target: str | None = None
    case_id: str | None = None
    response_id: str | None = None
    error_type: str | None = None
    service_name: str | None = None


def evaluation_of_event(event: Event, said: dict[str, Any]) -> Evaluation | None:
    """The evaluation that a log record is, by its attributes; None for one without a name."""
    name = read_text(said.get(_PREFIX + "name"))
    if event.event_name != EVALUATION_EVENT or name is None:
        return None
    label = read_text(said.get(_PREFIX + "score.label"))
    return Evaluation(
        tenant=event.tenant,
        evaluation_id=record_id("evaluation", event.tenant, event.event_id),
        sequence=event.sequence,
        ordinal=event.ordinal,
        time_ns=event.time_ns or event.observed_ns,
        trace_id=event.trace_id,
        span_id=event.span_id,
        revision=0,
        source="otel_event",
        name=name,
        score=read_number(said.get(_PREFIX + "score.value")),
        label=label,
        passed=_LABELS.get((label or "").lower()),
        explanation=read_text(said.get(_PREFIX + "explanation")),
        evaluator_name=_named(said.get(_PREFIX + "evaluator.source"))
        or read_text(said.get(_PREFIX + "evaluator.name")),
        evaluator_version=read_text(said.get(_PREFIX + "evaluator.version")),
        target=read_text(said.get(_PREFIX + "target")),
        response_id=read_text(said.get("gen_ai.response.id")),
        error_type=read_text(said.get("error.type")),
        service_name=event.service_name,
    )


def evaluations_of_span(span: Span, plan: Plan, values: list[Any]) -> list[Evaluation]:
    """What a span's own attributes say of how it was judged."""
    said = {plan.keys[at]: values[at] for at in plan.evaluations}
    found = [*_numbered(span, plan, said), *_by_name(span, said, dict(zip(plan.keys, values, strict=True)))]
    for index, one in enumerate(found):
        one.evaluation_id = record_id("evaluation", span.tenant, span.digest, str(index))
    return found


def _of(span: Span, source: str, name: str) -> Evaluation:
    return Evaluation(
        tenant=span.tenant,
        evaluation_id="",
        sequence=span.sequence,
        ordinal=span.ordinal,
        time_ns=span.end_ns or span.start_ns,
        trace_id=span.trace_id,
        span_id=span.span_id,
        revision=span.revision,
        source=source,
        name=name,
        service_name=span.service_name,
    )


def _numbered(span: Span, plan: Plan, said: dict[str, Any]) -> Iterator[Evaluation]:
    """OpenInference: `evaluations.0.evaluation.name`, `annotations.0.annotation.name`, and so on."""
    for prefix in plan.dialect.evaluations:
        if not prefix.endswith("."):
            continue
        for item in numbered(said, prefix):
            told = item.get("evaluation", item.get("annotation", item)) if isinstance(item, dict) else None
            name = read_text(told.get("name")) if isinstance(told, dict) else None
            if not isinstance(told, dict) or name is None:
                continue
            one = _of(span, "openinference", name)
            one.score, one.label = read_number(told.get("score")), read_text(told.get("label"))
            one.passed = _LABELS.get((one.label or "").lower())
            one.explanation = read_text(told.get("explanation"))
            kind = read_text(told.get("annotator_kind"))
            one.evaluator_kind = kind.lower() if kind else None
            yield one


def _by_name(span: Span, said: dict[str, Any], beside: dict[str, Any]) -> Iterator[Evaluation]:
    """pydantic-evals: JSON of `{name: {"value", "reason", "source"}}`; a value is a verdict, a score or a label."""
    for key, value in said.items():
        for name, told in _members(value) if "." not in key else ():
            if not isinstance(told, dict) or "value" not in told:
                continue
            one = _of(span, "span_attributes", name)
            match told["value"]:
                case bool(verdict):
                    one.passed, one.label = verdict, "pass" if verdict else "fail"
                case int() | float() as score:
                    one.score = read_number(score)
                case str(label):
                    one.label = label
                case _:
                    continue
            one.explanation = read_text(told.get("reason"))
            one.evaluator_name = _named(told.get("source"))
            one.evaluator_version = read_text(told.get("evaluator_version"))
            one.target, one.case_id = read_text(beside.get("task_name")), read_text(beside.get("case_name"))
            yield one


def _members(value: Any) -> list[tuple[str, Any]]:
    read = _decoded(value)
    return [(name, told) for name, told in read.items() if name] if isinstance(read, dict) else []


def _named(source: Any) -> str | None:
    """An evaluator's name: said itself, or in the JSON of how it was made."""
    read = _decoded(source)
    return read_text(read.get("name")) if isinstance(read, dict) else read_text(read)


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return read_json(value)
        except NotJson:
            return value
    return value
