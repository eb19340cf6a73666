"""One agent's run while it is simulated: its trace, its clock, what was said so far, and how its spans are made."""

from dataclasses import dataclass, field
from random import Random
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.agents import Agent, Tool, between, json_text, pick, uuid_of
from bench.spans import Attribute, Ended, Service, SpanKind, make_span
from bench.texts import Texts

TOOL_ERROR_SHARE: Final = 0.04
STATES: Final = ("open", "closed", "pending", "failed", "healthy", "degraded")
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the model asked for; `part` is how the messages tell of it, `arguments` is JSON."""

    call_id: str
    tool: Tool
    arguments: str
    part: dict[str, object]


@dataclass(slots=True)
class AgentRun:
    """The state of one run. `messages` are JSON each: a history is joined, never encoded again."""

    agent: Agent
    rng: Random
    words: Texts
    trace_id: bytes
    root_id: bytes
    conversation_id: str
    start_ns: int
    now_ns: int
    messages: list[str] = field(default_factory=list[str])
    history_chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @classmethod
    def begin(cls, agent: Agent, rng: Random, words: Texts, start_ns: int) -> "AgentRun":
        """A run with ids of its own."""
        trace_id, root_id = rng.randbytes(16), rng.randbytes(8)
        return cls(agent, rng, words, trace_id, root_id, f"conv_{uuid_of(rng)}", start_ns, start_ns)

    def say(self, role: str, parts: list[dict[str, object]]) -> None:
        """Add a message to the history."""
        self.messages.append(json_text({"role": role, "parts": parts}))
        self.history_chars += len(self.messages[-1])

    def english(self, chars_min: int, chars_max: int) -> str:
        """Some prose."""
        return self.words.english(self.rng, between(self.rng, chars_min, chars_max))

    def pass_time(self, ms_min: int, ms_max: int) -> int:
        """Let the clock go on by a time between the two, and return it in nanoseconds."""
        self.now_ns += between(self.rng, ms_min * _NS_PER_MS, ms_max * _NS_PER_MS)
        return self.now_ns

    def new_id(self) -> bytes:
        """A fresh span id."""
        return self.rng.randbytes(8)

    def span(
        self,
        name: str,
        values: dict[str, Attribute],
        *,
        kind: SpanKind,
        start_ns: int,
        end_ns: int,
        span_id: bytes | None = None,
        parent_id: bytes | None = None,
        service: Service | None = None,
        error: str | None = None,
    ) -> Ended:
        """A span of this run, below its root unless `parent_id` says otherwise."""
        span = make_span(
            self.trace_id,
            self.new_id() if span_id is None else span_id,
            self.root_id if parent_id is None else parent_id,
            name=name,
            kind=kind,
            start_ns=start_ns,
            end_ns=end_ns,
            values=values,
            error=error,
        )
        return Ended(end_ns, service or self.agent.service, span)

    def identity(self) -> dict[str, Attribute]:
        """Whose span it is: what chat, tool and agent spans have in common."""
        return {
            "gen_ai.agent.name": self.agent.name,
            "gen_ai.agent.id": self.agent.agent_id,
            "gen_ai.conversation.id": self.conversation_id,
        }

    def chat_values(self, input_tokens: int, output_tokens: int, *, last: bool) -> dict[str, Attribute]:
        """A chat span's attributes but its content; its tokens are added to the run's."""
        agent = self.agent
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": agent.provider,
            "gen_ai.request.model": agent.model,
            "gen_ai.request.max_tokens": 8192,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.response.model": f"{agent.model}-20260901",
            "gen_ai.response.id": f"msg_{self.rng.randbytes(12).hex()}",
            "gen_ai.response.finish_reasons": [finish_reason(last=last)],
            "gen_ai.usage.input_tokens": input_tokens,
            "gen_ai.usage.output_tokens": output_tokens,
            "gen_ai.usage.cache_read.input_tokens": int(input_tokens * 0.8),
            "server.address": agent.address,
            "server.port": 443,
            **self.identity(),
        }

    def root(self, values: dict[str, Attribute]) -> Ended:
        """The `invoke_agent` span around all of it, which ends last."""
        common: dict[str, Attribute] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": self.agent.provider,
            **self.identity(),
            "gen_ai.request.model": self.agent.model,
            "gen_ai.usage.input_tokens": self.input_tokens,
            "gen_ai.usage.output_tokens": self.output_tokens,
        }
        return self.span(
            f"invoke_agent {self.agent.name}",
            common | values,
            kind=Span.SPAN_KIND_INTERNAL,
            start_ns=self.start_ns,
            end_ns=self.pass_time(1, 20),
            span_id=self.root_id,
            parent_id=b"",
        )

    def ask_for_tool(self) -> Call:
        """A call of one of the agent's tools."""
        tool = self.agent.tools[int(self.rng.random() * len(self.agent.tools))]
        arguments = {key: self._argument(key) for key in tool.properties}
        call_id = f"call_{self.rng.randbytes(12).hex()}"
        part: dict[str, object] = {"type": "tool_call", "id": call_id, "name": tool.name, "arguments": arguments}
        return Call(call_id, tool, json_text(arguments), part)

    def _argument(self, key: str) -> object:
        rng = self.rng
        match key:
            case "path":
                return f"src/{pick(rng, STATES)}/{rng.randbytes(4).hex()}.py"
            case "limit":
                return between(rng, 1, 500)
            case "body":
                return self.words.source(rng, between(rng, 40, 500))
            case _:
                return self.english(15, 90).strip()


def finish_reason(*, last: bool) -> str:
    """Why the model stopped: for a tool, or because it was done."""
    return "stop" if last else "tool_call"
