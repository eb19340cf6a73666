"""Which steps had something cut, or redacted, before it was recorded: by their own mark, their resource's or scope's, or by
the mark of a log record that carries their messages (see `store.otlp.truncation` and `store.otlp.redaction`). Pure functions
of what is stored.
"""

from typing import Final

import msgspec

from store.model.span import Event
from store.model.trace import Trace
from store.otlp.redaction import MARK as REDACTED
from store.otlp.truncation import MARK as TRUNCATED

MARKS_BEGIN: Final = "spanledger."
"""What the names of both marks begin with: a text without it carries neither."""


def is_cut(event: Event) -> bool:
    """Whether something of a log record was cut."""
    return has_mark(TRUNCATED, event.attributes, event.pieces)


def is_taken_out(event: Event) -> bool:
    """Whether something of a log record was redacted."""
    return has_mark(REDACTED, event.attributes, event.pieces)


def has_mark(mark: str, attributes: str | None, pieces: str | None) -> bool:
    """Whether a mark is among a log record's attributes or among those that were moved to content."""
    for texts, place in ((attributes, mark), (pieces, f"attributes/{mark}")):
        # Looking is much cheaper than decoding, and may find the name in what the record says about something else.
        if texts and mark in texts and place in msgspec.json.decode(texts):
            return True
    return False


def cut_steps(trace: Trace) -> set[str]:
    """The span ids of a trace's truncated steps."""
    found = {span.span_id for span in trace.spans.values() if span.truncated}
    found |= {event.span_id for event in trace.events.values() if event.span_id in trace.spans and is_cut(event)}
    return found


def redacted_steps(trace: Trace) -> set[str]:
    """The span ids of a trace's redacted steps."""
    found = {span.span_id for span in trace.spans.values() if span.redacted}
    found |= {event.span_id for event in trace.events.values() if event.span_id in trace.spans and is_taken_out(event)}
    return found
