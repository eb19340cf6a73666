"""The conversation of a run, every message once, where it was first seen.

Each model call is given the whole history again, so a message is new only where a call's input holds it more often than
the conversation does so far. What a model said is new by definition. Equality is of role and parts: a finish reason, or the
order of keys, does not make another message.

A run may have more to say than there is memory for: steps are heard some at a time, in order, and what is kept of a message
is its digest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from store.model.ids import step_id
from store.model.messages import read_message
from store.model.span import Event, Span

SPEAKING_KINDS: Final = frozenset({"llm", "other"})
KNOWN_PIECES_MAX: Final = 50_000
"""Pieces whose message is remembered by its digest: about 10 MB. The histories of one agent go back far less."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `at_ns`: when the model was given it, or when it had said it."""

    step_id: str
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


@dataclass(frozen=True, slots=True)
class Speaker:
    """What a step of a kind in SPEAKING_KINDS says, and when."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    pieces: Pieces

    @classmethod
    def of(cls, span: Span, events: list[Event]) -> "Speaker":
        return cls(span.trace_id, span.span_id, span.start_ns, span.end_ns, pieces_of_step(span, events))


def pieces_of_step(span: Span, events: list[Event]) -> Pieces:
    """A step's messages: its own, else those of the log records that belong to it (a library may send both)."""
    return pieces_of(span.system_instructions, span.input_messages, span.output_messages, events)


def pieces_of(system: list[str] | None, given: list[str] | None, said: list[str] | None, events: list[Event]) -> Pieces:
    """The same, of what the step carries itself."""
    own = Pieces(system or [], given or [], said or [])
    if own.given or own.said:
        return own
    ordered = sorted(events, key=lambda event: (event.time_ns, event.sequence, event.ordinal))
    return Pieces(
        own.system or [piece for event in ordered for piece in event.system_instructions or ()],
        [piece for event in ordered for piece in event.input_messages or ()],
        [piece for event in ordered for piece in event.output_messages or ()],
    )


class Conversation:
    """Hears the steps of a run in their order. `read` gives the texts of content ids; one that is not there is left out."""

    def __init__(self, read: Callable[[Iterable[str]], Mapping[str, str]]) -> None:
        self._read = read
        self._seen: Counter[bytes] = Counter()
        self._known: dict[tuple[str, str], bytes] = {}

    def hear(self, speakers: Sequence[Speaker]) -> Iterator[list[Message]]:
        """The new messages of each of these steps."""
        if len(self._known) > KNOWN_PIECES_MAX:
            self._known.clear()
        texts = self._read(
            {piece for one in speakers for piece in one.pieces.said}.union(
                piece for one in speakers for role, piece in _given(one) if (role, piece) not in self._known
            )
        )
        for one in speakers:
            yield [*self._new(one, texts), *self._said(one, texts)]

    def _new(self, one: Speaker, texts: Mapping[str, str]) -> Iterator[Message]:
        here: dict[str, Counter[bytes]] = {"system": Counter(), "user": Counter()}
        for role, piece in _given(one):
            identity = self._known.get((role, piece))
            if identity is None:
                identity = self._known[role, piece] = _identity(read_message(texts.get(piece, "null"), role))
            here[role][identity] += 1
            if here[role][identity] <= self._seen[identity]:
                continue
            self._seen[identity] += 1
            text = texts[piece] if piece in texts else self._read([piece]).get(piece, "null")
            message = read_message(text, role)
            own = role == "system" or message["role"] == "system"
            yield _message(one, "system" if own else "input", message, piece)

    def _said(self, one: Speaker, texts: Mapping[str, str]) -> Iterator[Message]:
        for piece in one.pieces.said:
            message = read_message(texts.get(piece, "null"), "assistant")
            self._seen[_identity(message)] += 1
            yield _message(one, "output", message, piece)


def _given(one: Speaker) -> Iterator[tuple[str, str]]:
    """What a model was given, each with the role that it has where it names none."""
    for piece in one.pieces.system:
        yield "system", piece
    for piece in one.pieces.given:
        yield "user", piece


def _message(one: Speaker, direction: str, message: dict[str, Any], piece: str) -> Message:
    at_ns = (one.end_ns or one.start_ns) if direction == "output" else one.start_ns
    name = step_id(one.trace_id, one.span_id)
    return Message(name, direction, message["role"], message["parts"], message.get("finish_reason"), piece, at_ns)


def _identity(message: dict[str, Any]) -> bytes:
    said = [message["role"], [_telling(part) for part in message["parts"]]]
    return sha256(msgspec.json.encode(said, order="sorted")).digest()


def _telling(part: dict[str, Any]) -> dict[str, Any]:
    """What makes a part the same part: libraries repeat it without ids, signatures and other trimmings."""
    match part["type"]:
        case "text" | "reasoning":
            return {"type": part["type"], "content": part.get("content")}
        case "tool_call":
            return {key: part.get(key) for key in ("type", "id", "name", "arguments")}
        case "tool_call_response":
            return {key: part.get(key) for key in ("type", "id", "response")}
        case _:
            return part
