"""A gateway without sockets: its real routes, turns and sessions, between clients and an upstream of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.types import Message

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.control.domain.ids import ReplicaId
from codex_lb.control.domain.lease import Settlement
from codex_lb.control.rpcs import lease_wire
from codex_lb.control.rpcs.instants import wire_instant
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.gateway.continuity.answers import MemoryAnswers
from codex_lb.gateway.errors import ControlUnavailableError
from codex_lb.gateway.ingress.images import fetch_nothing
from codex_lb.gateway.leasing import wire
from codex_lb.gateway.leasing.client import CONTROL_WAIT_S, SETTLE_DELAY_S, refused
from codex_lb.gateway.leasing.lease import AnchorKind, Lease, LeaseEnd, TurnEnd, Wanted
from codex_lb.gateway.leasing.policy import Policy
from codex_lb.gateway.leasing.recent_failures import RecentFailures
from codex_lb.gateway.routes.gate import Gate
from codex_lb.gateway.routes.responses import Responses
from codex_lb.gateway.routes.responses_ws import ResponsesSocket
from codex_lb.gateway.turn.delivery import Dialect
from codex_lb.gateway.turn.measure import TurnMetrics
from codex_lb.gateway.turn.turn import TurnLimits, Turns
from codex_lb.kit.clock import Clock
from codex_lb.kit.metrics import MetricsRegistry
from tests.support.continuity.control import CLOCK_AHEAD, LocalControl, Site
from tests.support.continuity.upstream import FastUpstream

LIMITS = TurnLimits(budget_s=600.0, idle_s=90.0, keepalive_s=10.0, lease_wait_s=8.0, event_bytes_max=16 * 2**20)
BODY_BYTES_MAX = 2**24
METRICS = TurnMetrics(MetricsRegistry())
HEARTBEAT_S = 2.0

Endpoint = Callable[
    [dict[str, object], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class LocalLeases:
    """The Leases port: everything is written to and read from the wire's messages, but no wire lies between."""

    def __init__(self, site: Site, replica_id: ReplicaId) -> None:
        self._site = site
        self.replica_id = replica_id
        self._held: dict[str, Lease] = {}
        self._failures = RecentFailures()
        self._unsettled: list[pb.Settlement] = []
        self._attached: LocalControl | None = None
        self._acquires = 0
        self._flushing: set[asyncio.Task[None]] = set()
        self.is_dead = False

    async def acquire(self, wanted: Wanted) -> Lease:
        self._acquires += 1
        message = wire.acquire(self._acquires, wanted)
        try:
            async with asyncio.timeout(wanted.wait_max_s + CONTROL_WAIT_S):
                return await self._acquired(message)
        except TimeoutError as error:
            raise ControlUnavailableError("The control plane does not answer.") from error

    async def _acquired(self, message: pb.Acquire) -> Lease:
        while True:
            control = await self._site.running()
            await self._flush(control)
            answer = await control.granted(lease_wire.wanted(message), self.replica_id)
            if answer is None:
                continue  # as on a stream that broke: asked again of whoever answers next
            if not isinstance(answer, Granted):
                raise refused(lease_wire.refused(message.acquire_id, answer))
            granted = lease_wire.granted(message.acquire_id, answer, expires_at=answer.lease.granted_at)
            lease = wire.lease(granted, message)
            lease.proof.granted_at.CopyFrom(wire_instant(answer.lease.granted_at) or wire.now())
            self._held[lease.lease_id] = lease
            return lease

    def accounts_held(self) -> set[str]:
        """Accounts of which it holds a slot, as far as it has told."""
        return {lease.account_id for lease in self._held.values()} | {s.lease.account_id for s in self._unsettled}

    @property
    def has_unsettled(self) -> bool:
        """Whether control was not told yet how a lease ended."""
        return bool(self._unsettled)

    def begun(self, lease: Lease) -> None:
        """Nobody limits turns that upstream has not begun to answer."""

    def settle(self, lease: Lease, end: LeaseEnd) -> None:
        if self.is_dead:
            return
        self._held.pop(lease.lease_id, None)
        settlement = wire.settlement(lease, end)
        self._failures.note(settlement, now=self._site.clock.monotonic())
        self._unsettled.append(settlement)
        delay_s = 0.0 if any(anchor.kind is AnchorKind.COMPACTION for anchor in end.anchors) else SETTLE_DELAY_S
        task = asyncio.create_task(self._flush_in(delay_s))
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    def report(self, end: TurnEnd) -> None:
        wire.report(end)

    async def beat(self) -> None:
        """Is heard, for as long as it lives."""
        while not self.is_dead:
            control = await self._site.running()
            if not self.is_dead:
                await self._attach(control)
                await control.leases.renew(self.replica_id, now=self._site.clock.now())
                await self._flush(control)
            await asyncio.sleep(HEARTBEAT_S)

    async def _flush_in(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if not self.is_dead:
            await self._flush(await self._site.running())

    async def _flush(self, control: LocalControl) -> None:
        if self.is_dead:
            return
        await self._attach(control)
        unsettled, self._unsettled = self._unsettled, []
        if unsettled:
            await control.take([read_settlement(message) for message in unsettled])

    async def _attach(self, control: LocalControl) -> None:
        if self._attached is not control:
            self._attached = control
            await control.attach(
                self.replica_id,
                [lease_wire.lease(lease.proof) for lease in self._held.values()],
                [lease_wire.recent_failure(one) for one in self._failures.told(now=self._site.clock.monotonic())],
            )


def read_settlement(message: pb.Settlement) -> Settlement:
    """As control reads it."""
    return lease_wire.settlement(message, lease_wire.lease(message.lease), clock_ahead=CLOCK_AHEAD)


@dataclass(frozen=True)
class FixedPolicy:
    """The snapshot of a pool without keys."""

    policy: Policy


class LocalGateway:
    """One run of a gateway."""

    def __init__(
        self, site: Site, upstream: FastUpstream, clock: Clock, name: str, *, wants_sockets: bool = False
    ) -> None:
        self.leases = LocalLeases(site, ReplicaId(name))
        turns = Turns(self.leases, upstream, upstream, clock, LIMITS, METRICS, wants_sockets=lambda: wants_sockets)
        gate = Gate(FixedPolicy(Policy(version=1, history_id="h")), clock, trust_headers=False, trusted_proxies=())
        answers = MemoryAnswers()
        native, public = (
            Responses(turns, gate, clock, dialect, fetch_nothing, answers, body_bytes_max=BODY_BYTES_MAX)
            for dialect in (Dialect.NATIVE, Dialect.PUBLIC)
        )
        self._endpoints: dict[str, Endpoint] = {
            "/backend-api/codex/responses": native,
            "/v1/responses": public,
        }
        self._socket = ResponsesSocket(
            turns,
            upstream,
            gate,
            clock,
            Dialect.NATIVE,
            is_offered=lambda: True,
            event_bytes_max=LIMITS.event_bytes_max,
        )
        self._running: set[asyncio.Task[None]] = set()
        self._beat = asyncio.create_task(self.leases.beat())

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.leases.is_dead

    def post(self, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> Exchange:
        """A request of a client on this machine."""
        exchange = Exchange([{"type": "http.request", "body": body, "more_body": False}])
        scope: dict[str, object] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        self._start(self._endpoints[path], scope, exchange)
        return exchange

    def connect(self, headers: list[tuple[bytes, bytes]]) -> Exchange:
        """A WebSocket of a client on this machine."""
        exchange = Exchange([{"type": "websocket.connect"}])
        path = "/backend-api/codex/responses"
        scope: dict[str, object] = {"type": "websocket", "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
        self._start(self._socket, scope, exchange)
        return exchange

    async def kill(self) -> None:
        """Ends without a word: what it holds stays held, what it has not said is never said."""
        self.leases.is_dead = True
        self._beat.cancel()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _start(self, endpoint: Endpoint, scope: dict[str, object], exchange: Exchange) -> None:
        if self.is_dead:
            exchange.end()
            return

        async def serve() -> None:
            try:
                await endpoint(scope, exchange.receive, exchange.take)
            finally:
                exchange.end()

        task = asyncio.create_task(serve())
        self._running.add(task)
        task.add_done_callback(self._running.discard)


class Exchange:
    """A connection as its client sees it."""

    def __init__(self, said: list[Message]) -> None:
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        for message in said:
            self._said.put_nowait(message)
        self._heard: asyncio.Queue[Message | None] = asyncio.Queue()
        self.is_over = False

    async def receive(self) -> Message:
        """For the gateway: what the client says next."""
        return await self._said.get()

    async def take(self, message: Message) -> None:
        """For the gateway: what it says to the client."""
        self._heard.put_nowait(message)

    def end(self) -> None:
        """For the gateway: the connection is gone."""
        self.is_over = True
        self._heard.put_nowait(None)

    def say(self, frame: dict[str, object]) -> None:
        """A frame of the client's."""
        self._said.put_nowait({"type": "websocket.receive", "text": msgspec.json.encode(frame).decode()})

    def hang_up(self, kind: str) -> None:
        """The client leaves; `kind` is "http" or "websocket"."""
        self._said.put_nowait({"type": f"{kind}.disconnect"})

    async def hear(self) -> Message | None:
        """What the gateway says next; None when the connection is gone."""
        return None if self.is_over and self._heard.empty() else await self._heard.get()
