"""What an upstream answer shows of its account's quota: `x-codex-*` headers and `codex.rate_limits` events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

import msgspec

WINDOWS = ("primary", "secondary", "monthly")
WINDOW_MINUTES_MAX = 366 * 24 * 60  # a longer window is no window but a mistake


@dataclass(frozen=True, slots=True)
class WindowSeen:
    """One accounting window."""

    window: str
    used_percent: float
    length_s: float
    resets_at: datetime | None


def read_headers(headers: Mapping[str, str]) -> tuple[WindowSeen, ...]:
    """The default family of data-plane reference 2.6; a window whose numbers cannot be read is left out."""
    if "x-codex-primary-used-percent" not in headers and "x-codex-secondary-used-percent" not in headers:
        return ()
    seen = (_from_headers(headers, window) for window in WINDOWS)
    return tuple(window for window in seen if window is not None)


def _from_headers(headers: Mapping[str, str], window: str) -> WindowSeen | None:
    used = _number(headers.get(f"x-codex-{window}-used-percent"))
    minutes = _number(headers.get(f"x-codex-{window}-window-minutes"))
    if used is None or minutes is None or not _is_plausible(used, minutes):
        return None
    return WindowSeen(
        window, _percent(used), minutes * 60, _instant(_number(headers.get(f"x-codex-{window}-reset-at")))
    )


class EventWindow(msgspec.Struct):
    """A window inside a `codex.rate_limits` event."""

    used_percent: float
    window_minutes: float
    reset_at: float | None = None
    resets_at: float | None = None


class EventWindows(msgspec.Struct):
    """The windows inside a `codex.rate_limits` event."""

    primary: EventWindow | None = None
    secondary: EventWindow | None = None
    monthly: EventWindow | None = None


class RateLimitsEvent(msgspec.Struct):
    """A `codex.rate_limits` event."""

    rate_limits: EventWindows
    limit_id: str | None = None
    metered_limit_name: str | None = None
    limit_name: str | None = None


def read_event(data: bytes) -> tuple[WindowSeen, ...]:
    """The windows of an event; none when it cannot be read or is about the quota of a particular model."""
    try:
        event = msgspec.json.decode(data, type=RateLimitsEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    if any(name not in (None, "codex") for name in (event.limit_id, event.metered_limit_name, event.limit_name)):
        return ()
    limits = event.rate_limits
    by_name = (("primary", limits.primary), ("secondary", limits.secondary), ("monthly", limits.monthly))
    return tuple(
        WindowSeen(name, _percent(w.used_percent), w.window_minutes * 60, _instant(w.reset_at or w.resets_at))
        for name, w in by_name
        if w is not None and _is_plausible(w.used_percent, w.window_minutes)
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _is_plausible(used_percent: float, minutes: float) -> bool:
    """Whether the numbers can be meant. NaN compares false, so it never is; and no number is read as zero."""
    return 0 <= used_percent < inf and 0 < minutes <= WINDOW_MINUTES_MAX


def _percent(value: float) -> float:
    return min(100.0, value)


def _instant(epoch_s: float | None) -> datetime | None:
    if epoch_s is None or not 0 < epoch_s < 1e11:
        return None
    return datetime.fromtimestamp(epoch_s, UTC)
