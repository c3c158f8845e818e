"""API keys for tests of the verbs, and what holds them to their limits, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from codex_lb.control.coordination.budgets import MemoryBudgets
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import Outcome, Settlement
from codex_lb.control.domain.limit import Amounts, Limit
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.domain.spending import Spent, spent
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.adopt_keys import AdoptKeys
from codex_lb.control.usecases.count_limits import CountLimits
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.limit_ports import Budgets
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.mend_keys import MendKeys
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.kit.clock import Clock
from tests.support.clock import NOON
from tests.unit.control.leases import ListLedger, pool_of

PRICES = load_prices()


@dataclass
class ListSpendings:
    """The Spendings port over a ledger that is a list, and the unit of work around it."""

    ledger: ListLedger

    @property
    def spendings(self) -> ListSpendings:
        """What a unit of work calls it."""
        return self

    def begin(self, *, writing: bool) -> UnitOfWork:
        """The unit of work."""
        assert not writing
        return cast("UnitOfWork", nullcontext(self))

    async def known(self, api_key_id: ApiKeyId, *, since: datetime, model: str) -> Amounts:
        """The sum of what upstream said."""
        told = [x.amounts for x in self._of_key(api_key_id, since) if x.amounts and model in {"", x.model}]
        return Amounts(
            sum(x.requests for x in told),
            sum(x.input_tokens for x in told),
            sum(x.output_tokens for x in told),
            sum(x.total_tokens for x in told),
            sum(x.cost_micro_usd for x in told),
        )

    async def unseen(self, api_key_id: ApiKeyId, *, since: datetime) -> Sequence[Spent]:
        """Those that upstream said nothing of."""
        return [x for x in self._of_key(api_key_id, since) if x.amounts is None]

    async def of(self, lease_ids: Collection[LeaseId]) -> Mapping[LeaseId, Spent]:
        """By lease."""
        rows = self._rows()
        return {lease_id: spent(rows[lease_id], PRICES) for lease_id in lease_ids if lease_id in rows}

    def _of_key(self, api_key_id: ApiKeyId, since: datetime) -> list[Spent]:
        everything = (spent(row, PRICES) for row in self._rows().values())
        return [x for x in everything if x.api_key_id == api_key_id and x.granted_at >= since]

    def _rows(self) -> dict[LeaseId, Settlement]:
        """One per lease: the first, but for a guess that gives way to the truth."""
        rows: dict[LeaseId, Settlement] = {}
        for one in self.ledger.settlements:
            row = rows.setdefault(one.lease.lease_id, one)
            if row.outcome is Outcome.ABANDONED and row.lease.epoch == one.lease.epoch:
                rows[one.lease.lease_id] = one
        return rows


def api_key(name: str, *limits: Limit, streams_max: int = 0) -> ApiKey:
    """A key that was made at noon."""
    return ApiKey(
        ApiKeyId(name),
        name,
        "sk-clb-",
        name.encode(),
        created_at=NOON,
        updated_at=NOON,
        limits=limits,
        streams_max=streams_max,
    )


@dataclass(frozen=True)
class Keys:
    """Keys and what holds them to their limits."""

    book: KeyBook
    limits: KeyLimits
    mend: MendKeys


def keys_of(
    clock: Clock,
    *keys: ApiKey,
    pool: Pool | None = None,
    budgets: Budgets | None = None,
    store: Store | None = None,
) -> Keys:
    """These keys; without a store, nothing was ever spent."""
    feed = PolicyFeed(pool or pool_of(), SettingsBook(LiveSettings()), clock, history_id="history")
    book, store = KeyBook(feed), store or ListSpendings(ListLedger())
    for key in keys:
        book.put(key)
    budgets = budgets or MemoryBudgets()
    limits = KeyLimits(book, budgets, CountLimits(budgets, store, clock), PRICES, clock)
    return Keys(book, limits, MendKeys(book, limits, AdoptKeys(book, limits, store)))
