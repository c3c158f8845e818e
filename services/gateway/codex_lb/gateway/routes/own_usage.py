"""GET /v1/usage: what a key has used, for whoever holds it (data-plane reference 1.11)."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from codex_lb.gateway.errors import GatewayError
from codex_lb.gateway.leasing.key_usage import KeyUsage, KeyUsages, LimitUse
from codex_lb.gateway.leasing.policy import KeyPolicy, Policy, PoolWindow
from codex_lb.gateway.routes.gate import Gate, answer_headers
from codex_lb.gateway.routes.replies import reply, reply_error
from codex_lb.kit.ids import new_id

# The windows as the clients of this page know them.
KEY_WINDOWS = {"5h": "5h", "day": "daily", "week": "weekly", "month": "monthly"}
POOL_WINDOWS = {"primary": "5h", "secondary": "7d", "monthly": "monthly"}


class OwnUsage:
    """The ASGI endpoint. It always wants a key, also while nothing else does."""

    def __init__(self, gate: Gate, usages: KeyUsages) -> None:
        self._gate = gate
        self._usages = usages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Answers from control's ledger."""
        headers = answer_headers(new_id("req"), None)
        try:
            admitted = self._gate.admit_key(scope)
            usage = await self._usages.of(admitted.key.api_key_id)
            await reply(send, 200, msgspec.json.encode(usage_page(usage, admitted.key, admitted.policy)), headers)
        except GatewayError as error:
            await reply_error(send, error, headers)


def usage_page(usage: KeyUsage, key: KeyPolicy, policy: Policy) -> dict[str, object]:
    """The page. What a key may not see of the pool is not there."""
    is_hidden = policy.hide_quota_from_keys
    pool = [] if is_hidden else [pool_limit(window) for window in policy.windows if window.capacity]
    shows_limits = "upstream_limits" in key.usage_sections
    shows_pool = "account_pool_usage" in key.usage_sections and not is_hidden
    windows = {window.window: pool_usage(window) for window in policy.windows}
    return {
        "request_count": usage.requests,
        "total_tokens": usage.total_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "total_cost_usd": usage.cost_micro_usd / 1_000_000,
        "limits": [key_limit(limit) for limit in usage.limits] or pool,
        "upstream_limits": pool if shows_limits else [],
        "account_pool_usage": {name: windows.get(name) for name in ("primary", "secondary")} if shows_pool else None,
    }


def key_limit(limit: LimitUse) -> dict[str, object]:
    """A limit of the key; costs are in micro-dollars."""
    return {
        "limit_type": limit.unit,
        "limit_window": KEY_WINDOWS.get(limit.window, limit.window),
        "max_value": limit.amount_max,
        "current_value": limit.amount_used,
        "remaining_value": max(0, limit.amount_max - limit.amount_used),
        "model_filter": limit.model or None,
        "reset_at": f"{limit.resets_at:%Y-%m-%dT%H:%M:%SZ}",
        "source": "api_key_limit",
    }


def pool_limit(window: PoolWindow) -> dict[str, object]:
    """The quota of all accounts together, in credits."""
    total = round(window.capacity)
    used = round(window.capacity * window.used_percent / 100)
    return {
        "limit_type": "credits",
        "limit_window": POOL_WINDOWS.get(window.window, window.window),
        "max_value": total,
        "current_value": used,
        "remaining_value": max(0, total - used),
        "model_filter": None,
        "reset_at": None if window.resets_at is None else f"{window.resets_at:%Y-%m-%dT%H:%M:%SZ}",
        "source": "aggregate",
    }


def pool_usage(window: PoolWindow) -> dict[str, object]:
    """How full the pool is."""
    return {
        "used_percent": window.used_percent,
        "remaining_percent": max(0.0, 100.0 - window.used_percent),
        "window_minutes": window.window_minutes,
        "reset_at": None if window.resets_at is None else int(window.resets_at.timestamp()),
    }
