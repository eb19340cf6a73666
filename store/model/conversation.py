"""The conversation of a run, every message once, where it was first seen.

Each model call is given the whole history again, so a message is new only where a call's input holds it more often than
the conversation does so far. What a model said is new by definition. Equality is of role and parts: a finish reason, the
order of keys, or the id of a call does not make another message, and histories leave out what a model thought.

An agent's or a workflow's messages repeat those of the model calls below it. They are read where no such call tells any (it
failed, or is not recorded), and for the one thing that no model is told: the answer to a question for leave.

A run may have more to say than there is memory for: steps are heard some at a time, in order, and what is kept of a message
is its digest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import msgspec

from store.model.ids import step_id
from store.model.messages import read_message
from store.model.span import Event, Particulars, Span
from store.model.trace import events_in_order

SPEAKING_KINDS: Final = frozenset({"llm", "other"})
REPEATING_KINDS: Final = frozenset({"agent", "workflow"})
KNOWN_PIECES_MAX: Final = 50_000
"""Pieces whose message is remembered by its digest: about 10 MB. The histories of one agent go back far less."""
_ANSWER: Final = "approval_response"


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
    step_truncated: bool
    step_redacted: bool


@dataclass(frozen=True, slots=True)
class Pieces:
    """The content ids of a step's messages, by direction."""

    system: list[str]
    given: list[str]
    said: list[str]
    answers_only: bool = False
    """Whether nothing but answers to questions for leave is wanted of them."""

    @property
    def any(self) -> bool:
        return bool(self.system or self.given or self.said)


@dataclass(frozen=True, slots=True)
class Speaker:
    """What of a step belongs to the conversation, and when. `truncated`, `redacted`: something of the step was."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    pieces: Pieces
    finish_reason: str | None = None
    truncated: bool = False
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class AskedCalls:
    """The ids of a run's tool calls; and by step the calls that it asked for, in order, each with its id and its tool's name.

    Few runs have a call under another id, so the second is only worked out where it is looked at.
    """

    ids: Set[str]
    by_step: Callable[[], Mapping[str, Sequence[tuple[str, str | None]]]]


def pieces_of_step(span: Span, events: list[Event]) -> Pieces:
    """A step's messages: its own, else those of the log records that belong to it (a library may send both)."""
    return pieces_of(span.system_instructions, span.input_messages, span.output_messages, events)


def pieces_of(system: list[str] | None, given: list[str] | None, said: list[str] | None, events: list[Event]) -> Pieces:
    """The same, of what the step carries itself."""
    own = Pieces(system or [], given or [], said or [])
    if own.given or own.said:
        return own
    ordered = events_in_order(events)
    return Pieces(
        own.system or [piece for event in ordered for piece in event.system_instructions or ()],
        [piece for event in ordered for piece in event.input_messages or ()],
        [piece for event in ordered for piece in event.output_messages or ()],
    )


def repeats_something(own: Pieces, particulars: Particulars | None) -> bool:
    """Whether a step of a kind in REPEATING_KINDS has something to say, should nothing below it say it."""
    return own.any or (particulars is not None and bool(particulars.all_messages or particulars.verdicts))


def heard_of(own: Pieces, particulars: Particulars | None, *, given_below: bool, said_below: bool) -> Pieces | None:
    """What belongs to the conversation of a step of a kind in REPEATING_KINDS. None: nothing.

    `given_below`: a model call below it was given messages; `said_below`: a step below it said some.
    """
    if not given_below:
        said = [] if said_below else own.said
        whole = particulars.all_messages if particulars is not None else None
        return Pieces(own.system, own.given or ([] if said else whole or []), said)
    if particulars is not None and particulars.verdicts:
        return Pieces([], own.given, [], answers_only=True)
    return None


def finish_reason_of(span: Span, events: list[Event]) -> str | None:
    """Why a step's model stopped, as its span says, else as the log records say that have its messages."""
    return span.finish_reason or next(
        (event.finish_reason for event in reversed(events_in_order(events)) if event.finish_reason), None
    )


class Conversation:
    """Hears the steps of a run in their order. `read` gives the texts of content ids; one that is not there is left out.

    A call that a model was heard to ask for under the id of an item has the id that the run's tool call has: the one by
    which histories and answers name it. `asked` gives those calls, when the first one is heard; without it their ids stay.
    """

    def __init__(
        self, read: Callable[[Iterable[str]], Mapping[str, str]], asked: Callable[[], AskedCalls] | None = None
    ) -> None:
        self._read = read
        self._asked = asked
        self._calls: AskedCalls | None = None
        self._seen: Counter[bytes] = Counter()
        self._known: dict[tuple[str, str], bytes] = {}

    def hear(self, speaking: Iterable[Speaker]) -> Iterator[list[Message]]:
        """The new messages of each of these steps."""
        speakers = list(speaking)
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
            told = _message(one, "system" if own else "input", message, piece)
            if not one.pieces.answers_only:
                yield told
            elif answers := [part for part in told.parts if part["type"] == _ANSWER]:
                yield replace(told, parts=answers)

    def _said(self, one: Speaker, texts: Mapping[str, str]) -> list[Message]:
        found: list[Message] = []
        for nth, piece in enumerate(one.pieces.said, 1):
            message = read_message(texts.get(piece, "null"), "assistant")
            self._seen[_identity(message)] += 1
            if nth == len(one.pieces.said) and one.finish_reason:  # Said of the step is said of its last message.
                message.setdefault("finish_reason", one.finish_reason)
            found.append(_message(one, "output", message, piece))
        self._name_calls(one, found)
        return found

    def _name_calls(self, one: Speaker, said: list[Message]) -> None:
        """Give calls that were asked for under another id the run's id of them: those of one tool in their order."""
        parts = [
            part
            for message in said
            for part in message.parts
            if part["type"] == "tool_call" and isinstance(part.get("id"), str)
        ]
        if not parts or self._asked is None:
            return
        if self._calls is None:
            self._calls = self._asked()
        calls = self._calls
        unknown = [part for part in parts if part["id"] not in calls.ids]
        if not unknown:
            return
        named = {part["id"] for part in parts}
        asked = calls.by_step().get(step_id(one.trace_id, one.span_id), ())
        waiting = [call for call in asked if call[0] not in named]
        for part in unknown:
            call = next((call for call in waiting if call[1] == part.get("name")), None)
            if call is not None:
                waiting.remove(call)
                part["id"] = call[0]


def _given(one: Speaker) -> Iterator[tuple[str, str]]:
    """What a model was given, each with the role that it has where it names none."""
    for piece in one.pieces.system:
        yield "system", piece
    for piece in one.pieces.given:
        yield "user", piece


def _message(one: Speaker, direction: str, message: dict[str, Any], piece: str) -> Message:
    at_ns = (one.end_ns or one.start_ns) if direction == "output" else one.start_ns
    name, reason = step_id(one.trace_id, one.span_id), message.get("finish_reason")
    return Message(
        name, direction, message["role"], message["parts"], reason, piece, at_ns, one.truncated, one.redacted
    )  # fmt: skip


def _identity(message: dict[str, Any]) -> bytes:
    parts = message["parts"]
    if message["role"] == "assistant":  # Histories leave out what was thought.
        parts = [part for part in parts if part["type"] != "reasoning"] or parts
    said = [message["role"], [_telling(part) for part in parts]]
    return sha256(msgspec.json.encode(said, order="sorted")).digest()


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
