"""Hands refresh work to a worker: plans what there is to do, then gives what is due, each with the login it needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from codex_lb.control.domain.alert_form import Post
from codex_lb.control.domain.ids import AccountId, WorkerId
from codex_lb.control.domain.refresh import (
    CLAIM_AGAIN_S_MIN,
    CLAIM_AHEAD_S,
    Periods,
    Refreshable,
    Task,
    Ticket,
    TicketKind,
    claim_again_in,
    next_due,
    speaker,
)
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.usecases.refresh_plan import RefreshPlan
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.rotations import Rotations
from codex_lb.kit.clock import Clock

PROBED_AGAIN_S = 5.0  # where the login could not be opened for it

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TicketCredential:
    """What a worker may see of a login: the access token, or to rotate it the refresh token, and never both."""

    access_token: str
    chatgpt_account_id: str
    generation: int
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "TicketCredential(…)"  # tokens must not reach a log by way of a repr


@dataclass(frozen=True, slots=True)
class ClaimedTicket:
    """A ticket with what is needed to do its work."""

    ticket: Ticket
    credential: TicketCredential
    start_after_s: float
    ttl_s: float
    model: str = ""  # that a probe asks
    post: Post | None = None  # that an alert is


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker gets."""

    tickets: tuple[ClaimedTicket, ...]
    next_claim_in_s: float


class ClaimTickets:
    """The verb."""

    def __init__(
        self,
        pool: Pool,
        plan: RefreshPlan,
        tickets: Tickets,
        rotations: Rotations,
        probes: Probes,
        deliveries: AlertDeliveries,
        clock: Clock,
        *,
        periods: Periods,
    ) -> None:
        self._pool = pool
        self._plan = plan
        self._tickets = tickets
        self._rotations = rotations
        self._probes = probes
        self._deliveries = deliveries
        self._clock = clock
        self._periods = periods
        self.worker_seen_at: datetime | None = None

    async def __call__(self, worker_id: WorkerId, kinds: Collection[TicketKind], *, tickets_max: int) -> Claim:
        """The most urgent tickets, at most so many."""
        now = self._clock.now()
        self.worker_seen_at = now
        await self._plan.catch_up(now)
        claimed: list[ClaimedTicket] = []
        if TicketKind.ROTATION in kinds:
            claimed += await self._claim_rotations(worker_id, tickets_max, now)
        others = [kind for kind in kinds if kind is not TicketKind.ROTATION]
        for task in await self._tickets.due(others, until=now + timedelta(seconds=CLAIM_AHEAD_S), now=now):
            if len(claimed) >= tickets_max:
                return Claim(tuple(claimed), CLAIM_AGAIN_S_MIN)
            if not self._plan.has(task):  # hurried, and gone since
                await self._tickets.plan({}, gone=[task])
            elif one := await self._claim(task, worker_id, now):
                claimed.append(one)
        next_due_at = await self._tickets.next_due(kinds, now=now)
        return Claim(tuple(claimed), claim_again_in(next_due_at, now=now))

    def _accounts(self, now: datetime) -> Iterator[Refreshable]:
        for member in self._pool.members():
            yield Refreshable(member.account.account_id, member.account.plan, member.standing_at(now).status)

    async def _claim_rotations(self, worker_id: WorkerId, tickets_max: int, now: datetime) -> list[ClaimedTicket]:
        """As many exchanges as may run at once, their starts apart, each in the journal before it is handed out."""
        pace = self._rotations.pace
        room = min(tickets_max, pace.at_once_max - await self._tickets.out(TicketKind.ROTATION, now=now))
        taken: list[tuple[Ticket, datetime]] = []
        for task in await self._tickets.due([TicketKind.ROTATION], until=now, now=now):
            start_at = self._rotations.next_start(now)
            if len(taken) >= room or start_at > now + timedelta(seconds=CLAIM_AHEAD_S):
                break
            if ticket := await self._tickets.claim(task, worker_id, account_id=AccountId(task.subject), now=now):
                taken.append((ticket, start_at))
                self._rotations.started(start_at)
        begun = await self._rotations.begin(taken, worker_id)
        for ticket, _ in taken:
            if all(ticket != one.ticket for one in begun):
                await self._tickets.end(ticket, next_due_at=now)
        return [
            ClaimedTicket(
                ticket=one.ticket,
                credential=TicketCredential("", "", one.generation, one.refresh_token),
                start_after_s=one.start_after_s,
                ttl_s=(one.ticket.expires_at - self._clock.now()).total_seconds(),
            )
            for one in begun
        ]

    async def _claim(self, task: Task, worker_id: WorkerId, now: datetime) -> ClaimedTicket | None:
        if task.kind is TicketKind.ALERT:
            return await self._claim_alert(task, worker_id, now)
        period_s = PROBED_AGAIN_S if task.kind is TicketKind.PROBE else self._periods.of(task.kind)
        if period_s is None:
            return None
        account_id = speaker(task, self._accounts(now), turn=int(now.timestamp() // period_s))
        member = self._pool.get(account_id) if account_id else None
        if member is None:
            return None
        ticket = await self._tickets.claim(task, worker_id, account_id=member.account.account_id, now=now)
        if ticket is None:
            return None
        try:
            access_token = self._pool.access_token(member)
        except CredentialUnreadableError as error:
            log.warning("account left out of refreshing", account_id=member.account.account_id, why=str(error))
            await self._tickets.end(ticket, next_due_at=next_due(ticket.due_at, period_s=period_s, now=now))
            return None
        return ClaimedTicket(
            ticket=ticket,
            credential=TicketCredential(access_token, member.account.chatgpt_account_id, member.account.generation),
            start_after_s=max(0.0, (ticket.due_at - now).total_seconds()),
            ttl_s=(ticket.expires_at - now).total_seconds(),
            model=self._probes.take(ticket.account_id) if task.kind is TicketKind.PROBE else "",
        )

    async def _claim_alert(self, task: Task, worker_id: WorkerId, now: datetime) -> ClaimedTicket | None:
        post = self._deliveries.post(task.subject)
        if post is None:
            return None
        ticket = await self._tickets.claim(task, worker_id, account_id=AccountId(""), now=now)
        if ticket is None:
            return None
        return ClaimedTicket(
            ticket=ticket,
            credential=TicketCredential("", "", 0),
            start_after_s=max(0.0, (ticket.due_at - now).total_seconds()),
            ttl_s=(ticket.expires_at - now).total_seconds(),
            post=post,
        )
