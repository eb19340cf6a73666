"""What few spans say of the circumstances: the user, tags, metadata, versions, a framework's own totals; and of a run.

A span's are read by its plan (only shapes that have such attributes get here); a run's are the first that one of its spans
says, in order of time, so that what the root says wins over what is repeated below it.
"""

from typing import Any, Final

import msgspec

from store.model.columns import read_text
from store.model.nesting import NotJson, read_json
from store.model.plan import Plan
from store.model.span import Particulars, Span
from store.model.totals import Totals
from store.otlp.values import to_json

METADATA_CHARS_MAX: Final = 4096
"""Metadata are labels to find a run by. What is larger is content, and stays on its step alone."""
_TELLING_KINDS: Final = frozenset({"agent", "workflow"})


class RunParticulars(msgspec.Struct, omit_defaults=True):
    """What few runs have. `reported`: the totals that a framework put on its spans, by the column that they repeat."""

    end_user_tenant: str | None = None
    metadata: str | None = None
    agent_version: str | None = None
    workflow_version: str | None = None
    session_tags: list[str] = msgspec.field(default_factory=list[str])
    reported: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    reported_agrees: bool | None = None
    unpriced_calls: int = 0


NOTHING: Final = RunParticulars()


def read_particulars(span: Span, plan: Plan, values: list[Any]) -> None:
    """Fill `span.particulars` where there is something to fill."""
    for column, reader, places in plan.particulars:
        for at in places:
            read = reader(values[at])
            if read is not None:
                setattr(span.told(), column, read)
                break
    for at in plan.conversation:
        if read_text(values[at]):
            span.told().conversation_id_source = plan.keys[at]
            break
    # Below, libraries repeat it, with the names of their own nodes and steps in it.
    if plan.metadata and (span.parent_span_id is None or span.kind in _TELLING_KINDS):
        _read_metadata(span, plan, values)


def _read_metadata(span: Span, plan: Plan, values: list[Any]) -> None:
    said: dict[str, Any] = {}
    for at, name in plan.metadata:
        value = _decoded(values[at])
        if name:
            said[name] = value
        elif isinstance(value, dict):
            said |= value
    if not said:
        return
    told = span.told()
    for column, members in plan.dialect.metadata.columns.items():
        name = next((name for name in members if read_text(said.get(name))), None)
        if name is not None and span.said(column) is None:
            span.take(column, read_text(said[name]))
            if column == "conversation_id":
                told.conversation_id_source = f"metadata.{name}"
    text = to_json(said)
    if len(text) <= METADATA_CHARS_MAX:
        told.metadata = text


def _decoded(value: Any) -> Any:
    """A JSON text as what it says: some libraries encode every value, texts too."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return read_json(value)
        except NotJson:
            return value
    return value


_FIRST_SAID: Final = ("end_user_tenant", "metadata", "agent_version", "workflow_version")


def of_a_run(told: list[Particulars], totals: Totals) -> RunParticulars | None:
    """The first that is said of everything, and all tags; None where nothing is. `told`: of its spans, in order of time."""
    run = RunParticulars(unpriced_calls=totals.unpriced_calls)
    if totals.reported is not None:
        run.reported, run.reported_agrees = totals.reported, totals.agrees
    for one in told:
        for name in _FIRST_SAID:
            if getattr(run, name) is None:
                setattr(run, name, getattr(one, name))
        for tag in one.session_tags or ():
            if tag not in run.session_tags:
                run.session_tags.append(tag)
    return None if run == NOTHING else run
