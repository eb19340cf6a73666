"""What a step's messages say: reasoning, tool calls asked for, tool answers given back.

Every chat span repeats its history, so only what is new on a step is read: its output, and of its input what stands
behind the assistant's last word.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from store.model.content import JSON, TEXT, ContentSink, Pieces
from store.model.messages import parsed, read_message
from store.model.nesting import NotJson, read_json
from store.model.span import Event, Span, ToolAnswer, ToolRequest
from store.otlp.values import to_json_bytes

_ASSISTANT: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"assistant"')
_SYSTEM: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"(?:system|developer)"')
_PLAIN_ROLE: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"(user|assistant|system)"')
_REMEMBERED_MESSAGES_MAX: Final = 100_000  # A few hundred bytes each.


_NOTHING: Final = msgspec.Raw(b"null")


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    """A part with no field but OTel's. What is not needed here is skipped, not decoded."""

    type: Literal["text", "reasoning", "tool_call", "tool_call_response"]
    id: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant", "tool"]
    parts: list[_Part]


_in_otel_words: Final = msgspec.json.Decoder(_Message).decode
"""A message in OTel's own words, which is most of them; whatever is not raises MsgspecError and is read with patience."""


@dataclass(slots=True)
class Said:
    """What one message says. `role` is empty where it does not say one."""

    role: str
    reasoning: bool = False
    requests: list[ToolRequest] = field(default_factory=list[ToolRequest])
    answers: list[ToolAnswer] = field(default_factory=list[ToolAnswer])


_PLAIN: Final = {role.encode(): Said(role) for role in ("user", "assistant", "system")}


class Listener:
    """Reads messages, each content id once. One thread's."""

    def __init__(self, sink: ContentSink) -> None:
        self._sink = sink
        self._said: dict[str, Said] = {}

    def hear(self, spoken: Span | Event, given: Pieces | None, said: Pieces | None) -> None:
        """Fill `reasoning`, `tool_requests` and `tool_answers` from the messages that were given and said."""
        tenant = spoken.tenant
        if said is not None:
            for piece_id, raw in zip(said.ids, said.raws, strict=True):
                message = self._read(tenant, piece_id, raw)
                spoken.reasoning = spoken.reasoning or message.reasoning
                spoken.tool_requests.extend(message.requests)
        if given is not None:
            if isinstance(spoken, Span) and spoken.system_instructions is None and given.raws:
                _find_instructions(spoken, given)
            tail: list[ToolAnswer] = []
            for piece_id, raw in zip(reversed(given.ids), reversed(given.raws), strict=True):
                if _ASSISTANT.match(raw):
                    break
                message = self._read(tenant, piece_id, raw)
                if message.role == "assistant":
                    break
                tail[:0] = message.answers
            spoken.tool_answers.extend(tail)

    def _read(self, tenant: str, piece_id: str, raw: bytes) -> Said:
        known = self._said.get(piece_id)
        if known is not None:
            return known
        # Most messages are plain text: their role is all there is to know, and it stands where a look finds it. One that
        # tells of reasoning, a call, an answer or an approval holds a word for it.
        if not (b"tool" in raw or b"eason" in raw or b"think" in raw or b"function" in raw or b"approv" in raw):
            plain = _PLAIN_ROLE.match(raw)
            if plain is not None:
                return _PLAIN[plain[1]]
        said = self._read_whole(tenant, raw)
        if len(self._said) >= _REMEMBERED_MESSAGES_MAX:
            self._said.clear()
        self._said[piece_id] = said
        return said

    def _read_whole(self, tenant: str, raw: bytes) -> Said:
        try:
            return self._read_otel(tenant, raw)
        except (msgspec.MsgspecError, RecursionError, NotJson):
            return self._read_any(tenant, raw)

    def _read_otel(self, tenant: str, raw: bytes) -> Said:
        message = _in_otel_words(raw)
        said = Said(message.role)
        for part in message.parts:
            match part.type:
                case "tool_call":
                    arguments = self.put(tenant, read_json(part.arguments))
                    said.requests.append(ToolRequest(part.id or None, part.name or None, arguments))
                case "tool_call_response":
                    said.answers.append(ToolAnswer(part.id or None, self.put(tenant, read_json(part.response))))
                case "reasoning":
                    said.reasoning = True
                case "text":
                    pass
        return said

    def _read_any(self, tenant: str, raw: bytes) -> Said:
        message = read_message(raw, "")
        said = Said(message["role"])
        for part in message["parts"]:
            match part["type"]:
                case "reasoning":
                    said.reasoning = True
                case "tool_call" | "approval_request":
                    said.requests.append(
                        ToolRequest(
                            _text(part.get("id")), _text(part.get("name")), self.put(tenant, part.get("arguments"))
                        )
                    )
                case "tool_call_response":
                    said.answers.append(ToolAnswer(_text(part.get("id")), self.put(tenant, part.get("response"))))
                case _:
                    pass
        return said

    def put(self, tenant: str, value: Any) -> str | None:
        """Keep an argument or a result; None stays None."""
        if value is None:
            return None
        value = parsed(value)
        if isinstance(value, str):
            return self._sink.put(tenant, value.encode("utf-8", "surrogatepass"), TEXT)
        return self._sink.put(tenant, to_json_bytes(value), JSON)


def _find_instructions(span: Span, given: Pieces) -> None:
    """Instructions that are sent as the first messages: they are an agent's prompt all the same."""
    count = 0
    while count < len(given.raws) and _SYSTEM.match(given.raws[count]):
        count += 1
    if count:
        span.told().system_messages = given.ids[:count]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
