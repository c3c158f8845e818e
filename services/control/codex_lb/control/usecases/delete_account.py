"""Removes an account for good. Turns that run on it finish and are settled like any other."""

from __future__ import annotations

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import AccountNotFoundError
from codex_lb.control.usecases.affinities import AffinityFilter, ManageAffinities
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store


class DeleteAccount:
    """The verb."""

    def __init__(self, pool: Pool, store: Store, feed: PolicyFeed, affinities: ManageAffinities) -> None:
        self._pool = pool
        self._store = store
        self._feed = feed
        self._affinities = affinities

    async def __call__(self, account_id: AccountId, *, with_history: bool) -> None:
        """Returns once account, login and evidence are gone. Raises AccountNotFoundError."""
        async with self._store.begin(writing=True) as unit:
            was_there = await unit.accounts.delete(account_id, with_history=with_history)
        self._pool.remove(account_id)
        await self._affinities.purge(AffinityFilter(account_id=account_id))
        self._feed.refresh_pool()
        if not was_there:
            raise AccountNotFoundError(f"There is no account {account_id!r}.")
