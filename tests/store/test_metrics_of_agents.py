"""What the store counts of the agents: the cost of model calls, by where it is from."""

from prometheus_client import CollectorRegistry

from store.ledger import Ledger
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import draft_of
from tests.store.spans import spans_body

CALL = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "100"}  # fmt: skip


def test_the_cost_of_model_calls_is_counted_once_by_model_and_source(tmp_path):
    registry = CollectorRegistry()
    ledger = Ledger.open(tmp_path / "data", registry=registry)
    try:
        body = spans_body(
            {"trace": 1, "span": 1, "start": 1, "end": 2, "name": "priced", **CALL},
            {"trace": 1, "span": 2, "start": 1, "end": 2, "name": "priced", **CALL},
            {"trace": 1, "span": 3, "start": 1, "end": 2, "name": "none", **CALL, "gen_ai.response.model": "mine"},
            {"trace": 1, "span": 4, "start": 1, "end": 2, "name": "less than nothing", "llm.cost.total": "-1",
             "openinference.span.kind": "LLM", "llm.model_name": "mine"},
            {"trace": 1, "span": 5, "start": 1, "end": 2, "name": "said", "llm.cost.total": "0.5",
             "openinference.span.kind": "LLM", "llm.model_name": "mine"},
        )  # fmt: skip
        for _ in range(2):
            assert ledger.waiter.wait_for(ledger.journal.append(draft_of(body)), BUSY_SECONDS)
    finally:
        ledger.close()
    counted = {
        (sample.labels["source"], sample.labels["model"]): round(sample.value, 9)
        for metric in registry.restricted_registry(["spanledger_cost_usd_total"]).collect()
        for sample in metric.samples
        if sample.name == "spanledger_cost_usd_total"
    }
    assert counted == {("priced", "gpt-5-mini"): 0.0009, ("reported", "mine"): 0.5}
