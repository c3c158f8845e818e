"""What several controls share through one Redis. Apart from `sharing.py`, because most installations have none to load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from pydantic import SecretStr

from codex_lb.control.assembly.sharing import Sharing
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.coordination.events import RedisEvents
from codex_lb.control.coordination.redis import open_redis_leases
from codex_lb.control.coordination.scripts import Scripts, prefix_of
from codex_lb.control.coordination.shared_continuities import SharedContinuities
from codex_lb.control.coordination.shared_tickets import SharedTickets
from codex_lb.control.usecases.event_ports import Bound, Failed, Hurried, Remembered, Unbound
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id
from codex_lb.kit.redis import open_redis


@asynccontextmanager
async def share(url: SecretStr, pool: str, clock: Clock, timing: Timing, term: int) -> AsyncIterator[Sharing]:
    """All of it over one Redis, under the name of the pool."""
    async with open_redis(url.get_secret_value(), clock, deadline_s=timing.redis_deadline_s) as link:
        scripts = Scripts(link, clock, prefix=prefix_of(pool))
        events = RedisEvents(link, channel=scripts.prefix + "events", sender=new_id("control"))
        continuities = SharedContinuities(clock, events)
        tickets = SharedTickets(
            scripts, events, term=term, new_ticket_id=partial(new_id, "ticket"), ttl_s=timing.ticket_ttl_s
        )
        told = partial(take_in, continuities, tickets, clock)
        async with (
            open_redis_leases(
                scripts, ttl_s=timing.lease_ttl_s, grace_s=timing.reannounce_grace_s, is_first_start=term == 1
            ) as leases,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(events.run)
            try:
                yield Sharing(leases, leases.budgets, continuities, tickets, events, told)
            finally:
                tasks.cancel_scope.cancel()


async def take_in(
    continuities: SharedContinuities,
    tickets: SharedTickets,
    clock: Clock,
    event: Bound | Unbound | Remembered | Failed | Hurried,
) -> None:
    """What another control told of conversations, or of work that is urgent."""
    if isinstance(event, Hurried):
        await tickets.take_in(event.task, now=clock.now())
    else:
        await continuities.take_in(event)
