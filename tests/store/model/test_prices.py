"""What a model call costs: reported, else by the table, and nothing where either is not known."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from model_bench import make_span, normalise_one

from store.errors import PricesUnusable
from store.model.prices import Prices, built_in_prices, read_prices, shown_usd
from store.model.span import Span

TABLE = """
[[price]]
providers = ["openai", "azure.ai.openai"]
models = ["gpt-9", "GPT-9-chat"]
input = 2.0
output = 10
cache_read = 0.5
cache_write = 2.5
source = "https://example.org/prices"
date = 2026-01-31

[[price]]
providers = ["openai"]
models = ["gpt-9"]
since = 2026-06-01
input = 1
output = 5
source = "https://example.org/prices"
date = 2026-06-01

[[price]]
providers = ["openai"]
models = ["gpt-9"]
since = 2026-06-01
input_above = 1000
input = 4
output = 20
source = "https://example.org/prices"
date = 2026-06-01

[[price]]
providers = ["cohere"]
models = ["embed-9"]
input = 0.1
source = "https://example.org/prices"
date = 2026-06-01

[[price]]
providers = ["groq"]
models = ["shared"]
input = 1
output = 1
source = "https://example.org/prices"
date = 2026-06-01

[[price]]
providers = ["openai"]
models = ["shared"]
input = 2
output = 2
source = "https://example.org/prices"
date = 2026-06-01
"""


def _ns(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 1_000_000_000  # pyright: ignore[reportArgumentType]


BEFORE, AFTER = _ns(2026, 5, 31, 23, 59), _ns(2026, 6, 1)


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(TABLE)
    return read_prices(path)


def _called(**said: Any) -> Span:
    return make_span("a", None, **({"kind": "llm", "provider": "openai", "start_ns": BEFORE} | said))


def _price(prices: Prices, span: Span) -> float | None:
    prices.settle(span)
    assert span.cost_source == (None if span.cost_usd is None else "priced")
    return shown_usd(span.cost_usd)


@pytest.mark.parametrize(
    ("said", "usd"),
    [
        ({"input_tokens": 1000, "output_tokens": 100}, 0.003),
        ({"input_tokens": 1000, "output_tokens": 100, "cache_read_tokens": 400}, 0.0024),
        ({"input_tokens": 1000, "output_tokens": 100, "cache_read_tokens": 400, "cache_write_tokens": 200}, 0.0025),
        ({"input_tokens": 1000, "output_tokens": 100, "reasoning_tokens": 90}, 0.003),
        ({"input_tokens": 0, "output_tokens": 0}, 0.0),
        # More in caches than at all: telemetry can be wrong, and no call is paid back.
        ({"input_tokens": 100, "output_tokens": 0, "cache_read_tokens": 400}, 0.0002),
        ({"input_tokens": 1000}, None),
        ({"output_tokens": 100}, None),
        ({}, None),
    ],
)
def test_a_call_is_priced_by_what_it_used(prices: Prices, said: dict[str, Any], usd: float | None) -> None:
    assert _price(prices, _called(response_model="gpt-9", **said)) == usd


@pytest.mark.parametrize(
    ("at", "tokens", "usd"), [(BEFORE, 1000, 0.002), (AFTER, 1000, 0.001), (AFTER, 1001, 0.004004), (0, 1000, 0.001)]
)
def test_the_price_is_the_one_of_the_day_and_of_the_length_of_the_input(
    prices: Prices, at: int, tokens: int, usd: float
) -> None:
    span = _called(response_model="gpt-9", start_ns=at, received_ns=AFTER, input_tokens=tokens, output_tokens=0)
    assert _price(prices, span) == usd


@pytest.mark.parametrize(
    "model",
    [
        "gpt-9", "GPT-9", "gpt-9-2026-07-18", "gpt-9-20260718", "gpt-9@20260718", "gpt-9-0718", "gpt-9-2607", "gpt-9-latest",
        "gpt-9:latest", "gpt-9-001", "gpt-9-07-2026", "gpt-9-chat-2026-07-18",
    ],
)  # fmt: skip
def test_a_dated_snapshot_finds_its_family(prices: Prices, model: str) -> None:
    assert _price(prices, _called(response_model=model, input_tokens=1000, output_tokens=100)) == 0.003


@pytest.mark.parametrize("model", ["gpt-9-mini", "gpt-9-8192", "gpt-99", "gpt", "9", "", "my-gpt-9", "gpt-9-preview"])
def test_a_model_that_only_looks_like_one_has_no_price(prices: Prices, model: str) -> None:
    assert _price(prices, _called(response_model=model, input_tokens=1000, output_tokens=100)) is None


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("azure.ai.openai", "gpt-9", 0.002),
        ("anthropic", "gpt-9", None),
        (None, "embed-9", 0.0001),
        (None, "shared", None),
        ("groq", "shared", 0.001),
        ("openai", "shared", 0.002),
    ],
)
def test_who_ran_a_model_must_be_known_where_it_makes_a_difference(
    prices: Prices, provider: str | None, model: str, usd: float | None
) -> None:
    assert _price(prices, _called(provider=provider, response_model=model, input_tokens=1000, output_tokens=0)) == usd


def test_an_embedding_has_no_output_and_a_span_that_is_no_model_call_no_price(prices: Prices) -> None:
    said = {"provider": "cohere", "request_model": "embed-9", "input_tokens": 1000}
    assert _price(prices, _called(kind="embedding", **said)) == 0.0001
    assert _price(prices, _called(kind="agent", **said)) is None


def test_the_model_that_answered_is_asked_before_the_one_that_was_asked_for(prices: Prices) -> None:
    said = {"input_tokens": 1000, "output_tokens": 0}
    assert _price(prices, _called(response_model="gpt-9", request_model="shared", **said)) == 0.002
    assert _price(prices, _called(response_model="unknown", request_model="gpt-9", **said)) == 0.002


def test_a_reported_cost_is_kept_and_said_to_be_one() -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-5-mini",
            "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}  # fmt: skip
    reported = normalise_one(call | {"operation.cost": 0.5}, scope="pydantic-ai", prices=built_in_prices()).span
    assert (reported.cost_usd, reported.cost_source) == (0.5, "reported")
    priced = normalise_one(call, scope="pydantic-ai", prices=built_in_prices()).span
    assert (shown_usd(priced.cost_usd), priced.cost_source) == (0.00045, "priced")
    unknown = normalise_one(
        call | {"gen_ai.response.model": "mine"}, scope="pydantic-ai", prices=built_in_prices()
    ).span
    assert (unknown.cost_usd, unknown.cost_source) == (None, None)


ENTRY = 'providers = ["a"]\nmodels = ["m"]\ninput = 1\nsource = "s"\ndate = 2026-01-01\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must have [[price]] entries and nothing else, not nothing"),
        ("price = 1", "must have [[price]] entries"),
        ("[[price]]\n" + ENTRY + "[other]\n", "not ['other', 'price']"),
        ("[[price]", "is not TOML"),
        ("\xff", "is not TOML"),
        ("price = [1]", "entry 1: is not a table"),
        ("[[price]]\n" + ENTRY.replace("input = 1\n", ""), "entry 1: input must be said"),
        ("[[price]]\n" + ENTRY.replace('source = "s"\n', ""), "entry 1: source must be said"),
        ("[[price]]\n" + ENTRY + "outputs = 1\n", "entry 1: outputs is not known"),
        ("[[price]]\n" + ENTRY.replace("input = 1", "input = -1"), "entry 1: input must be US dollars"),
        ("[[price]]\n" + ENTRY.replace("input = 1", "input = nan"), "entry 1: input must be US dollars"),
        ("[[price]]\n" + ENTRY.replace("input = 1", "input = true"), "entry 1: input must be US dollars"),
        ("[[price]]\n" + ENTRY.replace("input = 1", 'input = "1"'), "entry 1: input must be US dollars"),
        ("[[price]]\n" + ENTRY.replace("2026-01-01", '"2026-01-01"'), "entry 1: date must be a day"),
        ("[[price]]\n" + ENTRY + "since = 2026-01-01T00:00:00Z\n", "entry 1: since must be a day"),
        ("[[price]]\n" + ENTRY + "input_above = -1\n", "entry 1: input_above must be a number of tokens"),
        ("[[price]]\n" + ENTRY.replace('["m"]', '"m"'), "entry 1: models must be a list of names"),
        ("[[price]]\n" + ENTRY.replace('["a"]', "[]"), "entry 1: providers must be a list of names"),
        (2 * ("[[price]]\n" + ENTRY), "entry 2: m of a has a price already"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PricesUnusable) as refused:
        read_prices(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


def test_a_table_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PricesUnusable, match="cannot be read"):
            read_prices(path)


def test_the_built_in_table_has_the_models_of_the_large_providers() -> None:
    for provider, model in (
        ("openai", "gpt-5-mini-2026-07-18"), ("openai", "gpt-4o-2024-08-06"), ("anthropic", "claude-sonnet-4-5-20250929"),
        ("gcp.gemini", "gemini-2.5-pro"), ("gcp.vertex_ai", "gemini-2.5-flash"), ("mistral_ai", "mistral-large-latest"),
    ):  # fmt: skip
        span = _called(provider=provider, response_model=model, start_ns=AFTER, input_tokens=1000, output_tokens=1000)
        cost = _price(built_in_prices(), span)
        assert cost is not None, model
        assert 0 < cost < 1
