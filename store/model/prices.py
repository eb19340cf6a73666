"""What a model call costs where its telemetry does not say it: a dated table, and the arithmetic.

The table is data (`prices.toml` beside this, or one that a user names) and is checked whole when it is read, so that pricing
a call is a look-up and four products. A model or provider that is not in it has no price, which is not a price of zero.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from store.errors import PricesUnusable
from store.model.paid import PAID_KINDS, REPORTED
from store.model.span import Span

TABLE_BYTES_MAX: Final = 4 * 1024 * 1024  # Ten thousands of entries; more is the wrong file.
USD_PER_MILLION_MAX: Final = 1_000_000.0  # A dollar a token: more is a mistake in the unit.
_REMEMBERED_MODELS_MAX: Final = 10_000  # Names come from telemetry and must not fill the memory.
_PER_MILLION: Final = 1e-6
_DECIMALS: Final = 12  # Of a dollar: a token costs a ten-millionth. What is behind is floating point's own.
_NS: Final = 1_000_000_000
_RATES: Final = ("input", "output", "cache_read", "cache_write")
_KEYS: Final = frozenset({"providers", "models", "since", "input_above", *_RATES, "source", "date"})
_SNAPSHOT: Final = re.compile(
    r"(?:[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{2}-\d{4}|00\d|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|2[3-9](?:0[1-9]|1[0-2]))"
    r"|[-:]latest)$"
)
"""How providers date a model's name: -2026-07-18, @20250929, -09-2025, -002, -0613 (month, day), -2411 (year, month)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars for a million tokens, from a moment on (ns), for calls with more input tokens than `input_above`."""

    since_ns: int
    input_above: int
    input: float
    output: float | None
    cache_read: float
    cache_write: float


class Prices:
    """A table of prices. Any thread's."""

    def __init__(self, rates: dict[str, dict[str, tuple[Rate, ...]]]) -> None:
        """`rates`: by model, then by provider, both in lower case, the one that holds before the one that it replaces."""
        self._rates = rates
        self._found: dict[tuple[str | None, str | None, str | None], tuple[Rate, ...]] = {}

    def settle(self, span: Span) -> None:
        """Say where the cost is from: as reported, else priced where a model call's tokens are known and it has a price."""
        if span.cost_usd is not None:
            span.cost_source = REPORTED
            return
        if span.input_tokens is None or span.kind not in PAID_KINDS:
            return
        for rate in self._of(span.provider, span.response_model, span.request_model):
            is_large_enough = not rate.input_above or (span.input_tokens or 0) > rate.input_above
            if is_large_enough and rate.since_ns <= (span.start_ns or span.received_ns):
                cost = _cost(span, rate)
                if cost is not None:
                    span.cost_usd, span.cost_source = cost, "priced"
                return

    def _of(self, provider: str | None, response_model: str | None, request_model: str | None) -> tuple[Rate, ...]:
        key = (provider, response_model, request_model)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _REMEMBERED_MODELS_MAX:
                self._found.clear()
            found = self._found[key] = self._look_up(provider, response_model) or self._look_up(provider, request_model)
        return found

    def _look_up(self, provider: str | None, model: str | None) -> tuple[Rate, ...]:
        name = (model or "").lower()
        by_provider = self._rates.get(name) or self._rates.get(_SNAPSHOT.sub("", name)) or {}
        if provider is not None:
            return by_provider.get(provider, ())
        # Who ran it is not known: it has a price where that makes no difference.
        different = set(by_provider.values())
        return different.pop() if len(different) == 1 else ()


NO_PRICES: Final = Prices({})


def shown_usd(cost: float | None) -> float | None:
    """A cost as it is shown: without what adding and multiplying left behind."""
    return None if cost is None else round(cost, _DECIMALS)


def _cost(span: Span, rate: Rate) -> float | None:
    """US dollars; None where the tokens that the price is for are not known. Input counts include what caches were for."""
    if span.input_tokens is None or (span.output_tokens is None and rate.output is not None):
        return None
    cache_read, cache_write = span.cache_read_tokens or 0, span.cache_write_tokens or 0
    return _PER_MILLION * (
        max(span.input_tokens - cache_read - cache_write, 0) * rate.input
        + cache_read * rate.cache_read
        + cache_write * rate.cache_write
        + (span.output_tokens or 0) * (rate.output or 0.0)
    )


@cache
def built_in_prices() -> Prices:
    """The table of this release."""
    return _read(resources.files("store.model").joinpath("prices.toml").read_bytes(), "the built-in table of prices")


def read_prices(path: Path | None) -> Prices:
    """The table in a file, or that of this release where none is named. Raises PricesUnusable."""
    if path is None:
        return built_in_prices()
    where = f"the table of prices {path}"
    try:
        with path.open("rb") as file:
            content = file.read(TABLE_BYTES_MAX + 1)
    except OSError as error:
        raise PricesUnusable(f"{where} cannot be read: {error.strerror}") from error
    if len(content) > TABLE_BYTES_MAX:
        raise PricesUnusable(f"{where} is larger than {TABLE_BYTES_MAX >> 20} MiB: is it the right file?")
    return _read(content, where)


def _read(content: bytes, where: str) -> Prices:
    try:
        said = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PricesUnusable(f"{where} is not TOML: {error}") from error
    if said.keys() != {"price"} or not isinstance(said["price"], list):
        raise PricesUnusable(f"{where} must have [[price]] entries and nothing else, not {sorted(said) or 'nothing'}")
    named: dict[tuple[str, str], dict[tuple[int, int], Rate]] = {}
    for number, entry in enumerate(said["price"], 1):
        try:
            providers, models, rate = _entry(entry)
            for provider in providers:
                for model in models:
                    _hold(named.setdefault((provider, model), {}), rate, f"{model} of {provider}")
        except ValueError as error:
            raise PricesUnusable(f"{where}, entry {number}: {error}") from error
    rates: dict[str, dict[str, tuple[Rate, ...]]] = {}
    for (provider, model), held in named.items():
        rates.setdefault(model, {})[provider] = tuple(held[at] for at in sorted(held, reverse=True))
    return Prices(rates)


def _hold(held: dict[tuple[int, int], Rate], rate: Rate, named: str) -> None:
    if (rate.since_ns, rate.input_above) in held:
        raise ValueError(f"{named} has a price already for the same since and input_above")
    held[rate.since_ns, rate.input_above] = rate


def _entry(entry: Any) -> tuple[list[str], list[str], Rate]:
    """Raises ValueError with what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError("is not a table")  # noqa: TRY004 - whoever reads the message wrote a file, not a program
    _refuse_unknown(entry)
    since = _day(entry, "since") if "since" in entry else None
    _day(entry, "date")
    if not isinstance(entry["source"], str) or not entry["source"]:
        raise ValueError("source must say where the price stands")
    above = entry.get("input_above", 0)
    if isinstance(above, bool) or not isinstance(above, int) or above < 0:
        raise ValueError(f"input_above must be a number of tokens, not {above!r}")
    paid = {name: _usd(entry, name) for name in _RATES if name in entry}
    begins = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
    rate = Rate(
        since_ns=int(begins.timestamp()) * _NS if begins else 0,
        input_above=above,
        input=paid["input"],
        output=paid.get("output"),
        cache_read=paid.get("cache_read", paid["input"]),
        cache_write=paid.get("cache_write", paid["input"]),
    )
    return _names(entry, "providers"), _names(entry, "models"), rate


def _refuse_unknown(entry: dict[str, Any]) -> None:
    missing = [name for name in ("providers", "models", "input", "source", "date") if name not in entry]
    unknown = sorted(entry.keys() - _KEYS)
    if missing:
        raise ValueError(f"{', '.join(missing)} must be said")
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not known; an entry has {', '.join(sorted(_KEYS))}")


def _names(entry: dict[str, Any], name: str) -> list[str]:
    said: Any = entry[name]
    if not isinstance(said, list) or not said or not all(isinstance(one, str) and one for one in _items(said)):
        raise ValueError(f"{name} must be a list of names, not {said!r}")
    return list(dict.fromkeys(one.lower() for one in _items(said)))


def _items(said: Any) -> Iterable[Any]:
    return said


def _usd(entry: dict[str, Any], name: str) -> float:
    said: Any = entry[name]
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= USD_PER_MILLION_MAX:
        raise ValueError(
            f"{name} must be US dollars for a million tokens, from 0 to {USD_PER_MILLION_MAX:.0f}, not {said!r}"
        )
    return float(said)


def _day(entry: dict[str, Any], name: str) -> date:
    said: Any = entry[name]
    if not isinstance(said, date) or isinstance(said, datetime):
        raise ValueError(f"{name} must be a day, as 2026-07-01, not {said!r}")  # noqa: TRY004 - as above
    return said
