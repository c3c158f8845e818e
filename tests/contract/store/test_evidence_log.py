"""The log may leave out what repeats itself, because nothing that is decided by it changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.evidence import (
    CreditsSeen,
    Evidence,
    QuotaSeen,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
    Source,
    UsageSeen,
    record_of,
    standing,
)
from codex_lb.control.domain.window import WindowKind
from codex_lb.control.store.database import Database
from codex_lb.control.store.news import Sieve
from tests.contract.store.examples import NOON, account, add_account, usage_seen

ACCOUNT = account("a").account_id


def kept(*observed: Evidence) -> list[Evidence]:
    """What a fresh process stores of them."""
    return [one for _, one in Sieve().news([(ACCOUNT, one) for one in observed], {})]


def later(minutes: float) -> UsageSeen:
    """The same sample again."""
    return usage_seen(10, at=NOON + timedelta(minutes=minutes))


def test_a_sample_that_says_the_same_is_stored_every_five_minutes() -> None:
    assert kept(*(later(minute) for minute in range(12))) == [later(0), later(5), later(10)]


def test_a_sample_of_another_share_or_window_is_stored_at_once() -> None:
    more = usage_seen(10.5, at=NOON + timedelta(seconds=1))
    other = usage_seen(10.5, at=NOON + timedelta(seconds=1), kind=WindowKind.SECONDARY)

    assert kept(later(0), more, other) == [later(0), more, other]


def test_the_last_bit_of_a_window_is_no_noise() -> None:
    nearly, full = usage_seen(99.9), usage_seen(100, at=NOON + timedelta(seconds=1))

    assert kept(nearly, full) == [nearly, full]


def test_everything_is_stored_until_it_is_well_after_a_refusal() -> None:
    refused = Refused(RefusalKind.QUOTA, "usage_limit_reached", NOON + timedelta(hours=1), NOON)

    assert kept(refused, *(later(minute) for minute in range(6))) == [refused, *(later(m) for m in range(4))]


def test_credits_are_stored_when_they_change_and_quotas_of_models_never() -> None:
    some, again, fewer = (
        CreditsSeen(has_credits=True, is_unlimited=False, balance=balance, observed_at=NOON + timedelta(minutes=minute))
        for minute, balance in enumerate(["10", "10", "9"])
    )
    of_model = QuotaSeen("codex_spark", (), NOON, Source.POLL)

    assert kept(some, of_model, again, fewer) == [some, fewer]


async def test_what_was_rolled_back_is_not_taken_for_stored(store: Database) -> None:
    await add_account(store, "a")

    async def append(*, fails: bool) -> None:
        async with store.begin(writing=True) as unit:
            await unit.accounts.append_evidence([(ACCOUNT, later(0))])
            if fails:
                raise KeyError

    with pytest.raises(KeyError):
        await append(fails=True)
    await append(fails=False)

    async with store.begin(writing=False) as unit:
        assert await unit.accounts.newest_evidence() == {ACCOUNT: [later(0)]}


SECONDS = st.integers(0, 900)
SAMPLES = st.sampled_from([50.0, 50.2, 99.9, 100.0])


def any_evidence(at: datetime) -> st.SearchStrategy[Evidence]:
    """Of a moment, as far as refusals and what lifts them go."""
    return st.one_of(
        st.builds(usage_seen, SAMPLES, at=st.just(at)),
        st.just(Served(at)),
        st.builds(Refused, st.sampled_from(RefusalKind), st.just("x"), st.just(at + timedelta(hours=1)), st.just(at)),
        st.just(Reactivated(at)),
    )


@st.composite
def in_order(draw: st.DrawFn) -> list[Evidence]:
    """Evidence as it arrives, close together."""
    moments = [NOON + timedelta(seconds=second) for second in sorted(draw(st.lists(SECONDS, max_size=25)))]
    return [draw(any_evidence(at)) for at in moments]


@given(observed=in_order(), looked_after_s=st.integers(0, 7200))
def test_the_standing_that_follows_from_what_is_stored_is_the_true_one(
    observed: list[Evidence], looked_after_s: int
) -> None:
    now = NOON + timedelta(seconds=900 + looked_after_s)

    stored = record_of(kept(*observed))

    assert standing(stored, generation=1, now=now) == standing(record_of(observed), generation=1, now=now)
