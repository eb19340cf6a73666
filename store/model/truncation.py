"""Which steps had something cut before it was recorded: by their own mark, their resource's or scope's, or by the mark of
a log record that carries their messages (see `store.otlp.truncation`). Pure functions of what is stored.
"""

import msgspec

from store.model.span import Event
from store.model.trace import Trace
from store.otlp.truncation import MARK


def is_cut(event: Event) -> bool:
    """Whether a log record carries the mark."""
    return has_mark(event.attributes, event.pieces)


def has_mark(attributes: str | None, pieces: str | None) -> bool:
    """Whether the mark is among a log record's attributes or among those that were moved to content."""
    for texts, place in ((attributes, MARK), (pieces, f"attributes/{MARK}")):
        # Looking is much cheaper than decoding, and may find the name in what the record says about something else.
        if texts and MARK in texts and place in msgspec.json.decode(texts):
            return True
    return False


def cut_steps(trace: Trace) -> set[str]:
    """The span ids of a trace's truncated steps."""
    found = {span.span_id for span in trace.spans.values() if span.truncated}
    found |= {event.span_id for event in trace.events.values() if event.span_id in trace.spans and is_cut(event)}
    return found
