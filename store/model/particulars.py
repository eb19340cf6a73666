"""What few spans say of the circumstances: the user, tags, metadata, versions, a framework's own totals; and of a run.

A span's are read by its plan (only shapes that have such attributes get here); a run's are the first that one of its spans
says, in order of time, so that what the root says wins over what is repeated below it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from store.model.columns import read_text
from store.model.nesting import NotJson, read_json
from store.model.plan import Plan
from store.model.span import PARTICULARS, Particulars, Span
from store.otlp.values import to_json

METADATA_CHARS_MAX: Final = 4096
"""Metadata are labels to find a run by. What is larger is content, and stays on its step alone."""
_TELLING_KINDS: Final = frozenset({"agent", "workflow"})


def read_particulars(span: Span, plan: Plan, values: list[Any]) -> None:
    """Fill `span.particulars` where there is something to fill."""
    for column, reader, places in plan.particulars:
        for at in places:
            read = reader(values[at])
            if read is not None:
                setattr(span.told(), column, read)
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
        holder = told if column in PARTICULARS else span
        if name is not None and getattr(holder, column) is None:
            setattr(holder, column, read_text(said[name]))
            if column == "conversation_id":
                span.conversation_id_source = f"metadata.{name}"
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


@dataclass(slots=True)
class Circumstances:
    """A run's particulars: for whom and in which versions it ran."""

    user_id: str | None = None
    end_user_tenant: str | None = None
    metadata: str | None = None
    agent_version: str | None = None
    workflow_version: str | None = None
    session_tags: list[str] = field(default_factory=list[str])


_FIRST_SAID: Final = ("user_id", "end_user_tenant", "metadata", "agent_version", "workflow_version")


def circumstances_of(told: Iterable[Particulars]) -> Circumstances:
    """The first that is said of everything, and all tags. `told`: of a run's spans, in order of time."""
    run = Circumstances()
    for one in told:
        for name in _FIRST_SAID:
            if getattr(run, name) is None:
                setattr(run, name, getattr(one, name))
        if one.session_tags:
            run.session_tags.extend(tag for tag in one.session_tags if tag not in run.session_tags)
    return run
