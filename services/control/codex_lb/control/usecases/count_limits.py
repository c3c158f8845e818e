"""Counts what a key has used of its limits, from the ledger; what the counters know by themselves is left to them.

Turns go on ending meanwhile. So the ledger is asked as of one moment, and what it says of leases that the counters know,
which may be in that moment or not, is taken out of the sum again, until nothing has moved between asking and setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import LeaseId
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.spending import Spent
from codex_lb.control.errors import CoordinationUnavailableError, StoreUnavailableError
from codex_lb.control.usecases.limit_ports import Budgets, Known
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.kit.clock import Clock

TRIES_MAX = 50  # within milliseconds of each other: so many turns of one key do not end in that time


class CountLimits:
    """The verb. Raises CoordinationUnavailableError when nobody can be asked."""

    def __init__(self, budgets: Budgets, store: Store, clock: Clock) -> None:
        self._budgets = budgets
        self._store = store
        self._clock = clock

    async def __call__(self, key: ApiKey) -> None:
        """Sets what is used of every limit of the key."""
        try:
            await self._count(key)
        except StoreUnavailableError as error:
            raise CoordinationUnavailableError(f"What the key has used cannot be counted: {error}") from error

    async def by_ledger(self, key: ApiKey) -> dict[str, int]:
        """What the ledger alone says, by limit_id. Raises StoreUnavailableError."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            return {x.limit_id: await stored_use(unit, key, x, since=x.counts_since(now)) for x in key.limits}

    async def _count(self, key: ApiKey) -> None:
        known = await self._known(key)
        async with self._store.begin(writing=False) as unit:
            sums = Sums(unit, key)
            for _ in range(TRIES_MAX):
                used = await sums.used(known)
                if await self._budgets.put(key.api_key_id, used, known.since, version=known.version):
                    return
                known = await self._known(key)
        raise CoordinationUnavailableError("Turns of the key end faster than they can be counted.")

    async def _known(self, key: ApiKey) -> Known:
        return await self._budgets.known(key.api_key_id, key.limits, now=self._clock.now())


class Sums:
    """What the ledger holds of a key, as of one moment."""

    def __init__(self, unit: UnitOfWork, key: ApiKey) -> None:
        self._unit = unit
        self._key = key
        self._sums: dict[tuple[str, datetime], int] = {}  # by limit and when it counts from
        self._rows: dict[LeaseId, Spent | None] = {}  # None: there is none

    async def used(self, known: Known) -> dict[str, int]:
        """What is used of each limit, when these leases count by what is known of them."""
        await self._look_up([x for x in (*known.ended, *known.held) if x not in self._rows])
        rows = [row for lease_id in {*known.ended, *known.held} if (row := self._rows[lease_id]) is not None]
        used: dict[str, int] = {}
        for limit in self._key.limits:
            since = known.since[limit.limit_id]
            counted_anew = sum(row.in_limit(limit, since=since) for row in rows)
            ended = sum(spent.in_limit(limit, since=since) for spent in known.ended.values())
            used[limit.limit_id] = await self._sum(limit, since) - counted_anew + ended
        return used

    async def _look_up(self, lease_ids: Sequence[LeaseId]) -> None:
        if lease_ids:
            found = await self._unit.spendings.of(lease_ids)
            self._rows |= {lease_id: found.get(lease_id) for lease_id in lease_ids}

    async def _sum(self, limit: Limit, since: datetime) -> int:
        asked = limit.limit_id, since
        if asked not in self._sums:
            self._sums[asked] = await stored_use(self._unit, self._key, limit, since=since)
        return self._sums[asked]


async def stored_use(unit: UnitOfWork, key: ApiKey, limit: Limit, *, since: datetime) -> int:
    """What the ledger holds against a limit."""
    known = await unit.spendings.known(key.api_key_id, since=since, model=limit.model)
    unseen = await unit.spendings.unseen(key.api_key_id, since=since)
    return known.of(limit.unit) + sum(what.in_limit(limit, since=since) for what in unseen)
