"""What a turn cost, in micro-dollars and with the rates that say so; or that nobody knows. Pure, exact arithmetic.

A dollar per million tokens is a micro-dollar per token. Rates are kept in millionths of that, as whole numbers, so that
a turn is rounded once, to the nearest micro-dollar. What has no price is never counted as free.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct

from codex_lb.control.domain.lease import Usage
from codex_lb.control.errors import InvalidPricesError

STEPS_PER_MICRO_USD = 1_000_000  # six decimals of a rate; the published ones have four
USD_PER_MILLION_MAX = 100_000  # far above any price; below what a column can hold for the largest turn
TURN_TOKENS_MAX = 1_000_000_000  # no turn comes near: what claims more is a mistake, which no sum should carry


class Rating(StrEnum):
    """Which of a model's rates applied."""

    STANDARD = "standard"
    PRIORITY = "priority"
    FLEX = "flex"
    LONG = "long"
    FLEX_LONG = "flex_long"


class Unpriced(StrEnum):
    """Why a turn has no cost."""

    USAGE_UNKNOWN = "usage_unknown"
    MODEL_UNKNOWN = "model_unknown"
    USAGE_ABSURD = "usage_absurd"


class Cost(Struct, frozen=True):
    """What a turn cost, and where that comes from."""

    micro_usd: int
    source: str  # version of the list, entry and rates, such as "2026-11 gpt-5.4 flex"


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one entry and rating, per token, in steps of a millionth of a micro-dollar."""

    fresh: int
    cached: int
    output: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's prices."""

    model: str
    version: str  # of the list it is from
    long_context_above: int
    rates: Mapping[Rating, Rates]  # always with the standard ones


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list."""

    exact: Mapping[str, Entry] = field(default_factory=dict)  # by name in small letters
    prefixes: Sequence[tuple[str, Entry]] = ()  # the longest first

    def price_of(self, model: str, tier: str, usage: Usage | None) -> Cost | Unpriced:
        """What a turn cost that used this on a tier."""
        if usage is None:
            return Unpriced.USAGE_UNKNOWN
        if usage.input_tokens + usage.output_tokens > TURN_TOKENS_MAX:
            return Unpriced.USAGE_ABSURD
        entry = self.entry_of(model)
        if entry is None:
            return Unpriced.MODEL_UNKNOWN
        rating, wanted = rating_of(entry, tier, input_tokens=usage.input_tokens)
        note = "" if rating is wanted else f" (no {wanted.value} rates)"
        return Cost(amount(entry.rates[rating], usage), f"{entry.version} {entry.model} {rating.value}{note}")

    def entry_of(self, model: str) -> Entry | None:
        """The prices that apply to a model."""
        name = model.lower()
        return self.exact.get(name) or next((e for prefix, e in self.prefixes if name.startswith(prefix)), None)

    def over(self, base: Prices) -> Prices:
        """These where they know the model, in whatever way; the others where they do not."""
        mine = {name: entry for name, entry in base.exact.items() if self.entry_of(name) is None}
        return Prices({**mine, **self.exact}, [*self.prefixes, *base.prefixes])


def billable_tier(requested: str, actual: str) -> str:
    """The tier upstream says it used; the one that was asked for where it says nothing."""
    return actual or requested


def rating_of(entry: Entry, tier: str, *, input_tokens: int) -> tuple[Rating, Rating]:
    """The rates that apply, and those that would if the entry had them: a tier without a price costs the standard."""
    is_long = input_tokens > entry.long_context_above and Rating.LONG in entry.rates
    match tier.lower():
        case "priority" | "fast":
            wanted = Rating.PRIORITY
        case "flex":
            wanted = Rating.FLEX_LONG if is_long and Rating.FLEX in entry.rates else Rating.FLEX
        case _:
            wanted = Rating.LONG if is_long else Rating.STANDARD
    if wanted in entry.rates:
        return wanted, wanted
    return (Rating.LONG if is_long else Rating.STANDARD), wanted


def amount(rates: Rates, usage: Usage) -> int:
    """Whole micro-dollars, halves rounded up. Reasoning is part of the output."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    steps = (
        (usage.input_tokens - cached) * rates.fresh + cached * rates.cached + max(0, usage.output_tokens) * rates.output
    )
    return (steps + STEPS_PER_MICRO_USD // 2) // STEPS_PER_MICRO_USD


class _Rates(msgspec.Struct, forbid_unknown_fields=True):
    input: Decimal
    output: Decimal
    cached: Decimal | None = None


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    standard: _Rates
    also: list[str] = []
    priority: _Rates | None = None
    flex: _Rates | None = None
    long: _Rates | None = None
    flex_long: _Rates | None = None


class _List(msgspec.Struct, forbid_unknown_fields=True):
    version: str
    models: dict[str, _Model]
    long_context_above: int = 272_000


def read_prices(text: str) -> Prices:
    """A price list as TOML. Raises InvalidPricesError, which names the place."""
    try:
        document = msgspec.convert(tomllib.loads(text, parse_float=Decimal), _List)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidPricesError(str(error)) from error
    exact: dict[str, Entry] = {}
    prefixes: dict[str, Entry] = {}
    for model, stated in document.models.items():
        entry = Entry(model, document.version, document.long_context_above, _ratings(model, stated))
        for name in (model, *stated.also):
            where, key = (prefixes, name[:-1]) if name.endswith("*") else (exact, name)
            if where.setdefault(key.lower(), entry) is not entry:
                raise InvalidPricesError(f"two models are called {name}")
    return Prices(exact, sorted(prefixes.items(), key=lambda one: -len(one[0])))


def _ratings(model: str, stated: _Model) -> dict[Rating, Rates]:
    given = {
        Rating.STANDARD: stated.standard,
        Rating.PRIORITY: stated.priority,
        Rating.FLEX: stated.flex,
        Rating.LONG: stated.long,
        Rating.FLEX_LONG: stated.flex_long,
    }
    return {
        rating: Rates(
            _steps(rates.input, model),
            _steps(rates.input if rates.cached is None else rates.cached, model),
            _steps(rates.output, model),
        )
        for rating, rates in given.items()
        if rates is not None
    }


def _steps(usd_per_million: Decimal, model: str) -> int:
    if not usd_per_million.is_finite() or not 0 <= usd_per_million <= USD_PER_MILLION_MAX:
        raise InvalidPricesError(f"a rate of {model} is not between 0 and {USD_PER_MILLION_MAX} dollars")
    steps = usd_per_million * STEPS_PER_MICRO_USD
    if steps != int(steps):
        raise InvalidPricesError(f"a rate of {model} has more than six decimals: {usd_per_million}")
    return int(steps)
