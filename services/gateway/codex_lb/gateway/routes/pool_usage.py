"""GET /backend-api/wham/usage and GET /api/codex/usage: the pool as if it were one account, from the policy snapshot.

Who comes with a key that has limits sees those instead: they are what runs out first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import ControlUnavailableError, GatewayError
from codex_lb.gateway.leasing.key_usage import KeyUsages, LimitUse
from codex_lb.gateway.leasing.policy import Policy, PoolWindow
from codex_lb.gateway.routes.gate import Gate, answer_headers
from codex_lb.gateway.routes.replies import reply, reply_error
from codex_lb.kit.ids import new_id

SLOT = {"5h": "primary", "day": "primary", "week": "secondary", "month": "monthly"}  # of a limit's window
PLAN = "guest"  # a pool has no plan; this is the one of Codex's names for plans that claims nothing


class PoolUsage:
    """The ASGI endpoint."""

    def __init__(self, gate: Gate, usages: KeyUsages) -> None:
        self._gate = gate
        self._usages = usages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Answers from memory."""
        headers = answer_headers(new_id("req"), None)
        try:
            admitted = self._gate.admit(scope)
            if not admitted.policy.is_known:
                raise ControlUnavailableError("The pool's usage is not known yet. Try again in a few seconds.")
            limits = (await self._usages.of(admitted.key.api_key_id)).limits if admitted.key is not None else ()
            if limits:
                page = key_page(limits, admitted.at)
            else:
                page = usage_page(admitted.policy, admitted.at, is_hidden=admitted.hides_quota)
            await reply(send, 200, msgspec.json.encode(page), headers)
        except GatewayError as error:
            await reply_error(send, error, headers)


def key_page(limits: Sequence[LimitUse], now: datetime) -> dict[str, object]:
    """The limits of a key in the same shape: of several with windows of a kind, the one that is fullest."""
    fullest: dict[str, LimitUse] = {}
    for limit in sorted(limits, key=used_share):
        fullest[SLOT[limit.window]] = limit
    is_reached = any(limit.amount_used >= limit.amount_max for limit in limits if not limit.model)
    windows = {name: limit_window(limit, now) for name, limit in fullest.items()}
    return page(windows, is_allowed=not is_reached, is_reached=is_reached)


def used_share(limit: LimitUse) -> float:
    """From 0 on; above 1 when turns used more than they had reserved."""
    return limit.amount_used / limit.amount_max


def limit_window(limit: LimitUse, now: datetime) -> dict[str, int]:
    """One limit."""
    return {
        "used_percent": min(100, int(100 * used_share(limit))),
        "limit_window_seconds": int(limit.length_s),
        "reset_after_seconds": max(0, int((limit.resets_at - now).total_seconds())),
        "reset_at": int(limit.resets_at.timestamp()),
    }


def usage_page(policy: Policy, now: datetime, *, is_hidden: bool) -> dict[str, object]:
    """In the shape of upstream's own usage page (data-plane reference 1.13); hidden quota is not there."""
    windows = {} if is_hidden else {window.window: usage_window(window, now) for window in policy.windows}
    return page(
        windows,
        is_allowed=policy.ready_accounts > 0,
        is_reached=policy.accounts > 0 and policy.ready_accounts == 0,
    )


def page(windows: Mapping[str, dict[str, int]], *, is_allowed: bool, is_reached: bool) -> dict[str, object]:
    """Upstream's shape around these windows."""
    return {
        "plan_type": PLAN,
        "rate_limit": {
            "allowed": is_allowed,
            "limit_reached": is_reached,
            "primary_window": windows.get("primary"),
            "secondary_window": windows.get("secondary"),
            "monthly_window": windows.get("monthly"),
        },
        "credits": {
            "has_credits": False,
            "unlimited": False,
            "balance": None,
            "approx_local_messages": None,
            "approx_cloud_messages": None,
        },
        "rate_limit_reset_credits": {"available_count": 0},
        "additional_rate_limits": [],
    }


def usage_window(window: PoolWindow, now: datetime) -> dict[str, int]:
    """One window; a reset that has passed means that nothing is used."""
    left_s = 0 if window.resets_at is None else int((window.resets_at - now).total_seconds())
    is_elapsed = window.resets_at is not None and left_s <= 0
    return {
        "used_percent": 0 if is_elapsed else int(window.used_percent),
        "limit_window_seconds": window.window_minutes * 60,
        "reset_after_seconds": max(0, left_s),
        "reset_at": 0 if window.resets_at is None else int(window.resets_at.timestamp()),
    }
