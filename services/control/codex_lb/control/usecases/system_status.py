"""What an operator wants to know first about the product as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.usecases.claim_tickets import ClaimTickets
from codex_lb.control.usecases.gateways import Gateway, Gateways
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.ledger_ports import Ledger
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class GatewaySeen:
    """An attached gateway and what it holds."""

    gateway: Gateway
    leases: int


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The product in a few numbers."""

    version: str
    started_at: datetime
    accounts_by_status: Mapping[AccountStatus, int]
    gateways: tuple[GatewaySeen, ...]
    leases: int
    worker_seen_at: datetime | None
    database: str
    settlements_waiting: int
    turns_recorded: int
    models: int


class TellStatus:
    """The verb. Answered from memory."""

    def __init__(
        self,
        pool: Pool,
        leases: Leases,
        ledger: Ledger,
        gateways: Gateways,
        settle: SettleLeases,
        claim: ClaimTickets,
        clock: Clock,
        *,
        version: str,
        database: str,
    ) -> None:
        self._pool = pool
        self._leases = leases
        self._ledger = ledger
        self._gateways = gateways
        self._settle = settle
        self._claim = claim
        self._clock = clock
        self._version = version
        self._database = database
        self._started_at = clock.now()

    def __call__(self) -> SystemStatus:
        """The status now."""
        return SystemStatus(
            version=self._version,
            started_at=self._started_at,
            accounts_by_status=self._pool.count_by_status(self._clock.now()),
            gateways=tuple(GatewaySeen(g, self._leases.held_by(g.replica_id)) for g in self._gateways.recent()),
            leases=self._leases.held(),
            worker_seen_at=self._claim.worker_seen_at,
            database=self._database,
            settlements_waiting=self._ledger.waiting,
            turns_recorded=self._settle.turns_recorded,
            models=len(self._pool.catalog.models),
        )
