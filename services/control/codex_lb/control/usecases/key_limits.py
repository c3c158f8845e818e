"""Holds API keys to their limits: reserves before a turn, counts after it, and starts from what the ledger holds.

What a key has used is never added up by several hands: it is set from the ledger's rows when control starts or a limit
is made, and from then on each lease changes it once, by its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import AccountId, ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Lease, ReservedAmount, Settlement, Wanted
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.policy import ReachedLimit
from codex_lb.control.domain.pricing import Prices
from codex_lb.control.domain.spending import COUNTED, Spent, estimated, spent
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.limit_ports import Budgets, BudgetUse, Charge, Reserving, Shortfall
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.kit.clock import Clock

RETRY_AFTER = timedelta(seconds=5)  # turns take seconds to minutes; asking more often would only make noise
# How long a settlement may take from its lease's end to its second coming, which must not count twice: a gateway sends
# what is not acknowledged again within seconds, and after a break as soon as control is back.
COMES_AGAIN = timedelta(minutes=20)
COUNTS_MAX = 10  # a key whose turns end faster than they can be summed up is counted as well as can be


class KeyProblem(StrEnum):
    """Why a key gets no lease."""

    LIMIT_REACHED = "limit_reached"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """No lease for this key, and why."""

    problem: KeyProblem
    message: str
    retry_at: datetime | None = None
    resets_at: datetime | None = None


class KeyLimits:
    """The verbs. One object for the life of control."""

    def __init__(self, book: KeyBook, budgets: Budgets, store: Store, prices: Prices, clock: Clock) -> None:
        self._book = book
        self._budgets = budgets
        self._store = store
        self._prices = prices
        self._clock = clock

    async def load(self) -> None:
        """Counts what every key has used, before anything is granted."""
        for key in self._book.all():
            if key.limits:
                await self._count(key, key.limits)
                await self._remember(key)
                await self._tell(key)

    def scope(self, api_key_id: str) -> frozenset[AccountId] | None:
        """The accounts that a key may use; None for all."""
        return self._book.scope(ApiKeyId(api_key_id))

    def slots(self, api_key_id: str) -> int:
        """How many turns a key may run at once; 0 for no limit."""
        key = self._book.get(ApiKeyId(api_key_id))
        return 0 if key is None else key.streams_max

    def busy(self, api_key_id: str) -> KeyRefusal:
        """It runs as many."""
        turns = self.slots(api_key_id)
        message = f"API key may run {turns} turns at once, and as many are running. Try again in a few seconds."
        return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=self._clock.now() + RETRY_AFTER)

    async def reserve(self, lease_id: LeaseId, wanted: Wanted) -> tuple[ReservedAmount, ...] | KeyRefusal:
        """Reserves what the turn may use of every limit that applies, or of none."""
        if not wanted.api_key_id:
            return ()
        key, now = self._book.get(ApiKeyId(wanted.api_key_id)), self._clock.now()
        if key is None or not key.is_enabled:
            return KeyRefusal(KeyProblem.INVALID, "Invalid API key")
        if key.expires_at is not None and key.expires_at <= now:
            return KeyRefusal(KeyProblem.INVALID, "API key has expired")
        reserving = self._reserving(key, wanted, now)
        if not reserving:
            return ()
        shortfall = await self._budgets.reserve(lease_id, reserving)
        if shortfall is not None:
            return refusal(key, shortfall, now)
        return tuple(ReservedAmount(one.limit_id, one.amount, one.since) for one in reserving)

    async def release(self, lease_id: LeaseId) -> None:
        """The lease was never used."""
        await self._budgets.release(lease_id)

    async def announced(self, held: Iterable[Lease], undelivered: Iterable[Lease]) -> None:
        """A gateway said what it holds, and what it never got."""
        for lease in undelivered:
            await self._budgets.release(lease.lease_id)
        for lease in held:
            if lease.reservation:
                await self._budgets.restore(lease.lease_id, lease.reservation)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Counts what leases used that have ended, each once."""
        touched: dict[ApiKeyId, ApiKey] = {}
        now = self._clock.now()
        for settlement in settlements:
            lease = settlement.lease
            if not lease.api_key_id:
                continue
            what = spent(settlement, self._prices)
            key = self._book.get(what.api_key_id)
            charges = charges_of(key.limits, what, now) if key is not None else []
            if await self._budgets.settle(lease.lease_id, what, charges) and key is not None and key.limits:
                touched[key.api_key_id] = key
        for key in touched.values():
            await self._tell(key)

    async def stored(self, lease_ids: Iterable[LeaseId]) -> None:
        """The ledger has these leases."""
        await self._budgets.stored(lease_ids)

    async def take_over(self, before: ApiKey | None, key: ApiKey) -> None:
        """A key is about to have other limits: those that are new count what their window has seen, those gone nothing."""
        known = {limit.limit_id for limit in before.limits} if before is not None else set()
        new = [limit for limit in key.limits if limit.limit_id not in known]
        if new and before is not None:
            await self._count(key, new)
        await self._budgets.forget(list(known - {limit.limit_id for limit in key.limits}))

    async def changed(self, key: ApiKey) -> None:
        """A key has other limits now, or counts them anew."""
        await self._tell(key)

    async def gone(self, key: ApiKey) -> None:
        """A key was deleted."""
        await self._budgets.forget([limit.limit_id for limit in key.limits])

    async def use_of(self, key: ApiKey) -> Mapping[str, BudgetUse]:
        """How the limits of a key stand, by limit_id."""
        now = self._clock.now()
        return {x.limit_id: await self._budgets.use_of(x.limit_id, since=x.counts_since(now)) for x in key.limits}

    def _reserving(self, key: ApiKey, wanted: Wanted, now: datetime) -> list[Reserving]:
        if not key.limits or wanted.work not in COUNTED:
            return []
        amounts = estimated(wanted, self._prices)
        return [
            Reserving(limit.limit_id, limit.counts_since(now), amounts.of(limit.unit), limit.amount_max)
            for limit in key.limits
            if limit.applies_to(wanted.model)
        ]

    async def _count(self, key: ApiKey, limits: Sequence[Limit]) -> None:
        """Sets what is used: what the ledger holds, and what has ended and is on its way there."""
        async with self._store.begin(writing=False) as unit:
            for limit in limits:
                for _ in range(COUNTS_MAX):
                    now, pending = self._clock.now(), await self._budgets.pending(key.api_key_id)
                    since = limit.counts_since(now)
                    used = await stored_use(unit, key, limit, since=since, without=pending.leases.keys())
                    used += sum(what.in_limit(limit, since=since) for what in pending.leases.values())
                    if (await self._budgets.pending(key.api_key_id)).version == pending.version:
                        break  # nothing ended meanwhile, which might be in the sum or might not
                await self._budgets.put(limit.limit_id, since=since, used=used)

    async def _remember(self, key: ApiKey) -> None:
        """Leases whose settlement may come again although an earlier control has stored it."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            stored = await unit.spendings.lately(key.api_key_id, ended_since=now - COMES_AGAIN)
        await self._budgets.remember({k: (what, charges_of(key.limits, what, now)) for k, what in stored.items()})

    async def _tell(self, key: ApiKey) -> None:
        """Lets gateways know which limits are used up, if that is news."""
        now, use = self._clock.now(), await self.use_of(key)
        reached = (x for x in key.limits if use[x.limit_id].used >= x.amount_max)
        self._book.tell_reached(key.api_key_id, tuple(ReachedLimit(x, x.resets_at(now)) for x in reached))


async def stored_use(
    unit: UnitOfWork, key: ApiKey, limit: Limit, *, since: datetime, without: Collection[LeaseId]
) -> int:
    """What the ledger holds against a limit, some leases aside."""
    known = await unit.spendings.known(key.api_key_id, since=since, model=limit.model, without=without)
    unseen = await unit.spendings.unseen(key.api_key_id, since=since, without=without)
    return known.of(limit.unit) + sum(what.in_limit(limit, since=since) for what in unseen)


def charges_of(limits: Iterable[Limit], what: Spent, now: datetime) -> list[Charge]:
    """What a lease counts for in each limit, as far as it falls into the present window."""
    charges = []
    for limit in limits:
        since = limit.counts_since(now)
        amount = what.in_limit(limit, since=since)
        if amount:
            charges.append(Charge(limit.limit_id, since, amount))
    return charges


def refusal(key: ApiKey, shortfall: Shortfall, now: datetime) -> KeyRefusal:
    """A limit that has no room, in words (data-plane reference 6.4)."""
    limit = next(limit for limit in key.limits if limit.limit_id == shortfall.limit_id)
    of_model = f" for model {limit.model}" if limit.model else ""
    name = f"API key {limit.unit} {limit.window} limit"
    resets_at = limit.resets_at(now)
    if shortfall.use.used < limit.amount_max:
        message = f"{name}{of_model} has no room while other turns run. Try again in a few seconds."
        return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=min(now + RETRY_AFTER, resets_at))
    message = f"{name} exceeded{of_model}. Usage resets at {resets_at:%Y-%m-%dT%H:%M:%SZ}."
    return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=resets_at, resets_at=resets_at)
