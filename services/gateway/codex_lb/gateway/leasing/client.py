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
from codex_lb.gateway.leasing.lease import AnchorKind, Lease, LeaseEnd, Timings, TurnEnd, Wanted
from codex_lb.gateway.leasing.outbox import Entry, Outbox
from codex_lb.gateway.leasing.recent_failures import RecentFailures
from codex_lb.gateway.outcome import Abandoned
from codex_lb.kit.backoff import Backoff
from codex_lb.kit.clock import Clock

PROTOCOL = 1
CONTROL_WAIT_S = 10.0  # beyond the wait for a slot: how long control may be away (a restart) before a turn is refused
SETTLE_DELAY_S = 0.02  # settlements that end within this time share a message
APART_S = 0.001  # between two messages: turns that start within this time share one, and a message costs as much as half a turn
RECONNECT = Backoff(first_s=0.1, max_s=2.0)
FLUSH_S = 3.0  # at the end: how long control gets to acknowledge what is left before it goes to disk
PORTION_ENTRIES = 500  # settlements per message after a break: about 1 MiB, well below gRPC's 16
log = structlog.get_logger(__name__)


class LeaseRefusedError(Exception):
    """Control grants no lease. `reason` is the name of an ErrorReason."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retry_at: datetime | None,
        resets_at: datetime | None,
        decision: pb.Decision | None = None,
    ) -> None:
        super().__init__(message)
        self.decision = decision  # control's own record, carried along for the request log
        self.reason = reason
        self.retry_at = retry_at
        self.resets_at = resets_at


@dataclass(slots=True)
class Asked:
    """An acquire that waits for its answer."""

    message: pb.Acquire
    answer: asyncio.Future[Lease | pb.Refused]


class Outgoing:
    """What one stream is told next. Each stream has its own: a dead one must not swallow what is meant for the next."""

    def __init__(self) -> None:
        self.bundle = pb.AttachRequest()
        self._has_bundle = asyncio.Event()
        self._is_over = False

    def add(self, entry: Entry) -> None:
        """Adds a settlement or report to the next message."""
        if isinstance(entry, pb.Settlement):
            self.bundle.settlements.append(entry)
        else:
            self.bundle.turns.append(entry)

    def flush(self) -> None:
        """Sends what there is when the loop next turns."""
        self._has_bundle.set()

    def end(self) -> None:
        """The stream is over."""
        self._is_over = True
        self._has_bundle.set()

    async def bundles(self) -> AsyncIterator[pb.AttachRequest]:
        """Whatever is there, each time there is something."""
        while True:
            await self._has_bundle.wait()
            if self._is_over:
                return
            self._has_bundle.clear()
            bundle, self.bundle = self.bundle, pb.AttachRequest()
            yield bundle
            await asyncio.sleep(APART_S)


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
        self._failures = RecentFailures()
        self._last_acquire_id = 0
        self._outgoing: Outgoing | None = None  # of the stream that is open
        self._flush_timer: asyncio.TimerHandle | None = None
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
        loop = asyncio.get_running_loop()
        asked = Asked(wire.acquire(acquire_id, wanted), loop.create_future())
        self._asked[acquire_id] = asked
        if self._outgoing is not None:
            self._outgoing.bundle.acquires.append(asked.message)
            self._flush()
        giving_up = loop.call_later(wanted.wait_max_s + CONTROL_WAIT_S, give_up, asked.answer)
        try:
            answer = await asked.answer
        except BaseException:
            self._withdraw(asked)
            raise
        finally:
            giving_up.cancel()
        del self._asked[acquire_id]
        if isinstance(answer, pb.Refused):
            raise refused(answer)
        return answer

    def begun(self, lease: Lease) -> None:
        """Upstream begins to answer. Returns at once; a stream that breaks now frees the slot at the end at the latest."""
        if self._outgoing is not None:
            self._outgoing.bundle.begun.append(lease.lease_id)
            self._flush()

    def settle(self, lease: Lease, end: LeaseEnd) -> None:
        """Ends a lease. Returns at once: the outbox sees to it that control learns of it."""
        self._held.pop(lease.lease_id, None)
        settlement = wire.settlement(lease, end)
        self._failures.note(settlement, now=self._clock.monotonic())
        self._keep(settlement)
        if any(anchor.kind is AnchorKind.COMPACTION for anchor in end.anchors):
            self._flush()  # the client's next turn, at whichever gateway, is bound by it

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
            except Exception:  # a defect in what is said or heard must not leave the gateway without control
                attempt += 1
                log.exception("the stream to control failed unforeseen")
            finally:
                self.is_attached = False
                self._outgoing = None
            await asyncio.sleep(RECONNECT.delay(attempt, random.random()))  # noqa: S311 - spreads reconnects

    async def close(self) -> None:
        """Says what is left to say, bounded; what is not acknowledged then goes to disk."""
        with anyio.move_on_after(FLUSH_S, shield=True):
            while self._outbox.unacknowledged() and self.is_attached:
                self._flush()
                await asyncio.sleep(SETTLE_DELAY_S)
        self._outbox.close()

    async def _attach(self) -> None:
        outgoing = Outgoing()
        call = self._stub.Attach(self._said(outgoing))
        broken: Exception | None = None
        async with anyio.create_task_group() as tasks:
            try:
                async for response in call:
                    if response.HasField("welcome"):
                        tasks.start_soon(self._beat, outgoing, wire.read_span(response.welcome.heartbeat_period))
                        log.info("attached to control", control=response.welcome.replica_id)
                        self.is_attached = True
                        self.on_attached()
                    self._take_in(response)
            except grpc.aio.AioRpcError as error:
                broken = error  # raised outside: the task group would wrap it, and nobody would know it again
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                broken = RuntimeError("gRPC ended the call by itself")  # what it does when `_said` fails
            finally:
                outgoing.end()
                call.cancel()
                tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _said(self, outgoing: Outgoing) -> AsyncIterator[pb.AttachRequest]:
        """What a stream is told: first who we are and all we hold and wait for, what is unsettled, then what comes up."""
        self._outgoing = outgoing
        waiting = [asked.message for asked in self._asked.values() if not asked.answer.done()]
        unsettled = self._outbox.unacknowledged()
        yield pb.AttachRequest(
            hello=self._hello,
            held=[lease.proof for lease in self._held.values()],
            heartbeat=pb.Heartbeat(sent_at=wire.now()),
            acquires=waiting,
            failures=self._failures.told(now=self._clock.monotonic()),
        )
        for start in range(0, len(unsettled), PORTION_ENTRIES):
            portion = Outgoing()
            for entry in unsettled[start : start + PORTION_ENTRIES]:
                portion.add(entry)
            yield portion.bundle
        async for bundle in outgoing.bundles():
            yield bundle

    async def _beat(self, outgoing: Outgoing, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            for entry in self._outbox.recall():
                outgoing.add(entry)
            outgoing.bundle.heartbeat.sent_at.CopyFrom(wire.now())
            outgoing.flush()

    def _take_in(self, response: pb.AttachResponse) -> None:
        for granted in response.granted:
            asked = self._asked.get(granted.acquire_id)
            lease = wire.lease(granted, asked.message if asked else pb.Acquire())
            self._held[lease.lease_id] = lease  # from here on: a stream that breaks now must still announce it
            if asked is None or asked.answer.done():
                self._give_back(lease)
            else:
                asked.answer.set_result(lease)
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
        is_answered = asked.answer.done() and not asked.answer.cancelled() and asked.answer.exception() is None
        answer = asked.answer.result() if is_answered else None
        if isinstance(answer, Lease):
            self._give_back(answer)
        elif self._outgoing is not None:
            self._outgoing.bundle.withdrawals.append(acquire_id)
            self._flush()

    def _give_back(self, lease: Lease) -> None:
        """A lease that nobody waits for any more is settled at once, without a call."""
        self.settle(lease, LeaseEnd(outcome=Abandoned(), timings=Timings(), ended_at=self._clock.now(), calls=0))

    def _keep(self, entry: Entry) -> None:
        self._outbox.put(entry)
        if self._outgoing is not None:
            self._outgoing.add(entry)
            if self._flush_timer is None:
                self._flush_timer = asyncio.get_running_loop().call_later(SETTLE_DELAY_S, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._outgoing is not None:
            self._outgoing.flush()


def give_up(answer: asyncio.Future[Lease | pb.Refused]) -> None:
    """Control has had its time."""
    if not answer.done():
        message = "The control plane does not answer. Try again in a few seconds."
        answer.set_exception(ControlUnavailableError(message))


def refused(answer: pb.Refused) -> LeaseRefusedError:
    """A refusal as an exception."""
    return LeaseRefusedError(
        answer.reason,
        answer.message,
        retry_at=wire.read_instant(answer.retry_at) if answer.HasField("retry_at") else None,
        resets_at=wire.read_instant(answer.resets_at) if answer.HasField("resets_at") else None,
        decision=answer.decision if answer.HasField("decision") else None,
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
