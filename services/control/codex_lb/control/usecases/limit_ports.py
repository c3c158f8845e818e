"""What limits need from the outside: counters between control replicas, and sums of what the ledger holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import ReservedAmount
from codex_lb.control.domain.limit import Amounts
from codex_lb.control.domain.spending import Spent


@dataclass(frozen=True, slots=True)
class Reserving:
    """What a turn wants to reserve of one limit."""

    limit_id: str
    since: datetime  # when the present window began to count; a newer instant begins a new count
    amount: int
    amount_max: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What a turn that has ended used of one limit."""

    limit_id: str
    since: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of a limit is used, and how much is reserved beyond that."""

    used: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The first limit that has no room, and how it stands."""

    limit_id: str
    use: BudgetUse


@dataclass(frozen=True, slots=True)
class Pending:
    """Leases of a key that count although the ledger may not have them."""

    version: int  # rises with every lease of the key that ends
    leases: Mapping[LeaseId, Spent]


class Budgets(Protocol):
    """What API keys have used and reserved of their limits. Soft: rebuilt from the ledger and from what gateways hold."""

    async def reserve(self, lease_id: LeaseId, wanted: Sequence[Reserving]) -> Shortfall | None:
        """Reserves all of it and returns None, or nothing and returns what was in the way."""
        ...

    async def restore(self, lease_id: LeaseId, amounts: Sequence[ReservedAmount]) -> None:
        """Takes a gateway's word for what a lease has reserved, whether there is room or not; once."""
        ...

    async def release(self, lease_id: LeaseId) -> None:
        """Gives back what a lease has reserved: nothing was spent."""
        ...

    async def settle(self, lease_id: LeaseId, spent: Spent, charges: Sequence[Charge]) -> bool:
        """Puts what a lease used in the place of what it had reserved.

        A second time changes nothing, and returns False; but the truth replaces what was charged by guess.
        """
        ...

    async def remember(self, ended: Mapping[LeaseId, tuple[Spent, Sequence[Charge]]]) -> None:
        """Leases that have ended and are counted already, should their settlement come again."""
        ...

    async def pending(self, api_key_id: ApiKeyId) -> Pending:
        """The leases of a key that have ended and are not yet known to be in the ledger."""
        ...

    async def stored(self, lease_ids: Iterable[LeaseId]) -> None:
        """These are in the ledger."""
        ...

    async def put(self, limit_id: str, *, since: datetime, used: int) -> None:
        """Sets what is used of a limit since then; what is reserved stays."""
        ...

    async def use_of(self, limit_id: str, *, since: datetime) -> BudgetUse:
        """How a limit stands that counts since then."""
        ...

    async def forget(self, limit_ids: Sequence[str]) -> None:
        """Limits that are gone."""
        ...


class Spendings(Protocol):
    """What keys have spent, by the rows of settled leases."""

    async def known(
        self, api_key_id: ApiKeyId, *, since: datetime, model: str, without: Collection[LeaseId]
    ) -> Amounts:
        """The sum of what upstream said, over leases granted since then; of one model, or of all (empty)."""
        ...

    async def unseen(self, api_key_id: ApiKeyId, *, since: datetime, without: Collection[LeaseId]) -> Sequence[Spent]:
        """The leases granted since then that may count although upstream did not say what they used."""
        ...

    async def lately(self, api_key_id: ApiKeyId, *, ended_since: datetime) -> Mapping[LeaseId, Spent]:
        """Every lease that ended since then."""
        ...
