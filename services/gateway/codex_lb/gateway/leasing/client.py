"""The gateway's end of GatewayService.Attach: asks for leases, settles them, announces what it holds.

What is to be said is collected in one bundle and sent when the loop next turns, so turns that start or end together
share a message; settlements alone wait a moment for company, because nobody waits for them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import anyio
import grpc.aio
import structlog

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2_grpc
from codex_lb.gateway.errors import ControlUnavailableError
from codex_lb.gateway.leasing import wire
from codex_lb.gateway.leasing.lease import Lease, LeaseEnd, Timings, TurnEnd, Wanted
from codex_lb.gateway.leasing.outbox import Entry, Outbox
from codex_lb.gateway.outcome import Abandoned
from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import Clock

PROTOCOL = 1
CONTROL_WAIT_S = 10.0  # beyond the wait for a slot: how long control may be away (a restart) before a turn is refused
SETTLE_DELAY_S = 0.02  # settlements that end within this time share a message
RECONNECT = Backoff(first_s=0.1, max_s=2.0)
FLUSH_S = 3.0  # at the end: how long control gets to acknowledge what is left before it goes to disk
log = structlog.get_logger(__name__)


class LeaseRefusedError(Exception):
    """Control grants no lease. `reason` is the name of an ErrorReason."""

    def __init__(self, reason: str, message: str, *, retry_at: datetime | None, resets_at: datetime | None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_at = retry_at
        self.resets_at = resets_at


@dataclass(slots=True)
class Asked:
    """An acquire that waits for its answer."""

    message: pb.Acquire
    answer: asyncio.Future[pb.Granted | pb.Refused]


class LeaseClient:
    """One per gateway process. `run` keeps the stream; everything else only adds to the next bundle."""

    def __init__(
        self, channel: grpc.aio.Channel, outbox: Outbox, clock: Clock, *, replica_id: str, version: str
    ) -> None:
        self._stub = leases_pb2_grpc.GatewayServiceStub(channel)
        self._outbox = outbox
        self._clock = clock
        self._hello = pb.Hello(replica_id=replica_id, version=version, protocol=PROTOCOL)
        self._asked: dict[int, Asked] = {}
        self._held: dict[str, Lease] = {}
        self._last_acquire_id = 0
        self._bundle = pb.AttachRequest()
        self._has_bundle = asyncio.Event()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._is_streaming = False
        self.is_attached = False
        self.on_attached: Callable[[], None] = lambda: None

    @property
    def held(self) -> int:
        """Leases held right now."""
        return len(self._held)

    @property
    def unsettled(self) -> int:
        """Settlements and reports that control has not acknowledged."""
        return len(self._outbox)

    async def acquire(self, wanted: Wanted) -> Lease:
        """A lease. Raises LeaseRefusedError, or ControlUnavailableError when control does not answer in time."""
        self._last_acquire_id += 1
        acquire_id = self._last_acquire_id
        asked = Asked(wire.acquire(acquire_id, wanted), asyncio.get_running_loop().create_future())
        self._asked[acquire_id] = asked
        if self._is_streaming:
            self._bundle.acquires.append(asked.message)
            self._flush()
        try:
            async with asyncio.timeout(wanted.wait_max_s + CONTROL_WAIT_S):
                answer = await asked.answer
        except TimeoutError as error:
            self._withdraw(asked)
            message = "The control plane does not answer. Try again in a few seconds."
            raise ControlUnavailableError(message) from error
        except BaseException:
            self._withdraw(asked)
            raise
        del self._asked[acquire_id]
        if isinstance(answer, pb.Refused):
            raise refused(answer)
        lease = wire.lease(answer, asked.message)
        self._held[lease.lease_id] = lease
        return lease

    def settle(self, lease: Lease, end: LeaseEnd) -> None:
        """Ends a lease. Returns at once: the outbox sees to it that control learns of it."""
        self._held.pop(lease.lease_id, None)
        self._keep(wire.settlement(lease, end))

    def report(self, end: TurnEnd) -> None:
        """Adds a line to the request log. Returns at once."""
        self._keep(wire.report(end))

    async def run(self) -> None:
        """Keeps a stream to control for as long as the gateway lives."""
        attempt = 0
        while True:
            try:
                await self._attach()
                attempt = 0
            except grpc.aio.AioRpcError as error:
                if self.is_attached or attempt == 0:
                    log.warning("control is away", code=error.code().name, details=error.details())
                attempt = 0 if self.is_attached else attempt + 1
            finally:
                self.is_attached = self._is_streaming = False
            await asyncio.sleep(RECONNECT.delay(attempt, random.random()))  # noqa: S311 - spreads reconnects

    async def close(self) -> None:
        """Says what is left to say, bounded; what is not acknowledged then goes to disk."""
        with anyio.move_on_after(FLUSH_S, shield=True):
            while self._outbox.unacknowledged() and self.is_attached:
                self._flush()
                await asyncio.sleep(SETTLE_DELAY_S)
        self._outbox.close()

    async def _attach(self) -> None:
        call = self._stub.Attach(self._bundles())
        broken: grpc.aio.AioRpcError | None = None
        async with anyio.create_task_group() as tasks:
            try:
                async for response in call:
                    if response.HasField("welcome"):
                        tasks.start_soon(self._beat, wire.read_span(response.welcome.heartbeat_period))
                        log.info("attached to control", control=response.welcome.replica_id)
                        self.is_attached = True
                        self.on_attached()
                    self._take_in(response)
            except grpc.aio.AioRpcError as error:
                broken = error  # raised outside: the task group would wrap it, and nobody would know it again
            finally:
                call.cancel()
                tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _bundles(self) -> AsyncIterator[pb.AttachRequest]:
        """What this stream is told: first who we are and all we hold and wait for, then whatever comes up."""
        self._bundle = pb.AttachRequest(
            hello=self._hello,
            held=[lease.proof for lease in self._held.values()],
            heartbeat=pb.Heartbeat(sent_at=wire.now()),
        )
        self._bundle.acquires.extend(asked.message for asked in self._asked.values())
        for entry in self._outbox.unacknowledged():
            self._add(entry)
        self._is_streaming = True
        self._has_bundle.set()
        while True:
            await self._has_bundle.wait()
            self._has_bundle.clear()
            bundle, self._bundle = self._bundle, pb.AttachRequest()
            yield bundle

    async def _beat(self, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            for entry in self._outbox.recall():
                self._add(entry)
            self._bundle.heartbeat.sent_at.CopyFrom(wire.now())
            self._flush()

    def _take_in(self, response: pb.AttachResponse) -> None:
        for granted in response.granted:
            asked = self._asked.get(granted.acquire_id)
            if asked is None or asked.answer.done():
                self._give_back(granted)
            else:
                asked.answer.set_result(granted)
        for refusal in response.refused:
            asked = self._asked.get(refusal.acquire_id)
            if asked is not None and not asked.answer.done():
                asked.answer.set_result(refusal)
        if response.HasField("settled"):
            settled = response.settled
            self._outbox.acknowledge(settled.lease_ids)
            self._outbox.acknowledge(settled.turn_ids)
            self._outbox.acknowledge(settled.refused_lease_ids)

    def _withdraw(self, asked: Asked) -> None:
        """Nobody waits any more; a grant that arrived in this very moment is given back."""
        acquire_id = asked.message.acquire_id
        del self._asked[acquire_id]
        answer = asked.answer.result() if asked.answer.done() and not asked.answer.cancelled() else None
        if isinstance(answer, pb.Granted):
            self._give_back(answer)
        elif self._is_streaming:
            self._bundle.withdrawals.append(acquire_id)
            self._flush()

    def _give_back(self, granted: pb.Granted) -> None:
        """A grant that nobody waits for any more is settled at once, without a call."""
        lease = wire.lease(granted, pb.Acquire())
        end = LeaseEnd(outcome=Abandoned(), timings=Timings(), ended_at=self._clock.now(), calls=0)
        self._keep(wire.settlement(lease, end))

    def _keep(self, entry: Entry) -> None:
        self._outbox.put(entry)
        if self._is_streaming:
            self._add(entry)
            if self._flush_timer is None:
                self._flush_timer = asyncio.get_running_loop().call_later(SETTLE_DELAY_S, self._flush)

    def _add(self, entry: Entry) -> None:
        if isinstance(entry, pb.Settlement):
            self._bundle.settlements.append(entry)
        else:
            self._bundle.turns.append(entry)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._has_bundle.set()


def refused(answer: pb.Refused) -> LeaseRefusedError:
    """A refusal as an exception."""
    return LeaseRefusedError(
        answer.reason,
        answer.message,
        retry_at=wire.read_instant(answer.retry_at) if answer.HasField("retry_at") else None,
        resets_at=wire.read_instant(answer.resets_at) if answer.HasField("resets_at") else None,
    )


@asynccontextmanager
async def open_lease_client(
    channel: grpc.aio.Channel, outbox: Outbox, clock: Clock, *, replica_id: str, version: str
) -> AsyncIterator[LeaseClient]:
    """A client with its stream running; what it still has to say is said, or put on disk, on leaving."""
    client = LeaseClient(channel, outbox, clock, replica_id=replica_id, version=version)
    task = asyncio.create_task(client.run(), name="lease client")
    try:
        yield client
    finally:
        await client.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
