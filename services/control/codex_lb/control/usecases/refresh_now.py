"""Has workers do at once what they would do later: fetch usage, rotate tokens, list models."""

from __future__ import annotations

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.refresh import NOT_REFRESHED, Periods, Task, TicketKind
from codex_lb.control.domain.rotation import login_of
from codex_lb.control.errors import AccountStateConflictError, RefreshSwitchedOffError
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.rotations import Rotations
from codex_lb.control.usecases.view_accounts import member_of
from codex_lb.kit.clock import Clock


class RefreshNow:
    """The verbs. They return at once; a worker comes for the work within a second or two."""

    def __init__(self, pool: Pool, tickets: Tickets, rotations: Rotations, clock: Clock, *, periods: Periods) -> None:
        self._pool = pool
        self._tickets = tickets
        self._rotations = rotations
        self._clock = clock
        self._periods = periods

    async def account(self, account_id: AccountId, *, rotate_tokens: bool) -> Member:
        """Usage, and a new pair of tokens if asked. Raises AccountStateConflictError where neither can be had.

        Raises RefreshSwitchedOffError when usage is all that was asked for, and none is ever fetched.
        """
        member = member_of(self._pool, account_id)
        now = self._clock.now()
        status = member.standing_at(now).status
        if rotate_tokens:
            if login_of(member.account, member.record).is_over:
                raise AccountStateConflictError("Only a new login helps this account. Sign in again.")
            self._rotations.wish(account_id)
        elif self._periods.usage_s is None:
            raise RefreshSwitchedOffError("Fetching usage is switched off: CODEX_LB_USAGE_REFRESH_ENABLED is false.")
        elif status is AccountStatus.PAUSED:
            raise AccountStateConflictError("The account is paused; its usage is not fetched. Resume it.")
        elif status in NOT_REFRESHED:
            raise AccountStateConflictError("Upstream does not take this account's login; its usage cannot be fetched.")
        if status not in NOT_REFRESHED:
            await self._tickets.hurry(Task(TicketKind.USAGE, account_id), now=now)
        return member

    async def models(self) -> list[str]:
        """The plans whose models are listed: those of accounts whose login upstream takes.

        Raises RefreshSwitchedOffError.
        """
        if self._periods.models_s is None:
            raise RefreshSwitchedOffError("Listing models is switched off: CODEX_LB_MODEL_REGISTRY_ENABLED is false.")
        now = self._clock.now()
        accounts = (m for m in self._pool.members() if m.standing_at(now).status not in NOT_REFRESHED)
        plans = sorted({member.account.plan for member in accounts})
        for plan in plans:
            await self._tickets.hurry(Task(TicketKind.MODELS, plan), now=now)
        return plans
