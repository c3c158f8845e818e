"""Reads upstream's answer about an account's usage. Pure: bytes and an instant in, `UsageFound` out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from codex_lb.usage_worker.work import AdditionalQuota, UsageFound, Window, WindowKind

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
WEEKLY_ONLY_FROM_S = 2 * DAY_S  # a "primary" window this long is the weekly one of a plan that has no 5 h window
MONTHLY_FROM_S = 20 * DAY_S  # free plans report about 30 days
LENGTH_S_MAX = 366 * DAY_S  # longer is a mistake of upstream's
# For a window whose length upstream leaves out: zero would say that it began just before it ends.
USUAL_LENGTH_S = {WindowKind.PRIMARY: 5 * HOUR_S, WindowKind.SECONDARY: 7 * DAY_S, WindowKind.MONTHLY: 30 * DAY_S}
RESET_CREDITS_MAX = 2**32 - 1  # what the report can carry


class UnreadableUsageError(Exception):
    """A usage payload that cannot be read; the text names the field."""


def parse_usage(body: bytes, *, observed_at: datetime) -> UsageFound:
    """Raises UnreadableUsageError with the field's name; unknown fields are ignored.

    Windows come back under their true kind: one of each at the most.
    """
    try:
        payload = msgspec.json.decode(body, type=_Payload)
    except (ValueError, RecursionError) as error:
        raise UnreadableUsageError(_where(error)) from None  # the cause holds the payload
    credits_seen = payload.credits or _Credits()
    return UsageFound(
        plan=payload.plan_type or "",
        windows=_windows(payload.rate_limit, "rate_limit", observed_at),
        additional_quotas=tuple(_additional(payload.additional_rate_limits or (), observed_at)),
        has_credits=bool(credits_seen.has_credits),
        credits_unlimited=bool(credits_seen.unlimited),
        credits_balance=_written(credits_seen.balance),
        workspace_id=payload.workspace_id or "",
        reset_credits_available=_available(payload.rate_limit_reset_credits),
    )


def true_kind(named: WindowKind, length_s: float) -> WindowKind:
    """The window that a length belongs to, whatever slot upstream reported it in."""
    if length_s >= MONTHLY_FROM_S:
        return WindowKind.MONTHLY
    if named is WindowKind.PRIMARY and length_s >= WEEKLY_ONLY_FROM_S:
        return WindowKind.SECONDARY
    return named


class _Window(msgspec.Struct):
    used_percent: float
    reset_at: float | None = None
    limit_window_seconds: float | None = None
    reset_after_seconds: float | None = None


class _RateLimit(msgspec.Struct):
    primary_window: _Window | None = None
    secondary_window: _Window | None = None


class _Credits(msgspec.Struct):
    has_credits: bool | None = None
    unlimited: bool | None = None
    balance: str | int | float | None = None


class _ResetCredits(msgspec.Struct):
    available_count: int | None = None


class _AdditionalLimit(msgspec.Struct):
    limit_name: str | None = None
    metered_feature: str | None = None
    rate_limit: _RateLimit | None = None


class _Payload(msgspec.Struct):
    plan_type: str | None = None
    workspace_id: str | None = None
    rate_limit: _RateLimit | None = None
    credits: _Credits | None = None
    rate_limit_reset_credits: _ResetCredits | None = None
    additional_rate_limits: tuple[_AdditionalLimit, ...] | None = None


def _where(error: Exception) -> str:
    """The field and what is wrong with it, out of msgspec's `Expected …, got … - at `$.field``."""
    if isinstance(error, msgspec.ValidationError):
        problem, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").removeprefix(".") or "the payload"
        return f"{field}: {problem}"
    return "the payload: it is not JSON"


def _additional(limits: Iterable[_AdditionalLimit], observed_at: datetime) -> Iterable[AdditionalQuota]:
    for index, limit in enumerate(limits):
        windows = _windows(limit.rate_limit, f"additional_rate_limits[{index}].rate_limit", observed_at)
        if windows and (limit.limit_name or limit.metered_feature):  # without either nobody could say whose it is
            yield AdditionalQuota(limit.limit_name or "", limit.metered_feature or "", windows)


def _windows(limit: _RateLimit | None, field: str, observed_at: datetime) -> tuple[Window, ...]:
    """Where both slots turn out to be the same window, the fuller one counts: it is what upstream will refuse for."""
    if limit is None:
        return ()
    slots = (
        (WindowKind.PRIMARY, "primary_window", limit.primary_window),
        (WindowKind.SECONDARY, "secondary_window", limit.secondary_window),
    )
    by_kind: dict[WindowKind, Window] = {}
    for named, slot, raw in slots:
        if raw is not None:
            window = _window(named, raw, f"{field}.{slot}", observed_at)
            rival = by_kind.get(window.kind, window)
            by_kind[window.kind] = max(rival, window, key=lambda w: w.used_percent)
    return tuple(by_kind.values())


def _window(named: WindowKind, raw: _Window, field: str, observed_at: datetime) -> Window:
    given_s = min(raw.limit_window_seconds or 0.0, LENGTH_S_MAX)
    kind = true_kind(named, given_s)
    return Window(
        kind=kind,
        used_percent=min(max(raw.used_percent, 0.0), 100.0),
        length_s=given_s if given_s > 0 else USUAL_LENGTH_S[kind],
        resets_at=_resets_at(raw, field, observed_at),
    )


def _resets_at(raw: _Window, field: str, observed_at: datetime) -> datetime | None:
    """The instant upstream names, else the one it is away from now, else none."""
    try:
        if raw.reset_at:
            return datetime.fromtimestamp(raw.reset_at, UTC)
        if raw.reset_after_seconds is not None:
            return observed_at + timedelta(seconds=raw.reset_after_seconds)
    except (ValueError, OverflowError, OSError):
        name = "reset_at" if raw.reset_at else "reset_after_seconds"
        raise UnreadableUsageError(f"{field}.{name}: no such instant") from None
    return None


def _available(given: _ResetCredits | None) -> int:
    count = given.available_count if given is not None else None
    return min(max(count or 0, 0), RESET_CREDITS_MAX)


def _written(balance: str | float | None) -> str:
    return "" if balance is None else str(balance)
