"""Changes what an operator decides about an account: what it is called, and how eagerly it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from codex_lb.control.domain.account import Account
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import StoreConflictError
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.view_accounts import member_of
from codex_lb.kit.clock import Clock


class UpdateAccount:
    """The verb. Returns once it is committed."""

    def __init__(self, pool: Pool, store: Store, clock: Clock) -> None:
        self._pool = pool
        self._store = store
        self._clock = clock

    async def __call__(self, account_id: AccountId, change: Callable[[Account], Account], *, etag: str) -> Member:
        """Raises AccountNotFoundError, StoreConflictError for an etag that is not the present one, and what `change`
        raises.
        """
        async with self._pool.changing:
            member = member_of(self._pool, account_id)
            if etag and etag != member.account.etag:
                raise StoreConflictError("The account was changed meanwhile. Look at it again.")
            changed = replace(change(member.account), updated_at=self._clock.now())
            async with self._store.begin(writing=True) as unit:
                await unit.accounts.update(changed)
            self._pool.update(changed)
        return member
