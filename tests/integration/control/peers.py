"""Those who talk to control over gRPC, each with the few words that tests need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TypeVar

import grpc

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.admin.v1 import (
    account_service_pb2_grpc,
    affinity_service_pb2_grpc,
    api_key_service_pb2_grpc,
    key_service_pb2_grpc,
    oauth_service_pb2_grpc,
    settings_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)
from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2_grpc, policy_pb2, policy_pb2_grpc
from codex_lb.api.worker.v1 import refresh_pb2 as work_pb
from codex_lb.api.worker.v1 import refresh_pb2_grpc
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.rpc_errors import RpcFailure, from_rpc_error

WITHIN_S = 10.0  # for what takes milliseconds
PROTOCOL = 1
numbers = count(1)

T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """Everybody, on one channel."""

    channel: grpc.aio.Channel

    @property
    def accounts(self) -> account_service_pb2_grpc.AccountServiceAsyncStub:
        """An operator."""
        return account_service_pb2_grpc.AccountServiceStub(self.channel)

    @property
    def api_keys(self) -> api_key_service_pb2_grpc.ApiKeyServiceAsyncStub:
        """An operator who gives clients keys."""
        return api_key_service_pb2_grpc.ApiKeyServiceStub(self.channel)

    @property
    def sign_ins(self) -> oauth_service_pb2_grpc.OAuthServiceAsyncStub:
        """An operator who signs accounts in."""
        return oauth_service_pb2_grpc.OAuthServiceStub(self.channel)

    @property
    def keys(self) -> key_service_pb2_grpc.KeyServiceAsyncStub:
        """An operator who cares for the encryption key."""
        return key_service_pb2_grpc.KeyServiceStub(self.channel)

    @property
    def settings(self) -> settings_service_pb2_grpc.SettingsServiceAsyncStub:
        """An operator who changes settings."""
        return settings_service_pb2_grpc.SettingsServiceStub(self.channel)

    @property
    def affinities(self) -> affinity_service_pb2_grpc.AffinityServiceAsyncStub:
        """An operator who looks where conversations are."""
        return affinity_service_pb2_grpc.AffinityServiceStub(self.channel)

    @property
    def worker(self) -> refresh_pb2_grpc.RefreshServiceAsyncStub:
        """A usage-worker."""
        return refresh_pb2_grpc.RefreshServiceStub(self.channel)

    async def status(self) -> system_service_pb2.GetStatusResponse:
        """What an operator sees first."""
        stub = system_service_pb2_grpc.SystemServiceStub(self.channel)
        return await stub.GetStatus(system_service_pb2.GetStatusRequest())

    async def import_(self, *files: bytes) -> list[accounts_pb.Account]:
        """Imports logins that are all good."""
        request = accounts_pb.ImportAccountsRequest(files=[accounts_pb.AuthFile(content=file) for file in files])
        response = await self.accounts.ImportAccounts(request)
        assert not [row.problem for row in response.rows if row.problem]
        return [row.account for row in response.rows]

    async def claim(self, *kinds: work_pb.TicketKind.ValueType, tickets_max: int = 100) -> Sequence[work_pb.Ticket]:
        """Tickets that are due."""
        kinds = kinds or (work_pb.TICKET_KIND_USAGE, work_pb.TICKET_KIND_MODELS)
        request = work_pb.ClaimTicketsRequest(worker_id="worker-1", kinds=kinds, tickets_max=tickets_max)
        return (await self.worker.ClaimTickets(request)).tickets

    @asynccontextmanager
    async def watch(self, *, version: int = 0, history_id: str = "") -> AsyncIterator[Watch]:
        """A gateway's policy stream."""
        stub = policy_pb2_grpc.PolicyServiceStub(self.channel)
        call = stub.Watch(policy_pb2.WatchRequest(replica_id="g", version=version, history_id=history_id))
        try:
            yield Watch(call)
        finally:
            call.cancel()

    @asynccontextmanager
    async def attach(
        self,
        replica_id: str = "gateway-1",
        *,
        held: Sequence[pb.HeldLease] = (),
        failures: Sequence[pb.RecentFailure] = (),
    ) -> AsyncIterator[Gateway]:
        """A gateway's stream; leaving it is a hang-up."""
        call = leases_pb2_grpc.GatewayServiceStub(self.channel).Attach()
        gateway = Gateway(call)
        hello = pb.Hello(replica_id=replica_id, version="test", protocol=PROTOCOL)
        await call.write(pb.AttachRequest(hello=hello, held=held, failures=failures))
        try:
            await gateway.until(lambda: gateway.welcome is not None)
            yield gateway
        finally:
            call.cancel()


@dataclass
class Watch:
    """A policy stream."""

    call: grpc.aio.UnaryStreamCall[policy_pb2.WatchRequest, policy_pb2.WatchResponse]

    async def next(self) -> policy_pb2.WatchResponse:
        """The next message."""
        async with asyncio.timeout(WITHIN_S):
            message = await self.call.read()
        assert isinstance(message, policy_pb2.WatchResponse), "the stream ended"
        return message

    async def end(self) -> None:
        """Listens until control ends the stream."""
        async with asyncio.timeout(WITHIN_S):
            while isinstance(await self.call.read(), policy_pb2.WatchResponse):
                pass


@dataclass
class Gateway:
    """One end of an Attach stream, and all that was said to it."""

    call: grpc.aio.StreamStreamCall[pb.AttachRequest, pb.AttachResponse]
    welcome: pb.Welcome | None = None
    granted: dict[int, pb.Granted] = field(default_factory=dict)
    refused: dict[int, pb.Refused] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)

    async def acquire(
        self,
        *,
        wait_max_s: float = 0.0,
        model: str = "gpt-5.5",
        continuity: pb.Continuity | None = None,
        preferred_account_id: str = "",
        api_key_id: str = "",
    ) -> pb.Granted:
        """A lease."""
        acquire_id = await self.ask(
            wait_max_s=wait_max_s,
            model=model,
            continuity=continuity,
            preferred_account_id=preferred_account_id,
            api_key_id=api_key_id,
        )
        await self.until(lambda: acquire_id in self.granted)
        return self.granted[acquire_id]

    async def refusal(self, *, api_key_id: str = "") -> pb.Refused:
        """The refusal of a lease that must not be granted."""
        acquire_id = await self.ask(api_key_id=api_key_id)
        await self.until(lambda: acquire_id in self.refused)
        return self.refused[acquire_id]

    async def ask(
        self,
        *,
        wait_max_s: float = 0.0,
        model: str = "gpt-5.5",
        continuity: pb.Continuity | None = None,
        preferred_account_id: str = "",
        api_key_id: str = "",
    ) -> int:
        """Asks for a lease; the answer has this id."""
        acquire_id = next(numbers)
        acquire = pb.Acquire(
            acquire_id=acquire_id,
            turn_id=f"turn-{acquire_id}",
            attempt=1,
            work=pb.WORK_KIND_TURN,
            model=model,
            wait_max=wire_seconds(wait_max_s),
            continuity=continuity,
            preferred_account_id=preferred_account_id,
            api_key_id=api_key_id,
            estimate=pb.Estimate(input_tokens=100, output_tokens=100),
        )
        await self.call.write(pb.AttachRequest(acquires=[acquire]))
        return acquire_id

    async def settle(self, *settlements: pb.Settlement) -> None:
        """Ends leases; returns when that is committed."""
        await self.call.write(pb.AttachRequest(settlements=settlements))
        await self.until(lambda: {s.lease.lease_id for s in settlements} <= set(self.settled))

    async def heartbeat(self, now: datetime) -> None:
        """Is heard."""
        await self.call.write(pb.AttachRequest(heartbeat=pb.Heartbeat(sent_at=wire_instant(now))))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Listens until it is so."""
        async with asyncio.timeout(WITHIN_S):
            while not is_so():
                message = await self.call.read()
                assert isinstance(message, pb.AttachResponse), "the stream ended"
                self._hear(message)

    async def end(self) -> None:
        """Listens until control ends the stream."""
        async with asyncio.timeout(WITHIN_S):
            while isinstance(message := await self.call.read(), pb.AttachResponse):
                self._hear(message)

    def _hear(self, message: pb.AttachResponse) -> None:
        if message.HasField("welcome"):
            self.welcome = message.welcome
        self.granted |= {one.acquire_id: one for one in message.granted}
        self.refused |= {one.acquire_id: one for one in message.refused}
        self.settled += message.settled.lease_ids


@asynccontextmanager
async def open_peers(target: str, *, service_token: str | None = None) -> AsyncIterator[Peers]:
    """Everybody who talks to the control there."""
    async with open_channel(target, tls_ca_file=None, service_token=service_token) as channel:
        yield Peers(channel)


def held(
    granted: pb.Granted, *, turn_id: str = "turn-1", granted_at: datetime, api_key_id: str = "", model: str = ""
) -> pb.HeldLease:
    """A lease as a gateway describes it."""
    return pb.HeldLease(
        lease_id=granted.lease_id,
        epoch=granted.epoch,
        account_id=granted.account_id,
        credential_generation=granted.credential_generation,
        turn_id=turn_id,
        attempt=1,
        work=pb.WORK_KIND_TURN,
        granted_at=wire_instant(granted_at),
        api_key_id=api_key_id,
        model=model,
        reservation=granted.reservation,
    )


def completed(
    granted: pb.Granted, *, turn_id: str = "turn-1", at: datetime, api_key_id: str = "", model: str = ""
) -> pb.Settlement:
    """The end of a turn that went well."""
    return pb.Settlement(
        lease=held(granted, turn_id=turn_id, granted_at=at, api_key_id=api_key_id, model=model),
        outcome=pb.OUTCOME_COMPLETED,
        usage=pb.Usage(input_tokens=100, cached_input_tokens=40, output_tokens=20, total_tokens=120),
        ended_at=wire_instant(at),
        calls=1,
    )


async def refused(call: Awaitable[object]) -> RpcFailure:
    """What a call that must fail is told."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError("the call succeeded")


async def eventually(ask: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], *, within_s: float = WITHIN_S) -> T:
    """Asks until the answer is so; each answer takes a round trip, so nothing needs to sleep."""
    # Not anyio's: gRPC cancels a call in a way in which anyio does not know its own cancellation again.
    async with asyncio.timeout(within_s):
        while not is_so(answer := await ask()):
            pass
    return answer
