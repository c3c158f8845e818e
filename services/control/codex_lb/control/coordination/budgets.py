"""What API keys have used and reserved of their limits, for a single control replica."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import ReservedAmount
from codex_lb.control.domain.limit import fits
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.limit_ports import BudgetUse, Charge, Pending, Reserving, Shortfall

ENDED_MAX = 50_000  # leases remembered after their end, about 20 MB; a settlement comes again within seconds if ever


@dataclass(slots=True)
class Budget:
    """The present window of one limit."""

    since: datetime
    used: int = 0
    reserved: dict[LeaseId, int] = field(default_factory=dict)
    reserved_sum: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A lease that has ended, and what it was charged."""

    spent: Spent
    charges: Sequence[Charge]


class MemoryBudgets:
    """The Budgets port. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, ended_max: int = ENDED_MAX) -> None:
        self._budgets: dict[str, Budget] = {}
        self._limits_of: dict[LeaseId, tuple[str, ...]] = {}  # where a lease has something reserved
        self._ended: OrderedDict[LeaseId, Ended] = OrderedDict()
        self._ended_max = ended_max
        self._pending: dict[LeaseId, Ended] = {}
        self._versions: Counter[ApiKeyId] = Counter()

    async def reserve(self, lease_id: LeaseId, wanted: Sequence[Reserving]) -> Shortfall | None:
        """All or none."""
        for one in wanted:
            budget = self._budget(one.limit_id, one.since)
            if not fits(one.amount, used=budget.used, reserved=budget.reserved_sum, amount_max=one.amount_max):
                return Shortfall(one.limit_id, BudgetUse(budget.used, budget.reserved_sum))
        for one in wanted:
            self._reserve(lease_id, one.limit_id, one.since, one.amount)
        return None

    async def restore(self, lease_id: LeaseId, amounts: Sequence[ReservedAmount]) -> None:
        """What a lease that a gateway announces has reserved, whether there is room or not."""
        if lease_id in self._limits_of or lease_id in self._ended:
            return
        for one in amounts:
            self._reserve(lease_id, one.limit_id, one.window_started_at, one.amount)

    async def release(self, lease_id: LeaseId) -> None:
        """Nothing was spent."""
        self._release(lease_id)

    async def settle(self, lease_id: LeaseId, spent: Spent, charges: Sequence[Charge]) -> bool:
        """The lease's reservation gives way to what it used; a second time changes nothing."""
        before = self._ended.get(lease_id)
        if before is not None and (before.spent.is_final or not spent.is_final):
            return False
        self._release(lease_id)
        for charge in before.charges if before is not None else ():
            self._charge(charge, -charge.amount)
        for charge in charges:
            self._charge(charge, charge.amount)
        self._ended[lease_id] = self._pending[lease_id] = Ended(spent, tuple(charges))
        self._ended.move_to_end(lease_id)
        self._versions[spent.api_key_id] += 1
        if len(self._ended) > self._ended_max:
            self._ended.popitem(last=False)
        return True

    async def remember(self, ended: Mapping[LeaseId, tuple[Spent, Sequence[Charge]]]) -> None:
        """Leases that ended before this control began, and are counted already."""
        for lease_id, (spent, charges) in ended.items():
            self._ended.setdefault(lease_id, Ended(spent, tuple(charges)))

    async def pending(self, api_key_id: ApiKeyId) -> Pending:
        """Those that have ended and are not known to be in the ledger."""
        leases = {k: e.spent for k, e in self._pending.items() if e.spent.api_key_id == api_key_id}
        return Pending(self._versions[api_key_id], leases)

    async def stored(self, lease_ids: Iterable[LeaseId]) -> None:
        """These are in the ledger."""
        for lease_id in lease_ids:
            self._pending.pop(lease_id, None)

    async def put(self, limit_id: str, *, since: datetime, used: int) -> None:
        """What was counted is now this."""
        self._budget(limit_id, since).used = used

    async def use_of(self, limit_id: str, *, since: datetime) -> BudgetUse:
        """How much is used and reserved of a limit."""
        budget = self._budgets.get(limit_id)
        if budget is None or budget.since < since:
            return BudgetUse(0, 0)
        return BudgetUse(budget.used, budget.reserved_sum)

    async def forget(self, limit_ids: Sequence[str]) -> None:
        """Limits that are gone."""
        for limit_id in limit_ids:
            self._budgets.pop(limit_id, None)

    def _budget(self, limit_id: str, since: datetime) -> Budget:
        """The limit's present window: a newer one begins with nothing used, and nothing reserved."""
        budget = self._budgets.get(limit_id)
        if budget is None or budget.since < since:
            budget = self._budgets[limit_id] = Budget(since)
        return budget

    def _reserve(self, lease_id: LeaseId, limit_id: str, since: datetime, amount: int) -> None:
        budget = self._budget(limit_id, since)
        if budget.since != since:
            return  # of a window that is over
        budget.reserved[lease_id] = amount
        budget.reserved_sum += amount
        self._limits_of[lease_id] = (*self._limits_of.get(lease_id, ()), limit_id)

    def _release(self, lease_id: LeaseId) -> None:
        for limit_id in self._limits_of.pop(lease_id, ()):
            budget = self._budgets.get(limit_id)
            if budget is not None:
                budget.reserved_sum -= budget.reserved.pop(lease_id, 0)

    def _charge(self, charge: Charge, amount: int) -> None:
        budget = self._budget(charge.limit_id, charge.since)
        if budget.since == charge.since:
            budget.used += amount
