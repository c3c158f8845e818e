"""What several controls share through Redis, and a single one keeps in its memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio

from codex_lb.control.assembly.timing import Timing
from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.events import RedisEvents
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import open_redis_leases
from codex_lb.control.coordination.scripts import Scripts, prefix_of
from codex_lb.control.coordination.shared_continuities import SharedContinuities
from codex_lb.control.coordination.shared_tickets import SharedTickets
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.event_ports import Bound, Events, Failed, Hurried, Remembered, Unbound
from codex_lb.control.usecases.follow_others import TakeIn
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.limit_ports import Budgets
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id
from codex_lb.kit.redis import RedisLink, open_redis


@dataclass(frozen=True, slots=True)
class Sharing:
    """The coordination of one control, alone or among several."""

    leases: Leases
    budgets: Budgets
    continuities: MemoryContinuities
    tickets: MemoryTickets
    events: Events | None = None  # where there are others
    told: TakeIn | None = None  # of conversations and tickets


@asynccontextmanager
async def open_sharing(settings: ControlSettings, clock: Clock, timing: Timing, term: int) -> AsyncIterator[Sharing]:
    """Known to this control alone, or to all that share a Redis."""
    if settings.redis_url is None:
        tickets = MemoryTickets(term=term, new_ticket_id=partial(new_id, "ticket"), ttl_s=timing.ticket_ttl_s)
        leases = MemoryLeases(ttl_s=timing.lease_ttl_s)
        yield Sharing(leases, leases.budgets, MemoryContinuities(clock), tickets)
        return
    async with (
        open_redis(settings.redis_url.get_secret_value(), clock, deadline_s=timing.redis_deadline_s) as link,
        share(link, settings, clock, timing, term) as sharing,
    ):
        yield sharing


@asynccontextmanager
async def share(
    link: RedisLink, settings: ControlSettings, clock: Clock, timing: Timing, term: int
) -> AsyncIterator[Sharing]:
    """All of it over one Redis."""
    scripts = Scripts(link, clock, prefix=prefix_of(settings.redis_pool))
    events = RedisEvents(link, channel=scripts.prefix + "events", sender=new_id("control"))
    continuities = SharedContinuities(clock, events)
    tickets = SharedTickets(
        scripts, events, term=term, new_ticket_id=partial(new_id, "ticket"), ttl_s=timing.ticket_ttl_s
    )
    async with (
        open_redis_leases(
            scripts, ttl_s=timing.lease_ttl_s, grace_s=timing.reannounce_grace_s, is_first_start=term == 1
        ) as leases,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(events.run)
        try:
            yield Sharing(
                leases, leases.budgets, continuities, tickets, events, partial(take_in, continuities, tickets, clock)
            )
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


def announcing_s(leases: Leases, timing: Timing, term: int) -> float:
    """How long this control waits for gateways to announce what an earlier one granted.

    At the very first start there are none. A table that is shared outlives this control, and says itself when it is open.
    """
    return timing.reannounce_grace_s if term > 1 and isinstance(leases, MemoryLeases) else 0.0
