"""What the store counts of the agents: the cost of model calls, by where it is from."""

from prometheus_client import CollectorRegistry

from store.ledger import Ledger
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import draft_of
from tests.store.spans import logs_body, spans_body

CALL = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "100"}  # fmt: skip


REQUEST = {"span.type": "llm_request", "gen_ai.system": "anthropic", "input_tokens": "100000", "output_tokens": "0"}


def counted_of(folder, *bodies):
    """What is counted, by source and model, of bodies that come one after the other."""
    registry = CollectorRegistry()
    ledger = Ledger.open(folder, registry=registry)
    try:
        for body in bodies:
            assert ledger.waiter.wait_for(ledger.journal.append(draft_of(body)), BUSY_SECONDS)
    finally:
        ledger.close()
    return {
        (sample.labels["source"], sample.labels["model"]): round(sample.value, 9)
        for metric in registry.restricted_registry(["spanledger_cost_usd_total"]).collect()
        for sample in metric.samples
        if sample.name == "spanledger_cost_usd_total"
    }


def bill(request, usd, *, at=2):
    said = {"claude_code.of": "a request", "request_id": request, "cost_usd": usd}
    return logs_body({"trace": 1, "span": 9, "at": at, "event_name": "api_request", **said})


def request(span, response, model):
    return spans_body(
        {"trace": 1, "span": span, "start": 1, "end": 2, "name": "call", **REQUEST, "gen_ai.response.model": model,
         "request_id": response}
    )  # fmt: skip


def test_a_call_that_a_record_tells_the_cost_of_is_counted_once_whichever_comes_first(tmp_path):
    known, unknown = request(1, "r1", "claude-sonnet-4-5"), request(2, "r2", "mine")
    before = [bill("r1", 0.5), known, bill("r2", 0.25), unknown]
    assert counted_of(tmp_path / "before", *before, *before, bill("r1", 0.5, at=3)) == {
        ("reported", "claude-sonnet-4-5"): 0.5, ("reported", "mine"): 0.25,
    }  # fmt: skip
    # What was counted as priced cannot be taken back; what had no cost is counted when it is told.
    after = [known, bill("r1", 0.5), unknown, bill("r2", 0.25), bill("r2", 0.25, at=3), known, unknown]
    assert counted_of(tmp_path / "after", *after) == {("priced", "claude-sonnet-4-5"): 0.3, ("reported", "mine"): 0.25}


def test_the_cost_of_model_calls_is_counted_once_by_model_and_source(tmp_path):
    body = spans_body(
        {"trace": 1, "span": 1, "start": 1, "end": 2, "name": "priced", **CALL},
        {"trace": 1, "span": 2, "start": 1, "end": 2, "name": "priced", **CALL},
        {"trace": 1, "span": 3, "start": 1, "end": 2, "name": "none", **CALL, "gen_ai.response.model": "mine"},
        {"trace": 1, "span": 4, "start": 1, "end": 2, "name": "less than nothing", "llm.cost.total": "-1",
         "openinference.span.kind": "LLM", "llm.model_name": "mine"},
        {"trace": 1, "span": 5, "start": 1, "end": 2, "name": "said", "llm.cost.total": "0.5",
         "openinference.span.kind": "LLM", "llm.model_name": "mine"},
    )  # fmt: skip
    assert counted_of(tmp_path / "data", body, body) == {("priced", "gpt-5-mini"): 0.0009, ("reported", "mine"): 0.5}
