"""The conversation of a run, every message once, where it was first seen.

Each model call is given the whole history again, so a message is new only where a call's input holds it more often than
the conversation does so far. What a model said is new by definition. Equality is of role and parts: a finish reason, the
order of keys, or the id of a call does not make another message, and histories leave out what a model thought.

An agent's or a workflow's messages repeat those of the model calls below it. They are read where no such call tells any (it
failed, or is not recorded), and for the one thing that no model is told: the answer to a question for leave.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import msgspec

from store.model.messages import read_message
from store.model.span import Event, Span
from store.model.trace import Trace, in_order

_SPEAKING_KINDS = ("llm", "other")
_REPEATING_KINDS = ("agent", "workflow")
_ANSWER: Final = "approval_response"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `at_ns`: when the model was given it, or when it had said it."""

    span: Span
    direction: str
    role: str
    parts: list[dict[str, Any]]
    finish_reason: str | None
    content_id: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """The content ids of a step's messages, by direction."""

    system: list[str]
    given: list[str]
    said: list[str]
    answers_only: bool = False
    """Whether nothing but answers to questions for leave is wanted of them."""


def pieces_of_step(span: Span, events: list[Event]) -> Pieces:
    """A step's messages: its own, else those of the log records that belong to it (a library may send both)."""
    own = Pieces(span.system_instructions or [], span.input_messages or [], span.output_messages or [])
    if own.given or own.said:
        return own
    ordered = in_order(events)
    return Pieces(
        own.system or [piece for event in ordered for piece in event.system_instructions or ()],
        [piece for event in ordered for piece in event.input_messages or ()],
        [piece for event in ordered for piece in event.output_messages or ()],
    )


def finish_reason_of(span: Span, events: list[Event]) -> str | None:
    """Why a step's model stopped, as its span says, else as the log records say that have its messages."""
    return span.finish_reason or next(
        (event.finish_reason for event in reversed(in_order(events)) if event.finish_reason), None
    )


def events_by_step(trace: Trace) -> dict[str, list[Event]]:
    """Speaking log records by span id."""
    found: dict[str, list[Event]] = {}
    for event in trace.events.values():
        found.setdefault(trace.step_of(event), []).append(event)
    return found


def content_ids(traces: list[Trace]) -> set[str]:
    """Every piece that `conversation` will want to read."""
    return {
        piece
        for trace in traces
        for _, pieces in _speaking(trace)
        for piece in (*pieces.system, *pieces.given, *pieces.said)
    }


def conversation(traces: list[Trace], texts: dict[str, str]) -> list[Message]:
    """The messages of a run in order. `texts`: content id -> text.

    A call that a model was heard to ask for under the id of an item has the id by which histories and answers name it.
    """
    histories: dict[str, dict[str, Any]] = {}
    told = list(_told(traces, texts, histories))
    answered = set(_ids(told, "tool_call_response"))
    said = [part for one in told if one.direction == "output" for part in one.parts if part["type"] == "tool_call"]
    unanswered = [part for part in said if isinstance(part.get("id"), str) and part["id"] not in answered]
    if unanswered:
        asked = set(_ids(told, "tool_call", "output"))
        renamed: dict[bytes, deque[str]] = {}
        for call_id, part in histories.items():
            if call_id in answered and call_id not in asked:
                renamed.setdefault(_encoded(_telling(part)), deque()).append(call_id)
        for part in unanswered:
            if names := renamed.get(_encoded(_telling(part))):
                part["id"] = names.popleft()
    return told


def _ids(messages: list[Message], kind: str, direction: str | None = None) -> Iterator[str]:
    """The ids of the messages' parts of a kind."""
    for message in messages:
        for part in message.parts if direction in (None, message.direction) else ():
            if part["type"] == kind and isinstance(part.get("id"), str):
                yield part["id"]


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _told(traces: list[Trace], texts: dict[str, str], histories: dict[str, dict[str, Any]]) -> Iterator[Message]:
    """The messages; fills `histories` with calls that are told again, by their ids."""
    seen: Counter[bytes] = Counter()
    for trace in traces:
        for span, pieces in _speaking(trace):
            yield from _new(span, "system", pieces.system, seen, texts, histories=histories)
            for message in _new(span, "input", pieces.given, seen, texts, histories=histories):
                if not pieces.answers_only:
                    yield message
                elif answers := [part for part in message.parts if part["type"] == _ANSWER]:
                    yield replace(message, parts=answers)
            for nth, piece in enumerate(pieces.said, 1):
                message = read_message(texts.get(piece, "null"), "assistant")
                seen[_identity(message)] += 1
                if nth == len(pieces.said) and span.finish_reason:  # Said of the step is said of its last message.
                    message.setdefault("finish_reason", span.finish_reason)
                yield _message(span, "output", message, piece)


def _speaking(trace: Trace) -> Iterator[tuple[Span, Pieces]]:
    """Model calls with their messages; and those of agents and workflows, as far as nothing below them tells any."""
    events = events_by_step(trace)
    pieces = {span.span_id: pieces_of_step(span, events.get(span.span_id, [])) for span in trace.ordered()
              if span.kind in _SPEAKING_KINDS or span.kind in _REPEATING_KINDS}  # fmt: skip
    given_below: set[str] = set()
    said_below: set[str] = set()
    for span in trace.ordered():
        own = pieces.get(span.span_id)
        if own is not None and own.given and span.kind in _SPEAKING_KINDS:
            given_below.update(above.span_id for above in trace.ancestors(span))
        if own is not None and own.said:
            said_below.update(above.span_id for above in trace.ancestors(span))
    for span in trace.ordered():
        own = pieces.get(span.span_id)
        if own is None:
            continue
        if span.kind in _SPEAKING_KINDS:
            yield span, own
        elif span.span_id not in given_below:
            said = [] if span.span_id in said_below else own.said
            yield span, Pieces(own.system, own.given or ([] if said else span.all_messages or []), said)
        elif span.verdicts:
            yield span, Pieces([], own.given, [], answers_only=True)


def _new(
    span: Span,
    direction: str,
    pieces: list[str],
    seen: Counter[bytes],
    texts: dict[str, str],
    *,
    histories: dict[str, dict[str, Any]],
) -> Iterator[Message]:
    here: Counter[bytes] = Counter()
    for piece in pieces:
        message = read_message(texts.get(piece, "null"), "system" if direction == "system" else "user")
        identity = _identity(message)
        here[identity] += 1
        if here[identity] > seen[identity]:
            seen[identity] += 1
            yield _message(span, "system" if message["role"] == "system" else direction, message, piece)
        else:
            for part in message["parts"]:
                if part["type"] == "tool_call" and isinstance(part.get("id"), str):
                    histories.setdefault(part["id"], part)


def _message(span: Span, direction: str, message: dict[str, Any], piece: str) -> Message:
    at_ns = (span.end_ns or span.start_ns) if direction == "output" else span.start_ns
    return Message(span, direction, message["role"], message["parts"], message.get("finish_reason"), piece, at_ns)


def _identity(message: dict[str, Any]) -> bytes:
    parts = message["parts"]
    if message["role"] == "assistant":  # Histories leave out what was thought.
        parts = [part for part in parts if part["type"] != "reasoning"] or parts
    said = [message["role"], [_telling(part) for part in parts]]
    return sha256(_encoded(said)).digest()


def _telling(part: dict[str, Any]) -> dict[str, Any]:
    """What makes a part the same part: libraries repeat it without ids, signatures and other trimmings."""
    match part["type"]:
        case "text" | "reasoning":
            return {"type": part["type"], "content": part.get("content")}
        case "tool_call":
            # Without its id: a history may have the call's where the answer has the item's. Two equal calls are counted.
            return {key: part.get(key) for key in ("type", "name", "arguments")}
        case "tool_call_response":
            return {key: part.get(key) for key in ("type", "id", "response")}
        case _:
            return part
