"""Which signal an OTLP request body carries, when only its content can say.

JSON names it in its top key. In protobuf the three requests have the same outer shape (resources hold scopes, scopes
hold records), so a body is parsed as each of them; it is the one that leaves no byte unexplained and whose records make
sense: a span has ids of 16 and 8 bytes, a log record's ids are absent or of that length, a metric has a name. The wire
types of their first fields differ, so more than one answer takes records that say nearly nothing; then nobody guesses.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from google.protobuf.message import DecodeError, Message

from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.record import Signal

_SAY_WHICH: Final = "pass --signal traces, logs or metrics"


class AmbiguousSignal(Exception):
    """The content does not say, or says more than one thing. The message tells what to do."""


def json_signal(document: Any) -> Signal:
    """The signal of a decoded OTLP/JSON request. Raises AmbiguousSignal."""
    found = [signal for signal in Signal if isinstance(document, dict) and _member(document, LEVELS[signal][0])]
    keys = " or ".join(_camel(LEVELS[signal][0]) for signal in Signal)
    if not found:
        raise AmbiguousSignal(f"is not an OTLP/JSON request: it has no {keys}")
    if len(found) > 1:
        raise AmbiguousSignal(f"holds more than one of {keys}: write each request on a line of its own")
    return found[0]


def record_count(document: Any, signal: Signal) -> int:
    """Records in a decoded OTLP/JSON request. What has the wrong shape counts as none: the receiver will refuse it."""
    level = [document]
    for name in LEVELS[signal]:
        level = [item for outer in level if isinstance(outer, dict) for item in _items(_member(outer, name))]
    return len(level)


def protobuf_signal(body: bytes, signal: Signal | None) -> tuple[Signal, int]:
    """The signal of a protobuf request and how many records it holds; only counts where `signal` is given.

    A given signal is believed, and a body that does not parse as it counts no records: the receiver says what is wrong.
    Raises AmbiguousSignal where the content fits none, or more than one.
    """
    if signal is not None:
        request = _parsed(signal, body)
        return signal, 0 if request is None else sum(1 for _ in _records(request, signal))
    fitting: list[tuple[Signal, int]] = []
    for candidate in Signal:
        request = _parsed(candidate, body)
        if request is not None and _explained(request):
            records = list(_records(request, candidate))
            if records and all(map(_PLAUSIBLE[candidate], records)):
                fitting.append((candidate, len(records)))
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise AmbiguousSignal(f"is not recognised as an OTLP request; if it is one, {_SAY_WHICH}")
    names = " and ".join(candidate.label for candidate, _ in fitting)
    raise AmbiguousSignal(f"could be {names}; {_SAY_WHICH}")


def _parsed(signal: Signal, body: bytes) -> Message | None:
    try:
        return REQUEST_MESSAGES[signal].FromString(body)
    except DecodeError:
        return None


def _explained(request: Message) -> bool:
    """Whether no byte of the message, at any depth, is an unknown field. Discards them."""
    size = request.ByteSize()
    request.DiscardUnknownFields()
    return request.ByteSize() == size


def _records(request: Message, signal: Signal) -> Iterable[Any]:
    outer_name, scope_name, record_name = LEVELS[signal]
    for outer in getattr(request, outer_name):
        for scope in getattr(outer, scope_name):
            yield from getattr(scope, record_name)


def _is_span(record: Any) -> bool:
    return len(record.trace_id) == 16 and len(record.span_id) == 8


def _is_log_record(record: Any) -> bool:
    return len(record.trace_id) in (0, 16) and len(record.span_id) in (0, 8)


def _is_metric(record: Any) -> bool:
    return bool(record.name)


_PLAUSIBLE: Final[dict[Signal, Callable[[Any], bool]]] = {
    Signal.TRACES: _is_span,
    Signal.LOGS: _is_log_record,
    Signal.METRICS: _is_metric,
}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _member(document: Any, name: str) -> Any:
    members = cast(dict[str, Any], document)
    return members.get(_camel(name), members.get(name))


def _items(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []
