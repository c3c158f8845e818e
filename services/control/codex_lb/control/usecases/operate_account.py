"""What an operator does to one account: pause, resume, reactivate. Each appends evidence; the status follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import Evidence, Operated, OperatorAction, Reactivated, Record
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import AccountStateConflictError
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.view_accounts import member_of
from codex_lb.kit.clock import Clock

TICK = timedelta(microseconds=1)  # the finest difference between two instants that the store keeps


class OperateAccount:
    """The verbs. Each returns once it is committed."""

    def __init__(self, pool: Pool, store: Store, feed: PolicyFeed, clock: Clock) -> None:
        self._pool = pool
        self._store = store
        self._feed = feed
        self._clock = clock

    async def pause(self, account_id: AccountId) -> Member:
        """Takes the account out of selection; running turns finish. A paused one stays as it is."""
        member = member_of(self._pool, account_id)
        if self._status(member) is not AccountStatus.PAUSED:
            await self._append(member, Operated(OperatorAction.PAUSED, self._outranking(member.record)))
        return member

    async def resume(self, account_id: AccountId) -> Member:
        """Puts a paused account back. Raises AccountStateConflictError when it is not paused."""
        member = member_of(self._pool, account_id)
        status = self._status(member)
        if status is not AccountStatus.PAUSED:
            raise AccountStateConflictError(f"The account is not paused, but {_words(status)}.")
        await self._append(member, Operated(OperatorAction.RESUMED, self._outranking(member.record)))
        return member

    async def reactivate(self, account_id: AccountId) -> Member:
        """Lifts what upstream's refusals imposed. Raises AccountStateConflictError where that would not help."""
        member = member_of(self._pool, account_id)
        match self._status(member):
            case AccountStatus.REAUTH_REQUIRED | AccountStatus.DEACTIVATED as status:
                raise AccountStateConflictError(
                    f"The account is {_words(status)}; only a new login ends that. Sign in again and import the login."
                )
            case AccountStatus.PAUSED:
                raise AccountStateConflictError("The account is paused. Resume it.")
            case _:
                await self._append(member, Reactivated(self._outranking(member.record)))
        return member

    def _status(self, member: Member) -> AccountStatus:
        return member.standing_at(self._clock.now()).status

    def _outranking(self, record: Record) -> datetime:
        """Now, or just after the newest thing an operator's word must outrank, whatever the clocks say."""
        return max([self._clock.now(), *(instant + TICK for instant in _outranked(record))])

    async def _append(self, member: Member, evidence: Evidence) -> None:
        account_id = member.account.account_id
        async with self._store.begin(writing=True) as unit:
            await unit.accounts.append_evidence([(account_id, evidence)])
        self._pool.observe(account_id, evidence)
        self._feed.refresh_pool()


def _outranked(record: Record) -> Iterable[datetime]:
    if record.operated is not None:
        yield record.operated.observed_at
    for refusal in record.refusals.values():
        yield refusal.observed_at


def _words(status: AccountStatus) -> str:
    return status.value.replace("_", " ")
