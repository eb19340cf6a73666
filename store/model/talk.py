"""What a step's messages say: reasoning, tool calls asked for, tool answers given back.

Every chat span repeats its history, so only what is new on a step is read: its output, and of its input what stands
behind the assistant's last word.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from store.model.content import JSON, TEXT, ContentSink
from store.model.messages import parsed, read_message
from store.model.span import Event, Span, ToolAnswer, ToolRequest
from store.otlp.values import to_json

_REMEMBERED_MESSAGES_MAX: Final = 100_000  # A few hundred bytes each.


@dataclass(slots=True)
class Said:
    """What one message says."""

    role: str
    reasoning: bool = False
    requests: list[ToolRequest] = field(default_factory=list[ToolRequest])
    answers: list[ToolAnswer] = field(default_factory=list[ToolAnswer])


class Listener:
    """Reads messages, each content id once. One thread's."""

    def __init__(self, sink: ContentSink) -> None:
        self._sink = sink
        self._said: dict[str, Said] = {}
        self._texts: dict[str, str] = {}

    def hear(self, spoken: Span | Event, texts: dict[str, str]) -> None:
        """Fill `reasoning`, `tool_requests` and `tool_answers` from the messages. `texts`: content id -> text."""
        tenant = spoken.tenant
        for piece_id in spoken.output_messages or ():
            said = self._read(tenant, piece_id, texts, "assistant")
            spoken.reasoning = spoken.reasoning or said.reasoning
            spoken.tool_requests.extend(said.requests)
        tail: list[ToolAnswer] = []
        for piece_id in reversed(spoken.input_messages or ()):
            said = self._read(tenant, piece_id, texts, "user")
            if said.role == "assistant":
                break
            tail[:0] = said.answers
        spoken.tool_answers.extend(tail)

    def _read(self, tenant: str, piece_id: str, texts: dict[str, str], default_role: str) -> Said:
        known = self._said.get(piece_id)
        if known is not None:
            return known
        message = read_message(texts[piece_id], default_role)
        said = Said(message["role"])
        for part in message["parts"]:
            match part["type"]:
                case "reasoning":
                    said.reasoning = True
                case "tool_call" | "approval_request":
                    said.requests.append(self._request(tenant, part))
                case "tool_call_response":
                    said.answers.append(
                        ToolAnswer(_text(part.get("id")), self.put(tenant, part.get("response")))
                    )  # fmt: skip
                case _:
                    pass
        if len(self._said) >= _REMEMBERED_MESSAGES_MAX:
            self._said.clear()
        self._said[piece_id] = said
        return said

    def _request(self, tenant: str, part: dict[str, Any]) -> ToolRequest:
        return ToolRequest(_text(part.get("id")), _text(part.get("name")), self.put(tenant, part.get("arguments")))

    def put(self, tenant: str, value: Any) -> str | None:
        """Keep an argument or a result; None stays None."""
        if value is None:
            return None
        value = parsed(value)
        return self._sink.put(tenant, value, TEXT) if isinstance(value, str) else self._sink.put(
            tenant, to_json(value), JSON
        )  # fmt: skip


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
