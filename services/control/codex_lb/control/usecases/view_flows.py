"""Says how a sign-in stands, and calls it off."""

from __future__ import annotations

from codex_lb.control.domain.enrolment import Flow, FlowStage, cancelled
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.errors import FlowNotFoundError
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.usecases.vault_ports import Sealed
from codex_lb.kit.clock import Clock


class ViewFlows:
    """The verbs get and cancel."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def one(self, flow_id: FlowId) -> Flow:
        """Raises FlowNotFoundError."""
        async with self._store.begin(writing=False) as unit:
            flow, _ = await found(unit, flow_id)
        return flow

    async def cancel(self, flow_id: FlowId) -> Flow:
        """One that has ended stays as it is; of one whose code is being exchanged, the login is thrown away.

        Raises FlowNotFoundError.
        """
        while True:
            async with self._store.begin(writing=True) as unit:
                flow, _ = await found(unit, flow_id)
                ended = cancelled(flow)
                if not flow.is_live_at(self._clock.now()):
                    return flow
                if await unit.flows.save(ended):  # else somebody changed it on PostgreSQL, between two statements
                    return ended

    def stage(self, flow: Flow) -> FlowStage:
        """Where it stands now."""
        return flow.stage_at(self._clock.now())


async def found(unit: UnitOfWork, flow_id: FlowId) -> tuple[Flow, Sealed]:
    """Raises FlowNotFoundError."""
    held = await unit.flows.get(flow_id)
    if held is None:
        raise FlowNotFoundError("There is no such sign-in; those that ended are forgotten after a day. Start another.")
    return held
