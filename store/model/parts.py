"""Parts of messages with OTel's names for their types and fields, whatever their library calls them.

A part says its type in a field, or (Bedrock, Gemini) by the name of the only field that it has.
"""

from typing import Any, Final

from store.model.nesting import NotJson, read_json

_PART_TYPES: Final = {
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "reasoning_content": "reasoning",
    "reasoningContent": "reasoning",
    "tool-call": "tool_call",
    "toolCall": "tool_call",
    "toolUse": "tool_call",
    "tool_use": "tool_call",
    "function": "tool_call",
    "function_call": "tool_call",
    "functionCall": "tool_call",
    "tool-result": "tool_call_response",
    "tool_result": "tool_call_response",
    "toolResult": "tool_call_response",
    "function_call_output": "tool_call_response",
    "function_response": "tool_call_response",
    "functionResponse": "tool_call_response",
    "function_result": "tool_call_response",
    "server_tool_use": "server_tool_call",
    "web_search_tool_result": "server_tool_call_response",
    "web_fetch_tool_result": "server_tool_call_response",
    "code_execution_tool_result": "server_tool_call_response",
    "bash_code_execution_tool_result": "server_tool_call_response",
    "text_editor_code_execution_tool_result": "server_tool_call_response",
    "input_text": "text",
    "output_text": "text",
    "tool-approval-request": "approval_request",
    "function_approval_request": "approval_request",
    "tool-approval-response": "approval_response",
    "function_approval_response": "approval_response",
}
_BY_FIELD: Final = ("toolUse", "functionCall", "function_call", "toolResult", "functionResponse", "function_response",
                    "reasoningContent")  # fmt: skip
_CALL_IDS: Final = ("call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "id")
_ANSWER_IDS: Final = ("tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "call_id", "id")
_NAMES: Final = ("name", "toolName", "tool_name")
_ARGUMENTS: Final = ("arguments", "args", "input")
_RESPONSES: Final = ("response", "result", "output", "content")
_THOUGHTS_IN: Final = ("content", "text", "thinking", "reasoning", "summary", "reasoningText")


def normalise_part(part: Any) -> dict[str, Any]:
    """One part with OTel's names for its type and fields."""
    if isinstance(part, str):
        return {"type": "text", "content": part}
    if not isinstance(part, dict):
        return {"type": "generic", "content": part}
    part = _unfolded(part)
    kind = part.get("type")
    function = part.get("function")
    if isinstance(function, dict):  # OpenAI's nested form of a call.
        return {"type": "tool_call", "id": part.get("id"), "name": function.get("name"),
                "arguments": parsed(function.get("arguments"))}  # fmt: skip
    kind = _PART_TYPES.get(kind, kind) if isinstance(kind, str) else "generic"
    result = {**part, "type": kind}
    match kind:
        case "text":
            if "content" not in result:
                result["content"] = result.pop("text", None)
        case "reasoning":
            result["content"] = _thought(result)
        case "tool_call":
            _rename(result, "arguments", _ARGUMENTS)
            result["arguments"] = parsed(result.get("arguments"))
            _rename(result, "id", _CALL_IDS)
            _rename(result, "name", _NAMES)
        case "tool_call_response":
            _rename(result, "response", _RESPONSES)
            result["response"] = _answer(result.get("response"))
            _rename(result, "id", _ANSWER_IDS)
            if "toolName" in result:
                result["name"] = result.pop("toolName")
        case "server_tool_call" | "server_tool_call_response":
            _rename(result, kind, (kind, *(_RESPONSES if kind.endswith("response") else _ARGUMENTS)))
            _rename(result, "id", ("id", "tool_use_id"))
        case "approval_request" | "approval_response":
            _ask(result, part)
        case _:
            pass
    return result


def _ask(result: dict[str, Any], part: dict[str, Any]) -> None:
    """The part's own id is the question's; the call that it is about is named beside it or within."""
    call = part.get("function_call")
    asked: dict[str, Any] = call if isinstance(call, dict) else {}
    result["tool_call_id"] = asked.get("call_id", part.get("toolCallId", part.get("tool_call_id")))
    result["name"] = asked.get("name", part.get("toolName", part.get("name")))
    result["arguments"] = parsed(asked.get("arguments", part.get("input", part.get("arguments"))))
    result["id"] = part.get("approvalId", part.get("id", result["tool_call_id"]))


def _unfolded(part: dict[str, Any]) -> dict[str, Any]:
    """A part that says its type by the name of a field, as one that says it in `type`."""
    if "type" in part:
        kind = part["type"]
        inner = part.get(kind) if isinstance(kind, str) and kind in _BY_FIELD else None
        return {**part, **inner, "type": kind} if isinstance(inner, dict) else part
    for name in _BY_FIELD:
        if isinstance(part.get(name), dict):
            return {**part[name], "type": name}
    if isinstance(part.get("text"), str) and len(part) <= 2:
        if part.get("thought") is True:
            return {"type": "reasoning", "text": part["text"]}
        return {"type": "text", "text": part["text"]} if len(part) == 1 else part
    return part


def _rename(part: dict[str, Any], name: str, spellings: tuple[str, ...]) -> None:
    """The first spelling that the part has becomes `name`; the others stay as they are."""
    for spelling in spellings:
        if part.get(spelling) is not None:
            part[name] = part.pop(spelling)
            return
    part.setdefault(name, None)


def _thought(part: dict[str, Any]) -> Any:
    """The text of a reasoning part: its own, or those of the summaries and texts that it lists, also as JSON."""
    for name in _THOUGHTS_IN:
        said = part.get(name)
        if said in (None, "", []):
            continue
        listed = parsed(said) if isinstance(said, str) else said
        if isinstance(listed, dict):
            listed = [listed]
        texts = [text for one in _as_list(listed) if isinstance(one, dict) and isinstance(text := one.get("text"), str)]
        if name != "content":
            part.pop(name)
        return "\n\n".join(texts) if texts and len(texts) == len(listed) else said
    return part.get("content")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _answer(response: Any) -> Any:
    """A response that says in which form it is (`{"type": "json", "value": ...}`) as what it says."""
    if isinstance(response, dict) and response.keys() == {"type", "value"} and isinstance(response["type"], str):
        return response["value"]
    return response


def parsed(value: Any) -> Any:
    """A JSON string as what it says; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return read_json(value)
        except NotJson:
            return value
    return value
