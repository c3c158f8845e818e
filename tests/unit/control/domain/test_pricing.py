"""What turns cost."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from codex_lb.control.domain.lease import Usage
from codex_lb.control.domain.pricing import Cost, Prices, Unpriced, billable_tier, read_prices
from codex_lb.control.errors import InvalidPricesError
from codex_lb.control.store.price_file import load_prices

# Model, tier, input, of it cached, output; the published dollars per million of each; and the micro-dollars by hand.
TURNS = [
    ("gpt-5.6-sol", "default", 12_000, 0, 800, "5 0.5 30", 84_000),
    ("gpt-5.6-sol", "default", 12_000, 11_264, 800, "5 0.5 30", 33_312),
    ("gpt-5.6-sol", "priority", 12_000, 11_264, 800, "10 1 60", 66_624),
    ("gpt-5.6-sol", "flex", 12_000, 11_264, 800, "2.5 0.25 15", 16_656),
    ("gpt-5.6-sol", "default", 272_000, 0, 1, "5 0.5 30", 1_360_030),
    ("gpt-5.6-sol", "default", 272_001, 0, 1, "10 1 45", 2_720_055),
    ("gpt-5.6-sol", "priority", 300_000, 200_000, 1_000, "10 1 60", 1_260_000),
    ("gpt-5.6-sol", "flex", 300_000, 200_000, 1_000, "5 0.5 22.5", 622_500),
    ("gpt-5.6", "", 1_000, 0, 1_000, "5 0.5 30", 35_000),
    ("GPT-5.6-Sol", "Fast", 1_000, 500, 1_000, "10 1 60", 65_500),
    ("gpt-5.6-terra", "auto", 54_321, 4_096, 777, "2 0.2 12", 110_593),
    ("gpt-5.6-terra", "priority", 54_321, 4_096, 777, "4 0.4 24", 221_186),
    ("gpt-5.6-terra", "flex", 54_321, 4_096, 777, "1 0.1 6", 55_297),
    ("gpt-5.6-terra", "default", 400_000, 399_999, 12_345, "4 0.4 18", 382_214),
    ("gpt-5.6-luna", "default", 1, 0, 0, "0.2 0.02 1.2", 0),
    ("gpt-5.6-luna", "default", 1, 1, 0, "0.2 0.02 1.2", 0),
    ("gpt-5.6-luna", "default", 33, 10, 7, "0.2 0.02 1.2", 13),
    ("gpt-5.6-luna", "flex", 33, 10, 7, "0.1 0.01 0.6", 7),
    ("gpt-5.6-luna", "priority", 290_000, 0, 7, "0.4 0.04 2.4", 116_017),
    ("gpt-5.6-luna", "flex", 290_000, 1_000, 7, "0.2 0.02 0.9", 57_826),
    ("gpt-5.5", "default", 8_192, 1_024, 2_048, "5 0.5 30", 97_792),
    ("gpt-5.5", "priority", 8_192, 1_024, 2_048, "12.5 1.25 75", 244_480),
    ("gpt-5.5", "flex", 8_192, 1_024, 2_048, "2.5 0.25 15", 48_896),
    ("gpt-5.5", "default", 500_000, 0, 10, "5 0.5 30", 2_500_300),
    ("gpt-5.5-pro", "default", 2_000, 1_500, 300, "30 30 180", 114_000),
    ("gpt-5.5-pro", "flex", 2_000, 1_500, 300, "15 15 90", 57_000),
    ("gpt-5.4", "default", 10_000, 4_000, 500, "2.5 0.25 15", 23_500),
    ("gpt-5.4", "ultrafast", 10_000, 4_000, 500, "2.5 0.25 15", 23_500),
    ("gpt-5.4", "priority", 10_000, 4_000, 500, "5 0.5 30", 47_000),
    ("gpt-5.4", "flex", 10_001, 4_001, 501, "1.25 0.125 7.5", 11_758),
    ("gpt-5.4", "default", 272_001, 272_001, 100, "5 0.5 22.5", 138_251),
    ("gpt-5.4", "flex", 272_001, 272_001, 100, "2.5 0.25 11.25", 69_125),
    ("gpt-5.4-2026-03-05", "default", 10_000, 4_000, 500, "2.5 0.25 15", 23_500),
    ("gpt-5.4-mini", "default", 321, 123, 45, "0.75 0.075 4.5", 360),
    ("gpt-5.4-mini", "flex", 321, 123, 45, "0.375 0.0375 2.25", 180),
    ("gpt-5.4-mini-2026-03-17", "default", 321, 123, 45, "0.75 0.075 4.5", 360),
    ("gpt-5.4-nano", "default", 999, 9, 99, "0.2 0.02 1.25", 322),
    ("gpt-5.4-nano", "flex", 999, 9, 99, "0.1 0.01 0.625", 161),
    ("gpt-5.4-pro", "default", 50_000, 25_000, 5_000, "30 30 180", 2_400_000),
    ("gpt-5.4-pro", "default", 350_000, 25_000, 5_000, "60 60 270", 22_350_000),
    ("gpt-5.3-codex", "default", 7_000, 6_500, 650, "1.75 0.175 14", 11_113),
    ("gpt-5.3-codex-spark", "priority", 7_000, 6_500, 650, "3.5 0.35 28", 22_225),
    ("gpt-5.3-chat-latest", "default", 7_000, 0, 650, "1.75 0.175 14", 21_350),
    ("gpt-5.2", "priority", 7_000, 6_500, 650, "3.5 0.35 28", 22_225),
    ("gpt-5.2", "flex", 7_001, 6_501, 651, "0.875 0.0875 7", 5_563),
    ("gpt-5.1", "default", 1_111, 111, 11, "1.25 0.125 10", 1_374),
    ("gpt-5", "flex", 1_111, 111, 11, "0.625 0.0625 5", 687),
    ("gpt-5-codex", "priority", 1_111, 111, 11, "2.5 0.25 20", 2_748),
    ("gpt-5.1-codex-mini", "default", 1_111, 111, 11, "0.25 0.025 2", 275),
    ("gpt-image-2", "default", 400, 100, 4_160, "5 2 30", 126_500),
]
TOTAL_MICRO_USD = 35_571_375

OWN = """
version = "mine"
[models."gpt-5.4"]
standard = { input = 1, output = 2 }
[models.house]
also = ["house-*"]
standard = { input = 0.000001, cached = 0, output = 3 }
"""


def test_fifty_mixed_turns_cost_what_a_table_by_hand_says() -> None:
    prices = load_prices()

    costs = [micro_usd(prices, model, tier, used(*tokens)) for model, tier, *tokens, _, _ in TURNS]

    assert len(TURNS) == 50
    assert costs == [by_hand for *_, by_hand in TURNS]
    assert costs == [exact(*tokens, rates) for _, _, *tokens, rates, _ in TURNS]
    assert sum(costs) == TOTAL_MICRO_USD


@pytest.mark.parametrize(
    ("model", "tier", "tokens", "source"),
    [
        ("gpt-5.4", "", 1_000, "2026-11 gpt-5.4 standard"),
        ("GPT-5.4-2026-03-05", "flex", 300_000, "2026-11 gpt-5.4 flex_long"),
        ("gpt-5.5-pro", "priority", 1_000, "2026-11 gpt-5.5-pro standard (no priority rates)"),
        ("gpt-5.3-codex", "flex", 1_000, "2026-11 gpt-5.3-codex standard (no flex rates)"),
        ("gpt-5.4-pro", "priority", 300_000, "2026-11 gpt-5.4-pro long (no priority rates)"),
    ],
)
def test_a_cost_says_which_rates_it_is_from(model: str, tier: str, tokens: int, source: str) -> None:
    cost = load_prices().price_of(model, tier, used(tokens, 0, 1))

    assert isinstance(cost, Cost)
    assert cost.source == source


def test_what_has_no_price_is_not_free() -> None:
    prices = load_prices()

    assert prices.price_of("gpt-4", "", used(10, 0, 10)) is Unpriced.MODEL_UNKNOWN
    assert prices.price_of("gpt-5.7", "", used(10, 0, 10)) is Unpriced.MODEL_UNKNOWN
    assert prices.price_of("gpt-5.4", "", None) is Unpriced.USAGE_UNKNOWN
    assert prices.price_of("gpt-5.4", "", used(2**53, 0, 0)) is Unpriced.USAGE_ABSURD


def test_more_cached_tokens_than_there_were_cost_no_more_than_all() -> None:
    prices = load_prices()

    assert micro_usd(prices, "gpt-5.4", "", used(1_000, 5_000, 0)) == 250


def test_the_tier_upstream_used_outranks_the_one_asked_for() -> None:
    assert billable_tier("priority", "default") == "default"
    assert billable_tier("priority", "") == "priority"


def test_the_operators_prices_come_before_those_that_ship(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN)

    prices = load_prices(file)

    assert prices.price_of("gpt-5.4", "", used(1_000, 500, 10)) == Cost(1_020, "mine gpt-5.4 standard")
    assert prices.price_of("house-9", "", used(500_000, 0, 1)) == Cost(4, "mine house standard")
    assert micro_usd(prices, "gpt-5.5", "", used(1_000, 0, 0)) == 5_000


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("version = 1", "Expected `str`"),
        ("version = ", "Invalid value"),
        ('version = "v"\n[models.m]\nstandard = { input = 1 }', "output"),
        ('version = "v"\n[models.m]\nstandart = {}', "standart"),
        ('version = "v"\n[models.m]\nstandard = { input = -1, output = 1 }', "rate of m"),
        ('version = "v"\n[models.m]\nstandard = { input = nan, output = 1 }', "rate of m"),
        ('version = "v"\n[models.m]\nstandard = { input = 0.0000001, output = 1 }', "six decimals"),
        (
            'version = "v"\n[models.m]\nalso = ["n"]\nstandard = { input = 1, output = 1 }\n'
            "[models.N]\nstandard = { input = 1, output = 1 }",
            "called N",
        ),
    ],
)
def test_a_list_with_a_mistake_is_refused_and_the_place_named(text: str, part: str) -> None:
    with pytest.raises(InvalidPricesError, match=part):
        read_prices(text)


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"

    with pytest.raises(InvalidPricesError, match=str(file)):
        load_prices(file)
    file.write_bytes(b"\xff")
    with pytest.raises(InvalidPricesError, match=str(file)):
        load_prices(file)


def used(given: int, cached: int, made: int) -> Usage:
    """Tokens of a turn."""
    return Usage(given, cached, made, 0, given + made)


def micro_usd(prices: Prices, model: str, tier: str, usage: Usage) -> int:
    """The cost of a turn that has one."""
    cost = prices.price_of(model, tier, usage)
    assert isinstance(cost, Cost)
    return cost.micro_usd


def exact(given: int, cached: int, made: int, rates: str) -> int:
    """The same sum in decimals."""
    fresh_rate, cached_rate, output_rate = map(Decimal, rates.split())
    total = (given - cached) * fresh_rate + cached * cached_rate + made * output_rate
    return int(total.quantize(Decimal(1), ROUND_HALF_UP))
