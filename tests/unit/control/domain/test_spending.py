"""What a lease counts for in its key's limits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from codex_lb.control.domain.lease import Outcome, ReservedAmount, Settlement, Timings, Usage, Work
from codex_lb.control.domain.limit import Amounts, Limit, LimitUnit, LimitWindow, fits
from codex_lb.control.domain.spending import UNPRICED_MICRO_USD_PER_TOKEN, estimated, spent
from codex_lb.control.store.price_file import load_prices
from tests.support.clock import NOON
from tests.unit.control.leases import lease, settled, wanted

PRICES = load_prices()
RESERVED = (ReservedAmount("limit_1", 900, NOON),)
USAGE = Usage(1_000_000, 0, 1_000_000, 0, 2_000_000)


def ended(
    outcome: Outcome, usage: Usage | None = None, *, work: Work = Work.TURN, has_begun: bool = False
) -> Settlement:
    held = replace(lease("1"), api_key_id="key", work=work, reservation=RESERVED)
    timings = Timings(first_output_s=0.1 if has_begun else None)
    return replace(settled(held, outcome=outcome), usage=usage, timings=timings)


def limit(unit: LimitUnit = LimitUnit.TOTAL_TOKENS, *, model: str = "") -> Limit:
    return Limit("limit_1", unit, LimitWindow.DAY, model, 1000, begins_at=NOON)


def test_what_upstream_said_counts_in_every_unit_with_the_price_that_the_ledger_uses() -> None:
    what = spent(ended(Outcome.COMPLETED, USAGE), PRICES)

    price = PRICES.price_of("gpt-5.5", "", USAGE)
    assert what.amounts == Amounts(1, 1_000_000, 1_000_000, 2_000_000, getattr(price, "micro_usd", None))
    assert [what.in_limit(limit(unit), since=NOON) for unit in (LimitUnit.REQUESTS, LimitUnit.OUTPUT_TOKENS)] == [
        1,
        1_000_000,
    ]


def test_a_model_without_a_price_is_not_free() -> None:
    held = replace(ended(Outcome.COMPLETED, USAGE).lease, model="never-heard-of")

    what = spent(replace(ended(Outcome.COMPLETED, USAGE), lease=held), PRICES)

    assert what.amounts is not None
    assert what.amounts.cost_micro_usd == 2_000_000 * UNPRICED_MICRO_USD_PER_TOKEN


@pytest.mark.parametrize(
    ("settlement", "counts"),
    [
        (ended(Outcome.ABANDONED), 900),
        (ended(Outcome.COMPLETED), 900),
        (ended(Outcome.CANCELLED, has_begun=True), 900),
        (ended(Outcome.BROKEN, has_begun=True), 900),
        (ended(Outcome.CANCELLED), 0),
        (ended(Outcome.BROKEN), 0),
        (ended(Outcome.LIMITED, has_begun=True), 0),
        (ended(Outcome.REJECTED), 0),
        (ended(Outcome.COMPLETED, work=Work.FILE), 0),
        (ended(Outcome.BROKEN, Usage(10, 0, 5, 0, 15)), 15),
    ],
)
def test_where_upstream_said_nothing_the_reservation_counts_if_an_answer_had_begun(
    settlement: Settlement, counts: int
) -> None:
    assert spent(settlement, PRICES).in_limit(limit(), since=NOON) == counts


def test_what_was_answered_with_nothing_is_no_request_but_has_its_tokens() -> None:
    what = spent(ended(Outcome.COMPLETED, Usage(9, 0, 0, 0, 9)), PRICES)

    assert what.in_limit(limit(LimitUnit.REQUESTS), since=NOON) == 0
    assert what.in_limit(limit(), since=NOON) == 9


def test_a_recording_is_a_request_without_tokens() -> None:
    what = spent(ended(Outcome.COMPLETED, work=Work.TRANSCRIPTION), PRICES)

    assert (what.in_limit(limit(LimitUnit.REQUESTS), since=NOON), what.in_limit(limit(), since=NOON)) == (1, 0)


def test_a_lease_counts_in_the_window_in_which_it_was_granted_and_for_its_model() -> None:
    what = spent(ended(Outcome.COMPLETED, USAGE), PRICES)

    assert what.in_limit(limit(), since=NOON + timedelta(seconds=1)) == 0
    assert what.in_limit(limit(model="gpt-5.4"), since=NOON) == 0
    assert what.in_limit(limit(model="gpt-5.5"), since=NOON) == 2_000_000


def test_an_estimate_is_one_request_at_the_price_of_its_tokens() -> None:
    amounts = estimated(replace(wanted(), input_tokens=100, output_tokens=50), PRICES)

    assert (amounts.requests, amounts.total_tokens) == (1, 150)
    assert amounts.cost_micro_usd > 0


@pytest.mark.parametrize(
    ("amount", "used", "reserved", "is_let_through"),
    [
        (100, 0, 0, True),
        (100, 900, 0, True),
        (50, 900, 50, True),
        (51, 900, 50, False),
        (500, 900, 0, True),
        (500, 999, 0, True),
        (0, 1000, 0, False),
        (1, 1200, 0, False),
    ],
)
def test_a_turn_fits_or_is_the_only_one_that_takes_the_rest(
    amount: int, used: int, reserved: int, is_let_through: bool
) -> None:
    assert fits(amount, used=used, reserved=reserved, amount_max=1000) is is_let_through
