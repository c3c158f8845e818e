"""What gateways talk to: leases to spend, settlements to leave, and the policy they hold to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from codex_lb.api.control.v1.leases_pb2_grpc import add_GatewayServiceServicer_to_server
from codex_lb.api.control.v1.policy_pb2_grpc import add_PolicyServiceServicer_to_server
from codex_lb.control.assembly.sharing import announcing_s
from codex_lb.control.assembly.state import State
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.rpcs.leases import GatewayRpc
from codex_lb.control.rpcs.policy import PolicyRpc
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.mend_keys import MendKeys
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.control.usecases.view_key_usage import ViewKeyUsage
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id
from codex_lb.kit.rpc_server import Register


@dataclass(frozen=True, slots=True)
class GatewaySide:
    """The verbs of gateways, and their faces."""

    acquire: AcquireLease
    settle: SettleLeases
    leases_rpc: GatewayRpc
    policy_rpc: PolicyRpc

    @property
    def faces(self) -> Sequence[Register]:
        """What the server serves."""
        return (
            partial(add_GatewayServiceServicer_to_server, self.leases_rpc),
            partial(add_PolicyServiceServicer_to_server, self.policy_rpc),
        )

    def drain(self) -> None:
        """Ends the streams that gateways hold open."""
        self.leases_rpc.drain()
        self.policy_rpc.drain()


def make_gateway_side(state: State, clock: Clock, timing: Timing) -> GatewaySide:
    """Grants once gateways could announce what they hold."""
    grace_s = announcing_s(state.leases, timing, state.term)
    acquire = AcquireLease(
        state.pool,
        state.leases,
        Selector(state.pool, state.leases, state.book, clock, random=random.random),
        clock,
        term=state.term,
        book=state.book,
        continuities=state.continuities,
        limits=state.limits,
        mend=MendKeys(state.key_book, state.limits, state.adopt_keys),
        new_lease_id=partial(new_id, "lease"),
        open_from=clock.monotonic() + grace_s if grace_s else 0.0,
    )
    settle = SettleLeases(state.pool, state.leases, state.continuities, state.ledger, state.prices, state.limits, clock)
    leases_rpc = GatewayRpc(
        acquire,
        settle,
        state.leases,
        state.gateways,
        clock,
        replica_id=new_id("control"),
        term=state.term,
        heartbeat_period_s=timing.heartbeat_period_s,
        lease_ttl_s=timing.lease_ttl_s,
    )
    return GatewaySide(
        acquire,
        settle,
        leases_rpc,
        PolicyRpc(state.feed, ViewKeyUsage(state.key_book, state.limits, state.store, clock)),
    )
