"""What an account has used of its windows: as a page, as headers, as an event."""

import time
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.record import Credits, Window

_FIVE_HOURS_MINUTES: Final = 300
_WEEK_MINUTES: Final = 10_080
_MONTH_MINUTES: Final = 43_200


@dataclass(slots=True)
class _Period:
    """A window with its instant of reset; starts anew when that instant passes."""

    window: Window
    resets_at: float

    @classmethod
    def of(cls, window: Window | None) -> "_Period | None":
        return None if window is None else cls(window, time.time() + window.resets_in_s)

    def renew(self, now: float) -> None:
        if now >= self.resets_at:
            self.window.used_percent = 0.0
            self.resets_at = now + self.window.window_minutes * 60

    def spend(self, tokens: int) -> None:
        if self.window.quota_tokens:
            self.window.used_percent = min(100.0, self.window.used_percent + 100 * tokens / self.window.quota_tokens)


@dataclass(slots=True)
class Usage:
    """The windows of one account, by the plan's shape at first."""

    plan: str
    primary: _Period | None = None
    secondary: _Period | None = None
    credits: Credits = field(default_factory=Credits)
    is_enforced: bool = True  # a full window refuses turns

    @classmethod
    def of_plan(cls, plan: str) -> "Usage":
        """plus, pro, team …: five hours and a week; free: a month; weekly: only a week, in the primary slot."""
        usage = cls(plan)
        match plan:
            case "free":
                usage.put(Window(used_percent=12, window_minutes=_MONTH_MINUTES, resets_in_s=2_000_000), None)
            case "weekly":
                usage.plan = "plus"
                usage.put(Window(used_percent=12, window_minutes=_WEEK_MINUTES, resets_in_s=500_000), None)
            case _:
                usage.put(
                    Window(used_percent=12, window_minutes=_FIVE_HOURS_MINUTES, resets_in_s=3_600),
                    Window(used_percent=34, window_minutes=_WEEK_MINUTES, resets_in_s=500_000),
                )
        return usage

    def put(self, primary: Window | None, secondary: Window | None) -> None:
        """These windows from now on."""
        self.primary, self.secondary = _Period.of(primary), _Period.of(secondary)

    def window(self, name: Literal["primary", "secondary"]) -> Window | None:
        """The window as it stands, with the time it has left."""
        period = self.primary if name == "primary" else self.secondary
        if period is not None:
            period.window.resets_in_s = period.resets_at - time.time()
        return period.window if period else None

    def spend(self, tokens: int) -> None:
        """An answer cost this much."""
        for period in self._periods():
            period.spend(tokens)

    def full_until(self) -> int | None:
        """When the account may be used again; None while it may."""
        now = time.time()
        full = []
        for period in self._periods():
            period.renew(now)
            if period.window.used_percent >= 100:
                full.append(period.resets_at)
        return int(max(full)) if full and self.is_enforced else None

    def headers(self, *, is_refused: bool = False) -> dict[str, str]:
        """The x-codex-* headers of any answer; a refused one says 100 %."""
        headers = {"x-codex-plan-type": self.plan, "x-codex-active-limit": "codex"}
        for name, period in (("primary", self.primary), ("secondary", self.secondary)):
            if period is not None:
                percent = 100.0 if is_refused and name == "primary" else period.window.used_percent
                headers[f"x-codex-{name}-used-percent"] = f"{percent:g}"
                headers[f"x-codex-{name}-window-minutes"] = str(period.window.window_minutes)
                headers[f"x-codex-{name}-reset-after-seconds"] = str(max(0, int(period.resets_at - time.time())))
                headers[f"x-codex-{name}-reset-at"] = str(int(period.resets_at))
        headers["x-codex-credits-has-credits"] = str(self.credits.has_credits)
        headers["x-codex-credits-unlimited"] = str(self.credits.unlimited)
        headers["x-codex-credits-balance"] = self.credits.balance or ""
        return headers

    def event(self) -> JsonObject:
        """The ``codex.rate_limits`` event."""
        return {
            "type": "codex.rate_limits",
            "plan_type": self.plan,
            "rate_limits": {
                "allowed": self.full_until() is None,
                "limit_reached": self.full_until() is not None,
                "primary": _in_event(self.primary),
                "secondary": _in_event(self.secondary),
            },
            "code_review_rate_limits": None,
            "additional_rate_limits": None,
            "credits": self._credits(),
            "promo": None,
        }

    def page(self, *, account_id: str, user_id: str, email: str) -> JsonObject:
        """What GET /wham/usage answers."""
        is_full = self.full_until() is not None
        return {
            "user_id": user_id,
            "account_id": account_id,
            "email": email,
            "plan_type": self.plan,
            "rate_limit": {
                "allowed": not is_full,
                "limit_reached": is_full,
                "primary_window": _in_page(self.primary),
                "secondary_window": _in_page(self.secondary),
            },
            "code_review_rate_limit": None,
            "additional_rate_limits": None,
            "credits": self._credits(),
            "spend_control": None,
            "rate_limit_reset_credits": {"available_count": 0},
        }

    def _periods(self) -> list[_Period]:
        return [period for period in (self.primary, self.secondary) if period is not None]

    def _credits(self) -> JsonObject:
        owned = self.credits
        return {"has_credits": owned.has_credits, "unlimited": owned.unlimited, "balance": owned.balance}


def _in_event(period: _Period | None) -> JsonObject | None:
    if period is None:
        return None
    return {
        "used_percent": period.window.used_percent,
        "window_minutes": period.window.window_minutes,
        "reset_after_seconds": max(0, int(period.resets_at - time.time())),
        "reset_at": int(period.resets_at),
    }


def _in_page(period: _Period | None) -> JsonObject | None:
    if period is None:
        return None
    return {
        "used_percent": period.window.used_percent,
        "limit_window_seconds": period.window.window_minutes * 60,
        "reset_after_seconds": max(0, int(period.resets_at - time.time())),
        "reset_at": int(period.resets_at),
    }
