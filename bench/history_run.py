"""A *history* run: every chat span carries the system prompt, the tool definitions and all messages so far.

This is what instrumentations send with content capture on. Span bytes grow with the square of the turns, while what is
new in each span is a few hundred bytes: the case that content-addressed storage is for.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.agent_run import STATES, TOOL_ERROR_SHARE, AgentRun, Call, finish_reason
from bench.agents import Agent, between, json_text, pick
from bench.spans import Attribute, Ended
from bench.texts import Texts

TURNS_MIN: Final = 3
TURNS_MAX: Final = 20
RESULT_CHARS_MIN: Final = 200
RESULT_CHARS_MAX: Final = 4000
_REASONING_SHARE: Final = 0.6
_SECOND_CALL_SHARE: Final = 0.2

Parts = list[dict[str, object]]


def history_run(agent: Agent, rng: Random, words: Texts, start_ns: int) -> Iterator[Ended]:
    """One run with all its content, its spans in the order of their ends. It takes about a minute of its own time."""
    run = AgentRun.begin(agent, rng, words, start_ns)
    run.say("user", [{"type": "text", "content": run.english(80, 900)}])
    parts: Parts = []
    turns = between(rng, TURNS_MIN, TURNS_MAX)
    for turn in range(turns):
        last = turn == turns - 1
        parts, calls = _answer(run, last=last)
        yield _chat(run, parts, last=last)
        run.say("assistant", parts)
        for call in calls:
            yield from _tool_call(run, call)
    yield run.root(
        {
            "gen_ai.system_instructions": agent.instructions,
            "gen_ai.input.messages": "[" + run.messages[0] + "]",
            "gen_ai.output.messages": _output(parts, last=True),
        }
    )


def _answer(run: AgentRun, *, last: bool) -> tuple[Parts, list[Call]]:
    parts: Parts = []
    if run.rng.random() < _REASONING_SHARE:
        parts.append({"type": "reasoning", "content": run.english(150, 700)})
    if last:
        parts.append({"type": "text", "content": run.english(300, 1500)})
        return parts, []
    if run.rng.random() < 0.3:
        parts.append({"type": "text", "content": run.english(60, 250)})
    calls = [run.ask_for_tool() for _ in range(1 + (run.rng.random() < _SECOND_CALL_SHARE))]
    return parts + [call.part for call in calls], calls


def _output(parts: Parts, *, last: bool) -> str:
    return json_text([{"role": "assistant", "parts": parts, "finish_reason": finish_reason(last=last)}])


def _chat(run: AgentRun, parts: Parts, *, last: bool) -> Ended:
    agent = run.agent
    output = _output(parts, last=last)
    # Four characters a token is the usual rule of thumb.
    input_tokens = (len(agent.instructions) + len(agent.definitions) + run.history_chars) // 4
    values = run.chat_values(input_tokens, len(output) // 4, last=last)
    values |= {
        "gen_ai.system_instructions": agent.instructions,
        "gen_ai.tool.definitions": agent.definitions,
        "gen_ai.input.messages": "[" + ",".join(run.messages) + "]",
        "gen_ai.output.messages": output,
    }
    start_ns = run.now_ns
    end_ns = run.pass_time(800, 9000)
    return run.span(f"chat {agent.model}", values, kind=Span.SPAN_KIND_CLIENT, start_ns=start_ns, end_ns=end_ns)


def _tool_call(run: AgentRun, call: Call) -> Iterator[Ended]:
    """The spans of one call, innermost first, and its answer into the history."""
    failed = run.rng.random() < TOOL_ERROR_SHARE
    result = run.english(200, 600) if failed else _result(run)
    span_id = run.new_id()
    start_ns = run.now_ns
    if call.tool.server is not None:
        yield from _mcp_call(run, call, span_id, failed=failed)
    values: dict[str, Attribute] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool.name,
        "gen_ai.tool.type": "extension" if call.tool.server else "function",
        "gen_ai.tool.description": call.tool.description,
        "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.call.arguments": call.arguments,
        "gen_ai.tool.call.result": result,
        **run.identity(),
    }
    if failed:
        values["error.type"] = "ToolError"
    yield run.span(
        f"execute_tool {call.tool.name}",
        values,
        kind=Span.SPAN_KIND_INTERNAL,
        start_ns=start_ns,
        end_ns=run.pass_time(5, 2500),
        span_id=span_id,
        error=result if failed else None,
    )
    run.say("tool", [{"type": "tool_call_response", "id": call.call_id, "response": result}])


def _mcp_call(run: AgentRun, call: Call, tool_span_id: bytes, *, failed: bool) -> Iterator[Ended]:
    """Server and client side of one `tools/call`, from two processes."""
    client_id = run.new_id()
    start_ns = run.pass_time(1, 3)
    server_start_ns = run.pass_time(1, 4)
    server_end_ns = run.pass_time(3, 2000)
    end_ns = run.pass_time(1, 4)
    values: dict[str, Attribute] = {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-03-26",
        "mcp.session.id": run.trace_id.hex(),
        "jsonrpc.request.id": str(between(run.rng, 2, 99)),
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool.name,
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }
    if failed:
        values["error.type"] = "tool_error"
    name = f"tools/call {call.tool.name}"
    yield run.span(
        name,
        values | {"client.address": "10.0.0.7", "gen_ai.tool.call.arguments": call.arguments},
        kind=Span.SPAN_KIND_SERVER,
        start_ns=server_start_ns,
        end_ns=server_end_ns,
        parent_id=client_id,
        service=call.tool.server,
    )
    yield run.span(
        name,
        values | {"server.address": "tools.internal", "server.port": 8080},
        kind=Span.SPAN_KIND_CLIENT,
        start_ns=start_ns,
        end_ns=end_ns,
        span_id=client_id,
        parent_id=tool_span_id,
    )


def _result(run: AgentRun) -> str:
    """A tool's answer: source, prose or rows. Lengths are spread evenly by ratio: short ones are the most frequent."""
    rng = run.rng
    chars = int(RESULT_CHARS_MIN * (RESULT_CHARS_MAX / RESULT_CHARS_MIN) ** rng.random())
    kind = rng.random()
    if kind < 0.45:
        return run.words.source(rng, chars)
    if kind < 0.75:
        return run.words.english(rng, chars)
    rows: list[dict[str, object]] = []
    while chars > 0:
        note = run.english(20, 120).strip()
        rows.append(
            {
                "id": rng.randbytes(6).hex(),
                "state": pick(rng, STATES),
                "owner": f"u-{between(rng, 1, 9999):04d}",
                "amount": between(rng, 100, 999_999) / 100,
                "note": note,
            }
        )
        chars -= 100 + len(note)
    return json_text(rows)
