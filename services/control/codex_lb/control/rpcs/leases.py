"""GatewayService.Attach: one stream per gateway, on which everything about leases travels.

Reading never waits for granting or for the database: a grant that has to wait, and every commit, runs as a task of the
stream's own group, and what they answer is bundled into as few messages as the moment allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TypeAlias

import anyio
import grpc.aio
import structlog

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2_grpc
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, Settlement
from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.rpcs import lease_wire
from codex_lb.control.rpcs.instants import EPOCH, instant, wire_seconds
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.asked_turn import Granted, Turn
from codex_lb.control.usecases.gateways import Gateways
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.refusals import Refused
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.kit.clock import Clock
from codex_lb.kit.rpc_errors import RpcFailure

PROTOCOL = 1
ACQUIRES_WAITING_MAX = 10_000  # per gateway; far above what one process can have open
SETTLED_WITHIN_S = (
    0.05  # what is settled waits so long for company: nobody waits for it, and a message costs half a turn
)
APART_S = 0.001  # between two messages: what is answered within this time shares one
log = structlog.get_logger(__name__)

AttachContext: TypeAlias = "grpc.aio.ServicerContext[pb.AttachRequest, pb.AttachResponse]"


class GatewayRpc(leases_pb2_grpc.GatewayServiceServicer):
    """The face of acquire, settle and held."""

    def __init__(
        self,
        acquire: AcquireLease,
        settle: SettleLeases,
        leases: Leases,
        gateways: Gateways,
        clock: Clock,
        *,
        replica_id: str,
        term: int,
        heartbeat_period_s: float,
        lease_ttl_s: float,
    ) -> None:
        self.acquire = acquire
        self.settle = settle
        self.leases = leases
        self.gateways = gateways
        self.clock = clock
        self.lease_ttl_s = lease_ttl_s
        self._welcome = pb.Welcome(
            replica_id=replica_id,
            term=term,
            heartbeat_period=wire_seconds(heartbeat_period_s),
            lease_ttl=wire_seconds(lease_ttl_s),
        )
        self._sessions: set[Session] = set()
        leases.on_loss(self.drain)

    def drain(self) -> None:
        """Ends every stream: gateways attach anew, here or elsewhere, and announce what they hold."""
        for session in self._sessions:
            session.end()

    async def Attach(
        self,
        request_iterator: AsyncIterator[pb.AttachRequest],
        context: AttachContext,  # noqa: ARG002
    ) -> AsyncIterator[pb.AttachResponse]:
        """Serves one gateway until its stream ends."""
        first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        if first.hello.protocol != PROTOCOL:
            raise RpcFailure(
                reasons_pb2.ERROR_REASON_PROTOCOL_MISMATCH,
                f"This control speaks protocol {PROTOCOL}, the gateway {first.hello.protocol}. Upgrade the older one.",
            )
        session = Session(self, ReplicaId(first.hello.replica_id))
        for older in self._sessions:
            if older.replica_id == session.replica_id:
                older.end()  # half open: what it were granted from here on, nobody would read
        session.answer.welcome.CopyFrom(self._welcome)
        await self.leases.renew(session.replica_id, now=self.clock.now())
        self.gateways.attached(session.replica_id, first.hello.version)
        log.info("gateway attached", replica_id=session.replica_id, version=first.hello.version)
        self._sessions.add(session)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.read, first, request_iterator)
                async for bundle in session.bundles():
                    yield bundle
                tasks.cancel_scope.cancel()
        finally:
            self._sessions.discard(session)
        log.info("gateway detached", replica_id=session.replica_id, leases=self.leases.held_by(session.replica_id))


class Session:
    """One attached gateway."""

    def __init__(self, rpc: GatewayRpc, replica_id: ReplicaId) -> None:
        self._rpc = rpc
        self.replica_id = replica_id
        self.answer = pb.AttachResponse()  # what is said next; swapped for an empty one when it is sent
        self._has_answer = asyncio.Event()
        self._has_answer.set()  # the welcome
        self._is_over = False
        self._clock_ahead = timedelta(0)  # of the gateway's clock, over ours
        self._settled_soon: asyncio.TimerHandle | None = None  # when what is settled is said at the latest
        self._asked: dict[int, asyncio.Task[None] | None] = {}  # what is not answered; a task for what waits in line
        self._looking: set[asyncio.Task[None]] = set()  # at what was asked
        self._granted: dict[str, Lease] = {}  # and not settled: what a settlement repeats of them need not be read

    async def bundles(self) -> AsyncIterator[pb.AttachResponse]:
        """Everything answered so far, whenever there is something, until the gateway is gone."""
        while True:
            await self._has_answer.wait()
            if self._is_over:
                return
            self._has_answer.clear()
            if self._settled_soon is not None:
                self._settled_soon.cancel()
                self._settled_soon = None
            bundle, self.answer = self.answer, pb.AttachResponse()
            yield bundle
            await asyncio.sleep(APART_S)

    async def read(self, first: pb.AttachRequest, more: AsyncIterator[pb.AttachRequest]) -> None:
        """Takes in what the gateway says, in the order in which it says it."""
        async with asyncio.TaskGroup() as tasks:  # not anyio's: it would cost more than most grants
            try:
                await self._take_in(first, tasks)
                async for message in more:
                    await self._take_in(message, tasks)
            finally:
                self.end()

    def end(self) -> None:
        """Nothing more is said to the gateway, so nothing more is granted to it on this stream."""
        self._is_over = True
        for task in (*self._looking, *self._asked.values()):
            if task is not None:
                task.cancel()
        self._has_answer.set()

    async def _take_in(self, message: pb.AttachRequest, tasks: asyncio.TaskGroup) -> None:
        rpc = self._rpc
        if message.HasField("heartbeat"):
            await self._heard(message.heartbeat)
        if message.HasField("hello"):
            held = [lease_wire.lease(one) for one in message.held]
            await rpc.leases.reconcile(self.replica_id, held)
            for failure in message.failures:
                await rpc.settle.failed_before(lease_wire.recent_failure(failure))
        if message.settlements or message.turns:
            # Before the acquires: a turn that moves on must find its old slot free and its old account judged.
            await self._settle(message, tasks)
        if message.begun:
            await rpc.leases.begun([LeaseId(lease_id) for lease_id in message.begun])
        for acquire_id in message.withdrawals:
            if waiting := self._asked.pop(acquire_id, None):
                waiting.cancel()
        if message.acquires and not self._is_over:
            if len(self._asked) + len(message.acquires) > ACQUIRES_WAITING_MAX:
                raise RpcFailure(reasons_pb2.ERROR_REASON_POOL_BUSY, "Too many acquires are waiting on this stream.")
            self._asked.update((acquire.acquire_id, None) for acquire in message.acquires)
            looking = tasks.create_task(self._look_at(message.acquires, tasks))  # one for all: a task costs some grants
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def _heard(self, heartbeat: pb.Heartbeat) -> None:
        now = self._rpc.clock.now()
        if not await self._rpc.leases.renew(self.replica_id, now=now):
            # Silent for longer than the TTL, then heard again: what it held is taken for abandoned, but may well run.
            log.warning("gateway was taken for gone and must attach anew", replica_id=self.replica_id)
            self.end()
        self._rpc.gateways.heard(self.replica_id)
        # Evidence is ordered by time, so a gateway whose clock is off must not outrank the others. What is left of the
        # difference is the transit time, well below the times evidence is judged by.
        self._clock_ahead = (instant(heartbeat, "sent_at") or EPOCH) - now

    async def _settle(self, message: pb.AttachRequest, tasks: asyncio.TaskGroup) -> None:
        settlements = [self._settlement(s) for s in message.settlements]
        reports = [lease_wire.report(t, clock_ahead=self._clock_ahead) for t in message.turns]
        learned = await self._rpc.settle.apply(settlements)

        async def record() -> None:
            try:
                ended = await self._rpc.settle.record(settlements, reports, learned)
            except StoreUnavailableError:
                return  # control is closing; what is not acknowledged comes again
            self.answer.settled.lease_ids.extend(ended.lease_ids)
            self.answer.settled.turn_ids.extend(ended.turn_ids)
            self.answer.settled.refused_lease_ids.extend(ended.refused_lease_ids)
            if self._settled_soon is None:
                self._settled_soon = asyncio.get_running_loop().call_later(SETTLED_WITHIN_S, self._has_answer.set)

        tasks.create_task(record())

    def _settlement(self, message: pb.Settlement) -> Settlement:
        held = self._granted.pop(message.lease.lease_id, None)
        if held is None or held.epoch != message.lease.epoch:
            held = lease_wire.lease(message.lease)
        return lease_wire.settlement(message, held, clock_ahead=self._clock_ahead)

    async def _look_at(self, acquires: Sequence[pb.Acquire], tasks: asyncio.TaskGroup) -> None:
        """Answers one after another what can be answered now; the rest waits in line, each by itself."""
        for acquire in acquires:
            acquire_id = acquire.acquire_id
            if acquire_id not in self._asked:
                continue  # withdrawn
            answer = await self._rpc.acquire.at_once(lease_wire.wanted(acquire), self.replica_id)
            if acquire_id not in self._asked:
                await self._rpc.acquire.give_back(answer)
            elif isinstance(answer, Turn):
                self._asked[acquire_id] = tasks.create_task(self._wait(acquire_id, answer))
                await asyncio.sleep(0)  # so that it stands in line before the next one is looked at
            else:
                self._tell(acquire_id, answer)

    async def _wait(self, acquire_id: int, turn: Turn) -> None:
        self._tell(acquire_id, await self._rpc.acquire.wait(turn))

    def _tell(self, acquire_id: int, answer: Granted | Refused) -> None:
        del self._asked[acquire_id]
        if isinstance(answer, Granted):
            self._granted[answer.lease.lease_id] = answer.lease
            expires_at = answer.lease.granted_at + timedelta(seconds=self._rpc.lease_ttl_s)
            self.answer.granted.append(lease_wire.granted(acquire_id, answer, expires_at=expires_at))
        else:
            self.answer.refused.append(lease_wire.refused(acquire_id, answer))
        self._has_answer.set()
