"""Messages that came as indexed attributes, put together as OTel messages.

OpenInference spells `llm.input_messages.0.message.content`, Traceloop until 0.47 `gen_ai.prompt.0.content`.

Indexes may have gaps (0, 1, 7): the order counts, not the number.
"""

from typing import Any, Final

from store.model.messages import normalise_part, parsed

PATH_PARTS_MAX: Final = 16  # The convention's longest path has 9; what is beyond stays one name.
_INDEX_DIGITS_MAX: Final = 9
_THOUGHT: Final = "thinking"
"""What Traceloop until 0.47 gives as the role of a message that holds what Anthropic's model thought."""


def indexed_messages(attributes: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The messages below `prefix`, in the order of their indexes, as `{"role", "parts"}`."""
    return [
        _message(item.get("message", item)) for item in indexed_values(attributes, prefix) if isinstance(item, dict)
    ]


def indexed_values(attributes: dict[str, Any], prefix: str) -> list[Any]:
    """What stands below each number behind `prefix`, in the order of the numbers: maps as deep as the names say."""
    return _ordered(_tree((key[len(prefix) :], value) for key, value in attributes.items() if key.startswith(prefix)))


def numbered(attributes: dict[str, Any], prefix: str) -> list[Any]:
    """What numbered attributes below `prefix` spell, in the order of their numbers."""
    return _ordered(_tree((key[len(prefix) :], value) for key, value in attributes.items() if key.startswith(prefix)))


class _Branch(dict[str, Any]):
    """What indexed keys spell. A map that was sent as a value is not one: it stays as it came."""


def _tree(pairs: Any) -> dict[str, Any]:
    tree = _Branch()
    for path, value in pairs:
        *branches, leaf = path.split(".", PATH_PARTS_MAX)
        node = tree
        for branch in branches:
            below = node.get(branch)
            if not isinstance(below, _Branch):  # Where a value stands, too, the branch wins; the attributes keep both.
                below = node[branch] = _Branch()
            node = below
        if not isinstance(node.get(leaf), _Branch):
            node[leaf] = value
    return tree


def _ordered(tree: Any) -> list[Any]:
    if not isinstance(tree, dict):
        return []
    numbered = [
        (int(key), value)
        for key, value in tree.items()
        if key.isascii() and key.isdigit() and len(key) <= _INDEX_DIGITS_MAX
    ]
    return [value for _, value in sorted(numbered, key=lambda item: item[0])]


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"role": "user", "parts": [{"type": "generic", "content": message}]}
    parts: list[dict[str, Any]] = []
    role = message.get("role")
    call_id = message.get("tool_call_id")
    content = message.get("content")
    if role == "tool" or call_id is not None:
        parts.append({"type": "tool_call_response", "id": call_id, "response": content})
    contents = [_content_part(item) for item in _ordered(message.get("contents"))]
    if isinstance(message.get("reasoning"), str) and message["reasoning"]:
        parts.append({"type": "reasoning", "content": message["reasoning"]})
    # Some libraries send the same text both ways.
    spoken = "".join(
        part["content"] for part in contents if part["type"] == "text" and isinstance(part["content"], str)
    )
    if not any(part["type"] == "tool_call_response" for part in parts) and content not in (None, "", spoken):
        parts.extend(_blocks(content))
    parts.extend(contents)
    parts.extend(_call_part(item) for item in _ordered(message.get("tool_calls")))
    if role == _THOUGHT:
        role = "assistant"
        parts = [{**part, "type": "reasoning"} if part["type"] == "text" else part for part in parts]
    result: dict[str, Any] = {"role": role if isinstance(role, str) and role else "user", "parts": parts}
    for name in ("name", "finish_reason"):
        if isinstance(message.get(name), str):
            result[name] = message[name]
    return result


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Content as parts: a text, or a list of parts as JSON (what Traceloop sends where a message has more than text)."""
    listed = parsed(content)
    if isinstance(listed, list) and listed and all(isinstance(item, dict) and "type" in item for item in listed):
        return [normalise_part(item) for item in listed]
    return [{"type": "text", "content": content}]


def _content_part(item: Any) -> dict[str, Any]:
    content = item.get("message_content", item) if isinstance(item, dict) else {"content": item}
    kind = content.get("type", "text") if isinstance(content, dict) else "generic"
    if not isinstance(content, dict):
        return {"type": "generic", "content": content}
    if kind in ("text", "reasoning"):
        rest = {key: value for key, value in content.items() if key not in ("type", "text")}
        return {"type": kind, "content": content.get("text"), **rest}
    if kind == "tool_use":
        return {"type": "tool_call", "id": content.get("id"), "name": content.get("name"),
                "arguments": parsed(content.get("input"))}  # fmt: skip
    return {**content, "type": kind}


def _call_part(item: Any) -> dict[str, Any]:
    call = item.get("tool_call", item) if isinstance(item, dict) else {}
    if not isinstance(call, dict):
        call = {}
    function = call.get("function", call)
    if not isinstance(function, dict):
        function = {}
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"),
            "arguments": parsed(function.get("arguments"))}  # fmt: skip
