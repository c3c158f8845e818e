"""What several controls share through Redis, and a single one keeps in its memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from codex_lb.control.assembly.timing import Timing
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import open_redis_leases
from codex_lb.control.coordination.scripts import Scripts, prefix_of
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.ports import Leases
from codex_lb.kit.clock import Clock
from codex_lb.kit.redis import open_redis


@asynccontextmanager
async def open_leases(settings: ControlSettings, clock: Clock, timing: Timing, term: int) -> AsyncIterator[Leases]:
    """Who holds which slot: known to this control alone, or to all that share a Redis."""
    if settings.redis_url is None:
        yield MemoryLeases(ttl_s=timing.lease_ttl_s)
        return
    async with open_redis(settings.redis_url.get_secret_value(), clock, deadline_s=timing.redis_deadline_s) as link:
        scripts = Scripts(link, clock, prefix=prefix_of(settings.redis_pool))
        async with open_redis_leases(
            scripts, ttl_s=timing.lease_ttl_s, grace_s=timing.reannounce_grace_s, is_first_start=term == 1
        ) as leases:
            yield leases


def announcing_s(leases: Leases, timing: Timing, term: int) -> float:
    """How long this control waits for gateways to announce what an earlier one granted.

    At the very first start there are none. A table that is shared outlives this control, and says itself when it is open.
    """
    return timing.reannounce_grace_s if term > 1 and isinstance(leases, MemoryLeases) else 0.0
