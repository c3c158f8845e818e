"""Ends leases: frees the slot and learns from the evidence at once, then has it recorded, once, by the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import structlog
from msgspec.structs import replace

from codex_lb.control.domain.continuity import Failure
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, LeaseId
from codex_lb.control.domain.lease import Blame, Fault, Lease, Outcome, Settlement, Timings, TurnReport
from codex_lb.control.domain.pricing import Cost, Prices, billable_tier
from codex_lb.control.errors import EntriesRefusedError
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.lease_ports import Continuities, Leases
from codex_lb.control.usecases.ledger_ports import Ended, Ledger
from codex_lb.control.usecases.pool import Pool
from codex_lb.kit.clock import Clock

log = structlog.get_logger(__name__)

Spent = TypeVar("Spent", Settlement, TurnReport)


class SettleLeases:
    """The verb, in two steps: `apply` changes what is in memory, `record` makes it durable."""

    def __init__(
        self,
        pool: Pool,
        leases: Leases,
        continuities: Continuities,
        ledger: Ledger,
        prices: Prices,
        limits: KeyLimits,
        clock: Clock,
    ) -> None:
        self._continuities = continuities
        self._pool = pool
        self._leases = leases
        self._ledger = ledger
        self._prices = prices
        self._limits = limits
        self._clock = clock
        self.turns_recorded = 0
        self._lapsing: set[LeaseId] = set()

    async def apply(self, settlements: Sequence[Settlement]) -> list[tuple[AccountId, Evidence]]:
        """Frees slots and takes evidence in; returns the evidence that is to be recorded.

        A settlement of a lease this control never granted is as good as any: it holds all there is to know.
        """
        learned: list[tuple[AccountId, Evidence]] = []
        await self._end(settlements)
        for settlement in settlements:
            lease = settlement.lease
            await self._continuities.remember(settlement.anchors, lease.account_id)
            if settlement.failed_affinity_keys or settlement.is_failing:
                failure = Failure(settlement.failed_affinity_keys, lease.account_id, lasted_s=settlement.lasted_s)
                await self._continuities.note_failure(failure)
            learned += [
                (lease.account_id, evidence)
                for evidence in settlement.evidence
                if self._pool.observe(lease.account_id, evidence)
            ]
        return learned

    async def failed_before(self, failure: Failure) -> None:
        """A gateway says once more where upstream failed a turn: this control may have been started since."""
        await self._continuities.note_failure(failure)

    async def record(
        self,
        settlements: Sequence[Settlement],
        reports: Sequence[TurnReport],
        learned: Sequence[tuple[AccountId, Evidence]],
    ) -> Ended:
        """Returns when all of it is committed that can be. Raises StoreUnavailableError when the ledger closes first."""
        refused: frozenset[str] = frozenset()
        lost_turns = 0
        try:
            await self._ledger.write(*self._priced(settlements, reports), learned)
        except EntriesRefusedError as error:  # they would be refused however often they came
            log.warning("settlements refused by the database", lease_ids=sorted(error.lease_ids), why=str(error))
            refused, lost_turns = error.lease_ids, len(error.turn_ids)
        self.turns_recorded += len(reports) - lost_turns
        await self._recorded(settlements)
        lease_ids = [settlement.lease.lease_id for settlement in settlements]
        return Ended(
            lease_ids=tuple(lease_id for lease_id in lease_ids if lease_id not in refused),
            turn_ids=tuple(r.turn_id for r in reports),
            refused_lease_ids=tuple(lease_id for lease_id in lease_ids if lease_id in refused),
        )

    async def lapse(self) -> int:
        """Settles what vanished gateways held as abandoned; how many there were."""
        lapsed = [x for x in await self._leases.lapse(now=self._clock.now()) if x.lease_id not in self._lapsing]
        if not lapsed:
            return 0
        self._lapsing.update(lease.lease_id for lease in lapsed)  # while the database is away, they lapse again
        try:
            abandoned = [self._abandoned(lease) for lease in lapsed]
            await self._end(abandoned)
            await self._ledger.write(abandoned, [_line_of(settlement) for settlement in abandoned], [])
            await self._recorded(abandoned)
        finally:
            self._lapsing.difference_update(lease.lease_id for lease in lapsed)
        return len(lapsed)

    async def _end(self, settlements: Sequence[Settlement]) -> None:
        endings = [self._limits.ending(settlement) for settlement in settlements]
        self._limits.told(await self._leases.settle(endings, now=self._clock.now()))

    async def _recorded(self, settlements: Sequence[Settlement]) -> None:
        ended = [(one.lease.lease_id, one.outcome is not Outcome.ABANDONED) for one in settlements]
        await self._leases.recorded(ended, now=self._clock.now())

    def _priced(
        self, settlements: Sequence[Settlement], reports: Sequence[TurnReport]
    ) -> tuple[list[Settlement], list[TurnReport]]:
        """The same with what they cost, where upstream said what they used."""
        return (
            [self._with_cost(one, one.lease.model, one.service_tier) for one in settlements],
            [self._with_cost(r, r.model, billable_tier(r.service_tier, r.actual_service_tier)) for r in reports],
        )

    def _with_cost(self, ended: Spent, model: str, tier: str) -> Spent:
        if ended.usage is None:
            return ended
        price = self._prices.price_of(model, tier, ended.usage)
        if isinstance(price, Cost):
            return replace(ended, cost_micro_usd=price.micro_usd, cost_source=price.source)
        return replace(ended, cost_source=price.value)

    def _abandoned(self, lease: Lease) -> Settlement:
        now = self._clock.now()
        fault = Fault("gateway_vanished", Blame.US, 0, "The gateway that held this lease was not heard for its TTL.")
        return Settlement(
            lease=lease,
            outcome=Outcome.ABANDONED,
            fault=fault,
            usage=None,
            timings=Timings(total_s=(now - lease.granted_at).total_seconds()),
            evidence=(),
            anchors=(),
            calls=0,
            service_tier="",
            upstream_transport="",
            ended_at=now,
        )


def _line_of(settlement: Settlement) -> TurnReport:
    """What the request log says of a turn until its gateway is heard again, if ever."""
    lease = settlement.lease
    return TurnReport(
        turn_id=lease.turn_id,
        started_at=lease.granted_at,
        outcome=settlement.outcome,
        fault=settlement.fault,
        lease_id=lease.lease_id,
        account_id=lease.account_id,
        attempts=lease.attempt,
        api_key_id=lease.api_key_id,
        work=lease.work,
        route="",
        transport="",
        requested_model=lease.model,
        model=lease.model,
        reasoning_effort="",
        service_tier="",
        actual_service_tier="",
        usage=None,
        timings=settlement.timings,
        status=0,
        user_agent="",
        client_ip="",
        response_id="",
        session_id="",
        request_bytes=0,
        response_bytes=0,
    )
