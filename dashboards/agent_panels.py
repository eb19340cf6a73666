"""What the recorded agents do: runs, tool calls, errors, tokens, latency.

The counters are fed by the projector as it records a new step, so a duplicate or a second version of a span is not
counted again. Every description says what the panel shows and what to do when it looks bad.
"""

from dashboards.grafana import RED, Json, graph, steps_of, table
from dashboards.promql import per_minute, per_second, quantile, quantiles, selector


def runs() -> list[Json]:
    return [
        graph(
            "Runs started per minute, by agent",
            "New runs as they are recorded. A fall to zero while the agents work means telemetry does not arrive: look "
            "at the ingest row first, then at the agents' exporters.",
            "short",
            [(per_minute("agent", "spanledger_runs_started_total"), "{{agent}}")],
            width=12,
            stacked=True,
        ),
        graph(
            "Runs by status",
            "All recorded runs by their current status. A rising share of error or denied is a matter for the agent's "
            "owner; interrupted waits for a human; incomplete and abandoned mean that evidence is missing.",
            "short",
            [(f"sum by (status) ({selector('spanledger_runs')})", "{{status}}")],
            width=12,
            stacked=True,
        ),
    ]


def tool_calls() -> list[Json]:
    return [
        graph(
            "Tool calls per minute, by tool",
            "Executed tool calls. One tool far above its usual rate is often an agent in a loop: replay its newest run "
            "and look for a repeated call.",
            "short",
            [(per_minute("tool", "spanledger_tool_calls_total"), "{{tool}}")],
            stacked=True,
        ),
        graph(
            "Tool calls per minute, by outcome",
            "How executed tool calls end. Much error: see the ratio by tool. Much interrupted: approvals are waiting "
            "for a human.",
            "short",
            [(per_minute("outcome", "spanledger_tool_calls_total"), "{{outcome}}")],
            stacked=True,
        ),
        table(
            "Tool calls in this time range, by tool and outcome",
            "The same calls as a list, largest first. Prometheus extrapolates, so a number may not be whole; the exact "
            "calls of a run are at `GET /v1/runs/{run_id}/tool-calls`.",
            "short",
            f"round(sum by (tool, outcome) (increase({selector('spanledger_tool_calls_total')}[$__range])), 0.1)",
        ),
    ]


def errors() -> list[Json]:
    failed = per_second("tool", "spanledger_tool_calls_total", 'outcome="error"')
    every = per_second("tool", "spanledger_tool_calls_total")
    return [
        graph(
            "Steps in error per minute, by kind",
            "Steps whose outcome is error. llm: the provider or its limits. tool, mcp_client, mcp_server: the tool or "
            "the way to it; where only mcp_client rises the server does not answer. agent and run follow from these.",
            "short",
            [(per_minute("kind", "spanledger_steps_total", 'outcome="error"'), "{{kind}}")],
            width=12,
            stacked=True,
        ),
        graph(
            "Tool error ratio, by tool",
            "Calls in error as a share of the tool's executed calls. Above the line: list the runs that use the tool, "
            "replay the newest in error and read its error type. A tool called rarely moves in large steps.",
            "percentunit",
            # Without the zero of `or`, a tool that never failed would have no line at all.
            [(f"({failed} or 0 * {every}) / ({every} > 0)", "{{tool}}")],
            width=12,
            thresholds=steps_of((0.2, RED)),
            largest=1,
        ),
    ]


def tokens() -> list[Json]:
    return [
        graph(
            "Tokens per minute, by type",
            "Tokens of model calls, counted at leaves only. Cache reads and writes are part of input and reasoning is "
            "part of output, so the lines do not add up. Input that grows while runs do not: histories grow; look for "
            "loops. Cache reads that vanish: a prompt's beginning changes with every call.",
            "short",
            [(per_minute("type", "spanledger_tokens_total"), "{{type}}")],
            width=12,
        ),
        graph(
            "Input and output tokens per minute, by model",
            "What each model is fed and gives. A model that nobody planned for, or a dear one in the place of a cheap "
            "one, shows here first: ask the agent's owner before the bill does.",
            "short",
            [(per_minute("model", "spanledger_tokens_total", 'type=~"input|output"'), "{{model}}")],
            width=12,
            stacked=True,
        ),
    ]


def latency() -> list[Json]:
    return [
        graph(
            "Model call latency",
            "Duration of model calls as their spans tell it. p99 alone up: long outputs or retries. All up: the "
            "provider is slow; the next panel names the model.",
            "s",
            quantiles("spanledger_llm_seconds", 0.5, 0.95, 0.99),
            width=6,
            thresholds=steps_of((30, RED)),
        ),
        graph(
            "Model call latency p95, by model",
            "The slow end of each model. One model up: its provider. All up: the network on the way, or the "
            "machines that the agents run on.",
            "s",
            [(quantile(0.95, "spanledger_llm_seconds", "model"), "{{model}}")],
            width=6,
            thresholds=steps_of((30, RED)),
        ),
        graph(
            "Tool latency",
            "Duration of executed tool calls as their spans tell it. A tool that asks a human while it runs counts the "
            "wait. Up: the next panel names the tool.",
            "s",
            quantiles("spanledger_tool_seconds", 0.5, 0.95, 0.99),
            width=6,
            thresholds=steps_of((10, RED)),
        ),
        graph(
            "Tool latency p95, by tool",
            "The slow end of each tool. Replay a run that used it: the gap between mcp_client and mcp_server steps is "
            "the way to the server, the rest is the tool itself.",
            "s",
            [(quantile(0.95, "spanledger_tool_seconds", "tool"), "{{tool}}")],
            width=6,
            thresholds=steps_of((10, RED)),
        ),
    ]
