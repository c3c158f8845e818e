"""Holds API keys to their limits: says what a turn must reserve, counts what it used, and tells which limits are used up.

What a key has used is never added up by several hands: it is set from the ledger's rows where nobody has counted yet, and
from then on each lease changes it once, by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.lease import Outcome, Settlement, Wanted
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.policy import ReachedLimit
from codex_lb.control.domain.pricing import Prices
from codex_lb.control.domain.spending import COUNTED, estimated, spent
from codex_lb.control.errors import CoordinationUnavailableError
from codex_lb.control.usecases.count_limits import CountLimits
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.lease_ports import FREE, Ending, Shortfall, Terms
from codex_lb.control.usecases.limit_ports import Budgets, BudgetUse, KeyUse, Reserving
from codex_lb.kit.clock import Clock
from codex_lb.kit.portions import portions

RETRY_AFTER = timedelta(seconds=5)  # turns take seconds to minutes; asking more often would only make noise
KEYS_AT_ONCE = 100  # that are asked about in one call


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

    def __init__(self, book: KeyBook, budgets: Budgets, count: CountLimits, prices: Prices, clock: Clock) -> None:
        self._book = book
        self._budgets = budgets
        self._count = count
        self._prices = prices
        self._clock = clock
        self._seen: dict[ApiKeyId, KeyUse] = {}  # the newest that was heard of
        self._tellers: list[Callable[[ApiKeyId], None]] = []

    def on_reached(self, teller: Callable[[ApiKeyId], None]) -> None:
        """Whoever tells other controls that a limit of a key is used up, or no longer is."""
        self._tellers.append(teller)

    def scope(self, api_key_id: str) -> frozenset[AccountId] | None:
        """The accounts that a key may use; None for all."""
        return self._book.scope(ApiKeyId(api_key_id))

    def slots(self, api_key_id: str) -> int:
        """How many turns a key may run at once; 0 for no limit."""
        key = self._book.get(ApiKeyId(api_key_id))
        return 0 if key is None else key.streams_max

    def terms(self, wanted: Wanted) -> Terms | KeyRefusal:
        """What the turn must reserve of every limit that applies, and what else its key allows."""
        if not wanted.api_key_id:
            return FREE
        key = self._book.get(ApiKeyId(wanted.api_key_id))
        if key is None or not key.is_enabled:
            return KeyRefusal(KeyProblem.INVALID, "Invalid API key")
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            return KeyRefusal(KeyProblem.INVALID, "API key has expired")
        return Terms(key.revision, key.streams_max, self._reserving(key, wanted))

    def busy(self, api_key_id: str) -> KeyRefusal:
        """It runs as many turns as it may."""
        turns = self.slots(api_key_id)
        message = f"API key may run {turns} turns at once, and as many are running. Try again in a few seconds."
        return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=self._clock.now() + RETRY_AFTER)

    def short(self, api_key_id: str, shortfall: Shortfall) -> KeyRefusal:
        """A limit has no room; gateways learn of it when it is used up."""
        key, now = self._book.get(ApiKeyId(api_key_id)), self._clock.now()
        limit = next((x for x in key.limits if x.limit_id == shortfall.limit_id), None) if key is not None else None
        if key is None or limit is None:  # changed in this moment
            message = "API key limits were changed just now. Try again."
            return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=now + RETRY_AFTER)
        refused = refusal(limit, shortfall.use, now)
        if refused.resets_at is not None:
            used_up = {limit, *(reached.limit for reached in self._book.reached(key.api_key_id))}
            self._tell_reached(key, [x in used_up for x in key.limits], is_own=True)
        return refused

    def ending(self, settlement: Settlement) -> Ending:
        """What a lease that has ended counts for."""
        lease, is_final = settlement.lease, settlement.outcome is not Outcome.ABANDONED
        key = self._book.get(ApiKeyId(lease.api_key_id)) if lease.api_key_id else None
        if key is None or lease.work not in COUNTED:
            return Ending(lease, is_final)
        return Ending(lease, is_final, spent(settlement, self._prices), key.limits, key.revision)

    async def load(self) -> None:
        """Tells gateways which limits are used up. While nobody can be asked, turns are held to them all the same."""
        for key, use in await self._use([key for key in self._book.all() if key.limits]):
            self._tell(key, use, is_own=False)

    def told(self, uses: Iterable[KeyUse]) -> None:
        """How keys stand that turns of have just ended."""
        for use in uses:
            key = self._book.get(use.api_key_id)
            if key is not None and key.limits and self._is_newest(use):
                self._tell(key, use, is_own=True)

    async def look(self, api_key_id: ApiKeyId) -> None:
        """Another control told its gateways of a limit of this key."""
        key = self._book.get(api_key_id)
        if key is not None:
            for _, use in await self._use([key]):
                self._tell(key, use, is_own=False)

    async def changed(self, before: ApiKey | None, key: ApiKey) -> None:
        """A key is stored and has other limits now: those that are new count what their window has seen."""
        gone = {x.limit_id for x in before.limits} - {x.limit_id for x in key.limits} if before is not None else set()
        try:
            await self._budgets.changed(key.api_key_id, key.revision, key.limits)
            if gone:
                await self._budgets.forget(key.api_key_id, sorted(gone))
            for _, use in await self._use([key] if key.limits else []):
                self._tell(key, use, is_own=True)
        except CoordinationUnavailableError:
            return  # whoever counts next asks the ledger

    async def gone(self, key: ApiKey) -> None:
        """A key was deleted."""
        self._seen.pop(key.api_key_id, None)
        try:
            await self._budgets.forget(key.api_key_id, [limit.limit_id for limit in key.limits])
        except CoordinationUnavailableError:
            return  # nobody asks for them any more

    async def count(self, key: ApiKey) -> None:
        """Counts anew what the key has used. Raises CoordinationUnavailableError."""
        await self._count(key)
        for _, use in await self._use([key]):
            self._tell(key, use, is_own=True)

    async def use_of(self, key: ApiKey) -> Mapping[str, BudgetUse]:
        """How the limits of a key stand, by limit_id; by what the ledger says where nobody else can tell.

        Raises StoreUnavailableError.
        """
        if not key.limits:
            return {}
        told = [use for _, use in await self._use([key])]
        for use in (*told, self._seen.get(key.api_key_id)):
            if use is not None and all(use.limits.get(limit.limit_id) for limit in key.limits):
                return known_use(use)
        return {limit_id: BudgetUse(used) for limit_id, used in (await self._count.by_ledger(key)).items()}

    async def use_of_all(self, keys: Sequence[ApiKey]) -> Mapping[ApiKeyId, Mapping[str, BudgetUse]]:
        """The same for many keys, as far as anybody can tell without asking the ledger for each."""
        told = {key.api_key_id: use for key, use in await self._use(keys)}
        seen = {key.api_key_id: self._seen[key.api_key_id] for key in keys if key.api_key_id in self._seen}
        return {api_key_id: known_use(use) for api_key_id, use in (seen | told).items()}

    async def _use(self, keys: Sequence[ApiKey]) -> list[tuple[ApiKey, KeyUse]]:
        """How keys stand, counted where nobody has counted them; nothing of those that nobody can tell of."""
        told: list[tuple[ApiKey, KeyUse]] = []
        for portion in portions(keys, KEYS_AT_ONCE):
            try:
                uses = await self._ask(portion)
                for key, use in zip(portion, uses, strict=True):
                    if None in use.limits.values():
                        await self._count(key)
                        [use] = await self._ask([key])  # noqa: PLW2901 - the same, counted
                    self._is_newest(use)
                    told.append((key, use))
            except CoordinationUnavailableError:
                break
        return told

    async def _ask(self, keys: Sequence[ApiKey]) -> Sequence[KeyUse]:
        return await self._budgets.use_of([(key.api_key_id, key.limits) for key in keys], now=self._clock.now())

    def _is_newest(self, use: KeyUse) -> bool:
        """Whether nothing newer was heard; it is remembered then."""
        seen = self._seen.get(use.api_key_id)
        if seen is not None and seen.version > use.version:
            return False
        self._seen[use.api_key_id] = use
        return True

    def _reserving(self, key: ApiKey, wanted: Wanted) -> tuple[Reserving, ...]:
        if not key.limits or wanted.work not in COUNTED:
            return ()
        amounts = estimated(wanted, self._prices)
        return tuple(Reserving(limit, amounts.of(limit.unit)) for limit in key.limits if limit.applies_to(wanted.model))

    def _tell(self, key: ApiKey, use: KeyUse, *, is_own: bool) -> None:
        """Lets gateways know which limits are used up, if that is news."""
        counted = [use.limits.get(limit.limit_id) for limit in key.limits]
        if None in counted:
            return  # the next turn has it counted
        is_used_up = [
            one is not None and one.used >= limit.amount_max for one, limit in zip(counted, key.limits, strict=True)
        ]
        self._tell_reached(key, is_used_up, is_own=is_own)

    def _tell_reached(self, key: ApiKey, is_used_up: Sequence[bool], *, is_own: bool) -> None:
        now = self._clock.now()
        reached = tuple(
            ReachedLimit(x, x.resets_at(now)) for x, is_up in zip(key.limits, is_used_up, strict=True) if is_up
        )
        if self._book.tell_reached(key.api_key_id, reached) and is_own:
            for tell in self._tellers:
                tell(key.api_key_id)


def known_use(use: KeyUse) -> dict[str, BudgetUse]:
    """What is counted."""
    return {limit_id: one for limit_id, one in use.limits.items() if one is not None}


def refusal(limit: Limit, use: BudgetUse, now: datetime) -> KeyRefusal:
    """A limit that has no room, in words (data-plane reference 6.4)."""
    of_model = f" for model {limit.model}" if limit.model else ""
    name = f"API key {limit.unit} {limit.window} limit"
    resets_at = limit.resets_at(now)
    if use.used < limit.amount_max:
        message = f"{name}{of_model} has no room while other turns run. Try again in a few seconds."
        return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=min(now + RETRY_AFTER, resets_at))
    message = f"{name} exceeded{of_model}. Usage resets at {resets_at:%Y-%m-%dT%H:%M:%SZ}."
    return KeyRefusal(KeyProblem.LIMIT_REACHED, message, retry_at=resets_at, resets_at=resets_at)
