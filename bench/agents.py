"""The fleet that the workloads simulate: agents with their system prompt, model and tools, and the MCP servers beside them.

All of it is drawn once a seed; every run of an agent repeats it, as agents do.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from bench.spans import Service, make_service
from bench.texts import Texts

AGENTS: Final = (
    "release-manager",
    "incident-responder",
    "support-desk",
    "code-reviewer",
    "data-analyst",
    "invoice-clerk",
    "migration-planner",
    "docs-writer",
)
_MODELS: Final = (
    ("anthropic", "claude-sonnet-4-5", "api.anthropic.com"),
    ("openai", "gpt-5.2", "api.openai.com"),
    ("gcp.gemini", "gemini-3-pro", "generativelanguage.googleapis.com"),
)
_VERBS: Final = ("read", "search", "list", "update", "create", "compare", "run", "explain")
_OBJECTS: Final = ("file", "ticket", "service", "invoice", "query", "deployment", "document", "test")
_PROPERTIES: Final = ("path", "query", "limit", "service", "since", "body", "reason", "revision", "labels")
MCP_SHARE: Final = 0.25  # Of the tools; the others are functions of the agent's own process.


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model is told of it. `server` is the MCP server that has it, None for a local function."""

    name: str
    description: str
    properties: tuple[str, ...]
    server: Service | None
    definition: str


@dataclass(frozen=True, slots=True)
class Agent:
    """What all runs of one agent share. `instructions` and `definitions` are JSON, as the spans carry them."""

    name: str
    agent_id: str
    service: Service
    provider: str
    model: str
    address: str
    instructions: str
    tools: tuple[Tool, ...]
    definitions: str


def make_fleet(rng: Random, words: Texts) -> list[Agent]:
    """The agents of a seed."""
    return [_make_agent(index, name, rng, words) for index, name in enumerate(AGENTS)]


def pick(rng: Random, items: tuple[str, ...]) -> str:
    """One of `items`. Random.choice would do, but its algorithm is not promised between Python versions."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def uuid_of(rng: Random) -> str:
    """A random UUID's text."""
    digits = rng.randbytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def json_text(value: object) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()


def _make_agent(index: int, name: str, rng: Random, words: Texts) -> Agent:
    service = make_service(
        2 * index,
        name=name,
        version=f"2.{index}.1",
        scope=("opentelemetry.instrumentation.genai", "1.3b0"),
        instance=uuid_of(rng),
    )
    server = make_service(
        2 * index + 1,
        name=f"{name}-tools",
        version="1.4.0",
        scope=("mcp-python-sdk", "2.3.0"),
        instance=uuid_of(rng),
    )
    names = [f"{verb}_{thing}" for verb in _VERBS for thing in _OBJECTS]
    rng.shuffle(names)
    tools = tuple(_make_tool(tool, rng, words, server) for tool in names[: between(rng, 14, 18)])
    provider, model, address = _MODELS[index % len(_MODELS)]
    prompt = f"You are {name}.\n\n" + words.english(rng, between(rng, 5500, 8000))
    return Agent(
        name=name,
        agent_id=uuid_of(rng),
        service=service,
        provider=provider,
        model=model,
        address=address,
        instructions=json_text([{"type": "text", "content": prompt}]),
        tools=tools,
        definitions="[" + ",".join(tool.definition for tool in tools) + "]",
    )


def _make_tool(name: str, rng: Random, words: Texts, server: Service) -> Tool:
    properties = _PROPERTIES[: between(rng, 2, 5)]
    description = words.english(rng, between(rng, 120, 420))
    schema = {
        key: {"type": "string", "description": words.english(rng, between(rng, 30, 90)).strip()} for key in properties
    }
    definition = {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": schema,
            "required": list(properties[:2]),
            "additionalProperties": False,
        },
    }
    return Tool(name, description, properties, server if rng.random() < MCP_SHARE else None, json_text(definition))
