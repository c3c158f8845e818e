"""Upstream's usage answer becomes windows under their true names, or an error that names the field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.usage_worker.usage_payload import UnreadableUsageError, parse_usage, true_kind
from codex_lb.usage_worker.work import AdditionalQuota, UsageFound, Window, WindowKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RESET = datetime(2026, 1, 1, 5, tzinfo=UTC)
FIVE_HOURS_S, WEEK_S, MONTH_S = 18_000, 604_800, 2_592_000


def a_window(used_percent: float = 12, length_s: float | None = FIVE_HOURS_S, **more: Any) -> dict[str, Any]:
    return {
        "used_percent": used_percent,
        "limit_window_seconds": length_s,
        "reset_at": int(RESET.timestamp()),
        "reset_after_seconds": 18_000,
        **more,
    }


def read(payload: object) -> UsageFound:
    return parse_usage(msgspec.json.encode(payload), observed_at=NOW)


def read_windows(primary: object, secondary: object = None) -> tuple[Window, ...]:
    return read({"rate_limit": {"primary_window": primary, "secondary_window": secondary}}).windows


def test_a_whole_payload_is_read_and_what_is_unknown_is_ignored() -> None:
    spark = {"limit_name": "codex_spark", "metered_feature": "spark", "rate_limit": {"primary_window": a_window(7)}}

    found = read(
        {
            "plan_type": "plus",
            "workspace_id": "ws_1",
            "seat_type": "default",
            "rate_limit": {
                "allowed": True,
                "primary_window": a_window(12.5),
                "secondary_window": a_window(34, WEEK_S),
            },
            "credits": {"has_credits": True, "unlimited": False, "balance": "12.50"},
            "rate_limit_reset_credits": {"available_count": 2},
            "additional_rate_limits": [spark],
            "promo": {"anything": [1, 2]},
        }
    )

    assert found == UsageFound(
        plan="plus",
        windows=(
            Window(WindowKind.PRIMARY, 12.5, FIVE_HOURS_S, RESET),
            Window(WindowKind.SECONDARY, 34, WEEK_S, RESET),
        ),
        additional_quotas=(
            AdditionalQuota("codex_spark", "spark", (Window(WindowKind.PRIMARY, 7, FIVE_HOURS_S, RESET),)),
        ),
        has_credits=True,
        credits_unlimited=False,
        credits_balance="12.50",
        workspace_id="ws_1",
        reset_credits_available=2,
    )


def test_an_empty_payload_says_nothing_and_is_no_error() -> None:
    assert read({}) == UsageFound()
    assert read({"rate_limit": None, "credits": None, "additional_rate_limits": None}) == UsageFound()


def test_a_week_in_the_primary_slot_is_the_weekly_window() -> None:
    [window] = read_windows(a_window(12, WEEK_S))

    assert window.kind is WindowKind.SECONDARY


@pytest.mark.parametrize("slots", [(a_window(12, MONTH_S), None), (None, a_window(12, MONTH_S))])
def test_a_month_is_the_monthly_window_in_whichever_slot_it_comes(slots: tuple[object, object]) -> None:
    [window] = read_windows(*slots)

    assert window.kind is WindowKind.MONTHLY


def test_of_two_reports_of_one_window_the_fuller_one_counts() -> None:
    [window] = read_windows(a_window(90, WEEK_S), a_window(10, WEEK_S))

    assert window.used_percent == 90


def test_a_window_without_a_length_has_the_usual_one_of_its_slot() -> None:
    primary, secondary = read_windows(a_window(1, None), a_window(2, None))

    assert (primary.length_s, secondary.length_s) == (FIVE_HOURS_S, WEEK_S)


def test_a_share_beyond_full_is_full() -> None:
    [over, under] = read_windows(a_window(130), a_window(-3, WEEK_S))

    assert (over.used_percent, under.used_percent) == (100, 0)


def test_a_reset_given_only_as_a_distance_counts_from_the_observation() -> None:
    [window] = read_windows(a_window(reset_at=None, reset_after_seconds=90))

    assert window.resets_at == NOW + timedelta(seconds=90)


def test_a_window_without_any_reset_has_none() -> None:
    [window] = read_windows(a_window(reset_at=None, reset_after_seconds=None))

    assert window.resets_at is None


def test_an_additional_quota_that_nobody_could_name_is_left_out() -> None:
    nameless = {"rate_limit": {"primary_window": a_window()}}
    empty = {"limit_name": "spark", "rate_limit": None}

    assert read({"additional_rate_limits": [nameless, empty]}).additional_quotas == ()


@pytest.mark.parametrize("balance", ["0", "12.50", 3, 0.25])
def test_the_balance_is_kept_as_upstream_writes_it(balance: object) -> None:
    assert read({"credits": {"balance": balance}}).credits_balance == str(balance)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"rate_limit": {"primary_window": a_window() | {"used_percent": "12"}}}, "primary_window.used_percent"),
        ({"rate_limit": {"primary_window": a_window() | {"used_percent": True}}}, "primary_window.used_percent"),
        ({"rate_limit": {"secondary_window": {"reset_at": 1}}}, "used_percent"),
        ({"rate_limit": {"primary_window": a_window(reset_at=10**15)}}, "rate_limit.primary_window.reset_at"),
        ({"rate_limit": {"primary_window": a_window(reset_at=0, reset_after_seconds=1e300)}}, "reset_after_seconds"),
        ({"rate_limit": [1]}, "rate_limit"),
        ({"plan_type": 3}, "plan_type"),
        ({"credits": {"has_credits": "yes"}}, "credits.has_credits"),
        ({"rate_limit_reset_credits": {"available_count": 1.5}}, "available_count"),
        ({"additional_rate_limits": [{"limit_name": 1}]}, "additional_rate_limits"),
        ([], "the payload"),
    ],
)
def test_a_malformed_field_is_named(payload: object, field: str) -> None:
    with pytest.raises(UnreadableUsageError, match=field):
        read(payload)


@pytest.mark.parametrize("body", [b"", b"<!DOCTYPE html>", b'{"plan_type":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableUsageError, match="the payload"):
        parse_usage(body, observed_at=NOW)


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(msgspec.json.encode))
def test_whatever_comes_is_read_or_refused_as_unreadable(body: bytes) -> None:
    try:
        found = parse_usage(body, observed_at=NOW)
    except UnreadableUsageError:
        return

    assert isinstance(found, UsageFound)


numbers = st.none() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
windows = st.none() | st.fixed_dictionaries(
    {
        "used_percent": st.floats(allow_nan=False, allow_infinity=False),
        "limit_window_seconds": numbers,
        "reset_at": numbers,
        "reset_after_seconds": numbers,
    }
)


@given(windows, windows)
def test_windows_that_are_read_are_of_distinct_kinds_and_within_bounds(primary: object, secondary: object) -> None:
    try:
        found = read_windows(primary, secondary)
    except UnreadableUsageError:
        return

    assert len({window.kind for window in found}) == len(found)
    assert all(0 <= window.used_percent <= 100 and window.length_s > 0 for window in found)


@given(st.sampled_from(WindowKind), st.floats(0, 1e8))
def test_a_kind_that_is_true_stays_true(named: WindowKind, length_s: float) -> None:
    kind = true_kind(named, length_s)

    assert true_kind(kind, length_s) is kind
