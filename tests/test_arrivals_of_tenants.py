"""Two tenants who send the same are told the same, and nothing of each other."""

from pathlib import Path
from typing import Any

import pytest

from store.contract import Reader
from store.errors import NotFound
from tests.arrivals import DETAILS, answers, arrived, as_sent, difference, ids, records_of, renamed
from tests.captured import NAMES, bodies, spans

# One of each kind of what is told apart: runs of several traces, log records alone, approvals, evaluations, workflows, MCP.
# All others are asked by `make test-slow`.
ALWAYS = {
    "claude-agent-sdk-0.2.184", "dbos-3.4", "google-adk-2.13", "langfuse-5.0", "mcp-native-2.3-modern",
    "openai-v2-2.4b0-default", "pydantic-ai-2.68-v5", "pydantic-evals-2.62-online", "spanledger-demo", "strands-1.62-default",
}  # fmt: skip
NAMED = ("agents", "tools", "prompts")


def test_the_captures_that_are_always_asked_are_there() -> None:
    assert set(NAMES) >= ALWAYS


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_one_capture_of_two_tenants_is_the_same_model_twice_and_apart(name: str, tmp_path: Path) -> None:
    records = records_of(name)
    traces = {span.trace_id.hex() for _, _, span in spans(name)}
    with arrived(records, as_sent(records), tmp_path / "data", tenants=("acme", "umbrella")) as reader:
        acme, umbrella = (answers(reader, tenant, details=DETAILS) for tenant in ("acme", "umbrella"))
        assert difference(renamed(acme, traces), renamed(umbrella, traces)) is None
        assert len(acme["runs"]) > 0
        sent = "".join(body.data.decode("latin-1") for body in bodies(name))
        # Agents, tools and prompts are named by what they are, which two tenants may have in common.
        apart = [{*ids({key: rows for key, rows in told.items() if key not in NAMED})} for told in (acme, umbrella)]
        assert {one for one in apart[0] & apart[1] if one not in traces and one not in sent} == set()
        for run in acme["runs"]:
            _refused(reader, "umbrella", run)
        assert not any(answers(reader, "a third").values())


def test_decisions_that_are_asked_for_at_once_are_told_in_the_order_of_their_calls(tmp_path: Path) -> None:
    records, tenants = records_of("pydantic-ai-2.68-v5"), [f"tenant {number}" for number in range(6)]
    with arrived(records, as_sent(records), tmp_path / "data", tenants=tenants) as reader:
        for told in (answers(reader, tenant, details=0) for tenant in tenants):
            for run in told["runs"]:
                calls = [call["tool_call_key"] for call in told[f"tool_calls of {run['run_id']}"]]
                asked = [
                    (one["requested_at"], one["decided_at"], calls.index(one["tool_call_key"]))
                    for one in told[f"decisions of {run['run_id']}"]
                ]
                assert asked == sorted(asked)


def _refused(reader: Reader, tenant: str, run: dict[str, Any]) -> None:
    """Another tenant's run is not found by its ids; by a trace id, which both sent, each finds its own."""
    for ask in (reader.run, reader.tool_calls, reader.decisions, reader.messages):
        with pytest.raises(NotFound):
            ask(tenant, run["run_id"])
    with pytest.raises(NotFound):
        next(reader.replay(tenant, run["run_id"]))
    for trace_id in run["trace_ids"]:
        assert reader.run(tenant, trace_id).run_id != run["run_id"]
