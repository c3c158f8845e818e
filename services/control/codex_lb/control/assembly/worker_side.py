"""What the usage-worker talks to: the errands that keep accounts, their logins and the catalogue fresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from codex_lb.api.worker.v1.refresh_pb2_grpc import add_RefreshServiceServicer_to_server
from codex_lb.control.assembly.state import State
from codex_lb.control.domain.refresh import Periods
from codex_lb.control.domain.rotation import Pace
from codex_lb.control.oauth.claims import access_expiry
from codex_lb.control.rpcs.refresh import RefreshRpc
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.claim_tickets import ClaimTickets
from codex_lb.control.usecases.refresh_plan import RefreshPlan
from codex_lb.control.usecases.report_ticket import ReportTicket
from codex_lb.control.usecases.rotations import Rotations
from codex_lb.control.usecases.take_rotation import TakeRotation
from codex_lb.kit.clock import Clock
from codex_lb.kit.rpc_server import Register


@dataclass(frozen=True, slots=True)
class WorkerSide:
    """The verbs of the worker, and their face."""

    periods: Periods
    rotations: Rotations
    claim: ClaimTickets
    refresh_rpc: RefreshRpc

    @property
    def faces(self) -> Sequence[Register]:
        """What the server serves."""
        return (partial(add_RefreshServiceServicer_to_server, self.refresh_rpc),)


async def make_worker_side(state: State, settings: ControlSettings, clock: Clock) -> WorkerSide:
    """Reads how earlier exchanges of tokens ended, or that they did not."""
    pool, tickets, store, ledger, feed = state.pool, state.tickets, state.store, state.ledger, state.feed
    periods = periods_of(settings)
    rotations = Rotations(
        pool,
        store,
        state.vault,
        clock,
        interval=timedelta(days=settings.token_refresh_interval_days),
        pace=Pace(settings.token_refresh_at_once_max, settings.token_refresh_gap_seconds),
    )
    await rotations.load()
    plan = RefreshPlan(pool, tickets, rotations, state.probes, state.deliveries, periods=periods)
    claim = ClaimTickets(pool, plan, tickets, rotations, state.probes, state.deliveries, clock, periods=periods)
    take_rotation = TakeRotation(
        pool, rotations, tickets, store, ledger, state.vault, feed, clock, read_expiry=access_expiry
    )
    report = ReportTicket(
        pool,
        tickets,
        store,
        ledger,
        feed,
        clock,
        periods=periods,
        take_rotation=take_rotation,
        probes=state.probes,
        deliveries=state.deliveries,
    )
    return WorkerSide(periods, rotations, claim, RefreshRpc(claim, report))


def periods_of(settings: ControlSettings) -> Periods:
    """How often what is refreshed."""
    return Periods(
        usage_s=settings.usage_refresh_interval_seconds if settings.usage_refresh_enabled else None,
        models_s=settings.model_registry_refresh_interval_seconds if settings.model_registry_enabled else None,
    )
