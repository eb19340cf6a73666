"""Agents, tools and prompts as dimensions: what was seen of each, and since when.

Strategy: nothing is kept for them. Steps hold the ids of what their models were given, so that one statement over those
columns tells every version of a tool or a prompt, when it came and which one it followed; the projector pays nothing.
"""

from typing import Any

from store.contract import AgentFilter, Page, PromptFilter, ToolFilter
from store.duckdb.cursors import keyset, paged
from store.duckdb.engine import Engine
from store.duckdb.statements import sql
from store.duckdb.texts import texts_of
from store.model.messages import parsed, read_message
from store.model.rows import AgentRow, PromptRow, ToolRow
from store.model.times import rfc3339


def agents(engine: Engine, tenant: str, where: AgentFilter, *, limit: int, cursor: str | None) -> Page[AgentRow]:
    """See `store.contract.Reader.agents`."""
    asked = {"agent": where.agent, "service": where.service}
    rows = engine.rows(sql("select_agents"), {"tenant": tenant, **asked, **keyset(cursor), "limit": limit + 1})
    return paged(rows, limit, _agent, "first_ns", "id")


def tools(engine: Engine, tenant: str, where: ToolFilter, *, limit: int, cursor: str | None) -> Page[ToolRow]:
    """See `store.contract.Reader.tools`."""
    asked = {"tool": where.tool, "agent": where.agent, "service": where.service, "mcp_server": where.mcp_server}
    rows = engine.rows(sql("select_tools"), {"tenant": tenant, **asked, **keyset(cursor), "limit": limit + 1})
    return paged(rows, limit, _tool, "first_ns", "id")


def prompts(engine: Engine, tenant: str, where: PromptFilter, *, limit: int, cursor: str | None) -> Page[PromptRow]:
    """See `store.contract.Reader.prompts`."""
    asked = {"prompt": where.prompt, "agent": where.agent, "service": where.service}
    rows = engine.rows(sql("select_prompts"), {"tenant": tenant, **asked, **keyset(cursor), "limit": limit + 1})
    texts = texts_of(engine, tenant, {piece for row in rows[:limit] for piece in row["pieces"] or ()})
    return paged(rows, limit, lambda row: _prompt(row, texts), "first_ns", "id")


def _agent(row: dict[str, Any]) -> AgentRow:
    return AgentRow(
        agent_key=row["id"],
        agent_name=row["agent_name"],
        agent_version=row["agent_version"],
        service_name=row["service_name"],
        service_version=row["service_version"],
        environment=row["environment"],
        frameworks=row["frameworks"] or [],
        first_seen_at=rfc3339(row["first_ns"]),
        last_seen_at=rfc3339(row["last_ns"]),
        steps=row["steps"],
    )


def _tool(row: dict[str, Any]) -> ToolRow:
    definition = parsed(row["text"])
    return ToolRow(
        tool_key=row["id"],
        tool_name=row["tool_name"],
        agent_name=row["agent_name"],
        service_name=row["service_name"],
        definition_hash=row["hash"],
        description=_description(definition),
        definition=definition,
        tool_sources=row["tool_sources"] or [],
        mcp_servers=row["mcp_servers"] or [],
        revision=row["revision"],
        previous_hash=row["previous_hash"],
        first_seen_at=rfc3339(row["first_ns"]),
        last_seen_at=rfc3339(row["last_ns"]),
        steps=row["steps"],
        calls=row["calls"],
    )


def _description(definition: Any) -> str | None:
    """It stands beside the name, which some wrap once more."""
    if not isinstance(definition, dict):
        return None
    for holder in (definition, definition.get("function"), definition.get("toolSpec")):
        if isinstance(holder, dict) and isinstance(holder.get("description"), str):
            return holder["description"]
    return None


def _prompt(row: dict[str, Any], texts: dict[str, str]) -> PromptRow:
    pieces = row["pieces"] or []
    parts = [part for piece in pieces for part in read_message(texts.get(piece, "null"), "system")["parts"]]
    said = [part["content"] for part in parts if isinstance(part.get("content"), str)]
    return PromptRow(
        prompt_key=row["id"],
        prompt_name=row["prompt_name"],
        prompt_version=row["prompt_version"],
        agent_name=row["agent_name"],
        service_name=row["service_name"],
        prompt_hash=row["hash"],
        content_ids=pieces,
        text="\n\n".join(said) if said else None,
        revision=row["revision"],
        previous_hash=row["previous_hash"],
        first_seen_at=rfc3339(row["first_ns"]),
        last_seen_at=rfc3339(row["last_ns"]),
        steps=row["steps"],
    )
