"""Messages as every dialect sends them, read as OTel GenAI parts: `{"role", "parts": [{"type", ...}]}`.

Pieces are stored as they were sent; this reads them: OTel's own, OpenAI's messages, choices and Responses items,
Anthropic's and Bedrock's blocks, Gemini's contents, and LangChain's serialised messages and generations. What is not
understood becomes a part of type `generic` with everything it said, never nothing.
"""

from typing import Any, Final

from store.model.columns import spell_finish_reason
from store.model.nesting import NotJson, read_json
from store.model.parts import normalise_part, parsed

_ENVELOPE: Final = frozenset({"role", "name", "finish_reason"})
_NOTHING: Final = (None, "", [], {})
_ROLES: Final = {"model": "assistant", "ai": "assistant", "human": "user", "function": "tool", "developer": "system",
                 "AIMessageChunk": "assistant"}  # fmt: skip
_LANGCHAIN_TYPES: Final = frozenset({"human", "ai", "system", "tool", "function", "chat", "AIMessageChunk"})
_LANGCHAIN_CLASSES: Final = {"HumanMessage": "human", "AIMessage": "ai", "AIMessageChunk": "ai",
                             "SystemMessage": "system", "ToolMessage": "tool", "FunctionMessage": "function"}  # fmt: skip
_ANSWERING: Final = frozenset({"tool_call_response", "approval_request", "approval_response"})
_UNWRAPPED_MAX: Final = 4  # Generation, message, kwargs; more is no message.

__all__ = ["normalise_part", "parsed", "read_message"]


def read_message(text: str | bytes, default_role: str = "user") -> dict[str, Any]:
    """A stored piece as `{"role", "parts", "finish_reason"?, "name"?}`. Never fails: what is odd is kept as generic."""
    try:
        message = read_json(text)
    except NotJson:
        said = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return {"role": default_role, "parts": [{"type": "text", "content": said}]}
    if isinstance(message, str):
        return {"role": default_role, "parts": [{"type": "text", "content": message}]}
    if not isinstance(message, dict):
        return {"role": default_role, "parts": [{"type": "generic", "content": message}]}
    message, reason = _unwrapped(message)
    if "type" in message and "parts" not in message and "role" not in message:
        return _bare_part(message, default_role)  # As in system instructions, and the items of the Responses API.
    role = message.get("role")
    parts = _thought_first(_parts(message))
    result: dict[str, Any] = {
        "role": _ROLES.get(role, role) if isinstance(role, str) and role else default_role,
        "parts": parts,
    }
    if result["role"] == "user" and parts and all(part["type"] == "tool_call_response" for part in parts):
        result["role"] = "tool"  # Anthropic and pydantic-ai give a tool's answer to the model as the user's word.
    reason = message.get("finish_reason", message.get("stop_reason", reason))
    if isinstance(reason, str) and reason:
        result["finish_reason"] = spell_finish_reason(reason)
    if isinstance(message.get("name"), str):
        result["name"] = message["name"]
    return result


def _thought_first(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A message does not end with a thought: where libraries append what was thought, it came before what was said."""
    last = next((at for at in range(len(parts), 0, -1) if parts[at - 1]["type"] != "reasoning"), 0)
    return [*parts[last:], *parts[:last]] if last < len(parts) else parts


def _unwrapped(message: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The message in a choice, a candidate, a generation or a serialised object, and the finish reason beside it."""
    reason: Any = None
    for _ in range(_UNWRAPPED_MAX):
        if "role" in message or "parts" in message:
            break
        inner, role = _inner(message)
        if inner is None:
            break
        meta = message.get("generation_info", message.get("response_metadata"))
        beside = message.get("finish_reason", message.get("finishReason"))
        reason = beside or (meta.get("finish_reason") if isinstance(meta, dict) else None) or reason
        message = {"role": role, **inner} if role else inner
    return message, reason


def _inner(message: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    kind = message.get("type")
    is_langchain = isinstance(kind, str) and kind in _LANGCHAIN_TYPES
    for name, is_wrapping in (("message", True), ("kwargs", "lc" in message), ("data", is_langchain)):
        inner = message.get(name)
        if is_wrapping and isinstance(inner, dict):
            return {key: value for key, value in inner.items() if key != "type"}, _langchain_role(message, inner)
    content = message.get("content")
    if isinstance(content, dict) and "parts" in content:
        return content, None  # A candidate of Gemini's.
    if is_langchain and "content" in message:
        return {key: value for key, value in message.items() if key != "type"}, kind
    if isinstance(message.get("text"), str) and "generation_info" in message:
        return {"role": "assistant", "content": message["text"]}, None
    return None, None


def _langchain_role(message: dict[str, Any], inner: dict[str, Any]) -> str | None:
    """Which class a serialised message is of: said by the message, by what wraps it, or by the path of the class."""
    for kind in (inner.get("type"), message.get("type")):
        if isinstance(kind, str) and kind in _LANGCHAIN_TYPES:
            return kind
    path = message.get("id")
    return _LANGCHAIN_CLASSES.get(str(path[-1])) if isinstance(path, list) and path else None


def _bare_part(message: dict[str, Any], default_role: str) -> dict[str, Any]:
    part = normalise_part(message)
    role = {"tool_call": "assistant", "reasoning": "assistant", "tool_call_response": "tool"}.get(part["type"])
    said = default_role in ("assistant", "system") or role is None
    result: dict[str, Any] = {"role": default_role if said else role, "parts": [part]}
    if isinstance(message.get("finish_reason"), str):
        result["finish_reason"] = spell_finish_reason(message["finish_reason"])
    return result


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    parts = message.get("parts")
    if isinstance(parts, list):
        return [normalise_part(part) for part in parts]
    content = message.get("content")
    is_blocks = isinstance(content, list) and any(_is_answer(block) for block in content)
    if message.get("role") in ("tool", "function") and not is_blocks and ("content" in message or "id" in message):
        call_id = message.get("tool_call_id", message.get("id"))
        return [{"type": "tool_call_response", "id": call_id, "response": content}]
    found: list[dict[str, Any]] = []
    more = message.get("additional_kwargs")
    more = more if isinstance(more, dict) else {}
    thought = message.get("reasoning_content", more.get("reasoning_content"))
    if isinstance(thought, str) and thought:
        found.append({"type": "reasoning", "content": thought})
    calls = message.get("tool_calls") or more.get("tool_calls")
    if isinstance(content, list):
        found.extend(normalise_part(part) for part in content)
    elif content not in (None, ""):
        found.append(normalise_part(content))
    if isinstance(calls, list):
        asked = {part.get("id") for part in found if part["type"] == "tool_call"}
        found.extend(part for call in calls if (part := _call(call)).get("id") not in asked or part.get("id") is None)
    if not found:
        rest = {key: value for key, value in message.items() if key not in _ENVELOPE and value not in _NOTHING}
        return [{"type": "generic", "content": rest}] if rest and not _is_serialised(message) else []
    return found


def _call(call: Any) -> dict[str, Any]:
    if isinstance(call, dict) and "type" not in call and "name" in call:
        return normalise_part({"type": "tool_call", **call})
    return normalise_part(call)


def _is_answer(block: Any) -> bool:
    return isinstance(block, dict) and normalise_part(block)["type"] in _ANSWERING


def _is_serialised(message: dict[str, Any]) -> bool:
    """LangChain's messages have fields even where they say nothing."""
    return "additional_kwargs" in message or "response_metadata" in message
