"""What limits need from the outside: counters between control replicas, and sums of what the ledger holds.

A lease counts by the counters while they know it, held or just ended, and by the ledger's rows otherwise. What is used is
never added up on top of a number that nobody vouches for: in doubt a limit is uncounted, and its count is set from the
ledger before anything more is granted on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.limit import Amounts, Limit
from codex_lb.control.domain.spending import Spent


@dataclass(frozen=True, slots=True)
class Reserving:
    """What a turn wants to reserve of one limit."""

    limit: Limit
    amount: int


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of a limit is used, and how much is reserved beyond that."""

    used: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How the limits of a key stand, by limit_id; None for those that nobody has counted."""

    api_key_id: ApiKeyId
    version: int  # rises; what is older is not to be believed over what is newer
    limits: Mapping[str, BudgetUse | None]


@dataclass(frozen=True, slots=True)
class Known:
    """The leases of a key that count by the counters, whatever the ledger says of them."""

    version: int  # another one as soon as a count that began before would be wrong
    since: Mapping[str, datetime]  # from when on each limit counts
    ended: Mapping[LeaseId, Spent]
    held: Collection[LeaseId]


class Budgets(Protocol):
    """What API keys have used of their limits, over all control replicas. Soft: counted anew from the ledger.

    Reservations live and die with their leases, so the Leases port makes and ends them. Every method raises
    CoordinationUnavailableError.
    """

    async def use_of(self, keys: Sequence[tuple[ApiKeyId, Sequence[Limit]]], *, now: datetime) -> Sequence[KeyUse]:
        """How the limits of these keys stand, in their present windows."""
        ...

    async def known(self, api_key_id: ApiKeyId, limits: Sequence[Limit], *, now: datetime) -> Known:
        """What a count of these limits must leave to the counters."""
        ...

    async def put(
        self, api_key_id: ApiKeyId, used: Mapping[str, int], since: Mapping[str, datetime], *, version: int
    ) -> bool:
        """Sets what is used of limits that count since then; what is reserved stays.

        False, and nothing is set, when the version or the beginning of a window is another by now.
        """
        ...

    async def changed(self, api_key_id: ApiKeyId, revision: int, limits: Sequence[Limit]) -> None:
        """A key has these limits from now on, at every control: whoever asks with an older revision is told."""
        ...

    async def forget(self, api_key_id: ApiKeyId, limit_ids: Sequence[str]) -> None:
        """Limits of a key that are gone."""
        ...


class Spendings(Protocol):
    """What keys have spent, by the rows of settled leases. A unit of work sees them as of one moment."""

    async def known(self, api_key_id: ApiKeyId, *, since: datetime, model: str) -> Amounts:
        """The sum of what upstream said, over leases granted since then; of one model, or of all (empty)."""
        ...

    async def unseen(self, api_key_id: ApiKeyId, *, since: datetime) -> Sequence[Spent]:
        """The leases granted since then that may count although upstream did not say what they used."""
        ...

    async def of(self, lease_ids: Collection[LeaseId]) -> Mapping[LeaseId, Spent]:
        """What each of these leases counts for, as far as there is a row of it."""
        ...
