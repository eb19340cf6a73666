"""Messages as every dialect sends them, read as OTel GenAI parts: `{"role", "parts": [{"type", ...}]}`.

Pieces are stored as they were sent; this reads them. What is not understood becomes a part of type `generic` with
everything it said, never nothing.
"""

from typing import Any, Final

from store.model.columns import spell_finish_reason
from store.model.nesting import NotJson, read_json

_PART_TYPES: Final = {
    "thinking": "reasoning",
    "reasoning_content": "reasoning",
    "reasoningContent": "reasoning",
    "tool-call": "tool_call",
    "toolUse": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "tool-result": "tool_call_response",
    "tool_result": "tool_call_response",
    "toolResult": "tool_call_response",
    "input_text": "text",
    "output_text": "text",
    "tool-approval-request": "approval_request",
    "function_approval_request": "approval_request",
    "tool-approval-response": "approval_response",
    "function_approval_response": "approval_response",
}
_ENVELOPE: Final = frozenset({"role", "name", "finish_reason"})
_NOTHING: Final = (None, "", [], {})
_ROLES: Final = {"model": "assistant", "ai": "assistant", "human": "user", "function": "tool", "developer": "system"}


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
    if "type" in message and "parts" not in message and "role" not in message:
        return {"role": default_role, "parts": [normalise_part(message)]}  # A bare part, as in system instructions.
    role = message.get("role")
    result: dict[str, Any] = {
        "role": _ROLES.get(role, role) if isinstance(role, str) and role else default_role,
        "parts": _parts(message),
    }
    if isinstance(message.get("finish_reason"), str):
        result["finish_reason"] = spell_finish_reason(message["finish_reason"])
    if isinstance(message.get("name"), str):
        result["name"] = message["name"]
    return result


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    parts = message.get("parts")
    if isinstance(parts, list):
        return [normalise_part(part) for part in parts]
    if message.get("role") in ("tool", "function") and ("content" in message or "id" in message):
        call_id = message.get("tool_call_id", message.get("id"))
        return [{"type": "tool_call_response", "id": call_id, "response": message.get("content")}]
    found: list[dict[str, Any]] = []
    if isinstance(message.get("reasoning_content"), str):
        found.append({"type": "reasoning", "content": message["reasoning_content"]})
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        found.extend(normalise_part(part) for part in content)
    elif content not in (None, ""):
        found.append(normalise_part(content))
    if isinstance(calls, list):
        found.extend(normalise_part(call) for call in calls)
    if not found:
        rest = {key: value for key, value in message.items() if key not in _ENVELOPE and value not in _NOTHING}
        return [{"type": "generic", "content": rest}] if rest else []
    return found


def normalise_part(part: Any) -> dict[str, Any]:
    """One part with OTel's names for its type and fields."""
    if isinstance(part, str):
        return {"type": "text", "content": part}
    if not isinstance(part, dict):
        return {"type": "generic", "content": part}
    kind = part.get("type")
    function = part.get("function")
    if isinstance(function, dict):  # OpenAI's nested form of a call.
        return {"type": "tool_call", "id": part.get("id"), "name": function.get("name"),
                "arguments": parsed(function.get("arguments"))}  # fmt: skip
    kind = _PART_TYPES.get(kind, kind) if isinstance(kind, str) else "generic"
    result = {**part, "type": kind}
    match kind:
        case "text" | "reasoning":
            if "content" not in result:
                result["content"] = result.pop("text", result.pop("thinking", None))
        case "tool_call":
            result["arguments"] = parsed(result.get("arguments", result.pop("args", result.pop("input", None))))
            if "id" not in result:
                result["id"] = result.pop("tool_call_id", result.pop("toolCallId", None))
        case "tool_call_response":
            if "response" not in result:
                result["response"] = result.pop("result", result.pop("content", None))
            if "id" not in result:
                result["id"] = result.pop("tool_call_id", result.pop("toolCallId", None))
        case "approval_request" | "approval_response":
            # The part's own id is the question's; the call that it is about is named beside it or within.
            call = part.get("function_call")
            asked: dict[str, Any] = call if isinstance(call, dict) else {}
            result["tool_call_id"] = asked.get("call_id", part.get("toolCallId", part.get("tool_call_id")))
            result["name"] = asked.get("name", part.get("toolName", part.get("name")))
            result["arguments"] = parsed(asked.get("arguments", part.get("input", part.get("arguments"))))
            result["id"] = part.get("approvalId", part.get("id", result["tool_call_id"]))
        case _:
            pass
    return result


def parsed(value: Any) -> Any:
    """A JSON string as what it says; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return read_json(value)
        except NotJson:
            return value
    return value
