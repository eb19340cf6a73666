from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_bench import normalise_one

from store.model.columns import (
    READERS,
    read_count,
    read_finish_reason,
    read_number,
    read_provider,
    read_text,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0), (120, 120), (2**63 - 1, 2**63 - 1), ("120", 120), (120.0, 120),
        (-1, None), (2**63, None), ("", None), ("12.5", None), ("-3", None), ("1e3", None), ("٣", None), (12.5, None),
        ("9" * 5000, None), (1e300, None), (True, None), (None, None), ([120], None), ({"n": 120}, None),
        ("NaN", None), ("Infinity", None),
    ],
)  # fmt: skip
def test_a_count_is_whole_and_not_negative_however_it_was_sent(value: Any, count: int | None) -> None:
    assert read_count(value) == count


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.25, 0.25), (3, 3.0), ("0.25", 0.25), ("1e-3", 0.001),
        ("a lot", None), ("NaN", None), ("Infinity", None), ("-inf", None), ("1e999", None), (True, None), (None, None),
        ([0.25], None), (10**400, None),
    ],
)  # fmt: skip
def test_a_number_is_finite_however_it_was_sent(value: Any, number: float | None) -> None:
    assert read_number(value) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (7, "7"), (1.5, "1.5"), ("", None), (True, None), (None, None), (["a"], None), ({"a": 1}, None)],
)
def test_an_id_may_be_sent_as_a_number(value: Any, text: str | None) -> None:
    assert read_text(value) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["tool_calls"], "tool_call"), ('["stop"]', "stop"), ("STOP", "stop"), ("end_turn", "stop"),
        ("max_tokens", "length"), (["tool-calls", "stop"], "tool_call"), ("never heard of", "never heard of"),
        ([], None), ("[]", None), ("[1]", None), ("[oops", None), ("[" * 100_000, None), ("", None), (None, None), (3, None),
        ([None, "stop"], "stop"),
    ],
)  # fmt: skip
def test_a_finish_reason_is_spelt_one_way_whatever_holds_it(value: Any, reason: str | None) -> None:
    assert read_finish_reason(value) == reason


@pytest.mark.parametrize(
    ("value", "provider"),
    [
        ("OpenAI", "openai"), ("az.ai.openai", "azure.ai.openai"), ("openai.responses", "openai"), ("acme", "acme"),
        ("langgraph", None), ("function", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_frameworks_name_is_no_provider(value: Any, provider: str | None) -> None:
    assert read_provider(value) == provider


@given(JSON_VALUES)
def test_no_value_is_too_odd_for_a_reader(value: Any) -> None:
    for reader in {*READERS.values(), read_text}:
        read = reader(value)
        assert read is None or isinstance(read, str | int | float) or all(isinstance(one, str) for one in read)


@pytest.mark.parametrize(
    ("new", "old", "column", "values"),
    [
        ("gen_ai.provider.name", "gen_ai.system", "provider", ("anthropic", "openai")),
        ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "input_tokens", (7, 8)),
        ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "output_tokens", (7, 8)),
        ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "cache_read_tokens", (7, 8)),
        ("gen_ai.conversation.id", "session.id", "conversation_id", ("new", "old")),
    ],
)
@pytest.mark.parametrize("new_first", [True, False])
def test_of_an_old_and_a_new_name_the_new_one_wins(
    new: str, old: str, column: str, values: tuple[Any, Any], new_first: bool
) -> None:
    pairs = [(new, values[0]), (old, values[1])]
    sent = dict(pairs if new_first else pairs[::-1])
    taken = normalise_one({"gen_ai.operation.name": "chat"} | sent)
    assert getattr(taken.span, column) == values[0]
    assert taken.attributes() == {"gen_ai.operation.name": "chat"} | sent


def test_where_the_new_name_holds_nonsense_the_old_one_is_read() -> None:
    sent = {"gen_ai.usage.input_tokens": "many", "gen_ai.usage.prompt_tokens": "12"}
    taken = normalise_one(sent)
    assert taken.span.input_tokens == 12
    assert taken.attributes() == sent


def test_a_count_of_the_wrong_type_is_no_count_and_stays_an_attribute() -> None:
    sent = {"gen_ai.usage.input_tokens": [120], "gen_ai.usage.output_tokens": True, "gen_ai.agent.name": {"a": 1}}
    taken = normalise_one(sent)
    assert (taken.span.input_tokens, taken.span.output_tokens, taken.span.agent_name) == (None, None, None)
    assert taken.attributes() == sent
