"""DecisionService: why a turn was served by which account, and what another strategy would have done."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import decision_service_pb2 as pb
from codex_lb.api.admin.v1 import decision_service_pb2_grpc
from codex_lb.control.admin.accounts import COLLECTION, account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.admin.settings import STRATEGY
from codex_lb.control.domain.ids import AccountId, TurnId
from codex_lb.control.domain.lease import Decision, Settlement
from codex_lb.control.domain.selection import Rules
from codex_lb.control.domain.settings import NOBODY, Strategy
from codex_lb.control.domain.simulation import Share, Simulation
from codex_lb.control.errors import InvalidQueryError
from codex_lb.control.rpcs.instants import instant, wire_instant, wire_seconds
from codex_lb.control.usecases.explain import Explain, Explanation
from codex_lb.control.usecases.live_settings import SettingsBook

SERVICE = pb.DESCRIPTOR.services_by_name["DecisionService"]
NOTHING = Share(0, 0)

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class DecisionRpc(decision_service_pb2_grpc.DecisionServiceServicer):
    """The face of explanations."""

    def __init__(self, explain: Explain, book: SettingsBook) -> None:
        self._explain = explain
        self._book = book

    @ruled(SERVICE)
    async def GetExplanation(self, request: pb.GetExplanationRequest, _: Context) -> pb.Explanation:
        """How a turn came to its accounts."""
        return explanation(await self._explain.turn(TurnId(request.turn_id)))

    @ruled(SERVICE)
    async def GetSimulation(self, request: pb.GetSimulationRequest, _: Context) -> pb.Simulation:
        """What another strategy would have done."""
        simulated, left_out = await self._explain.simulation(
            self._rules(request),
            since=instant(request, "start_time"),
            until=instant(request, "end_time"),
        )
        return simulation(simulated, left_out)

    def _rules(self, request: pb.GetSimulationRequest) -> Rules:
        if request.strategy not in STRATEGY:
            raise InvalidQueryError("strategy must name a strategy.")
        strategy = STRATEGY[request.strategy]
        is_earlier = request.HasField("prefer_earlier_reset")
        earlier = request.prefer_earlier_reset if is_earlier else self._book.now.prefer_earlier_reset
        single = account_id(request.single_account) if request.single_account else NOBODY
        if strategy is Strategy.SINGLE_ACCOUNT and not single:
            raise InvalidQueryError("single_account must name an account for the strategy single_account.")
        return Rules(strategy, earlier, single)


def explanation(found: Explanation) -> pb.Explanation:
    """A turn as a message."""
    report = found.report
    message = pb.Explanation(turn_id=found.turn_id, attempts=[attempt(one) for one in found.attempts])
    if report is not None:
        message.MergeFrom(pb.Explanation(started_at=wire_instant(report.started_at)))
        message.outcome, message.model = report.outcome, report.model
        if report.decision is not None:
            message.refusal.CopyFrom(decision(report.decision))
    return message


def attempt(settled: Settlement) -> pb.ExplainedAttempt:
    """A lease as a message."""
    lease, fault = settled.lease, settled.fault
    return pb.ExplainedAttempt(
        account=f"{COLLECTION}{lease.account_id}",
        granted_at=wire_instant(lease.granted_at),
        ended_at=wire_instant(settled.ended_at),
        outcome=settled.outcome,
        fault_code=fault.code if fault else "",
        fault_blame=fault.blame if fault else "",
        decision=decision(lease.decision),
    )


def decision(noted: Decision) -> pb.DecisionRecord:
    """A decision as a message."""
    return pb.DecisionRecord(
        strategy=noted.strategy,
        affinity=noted.affinity,
        candidates=noted.candidates,
        eligible=noted.eligible,
        passed_over=[
            pb.PassedOverAccount(
                account=f"{COLLECTION}{passed.account_id}", reason=passed.reason, until=wire_instant(passed.until)
            )
            for passed in noted.passed_over
        ],
        passed_over_counts=noted.passed_over_counts,
        waited=wire_seconds(noted.waited_s),
        position=noted.position,
    )


def simulation(simulated: Simulation, left_out: int) -> pb.Simulation:
    """A replay as a message, the account that had most first."""

    def share(account_id: AccountId) -> pb.SimulatedAccount:
        had, would = simulated.actual.get(account_id, NOTHING), simulated.simulated.get(account_id, NOTHING)
        return pb.SimulatedAccount(
            account=f"{COLLECTION}{account_id}",
            leases=had.leases,
            leases_simulated=would.leases,
            busiest=had.busiest,
            busiest_simulated=would.busiest,
        )

    shares = [share(account_id) for account_id in simulated.actual.keys() | simulated.simulated.keys()]
    return pb.Simulation(
        leases=simulated.leases,
        tied=simulated.tied,
        unserved=simulated.unserved,
        left_out=left_out,
        accounts=sorted(shares, key=lambda one: (-one.leases, -one.leases_simulated, one.account)),
    )
