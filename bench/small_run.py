"""A *small* run: message content is not captured, and the calls below (HTTP, SQL) are traced too.

This is how most services are set up: many spans of about the same size, each with a few hundred bytes of text of its own.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.agent_run import TOOL_ERROR_SHARE, AgentRun
from bench.agents import Agent, between, uuid_of
from bench.spans import Attribute, Ended
from bench.texts import Texts

TURNS_MIN: Final = 2
TURNS_MAX: Final = 8
_ARGUMENT_CHARS_MAX: Final = 500


def small_run(agent: Agent, rng: Random, words: Texts, start_ns: int) -> Iterator[Ended]:
    """One run without content, its spans in the order of their ends. It takes some ten seconds of its own time."""
    run = AgentRun.begin(agent, rng, words, start_ns)
    turns = between(rng, TURNS_MIN, TURNS_MAX)
    for turn in range(turns):
        last = turn == turns - 1
        yield from _chat(run, last=last)
        if not last:
            yield from _tool_call(run)
    yield run.root(
        {
            "gen_ai.agent.description": run.english(600, 600),
            "code.function.name": f"{agent.name.replace('-', '_')}.service.Handler.answer",
            "user.id": f"u-{between(rng, 1, 9999):04d}",
            "session.id": uuid_of(rng),
        }
    )


def _chat(run: AgentRun, *, last: bool) -> Iterator[Ended]:
    rng, agent = run.rng, run.agent
    chat_id = run.new_id()
    start_ns = run.now_ns
    yield run.span(
        "POST",
        _http_values(run),
        kind=Span.SPAN_KIND_CLIENT,
        start_ns=run.pass_time(1, 5),
        end_ns=run.pass_time(600, 5000),
        parent_id=chat_id,
    )
    values = run.chat_values(between(rng, 800, 9000), between(rng, 40, 900), last=last)
    values["app.turn.summary"] = run.english(420, 420)
    yield run.span(
        f"chat {agent.model}",
        values,
        kind=Span.SPAN_KIND_CLIENT,
        start_ns=start_ns,
        end_ns=run.pass_time(1, 5),
        span_id=chat_id,
    )


def _tool_call(run: AgentRun) -> Iterator[Ended]:
    call = run.ask_for_tool()
    tool_id = run.new_id()
    start_ns = run.now_ns
    failed = run.rng.random() < TOOL_ERROR_SHARE
    for _ in range(between(run.rng, 1, 2)):
        yield run.span(
            "SELECT orders",
            _query_values(run),
            kind=Span.SPAN_KIND_CLIENT,
            start_ns=run.pass_time(1, 5),
            end_ns=run.pass_time(2, 90),
            parent_id=tool_id,
        )
    values: dict[str, Attribute] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool.name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.call.arguments": call.arguments[:_ARGUMENT_CHARS_MAX],
        "gen_ai.tool.call.result": run.english(200, 1000),
        **run.identity(),
    }
    if failed:
        values["error.type"] = "ToolError"
    yield run.span(
        f"execute_tool {call.tool.name}",
        values,
        kind=Span.SPAN_KIND_INTERNAL,
        start_ns=start_ns,
        end_ns=run.pass_time(1, 5),
        span_id=tool_id,
        error=run.english(160, 160) if failed else None,
    )


def _http_values(run: AgentRun) -> dict[str, Attribute]:
    rng, address = run.rng, run.agent.address
    return {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": f"https://{address}/v1/messages?request={uuid_of(rng)}",
        "server.address": address,
        "server.port": 443,
        "network.protocol.version": "1.1",
        "user_agent.original": "python-httpx/0.28.1",
        "http.request.body.size": between(rng, 4000, 40000),
        "http.response.body.size": between(rng, 400, 4000),
        "http.response.header.request-id": [uuid_of(rng)],
        "code.stacktrace": run.words.source(rng, 780),
    }


def _query_values(run: AgentRun) -> dict[str, Attribute]:
    rng = run.rng
    return {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.collection.name": "orders",
        "db.operation.name": "SELECT",
        "db.query.text": (
            "SELECT id, state, owner, amount, note FROM orders WHERE state = %s AND owner = %s AND note ILIKE %s "
            f"ORDER BY id LIMIT {between(rng, 1, 500)} -- " + run.english(420, 420).replace("\n", " ")
        ),
        "db.response.returned_rows": between(rng, 0, 500),
        "server.address": "orders-db.internal",
        "server.port": 5432,
        "code.function.name": "orders.repository.find",
        "code.stacktrace": run.words.source(rng, 380),
        "thread.name": f"worker-{between(rng, 0, 15)}",
    }
