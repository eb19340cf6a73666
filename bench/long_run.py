"""One run of very many steps: an agent that works for days, whose history is cut to its last messages before each call.

Chats, tool calls and MCP rounds alternate below sub-agents, one a hundred turns, below the root. Every chat carries the
system prompt and the last messages, so that a message is repeated some times and new once.
"""

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.agent_run import AgentRun, Call
from bench.agents import json_text, make_fleet
from bench.spans import Attribute, Ended
from bench.texts import texts

HISTORY_MESSAGES: Final = 8  # What the model is given again with each call.
_TURNS_A_SUB_AGENT: Final = 100
_SPANS_A_REQUEST: Final = 512


def long_run(steps: int, *, seed: int, start_ns: int) -> tuple[str, Iterator[bytes]]:
    """The trace id (hex) of a run of exactly `steps` steps, and its export requests in the order of the spans' ends."""
    rng = Random(f"long:{seed}")
    agent = make_fleet(rng, texts())[0]
    run = AgentRun.begin(agent, rng, texts(), start_ns)
    return run.trace_id.hex(), _requests(_spans(run, steps))


def _spans(run: AgentRun, steps: int) -> Iterator[Ended]:
    left = steps - 1
    run.say("user", [{"type": "text", "content": run.english(80, 200)}])
    while left:
        begun_ns, sub_agent = run.now_ns, run.new_id()
        made = list(islice(_turns(run, sub_agent), left - 1))
        yield from made
        yield run.span(
            "invoke_agent worker",
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "worker"},
            kind=Span.SPAN_KIND_INTERNAL,
            start_ns=begun_ns,
            end_ns=run.pass_time(1, 5),
            span_id=sub_agent,
        )
        left -= len(made) + 1
    yield run.root({})


def _turns(run: AgentRun, sub_agent: bytes) -> Iterator[Ended]:
    for _ in range(_TURNS_A_SUB_AGENT):
        call = run.ask_for_tool()
        yield _chat(run, sub_agent, call)
        yield from _tool_call(run, sub_agent, call)


def _chat(run: AgentRun, sub_agent: bytes, call: Call) -> Ended:
    said: list[dict[str, object]] = [{"type": "reasoning", "content": run.english(40, 120)}, call.part]
    values = run.chat_values(1200, 80, last=False) | {
        "gen_ai.system_instructions": run.agent.instructions,
        "gen_ai.input.messages": "[" + ",".join(run.messages[-HISTORY_MESSAGES:]) + "]",
        "gen_ai.output.messages": json_text([{"role": "assistant", "parts": said, "finish_reason": "tool_call"}]),
    }
    start_ns, end_ns = run.now_ns, run.pass_time(800, 3000)
    run.say("assistant", said)
    return run.span(
        f"chat {run.agent.model}", values, kind=Span.SPAN_KIND_CLIENT, start_ns=start_ns, end_ns=end_ns,
        parent_id=sub_agent,
    )  # fmt: skip


def _tool_call(run: AgentRun, sub_agent: bytes, call: Call) -> Iterator[Ended]:
    span_id, start_ns, result = run.new_id(), run.now_ns, run.english(60, 300)
    if call.tool.server is not None:
        client_id, client_ns = run.new_id(), run.pass_time(1, 3)
        told: dict[str, Attribute] = {
            "mcp.method.name": "tools/call",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.tool.name,
        }
        name = f"tools/call {call.tool.name}"
        yield run.span(
            name, told, kind=Span.SPAN_KIND_SERVER, start_ns=run.pass_time(1, 3), end_ns=run.pass_time(1, 90),
            parent_id=client_id, service=call.tool.server,
        )  # fmt: skip
        yield run.span(
            name, told, kind=Span.SPAN_KIND_CLIENT, start_ns=client_ns, end_ns=run.pass_time(1, 3), span_id=client_id,
            parent_id=span_id,
        )  # fmt: skip
    values: dict[str, Attribute] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool.name,
        "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.call.arguments": call.arguments,
        "gen_ai.tool.call.result": result,
        **run.identity(),
    }
    yield run.span(
        f"execute_tool {call.tool.name}", values, kind=Span.SPAN_KIND_INTERNAL, start_ns=start_ns,
        end_ns=run.pass_time(1, 50), span_id=span_id, parent_id=sub_agent,
    )  # fmt: skip
    run.say("tool", [{"type": "tool_call_response", "id": call.call_id, "response": result}])
    del run.messages[:-HISTORY_MESSAGES]


def _requests(ended: Iterator[Ended]) -> Iterator[bytes]:
    while batch := list(islice(ended, _SPANS_A_REQUEST)):
        request = ExportTraceServiceRequest()
        for key in sorted({one.service.key for one in batch}):
            mine = [one for one in batch if one.service.key == key]
            scope = request.resource_spans.add(resource=mine[0].service.resource).scope_spans.add(
                scope=mine[0].service.scope
            )
            scope.spans.extend(one.span for one in mine)
        yield request.SerializeToString()
