"""Where an account stands, out of what was observed about it."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import (
    RATE_BELIEVED_MAX,
    USAGE_LAG,
    Closed,
    CreditsSeen,
    Evidence,
    LoginRejected,
    Operated,
    OperatorAction,
    QuotaSeen,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
    Source,
    Standing,
    UsageSeen,
    is_nothing_new,
    record_of,
    standing,
)
from codex_lb.control.domain.window import Window, WindowKind
from tests.support.clock import NOON

# Few and close values, so that evidence meets, ties and overtakes often.
moments = st.integers(0, 400).map(lambda s: NOON + timedelta(seconds=s))
resets = st.none() | st.integers(0, 40_000).map(lambda s: NOON + timedelta(seconds=s))
windows = st.builds(Window, st.sampled_from(WindowKind), st.sampled_from([0.0, 60.0, 100.0]), st.just(18_000.0), resets)
evidence: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(UsageSeen, windows, moments, st.sampled_from(Source)),
    st.builds(Refused, st.sampled_from(RefusalKind), st.sampled_from(["usage_limit_reached", "x"]), resets, moments),
    st.builds(Served, moments),
    st.builds(LoginRejected, st.integers(1, 3), st.just("token_expired"), moments, st.booleans()),
    st.builds(QuotaSeen, st.sampled_from("ab"), st.tuples(windows), moments, st.sampled_from(Source)),
    st.builds(CreditsSeen, st.booleans(), st.booleans(), st.sampled_from(["0", "9"]), moments),
    st.builds(Closed, st.integers(1, 3), st.just("account_deactivated"), moments),
    st.builds(Reactivated, moments),
    st.builds(Operated, st.sampled_from(OperatorAction), moments),
)


@given(st.lists(evidence, max_size=12), st.randoms(use_true_random=False), st.integers(1, 3), moments)
def test_late_repeated_and_shuffled_evidence_gives_the_same_standing(
    seen: list[Evidence], chance: random.Random, generation: int, now: datetime
) -> None:
    shuffled = [one for one in seen for _ in range(chance.randint(1, 3))]
    chance.shuffle(shuffled)

    first, second = record_of(seen), record_of(shuffled)

    assert first == second
    assert standing(first, generation=generation, now=now) == standing(second, generation=generation, now=now)


@given(st.lists(evidence, max_size=12), evidence, moments, st.integers(0, 40_000))
def test_what_says_nothing_new_changes_neither_the_standing_nor_the_windows_then_and_later(
    seen: list[Evidence], one: Evidence, now: datetime, later_s: int
) -> None:
    before, later = record_of(seen), now + timedelta(seconds=later_s)
    known = standing(before, generation=2, now=now)

    after = before.joined(one)

    if is_nothing_new(one, before, known):
        assert standing(after, generation=2, now=now) == known
        assert standing(after, generation=2, now=later) == standing(before, generation=2, now=later)
        assert [one.window for one in after.usage.values()] == [one.window for one in before.usage.values()]


@given(st.lists(evidence, max_size=12))
def test_a_new_login_and_the_end_of_every_deadline_leave_nothing_stuck(seen: list[Evidence]) -> None:
    resumed = Operated(OperatorAction.RESUMED, NOON + timedelta(hours=1))

    later = standing(record_of([*seen, resumed]), generation=4, now=NOON + timedelta(days=400))

    assert later.is_ready


@given(st.lists(st.builds(UsageSeen, windows, moments, st.sampled_from(Source)), max_size=8), moments)
def test_usage_alone_never_blocks(seen: list[UsageSeen], now: datetime) -> None:
    assert standing(record_of(seen), generation=1, now=now).is_ready


@given(st.lists(evidence, max_size=12), st.randoms(use_true_random=False))
def test_no_history_leaves_an_account_blocked_once_every_window_shows_room_again(
    history: list[Evidence], chance: random.Random
) -> None:
    later = _at(400) + USAGE_LAG
    room = [UsageSeen(Window(kind, 50.0, 18_000.0, _at(90_000)), later, Source.POLL) for kind in WindowKind]
    seen = [one for one in history if not isinstance(one, LoginRejected | Closed | Operated)] + room
    chance.shuffle(seen)

    now_and_a_rate_later = [later, later + RATE_BELIEVED_MAX]

    first, second = (standing(record_of(seen), generation=1, now=now) for now in now_and_a_rate_later)
    assert second.is_ready
    assert first.is_ready or (first.until is not None and first.until <= _at(400) + RATE_BELIEVED_MAX)


@given(
    st.lists(evidence, max_size=12),
    st.builds(Refused, st.sampled_from(RefusalKind), st.just("usage_limit_reached"), resets, moments),
    st.randoms(use_true_random=False),
)
def test_no_history_reopens_an_account_before_its_deadline(
    history: list[Evidence], refused: Refused, chance: random.Random
) -> None:
    older = [one for one in history if one.observed_at < refused.observed_at]
    seen = [*older, refused]
    chance.shuffle(seen)

    last_moment = refused.deadline - timedelta(microseconds=1)

    assert not standing(record_of(seen), generation=1, now=last_moment).is_ready


def test_a_whole_pool_whose_week_began_early_serves_on_the_next_sample() -> None:
    refused = Refused(RefusalKind.QUOTA, "usage_limit_reached", _at(4 * 86_400), NOON)
    fresh_week = Window(WindowKind.SECONDARY, 0.0, 604_800.0, _at(50 + 604_800))

    assert _standing(refused, UsageSeen(fresh_week, _at(60), Source.POLL), at=60).is_ready


def test_a_rate_that_lasts_for_days_is_a_window_and_ends_with_it() -> None:
    refused = Refused(RefusalKind.RATE, "rate_limit_exceeded", _at(4 * 86_400), NOON)
    room = UsageSeen(_window(used_percent=1, resets_in_s=18_000), _at(200), Source.POLL)

    assert not _standing(refused, at=200).is_ready
    assert _standing(refused, room, at=200).is_ready


def test_the_quota_of_a_model_touches_neither_the_main_windows_nor_a_block() -> None:
    spent = QuotaSeen("codex_spark", (_window(used_percent=100, resets_in_s=60),), _at(200), Source.POLL)
    free = QuotaSeen("codex_spark", (_window(used_percent=0, resets_in_s=60),), _at(200), Source.POLL)

    assert _standing(spent, at=201).is_ready
    assert not _standing(_refused(until=3600), free, at=201).is_ready
    assert record_of([spent]).usage == {}


def test_what_the_issuer_ended_is_not_reopened_by_a_later_401_of_upstream() -> None:
    ended = LoginRejected(1, "invalid_grant", NOON, is_final=True)
    late = LoginRejected(1, "token_expired", _at(60))

    assert record_of([late, ended]).login_rejected == ended


def test_a_refusal_lasts_until_the_time_upstream_named_and_then_one_turn_may_try() -> None:
    refused = _refused(until=60)

    assert _standing(refused, at=59) == Standing(
        AccountStatus.RATE_LIMITED, "usage_limit_reached", _at(60), is_probing=False
    )
    assert _standing(refused, at=60) == Standing(AccountStatus.ACTIVE, "", None, is_probing=True, probing_since=_at(60))


def test_a_turn_served_after_the_deadline_ends_the_probing() -> None:
    assert not _standing(_refused(until=60), Served(_at(61)), at=62).is_probing


def test_a_turn_that_was_running_when_the_account_was_refused_proves_nothing() -> None:
    assert not _standing(_refused(until=3600), Served(_at(5)), at=6).is_ready


def test_a_window_that_began_anew_lifts_the_refusal_of_the_old_one() -> None:
    anew = UsageSeen(_window(used_percent=1, resets_in_s=18_030), _at(30), Source.POLL)

    assert _standing(_refused(until=3600), anew, at=31).is_ready


def test_a_sample_of_the_same_window_is_believed_only_after_upstream_had_time_to_count() -> None:
    def seen_after(seconds: float) -> UsageSeen:
        return UsageSeen(_window(used_percent=50, resets_in_s=3600), _at(seconds), Source.POLL)

    assert not _standing(_refused(until=3600), seen_after(60), at=61).is_ready
    assert _standing(_refused(until=3600), seen_after(120), at=121).is_ready


def test_a_plan_that_does_not_cover_the_turn_is_told_apart_from_a_window_used_up() -> None:
    refused = Refused(RefusalKind.QUOTA, "insufficient_quota", None, NOON)

    assert _standing(refused, at=1).status is AccountStatus.QUOTA_EXCEEDED


def test_only_a_newer_login_ends_a_rejected_one_and_a_late_rejection_of_the_old_one_is_ignored() -> None:
    rejected = record_of([LoginRejected(1, "token_expired", NOON + timedelta(seconds=10))])

    assert standing(rejected, generation=1, now=NOON).status is AccountStatus.REAUTH_REQUIRED
    assert standing(rejected, generation=2, now=NOON).is_ready


def test_a_pause_comes_before_everything_else() -> None:
    paused = Operated(OperatorAction.PAUSED, NOON)

    assert (
        _standing(paused, Closed(1, "account_deleted", NOON), _refused(until=60), at=1).status is AccountStatus.PAUSED
    )


def test_an_operator_can_lift_a_refusal_but_not_a_later_one() -> None:
    assert _standing(_refused(until=3600), Reactivated(_at(1)), at=2).is_ready
    assert not _standing(_refused(until=3600), Reactivated(_at(-1)), at=2).is_ready


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def _refused(*, until: float) -> Refused:
    return Refused(RefusalKind.QUOTA, "usage_limit_reached", _at(until), NOON)


def _window(*, used_percent: float, resets_in_s: float) -> Window:
    return Window(WindowKind.PRIMARY, used_percent, 18_000.0, _at(resets_in_s))


def _standing(*seen: Evidence, at: float) -> Standing:
    return standing(record_of(seen), generation=1, now=_at(at))
