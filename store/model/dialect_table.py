"""The page docs/dialects.md: what feeds what, concept by dialect, worked out from the dialects' files.

`python -m store.model.dialect_table` writes the page anew; a test holds it to the files.
"""

from pathlib import Path
from typing import Any, Final

from store.model.dialect import DIALECTS, read_dialect
from store.model.rules import Dialect, KindRule, NameRule, OutcomeRule

PAGE: Final = Path(__file__).parents[2] / "docs" / "dialects.md"
CONCEPTS: Final[dict[str, tuple[str, ...]]] = {
    "runs and agents": ("agent_name", "workflow_name", "agent_run_id"),
    "conversation": ("conversation_id", "previous_response_id"),
    "step kind": ("kind", "operation"),
    "model": ("provider", "request_model", "response_model", "response_id", "finish_reason"),
    "messages": ("input_messages", "output_messages", "system_instructions", "tool_definitions", "all_messages"),
    "reasoning": ("reasoning",),
    "tool calls": ("tool_name", "tool_call_id", "tool_type", "arguments", "result"),
    "mcp": ("mcp_method", "mcp_server", "mcp_protocol_version", "mcp_session_id", "jsonrpc_request_id"),
    "tokens": ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    "cost": ("cost_usd",),
    "errors and outcomes": ("error_type", "status_message", "outcome"),
    "approvals": ("approvals",),
    "more": (),
}
"""The concepts of the page, each with the columns that are it. Columns of no concept stand under `more`."""
_TITLES: Final = {"mcp": "MCP"}
_IN_MESSAGES: Final = "parts of the messages"
_INTRODUCTION: Final = """# Dialects: what each library sends, and what is made of it

This page is generated from the files in `store/model/dialects/` by `python -m store.model.dialect_table`; a test holds it to
them. What the columns mean is in [model.md](model.md). A dialect that extends another has its rules, too: "as `otel`" says
that nothing is different. "Not sent by this library" is what the research and the captures show, not what was not looked for.
The sources of a column are in the order in which they are tried; `attribute: path` is a path into a JSON value.

| file | dialect | what it is | asked | scopes | else known by |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION.rstrip("\n")]
    for place, dialect in enumerate(DIALECTS.values(), 1):
        known = [*sorted(dialect.marker_keys), *(f"{prefix}*" for prefix in dialect.marker_prefixes)]
        cells = (
            f"`{dialect.source}`",
            f"`{dialect.name}`",
            dialect.title,
            str(place),
            _codes(dialect.scopes),
            _codes(known),
        )
        lines.append(f"| {' | '.join(cells)} |")
    found = {dialect.source: _cells(dialect) for dialect in DIALECTS.values()}
    for concept in CONCEPTS:
        rows = [f"| `{source}` | {cell} |" for source, cells in found.items() if (cell := cells[concept])]
        if rows:
            lines += [
                "",
                f"## {_TITLES.get(concept, concept.capitalize())}",
                "",
                "| file | what feeds it |",
                "|---|---|",
                *rows,
            ]
    return "\n".join(lines) + "\n"


def fed(dialect: Dialect) -> dict[str, list[str]]:
    """What feeds each column of a dialect, best source first, as it is written on the page."""
    ranked: dict[str, list[tuple[int, str]]] = {}
    for key, columns in dialect.columns.items():
        for column, rank in columns:
            ranked.setdefault(column, []).append((rank, f"`{key}`"))
    for key, rules in dialect.content.items():
        for rule in rules:
            inside = [".".join(path) for path in rule.inside]
            ranked.setdefault(rule.column, []).append((rule.rank, _source(key, inside, rule.kinds)))
    found = {column: [source for _, source in sorted(sources)] for column, sources in ranked.items()}
    for inside in dialect.inside:
        for column, paths in inside.columns.items():
            source = _source(inside.attribute, [".".join(path) for path in paths], inside.kinds)
            where = f" where `{inside.where[0]}` is `{inside.where[1]}`" if inside.where else ""
            found.setdefault(column, []).append(source + where)
    for prefix, column in dialect.indexed.items():
        found.setdefault(column, []).append(f"`{prefix}N.*`")
    for prefix in dialect.indexed_tools:
        found.setdefault("tool_definitions", []).append(f"`{prefix}N.*`")
    _more(dialect, found)
    return found


def _more(dialect: Dialect, found: dict[str, list[str]]) -> None:
    for rule in dialect.compose:
        keys = [key for keys in rule.parts.values() for key in keys]
        found.setdefault(rule.column, []).append(" with ".join(f"`{key}`" for key in keys))
    for rule in dialect.names:
        found.setdefault(rule.column, []).append(_name(rule))
    for event, rules in dialect.events.items():
        for rule in rules:
            for column in [rule.column] if rule.column else ["input_messages", "output_messages"] * rule.attributes:
                found.setdefault(column, []).append(f"event `{event}`" + (f": `{rule.value}`" if rule.value else ""))
            if rule.cost:
                by = f", joined by `{rule.response_id}`" if rule.response_id else ""
                found.setdefault("cost_usd", []).append(f"record `{event}`: `{rule.cost}`{by}")
            if "arguments" in rule.request:
                found.setdefault("arguments", []).append(f"record `{event}`, joined by `{rule.response_id}`")
    for column, sources in found.items():
        found[column] = list(dict.fromkeys(sources))
    found["kind"] = [_kind(rule) for rule in dialect.kinds]
    found["outcome"] = [_outcome(rule) for rule in dialect.outcomes]
    reasoning = [_source(one.attribute, [".".join(path) for path in one.paths], one.kinds) for one in dialect.reasoning]
    found["reasoning"] = reasoning + ([_IN_MESSAGES] if "output_messages" in found else [])
    if dialect.approvals:
        found["approvals"] = [f"`{dialect.approvals.attribute}: {dialect.approvals.path}`"]
    if dialect.toolsets:
        source = f"`{dialect.toolsets.attribute}: {dialect.toolsets.tools}.*.{dialect.toolsets.toolset}`"
        found.setdefault("tool_type", []).append(f"{source} (of a call that never ran)")
    if dialect.results_always_sent:
        found.setdefault("approvals", []).append("a tool's step without a result")


def _cells(dialect: Dialect) -> dict[str, str]:
    own = read_dialect(dialect.source)
    base = DIALECTS.get(own.get("extends", ""))
    mine, theirs = fed(dialect), fed(base) if base else {}
    known = {column for columns in CONCEPTS.values() for column in columns}
    cells: dict[str, str] = {}
    for concept, columns in CONCEPTS.items():
        wanted = columns if concept != "more" else tuple(sorted(mine.keys() - known))
        same = base is not None and all(mine.get(column) == theirs.get(column) for column in wanted)
        parts = [f"{column}: {', '.join(mine[column])}" for column in wanted if mine.get(column)]
        text = f"as `{base.source}`" if base and same and parts else "; ".join(parts)
        cells[concept] = _with_absence(text, _absence(own, concept, is_inherited=same))
    return cells


def _absence(own: dict[str, Any], concept: str, *, is_inherited: bool) -> str | None:
    """What the file says is not sent, or that nothing is as the one says that it extends; None where neither says so."""
    if concept in own.get("not_sent", {}):
        return str(own["not_sent"][concept])
    above = _absence(read_dialect(own["extends"]), concept, is_inherited=True) if "extends" in own else None
    return above if is_inherited and not above else None


def _with_absence(text: str, absence: str | None) -> str:
    if absence is None:
        return text
    if not absence:
        return "not sent by this library"
    return f"{text}{'; ' if text else ''}not sent by this library: {absence}"


def _source(key: str, paths: list[str], kinds: frozenset[str]) -> str:
    inner = " | ".join(path for path in paths if path).replace("|", "\\|")
    return f"`{key}{': ' + inner if inner else ''}`" + (f" ({', '.join(sorted(kinds))})" if kinds else "")


def _name(rule: NameRule) -> str:
    what = "the service's name" if rule.source == "service_name" else "the span's name"
    where = [*sorted(rule.kinds), *(["root"] if rule.root else [])]
    return what + (f" ({', '.join(where)})" if where else "")


def _kind(rule: KindRule) -> str:
    conditions = [f"`{rule.attribute}`"] if rule.attribute else []
    if rule.span_name:
        conditions.append(f"name `{_escaped(rule.span_name.pattern)}`")
    if rule.span_kind:
        conditions.append("of a server" if rule.span_kind == 2 else f"span kind {rule.span_kind}")
    conditions += [f"without `{rule.without}`"] if rule.without else []
    conditions += ["at the root"] if rule.root else []
    values = rule.kind or ", ".join(f"{value} = {kind}" for value, kind in rule.values.items())
    return f"{' '.join(conditions)}: {values}"


def _outcome(rule: OutcomeRule) -> str:
    values = sorted(rule.values) + ([rule.pattern.pattern] if rule.pattern else [])
    return f"{rule.outcome} by `{rule.attribute}`" + (f" of {_codes(values)}" if values else "")


def _codes(texts: Any) -> str:
    return " ".join(f"`{_escaped(text)}`" for text in texts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
