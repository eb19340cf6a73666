"""What a comparison of two runs says, as rows of the API: see `store.model.diff`. `a` is the run that is asked for first."""

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["same", "changed", "only_a", "only_b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRun:
    """One of the two runs. `compared_steps`, `compared_tool_calls`: how many were looked at, from its beginning."""

    run_id: str
    agent_name: str | None
    status: str
    models: list[str]
    steps: int
    compared_steps: int
    llm_calls: int
    tool_calls: int
    compared_tool_calls: int
    tool_errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    duration_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffTotals:
    """The second run less the first; null where one of them does not say."""

    steps: int | None
    llm_calls: int | None
    tool_calls: int | None
    tool_errors: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    duration_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSide:
    """A step of one of the runs, as far as it is compared."""

    step_id: str
    seq: int
    outcome: str
    error_type: str | None
    model: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    duration_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffStep:
    """A step that both runs have, or one of them. `changed` names what differs: `said`, `given`, `arguments`, `result`,
    `outcome`, `error_type`, `finish_reason`, `model`. `diverges`: whether the agent did something else there.
    """

    index: int
    status: Status
    kind: str
    label: str
    a: DiffSide | None
    b: DiffSide | None
    changed: list[str]
    diverges: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffCall:
    """A tool call that both runs have, or one of them. `arguments` and `result` are `{"a": ..., "b": ...}` where they
    differ, else null.
    """

    status: Status
    tool_name: str | None
    a: str | None
    b: str | None
    a_outcome: str | None
    b_outcome: str | None
    changed: list[str]
    arguments: Any = None
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """Two runs, aligned. `first_divergence` is the index in `steps` of the first step at which the agents did something
    else, `first_change` of the first at which anything differs; null where there is none.
    """

    a: DiffRun
    b: DiffRun
    delta: DiffTotals
    whole: bool
    """Whether both runs were compared to their end."""
    counts: dict[str, int]
    """Of `steps` by status."""
    first_divergence: int | None
    first_change: int | None
    steps: list[DiffStep]
    tool_calls: list[DiffCall]
