"""What API keys have used and reserved of their limits, for a single control replica.

The rules are those of `lua/budgets.lua`, where several controls count together.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Lease, ReservedAmount
from codex_lb.control.domain.limit import Limit, fits
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.lease_ports import Ending, Shortfall, Uncounted
from codex_lb.control.usecases.limit_ports import BudgetUse, KeyUse, Known, Reserving

KEPT = timedelta(seconds=20)  # after the ledger has a lease; a count from the ledger takes two at the most


@dataclass(slots=True)
class Budget:
    """The present window of one limit."""

    since: datetime
    used: int | None = None  # None: nobody has counted
    reserved: int = 0


@dataclass(slots=True)
class Ended:
    """A lease that has ended, and what it was charged."""

    spent: Spent
    charges: Mapping[str, int]
    is_stored: bool = False


class MemoryBudgets:
    """The Budgets port, and what a lease table does with it. No method waits, so each is atomic."""

    def __init__(self) -> None:
        self._budgets: dict[str, Budget] = {}
        self._held: dict[ApiKeyId, dict[LeaseId, tuple[ReservedAmount, ...]]] = {}
        self._ended: dict[LeaseId, Ended] = {}
        self._ended_of: dict[ApiKeyId, set[LeaseId]] = {}
        self._stored: deque[tuple[datetime, LeaseId]] = deque()  # and not forgotten
        self._versions: Counter[ApiKeyId] = Counter()

    async def use_of(self, keys: Sequence[tuple[ApiKeyId, Sequence[Limit]]], *, now: datetime) -> Sequence[KeyUse]:
        """How the limits of these keys stand, in their present windows."""
        return [self._use(api_key_id, limits, now) for api_key_id, limits in keys]

    async def known(self, api_key_id: ApiKeyId, limits: Sequence[Limit], *, now: datetime) -> Known:
        """What a count of these limits must leave to the counters."""
        return Known(
            self._versions[api_key_id],
            {limit.limit_id: self._rolled(limit, now).since for limit in limits},
            {lease_id: self._ended[lease_id].spent for lease_id in self._ended_of.get(api_key_id, ())},
            list(self._held.get(api_key_id, ())),
        )

    async def put(
        self, api_key_id: ApiKeyId, used: Mapping[str, int], since: Mapping[str, datetime], *, version: int
    ) -> bool:
        """Sets what is used of limits that count since then, unless anything has moved."""
        budgets = {limit_id: self._budgets.get(limit_id) for limit_id in used}
        if version != self._versions[api_key_id]:
            return False
        if any(budget is None or budget.since != since[limit_id] for limit_id, budget in budgets.items()):
            return False
        for limit_id, budget in budgets.items():
            if budget is not None:
                budget.used = used[limit_id]
        return True

    async def changed(self, api_key_id: ApiKeyId, revision: int, limits: Sequence[Limit]) -> None:
        """There is no other control that would have to know."""

    async def forget(self, api_key_id: ApiKeyId, limit_ids: Sequence[str]) -> None:  # noqa: ARG002 - ids are unique
        """Limits of a key that are gone."""
        for limit_id in limit_ids:
            self._budgets.pop(limit_id, None)

    def lacking(self, reserving: Sequence[Reserving], now: datetime) -> Shortfall | Uncounted | None:
        """What is in the way of reserving all of it."""
        short: Shortfall | None = None
        for one in reserving:
            budget = self._rolled(one.limit, now)
            if budget.used is None:
                return Uncounted()
            has_room = fits(one.amount, used=budget.used, reserved=budget.reserved, amount_max=one.limit.amount_max)
            if not has_room and short is None:
                short = Shortfall(one.limit.limit_id, BudgetUse(budget.used, budget.reserved))
        return short

    def reserve(self, lease_id: LeaseId, key: str, reserving: Sequence[Reserving]) -> tuple[ReservedAmount, ...]:
        """Reserves it, of what there is room for."""
        reservation = tuple(
            ReservedAmount(one.limit.limit_id, one.amount, self._budgets[one.limit.limit_id].since) for one in reserving
        )
        self._hold(ApiKeyId(key), lease_id, reservation)
        return reservation

    def restore(self, lease: Lease) -> None:
        """A gateway holds it after all. The ledger may have a row of it, which counts no more."""
        if not lease.api_key_id:
            return
        key, ended = ApiKeyId(lease.api_key_id), self._ended.get(lease.lease_id)
        if ended is not None and ended.spent.is_final:
            return
        self._drop(lease.lease_id)
        for one in lease.reservation:
            budget = self._budgets.get(one.limit_id)
            if budget is None or budget.since < one.window_started_at:
                self._budgets[one.limit_id] = Budget(one.window_started_at)
        self._hold(key, lease.lease_id, lease.reservation)
        self.uncount_for(lease)

    def release(self, lease: Lease) -> None:
        """It has nothing reserved any more."""
        held = self._held.get(ApiKeyId(lease.api_key_id), {})
        for one in held.pop(lease.lease_id, ()):
            budget = self._budgets.get(one.limit_id)
            if budget is not None and budget.since == one.window_started_at:
                budget.reserved -= one.amount
        if not held:
            self._held.pop(ApiKeyId(lease.api_key_id), None)

    def settle(self, ending: Ending, spent: Spent, now: datetime, *, was_known: bool) -> None:
        """What it used takes the place of what it had reserved."""
        before = self._ended.get(ending.lease.lease_id)
        if before is not None and (before.spent.is_final or not spent.is_final):
            return
        charges = {limit.limit_id: spent.of_limit(limit) for limit in ending.limits}
        self._ended[ending.lease.lease_id] = Ended(spent, charges)
        self._ended_of.setdefault(spent.api_key_id, set()).add(ending.lease.lease_id)
        self._versions[spent.api_key_id] += 1
        if before is None and not was_known:  # lost, or counted by the ledger already
            self.uncount(spent.api_key_id, charges)
            return
        for limit in ending.limits:
            budget = self._rolled(limit, now)
            if budget.used is not None and spent.granted_at >= budget.since:
                guessed = before.charges.get(limit.limit_id, 0) if before is not None else 0
                budget.used += charges[limit.limit_id] - guessed

    def stored(self, lease_id: LeaseId, now: datetime, *, is_final: bool) -> None:
        """The ledger has it."""
        while self._stored and self._stored[0][0] <= now:
            self._drop(self._stored.popleft()[1])
        ended = self._ended.get(lease_id)
        if ended is None or ended.is_stored or ended.spent.is_final != is_final:
            return
        if is_final:
            ended.is_stored = True
            self._stored.append((now + KEPT, lease_id))
        else:  # a guess, which the ledger may know better
            self._drop(lease_id)
            self.uncount(ended.spent.api_key_id, ended.charges)

    def uncount_for(self, lease: Lease) -> None:
        """The ledger may have a row of a lease that nobody knows any more."""
        self.uncount(ApiKeyId(lease.api_key_id), (one.limit_id for one in lease.reservation))

    def uncount(self, api_key_id: ApiKeyId, limit_ids: Iterable[str]) -> None:
        """Nobody knows any more what is used of these."""
        self._versions[api_key_id] += 1
        for limit_id in limit_ids:
            budget = self._budgets.get(limit_id)
            if budget is not None:
                budget.used = None

    def use_after(self, ending: Ending, spent: Spent, now: datetime) -> KeyUse:
        """How the key of a lease stands."""
        return self._use(spent.api_key_id, ending.limits, now)

    def _use(self, api_key_id: ApiKeyId, limits: Iterable[Limit], now: datetime) -> KeyUse:
        use: dict[str, BudgetUse | None] = {}
        for limit in limits:
            budget = self._rolled(limit, now)
            use[limit.limit_id] = None if budget.used is None else BudgetUse(budget.used, budget.reserved)
        return KeyUse(api_key_id, self._versions[api_key_id], use)

    def _rolled(self, limit: Limit, now: datetime) -> Budget:
        """The window that is open now, unless a later one has begun."""
        since = limit.counts_since(now)
        budget = self._budgets.get(limit.limit_id)
        if budget is None:
            budget = self._budgets[limit.limit_id] = Budget(since)
        elif budget.since < since:
            # Nothing that was granted in a window that just began can have ended, but after a reset it can.
            is_empty = budget.used is not None and since != limit.reset_at
            budget = self._budgets[limit.limit_id] = Budget(since, used=0 if is_empty else None)
        return budget

    def _hold(self, key: ApiKeyId, lease_id: LeaseId, reservation: tuple[ReservedAmount, ...]) -> None:
        self._held.setdefault(key, {})[lease_id] = reservation
        for one in reservation:
            budget = self._budgets[one.limit_id]
            if budget.since == one.window_started_at:
                budget.reserved += one.amount

    def _drop(self, lease_id: LeaseId) -> None:
        ended = self._ended.pop(lease_id, None)
        if ended is None:
            return
        of_key = self._ended_of[ended.spent.api_key_id]
        of_key.discard(lease_id)
        if not of_key:
            del self._ended_of[ended.spent.api_key_id]
