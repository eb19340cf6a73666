"""What a step's messages say: reasoning, tool calls asked for, tool answers given back.

Every chat span repeats its history, so only what is new on a step is read: its output, and of its input what stands
behind the assistant's last word. That word is read only where something behind it answers: it may be all that tells what was
asked.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec

from store.model.content import JSON, TEXT, ContentSink, Pieces
from store.model.messages import parsed, read_message
from store.model.nesting import NotJson, read_json
from store.model.span import HOSTED, Event, Span, ToolAnswer, ToolRequest, Verdict
from store.otlp.values import to_json_bytes

_ASSISTANT: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"assistant"')
_SYSTEM: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"(?:system|developer)"')
_PLAIN_ROLE: Final = re.compile(rb'\s*\{\s*"role"\s*:\s*"(user|assistant|system)"')
_REMEMBERED_WORDS_MAX: Final = 4_000
_WORDS_BYTES_MAX: Final = 4_096
"""Within both bounds 16 MB: what was said a moment ago comes again in the next call's history."""
_FINISH_BYTES_MAX: Final = 80  # A finish reason is a word.
_FINISH: Final = re.compile(rb'(?<![\s,])[\s,]*"finish_reason"\s*:\s*(?:null|"(?:[^"\\]|\\.)*")\s*\}\Z')
"""A finish reason that is the last thing a message says: where anything stands behind it, what is before is not all of it."""
_REMEMBERED_MESSAGES_MAX: Final = 100_000  # A few hundred bytes each.


_NOTHING: Final = msgspec.Raw(b"null")
_CONTENT: Final = {kind: kind for kind in ("server_tool_call", "server_tool_call_response")}
"""Parts of a call that the provider runs have what it is about under their own name."""


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
    hosted: tuple[ToolAnswer, ...] = ()
    """Answers that the provider gave while the model spoke: they stand beside the requests, in one message."""
    approvals: tuple[ToolRequest, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    """Of approvals, the call id by the question's own id. A verdict that knows only the question has that one's id."""


_PLAIN: Final = {role.encode(): Said(role) for role in ("user", "assistant", "system")}


class Listener:
    """Reads messages, each content id once. One thread's."""

    def __init__(self, sink: ContentSink) -> None:
        self._sink = sink
        self._said: dict[str, Said] = {}
        self._words: dict[tuple[str, bytes], Said] = {}

    def hear(self, spoken: Span | Event, given: Pieces | None, said: Pieces | None) -> None:
        """Fill what messages say (`reasoning`, `tool_requests`, ...) from those that were given and those that were said."""
        tenant = spoken.tenant
        if said is not None:
            if spoken.finish_reason is None and said.raws and b"inish" in said.raws[-1]:
                spoken.finish_reason = read_message(said.raws[-1], "assistant").get("finish_reason")
            for piece_id, raw in zip(said.ids, said.raws, strict=True):
                message = self._read(tenant, piece_id, raw)
                spoken.reasoning = spoken.reasoning or message.reasoning
                if message.requests:
                    spoken.tool_requests.extend(message.requests)
                    self._keep_words(tenant, raw, message)
                if message.hosted:
                    spoken.tool_answers.extend(message.hosted)
                if message.approvals:
                    spoken.approvals.extend(message.approvals)
        if given is not None:
            if isinstance(spoken, Span) and spoken.system_instructions is None and given.raws:
                _find_instructions(spoken, given)
            self._hear_given(spoken, given)

    def _hear_given(self, spoken: Span | Event, given: Pieces) -> None:
        """What stands behind the assistant's last word; and, where it answers something, that word."""
        tenant = spoken.tenant
        answers: list[ToolAnswer] = []
        verdicts: list[Verdict] = []
        behind = len(given.ids)
        for piece_id, raw in zip(reversed(given.ids), reversed(given.raws), strict=True):
            if _ASSISTANT.match(raw):
                break
            message = self._read(tenant, piece_id, raw)
            if message.role == "assistant":
                break
            if message.answers:
                answers[:0] = message.answers
            if message.verdicts:
                verdicts[:0] = message.verdicts
            behind -= 1
        if answers or verdicts:
            asked = self._asked_before(tenant, given, behind, len(answers))
            spoken.tool_answers.extend(_with_requests(answers, asked))
            if verdicts:
                self._take_verdicts(spoken, verdicts, given, behind)

    def _keep_words(self, tenant: str, raw: bytes, said: Said) -> None:
        """What a model said comes again in the next history, as another piece: without the reason why it stopped."""
        if len(raw) > _WORDS_BYTES_MAX:
            return
        finish = _FINISH.search(raw, max(len(raw) - _FINISH_BYTES_MAX, 0))
        if finish is not None:
            if len(self._words) >= _REMEMBERED_WORDS_MAX:
                self._words.clear()
            self._words[tenant, raw[: finish.start()] + b"}"] = said

    def _asked_before(self, tenant: str, given: Pieces, behind: int, wanted: int) -> list[ToolRequest]:
        """What the assistant asked for right before the message at `behind`, in one message or (as items) in several."""
        asked: list[ToolRequest] = []
        for at in range(behind - 1, -1, -1):
            raw = given.raws[at]
            message = self._words.get((tenant, raw)) or self._read(tenant, given.ids[at], raw)
            if message.role != "assistant":
                break
            asked = message.requests + asked if asked else message.requests
            if len(asked) >= wanted:
                break
        return asked

    def _take_verdicts(self, spoken: Span | Event, verdicts: list[Verdict], given: Pieces, behind: int) -> None:
        """Verdicts name the call, or only the question: then the question before them names the call."""
        questions: dict[str, str] = {}
        for at in range(behind - 1, -1, -1):
            message = self._read(spoken.tenant, given.ids[at], given.raws[at])
            if message.role != "assistant":
                break
            questions |= dict(message.questions)
        for verdict in verdicts:
            spoken.say(replace(verdict, id=questions.get(verdict.id or "", verdict.id)))

    def _read(self, tenant: str, piece_id: str, raw: bytes) -> Said:
        known = self._said.get(piece_id)
        if known is not None:
            return known
        # Most messages are plain text: their role is all there is to know, and it stands where a look finds it.
        if not _may_tell(raw):
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
                case "tool_call" | "server_tool_call" as kind:
                    asked = _request(part, "id", self.put(tenant, part.get(_CONTENT.get(kind, "arguments"))))
                    said.requests.append(replace(asked, type=HOSTED) if _is_hosted(part) else asked)
                case "tool_call_response" | "server_tool_call_response" as kind:
                    result = self.put(tenant, part.get(_CONTENT.get(kind, "response")))
                    answer = ToolAnswer(_text(part.get("id")), result)
                    if _is_hosted(part):
                        said.hosted += (answer,)
                    else:
                        said.answers.append(answer)
                case "approval_request":
                    asked = _request(part, "tool_call_id", self.put(tenant, part.get("arguments")))
                    said.approvals += (asked,)
                    if asked.id and isinstance(part.get("id"), str):
                        said.questions += ((part["id"], asked.id),)
                case "approval_response":
                    said.verdicts += (self._verdict(tenant, part),)
                case _:
                    pass
        # Some libraries send the question bare: it is about the message's one call, or about nobody knows which.
        if said.approvals:
            lone = said.requests if len(said.requests) == 1 else []
            said.approvals = tuple(found for one in said.approvals for found in ([one] if one.id or one.name else lone))
        return said

    def _verdict(self, tenant: str, part: dict[str, Any]) -> Verdict:
        approved = part.get("approved")
        return Verdict(
            id=_text(part.get("tool_call_id")) or _text(part.get("id")),
            verdict=None if not isinstance(approved, bool) else "allow" if approved else "deny",
            name=_text(part.get("name")),
            reason=self.put(tenant, part.get("reason") or None),
        )

    def put(self, tenant: str, value: Any) -> str | None:
        """Keep an argument or a result; None stays None."""
        if value is None:
            return None
        value = parsed(value)
        if isinstance(value, str):
            return self._sink.put(tenant, value.encode("utf-8", "surrogatepass"), TEXT)
        return self._sink.put(tenant, to_json_bytes(value), JSON)


def _is_hosted(part: dict[str, Any]) -> bool:
    """Whether the provider runs the tool: by the type of the part, or (pydantic-ai) by a mark on it."""
    return part["type"] in _CONTENT or part.get("builtin") is True


def _request(part: dict[str, Any], id_key: str, arguments: str | None) -> ToolRequest:
    return ToolRequest(_text(part.get(id_key)), _text(part.get("name")), arguments)


def _with_requests(answers: list[ToolAnswer], requests: list[ToolRequest]) -> list[ToolAnswer]:
    """Each answer with the name and arguments of its request: by id, or the one for the one where the ids differ."""
    if len(answers) == len(requests) == 1:
        asked, answer = requests[0], answers[0]
        return [ToolAnswer(answer.id, answer.result, asked.name, asked.arguments)]
    found: list[ToolAnswer] = []
    by_id = {request.id: request for request in requests if request.id}
    answered = {answer.id for answer in answers}
    unasked = sum(1 for answer in answers if answer.id not in by_id)
    lone = [request for request in requests if request.id not in answered] if unasked == 1 else []
    for answer in answers:
        asked = by_id.get(answer.id or "") or (lone[0] if len(lone) == 1 and answer.id not in by_id else None)
        found.append(answer if asked is None else ToolAnswer(answer.id, answer.result, asked.name, asked.arguments))
    return found


def _may_tell(raw: bytes) -> bool:
    """Whether a message holds a word that one with reasoning, a call, an answer or an approval has."""
    return (b"tool" in raw or b"eason" in raw or b"unction" in raw) or (
        b"think" in raw or b"thought" in raw or b"approv" in raw
    )


def _find_instructions(span: Span, given: Pieces) -> None:
    """Instructions that are sent as the first messages: they are an agent's prompt all the same."""
    count = 0
    while count < len(given.raws) and _SYSTEM.match(given.raws[count]):
        count += 1
    if count:
        span.told().system_messages = given.ids[:count]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
