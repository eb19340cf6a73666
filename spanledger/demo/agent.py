"""A customer support agent at a small shop: the demo's run, from the customer's message to the answer.

pydantic-ai drives it, and its tools come from the back office (`shop_server`), a child process that the official MCP
SDK's client session speaks to over stdio (pydantic-ai's toolset reaches it through fastmcp's client, which is why one
call shows as four spans). Tools that only read run at once. Everything else waits: the first run ends with calls
pending, a person decides (`reviewer`), and a second run of the same conversation carries the decisions out. The spans
are all the libraries' own.
"""

import argparse
import asyncio
import json
import shlex
import sys
import textwrap
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from fastmcp.client.transports import StdioTransport
from mcp import MCPError
from opentelemetry.sdk._logs import LoggerProvider
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings

from spanledger.demo.reviewer import REVIEWER, Verdict, log_verdicts, review
from spanledger.demo.script import MODEL_NAME, scripted_model
from spanledger.demo.telemetry import DemoError, TelemetryNotDelivered, check_endpoint, normalised_endpoint, record_to

AGENT_NAME = "support-agent"
SERVICE_NAME = "fernhill-support"
SERVICE_VERSION = "1.8.2"
INSTRUCTIONS = (
    "You answer the customers of Fernhill Pottery. Look things up before you say them. "
    "Money leaves the shop only after a person has approved it. Say what was done and what was not."
)
CUSTOMER_MESSAGE = (
    "Hello, this is Ines, about order FP-1042. The teapot arrived cracked and I would like my money back for it. "
    "The cups are not here yet: where are they? A voucher for the trouble would be nice, too."
)
# A tool that is not known to be harmless waits for a person, so one that the server adds tomorrow waits too.
TOOLS_WITHOUT_APPROVAL = frozenset({"get_order", "track_parcel"})
# The data format of pydantic-ai's instrumentation: its default today, in which a pending approval is not an error.
INSTRUMENTATION_VERSION = 5

NARRATION_WIDTH = 110
NARRATION_INDENT = 12

SupportOutput = str | DeferredToolRequests
SupportAgent = Agent[object, SupportOutput]


class ShopServerLost(DemoError):
    """The MCP server could not be started or went away."""


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What one demo did. `trace_ids` are those of its two runs, oldest first: 32 lower-case hexadecimal digits."""

    conversation_id: str
    trace_ids: tuple[str, ...]
    answer: str


class Narrator:
    """Tells the conversation on a text stream while it happens: who, and what."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, who: str, what: str) -> None:
        wrapped = textwrap.fill(
            what,
            width=NARRATION_WIDTH,
            initial_indent=who.ljust(NARRATION_INDENT),
            subsequent_indent=" " * NARRATION_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        print(wrapped, file=self._out, flush=True)

    def response(self, response: ModelResponse) -> None:
        for part in response.parts:
            if isinstance(part, ThinkingPart):
                self.say("agent", f"(thinks) {part.content}")
            elif isinstance(part, ToolCallPart):
                self.say("agent", f"calls {part.tool_name} {part.args_as_json_str()}")
            elif isinstance(part, TextPart):
                self.say("agent", part.content)

    def tool_answers(self, request: ModelRequest) -> None:
        for part in request.parts:
            if isinstance(part, ToolReturnPart):
                verb = {"success": "answers", "failed": "FAILED:", "denied": "was never run:"}.get(
                    part.outcome, part.outcome
                )
                self.say("tool", f"{part.tool_name} {verb} {part.model_response_str(wrap_if_error=False)}")


def run_demo_agent(endpoint: str, out: TextIO) -> DemoOutcome:
    """Run the agent once, tell it on `out`, and have sent all its telemetry to `endpoint` when this returns.

    `endpoint` is the base address of an OTLP/HTTP receiver, as http://127.0.0.1:4318. One call a process, because the
    OpenTelemetry providers are global. Raises DemoError (see its kinds in `telemetry`) with what to do about it.
    """
    endpoint = normalised_endpoint(endpoint)
    check_endpoint(endpoint)
    telemetry = record_to(endpoint, service_name=SERVICE_NAME, service_version=SERVICE_VERSION)
    conversation_id = f"conv-{uuid.uuid4()}"
    try:
        answer = asyncio.run(_serve_customer(endpoint, conversation_id, telemetry.logs, Narrator(out)))
    finally:
        telemetry.finish()
    if not telemetry.run_trace_ids:
        raise TelemetryNotDelivered(
            "the agent ran, but OpenTelemetry recorded nothing: the environment turns it off. "
            "Unset OTEL_SDK_DISABLED and OTEL_TRACES_SAMPLER, then run the demo again."
        )
    return DemoOutcome(conversation_id=conversation_id, trace_ids=telemetry.run_trace_ids, answer=answer)


async def _serve_customer(endpoint: str, conversation_id: str, logs: LoggerProvider, narrator: Narrator) -> str:
    server = [sys.executable, "-m", "spanledger.demo.shop_server", "--endpoint", endpoint]
    # Kept alive between the two runs: the back office must remember what was booked in the first.
    transport = StdioTransport(command=server[0], args=server[1:], keep_alive=True)
    # 'failed' shows a tool's error to the model as the result of the call, rather than asking for the call again.
    back_office = MCPToolset[object](transport, id="fernhill-backoffice", tool_error_behavior="failed")
    agent: SupportAgent = Agent(
        FunctionModel(scripted_model, model_name=MODEL_NAME),
        name=AGENT_NAME,
        instructions=INSTRUCTIONS,
        output_type=[str, DeferredToolRequests],
        toolsets=[
            back_office.approval_required(lambda _context, tool, _arguments: tool.name not in TOOLS_WITHOUT_APPROVAL)
        ],
    )
    agent.instrument = InstrumentationSettings(version=INSTRUMENTATION_VERSION)
    try:
        narrator.say("customer", CUSTOMER_MESSAGE)
        output, history = await _run(agent, narrator, conversation_id, prompt=CUSTOMER_MESSAGE)
        while isinstance(output, DeferredToolRequests):
            for call in output.approvals:
                narrator.say("waiting", f"{call.tool_name} {call.args_as_json_str()} needs a person's approval")
            verdicts = await review(output.approvals)
            for verdict in verdicts:
                narrator.say(
                    "reviewer", f"{verdict.word.upper()} {verdict.call.tool_name}: {verdict.reason} ({REVIEWER})"
                )
            log_verdicts(logs, verdicts, conversation_id=conversation_id)
            output, history = await _run(agent, narrator, conversation_id, history=history, verdicts=verdicts)
    except MCPError as error:
        raise ShopServerLost(
            f"lost the shop's MCP server: {error}. What it said before it went is above; "
            f"start it alone to see more: {shlex.join(server)}"
        ) from error
    else:
        return output
    finally:
        await transport.disconnect()


async def _run(
    agent: SupportAgent,
    narrator: Narrator,
    conversation_id: str,
    *,
    prompt: str | None = None,
    history: Sequence[ModelMessage] = (),
    verdicts: Sequence[Verdict] = (),
) -> tuple[SupportOutput, list[ModelMessage]]:
    """One run of the agent, told node by node. Returns its output and the whole conversation so far."""
    results = DeferredToolResults(
        approvals={v.call.tool_call_id: ToolApproved() if v.approved else ToolDenied(v.reason) for v in verdicts}
    )
    async with agent.iter(
        prompt,
        message_history=history or None,
        deferred_tool_results=results if verdicts else None,
        conversation_id=conversation_id,
    ) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                narrator.tool_answers(node.request)
            elif Agent.is_call_tools_node(node) and node.model_response not in history:
                narrator.response(node.model_response)
    if run.result is None:
        raise DemoError("the agent's run ended without a result; run the demo again and report it if it comes back.")
    return run.result.output, run.result.all_messages()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m spanledger.demo.agent", description="Run the demo agent once.")
    parser.add_argument("--endpoint", default="http://127.0.0.1:4318", help="base address of an OTLP/HTTP receiver")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: conversation, traces, answer")
    arguments = parser.parse_args()
    try:
        outcome = run_demo_agent(arguments.endpoint, sys.stdout)
    except DemoError as error:
        print(f"demo agent: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
