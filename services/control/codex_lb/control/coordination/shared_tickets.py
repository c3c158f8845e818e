"""Refresh work that several controls give away: each plans it for itself, and Redis lets one at a time have each task.

A key per task names the ticket that is out for it; after its end it keeps the others from doing at once what was just done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

from codex_lb.control.coordination.scripts import Scripts, script_of
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import MOVING_KINDS, TICKET_TTL_S, Task, Ticket
from codex_lb.control.errors import StaleEpochError
from codex_lb.control.usecases.event_ports import Events, Hurried
from codex_lb.kit.redis import RedisAwayError

AWAY_AGAIN = timedelta(seconds=1)  # until a task is tried again that Redis could not be asked about

CLAIM, END = script_of("ticket_claim"), script_of("ticket_end")


class SharedTickets(MemoryTickets):
    """The Tickets port for several control replicas. While Redis is away, nothing is given away."""

    def __init__(
        self,
        scripts: Scripts,
        events: Events,
        *,
        term: int,
        new_ticket_id: Callable[[], str],
        ttl_s: float = TICKET_TTL_S,
    ) -> None:
        super().__init__(term=term, new_ticket_id=new_ticket_id, ttl_s=ttl_s)
        self._scripts = scripts
        self._events = events
        self._ttl_ms = round(ttl_s * 1000)

    async def hurry(self, task: Task, *, now: datetime) -> None:
        """Due at once, wherever a worker asks next; a ticket that is out for it ends, whoever gave it."""
        await self.take_in(task, now=now)
        self._events.publish(Hurried(task))
        try:
            await self._scripts.link.command("DEL", self._key(task))
        except RedisAwayError:
            return  # it rests for as long as it would have

    async def take_in(self, task: Task, *, now: datetime) -> None:
        """Another control hurries a task."""
        await super().hurry(task, now=now)

    async def claim(self, task: Task, worker_id: WorkerId, *, account_id: AccountId, now: datetime) -> Ticket | None:
        """Hands out a ticket, unless another control has done so, or the task is just done."""
        ticket = await super().claim(task, worker_id, account_id=account_id, now=now)
        if ticket is None:
            return None
        try:
            reply = await self._scripts.run(CLAIM, "", name_of(task), ticket.ticket_id, self._ttl_ms)
        except RedisAwayError:
            await super().end(ticket, next_due_at=now + AWAY_AGAIN)
            return None
        if reply.how == "taken":
            rest = timedelta(milliseconds=cast("int", reply.rest[0]))
            await super().end(ticket, next_due_at=now + rest)
            return None
        return ticket

    async def held(self, ticket_id: TicketId, *, epoch: int, now: datetime) -> Ticket:
        """The ticket, while no other control has given its task away."""
        ticket = await super().held(ticket_id, epoch=epoch, now=now)
        try:
            named = await self._scripts.link.command("GET", self._key(ticket.task))
        except RedisAwayError:
            return ticket  # nobody can have given it away since
        if not isinstance(named, bytes) or named.rpartition(b"|")[0] != ticket_id.encode():
            raise StaleEpochError("This ticket has ended or lapsed; what it found is not taken over.")
        return ticket

    async def end(self, ticket: Ticket, *, next_due_at: datetime) -> None:
        """Makes the task free again, here and for the others, when it is due."""
        await super().end(ticket, next_due_at=next_due_at)
        due_ms = 0 if ticket.task.kind in MOVING_KINDS else round(next_due_at.timestamp() * 1000)
        try:
            await self._scripts.run(END, "", name_of(ticket.task), ticket.ticket_id, due_ms)
        except RedisAwayError:
            return  # the key ends by itself

    def _key(self, task: Task) -> str:
        return f"{self._scripts.prefix}ticket:{name_of(task)}"


def name_of(task: Task) -> str:
    """What a task is called in Redis."""
    return f"{task.kind.value}:{task.subject}"
