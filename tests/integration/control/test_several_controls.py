"""Two controls on one PostgreSQL and one Redis: they grant from the same slots, whatever Redis does meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import anyio.lowlevel
import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr
from sqlalchemy import make_url

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb2
from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb2
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb2
from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.api.control.v1 import leases_pb2_grpc
from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from codex_lb.control.settings import ControlSettings
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.rpc_channel import open_channel
from tests.integration.control.peers import PROTOCOL, Peers, completed, eventually, held, open_peers
from tests.support.databases import PostgresqlServer
from tests.support.logins import auth_file
from tests.support.redis_server import RedisServer, running_redis
from tests.support.system import until

SLOTS = 3
CLIENTS, TURNS_EACH = 30, 4
TOLD_WITHIN_S = 5.0  # by controls that need a few hundredths, on a machine that is busy
LONG_S = 60.0  # stands for "as long as it takes"
DEADLINE_S = 0.5  # of calls to Redis: more than in earnest, for the machine is busy
TTL_S = 1.0  # of leases, so that what dies is noticed soon

turn_numbers = count(1)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of the test's own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def ttl_s() -> float:
    """How long leases outlive their gateway's last heartbeat."""
    return TTL_S


@pytest.fixture
async def controls(
    postgresql_url: str, redis: RedisServer, tmp_path: Path, ttl_s: float
) -> AsyncIterator[list[Control]]:
    """Two of them, with one account of three slots."""
    async with AsyncExitStack() as stack:
        controls = []
        for name in ("one", "other"):
            controls.append(await stack.enter_async_context(open_one(postgresql_url, redis, tmp_path, name, ttl_s)))
            if name == "one":
                async with open_peers(controls[0].targets[0]) as peers:
                    await peers.import_(auth_file("ann"))
        yield controls


def open_one(
    postgresql_url: str, redis: RedisServer, folder: Path, name: str, ttl_s: float
) -> AbstractAsyncContextManager[Control]:
    """A control; all share the folder with the key."""
    settings = ControlSettings(
        data_dir=folder,
        database_url=SecretStr(postgresql_url),
        redis_url=SecretStr(redis.url),
        proxy_account_stream_limit=SLOTS,
    )
    timing = Timing(
        lease_ttl_s=ttl_s,
        heartbeat_period_s=TTL_S / 5,
        reannounce_grace_s=1.5,
        tick_s=0.05,
        redis_deadline_s=DEADLINE_S,
    )
    return open_control(settings, SystemClock(), listen=[f"unix:{folder / f'{name}.sock'}"], timing=timing)


@dataclass
class Gateway:
    """A gateway that attaches again whenever its stream ends, and tells each time all that it holds."""

    name: str
    target: str
    held: dict[str, pb.HeldLease] = field(default_factory=dict)
    waiting: dict[int, pb.Acquire] = field(default_factory=dict)
    answers: dict[int, asyncio.Future[pb.Granted | pb.Refused]] = field(default_factory=dict)
    unsettled: dict[str, pb.Settlement] = field(default_factory=dict)
    attached: int = 0
    said: asyncio.Queue[pb.AttachRequest] = field(default_factory=asyncio.Queue)
    committed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with open_channel(self.target, tls_ca_file=None, service_token=None) as channel:
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await self.attach(leases_pb2_grpc.GatewayServiceStub(channel))
                await anyio.sleep(0.02)

    async def attach(self, stub: leases_pb2_grpc.GatewayServiceAsyncStub) -> None:
        self.said = asyncio.Queue()
        call = stub.Attach()
        hello = pb.Hello(replica_id=self.name, version="test", protocol=PROTOCOL)
        first = pb.AttachRequest(hello=hello, held=self.held.values(), acquires=self.waiting.values())
        first.settlements.extend(self.unsettled.values())
        await call.write(first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.speak, call)
            tasks.start_soon(self.beat)
            try:
                while isinstance(message := await call.read(), pb.AttachResponse):
                    self.hear(message)
            finally:
                call.cancel()
                tasks.cancel_scope.cancel()

    async def speak(self, call: grpc.aio.StreamStreamCall[pb.AttachRequest, pb.AttachResponse]) -> None:
        while True:
            await call.write(await self.said.get())

    async def beat(self) -> None:
        while True:
            await anyio.sleep(TTL_S / 5)
            self.said.put_nowait(pb.AttachRequest(heartbeat=pb.Heartbeat(sent_at=wire_instant(SystemClock().now()))))

    def hear(self, message: pb.AttachResponse) -> None:
        self.attached += message.HasField("welcome")
        for granted in message.granted:
            turn_id = self.waiting.pop(granted.acquire_id).turn_id
            self.held[granted.lease_id] = held(granted, turn_id=turn_id, granted_at=SystemClock().now())
            self.answers.pop(granted.acquire_id).set_result(granted)
        for refused in message.refused:
            del self.waiting[refused.acquire_id]
            self.answers.pop(refused.acquire_id).set_result(refused)
        for lease_id in message.settled.lease_ids:
            self.unsettled.pop(lease_id, None)
            self.committed.set()

    async def acquire(self, *, api_key_id: str = "", wait_max_s: float = LONG_S) -> pb.Granted | pb.Refused:
        number = next(turn_numbers)
        self.waiting[number] = pb.Acquire(
            acquire_id=number,
            turn_id=f"turn-{number}",
            attempt=1,
            work=pb.WORK_KIND_TURN,
            model="gpt-5.5",
            api_key_id=api_key_id,
            wait_max=wire_seconds(wait_max_s),
        )
        self.answers[number] = asyncio.get_running_loop().create_future()
        self.said.put_nowait(pb.AttachRequest(acquires=[self.waiting[number]]))
        return await self.answers[number]

    def settle(self, granted: pb.Granted) -> None:
        turn_id = self.held.pop(granted.lease_id).turn_id
        settlement = completed(granted, turn_id=turn_id, at=SystemClock().now())
        self.unsettled[granted.lease_id] = settlement
        self.said.put_nowait(pb.AttachRequest(settlements=[settlement]))


@dataclass
class History:
    """Who was in flight when."""

    now: int = 0
    most: int = 0
    served: Counter[str] = field(default_factory=Counter)

    async def client(self, gateway: Gateway, key: str) -> None:
        """Takes a few turns, one after the other."""
        for _ in range(TURNS_EACH):
            granted = await gateway.acquire(api_key_id=key)
            assert isinstance(granted, pb.Granted), granted
            self.now += 1
            self.most = max(self.most, self.now)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            self.now -= 1
            self.served[key] += 1
            gateway.settle(granted)


@asynccontextmanager
async def three_gateways(controls: Sequence[Control]) -> AsyncIterator[list[Gateway]]:
    """Two at the first control, one at the second."""
    gateways = [Gateway(f"gateway-{n}", controls[n % 2].targets[0]) for n in range(3)]
    async with anyio.create_task_group() as tasks:
        for gateway in gateways:
            tasks.start_soon(gateway.run)
        yield gateways
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("ttl_s", [LONG_S])  # here nobody may be taken for gone, however busy the machine
async def test_thirty_clients_at_three_gateways_of_two_controls_never_have_more_than_the_slots_and_no_key_starves(
    controls: list[Control],
) -> None:
    history = History()
    async with open_peers(controls[0].targets[0]) as one, open_peers(controls[1].targets[0]) as other:
        keys = [await new_key(one, f"key {n}") for n in range(5)]
        await eventually(partial(key_ids, other), lambda told: told == keys)

    async with three_gateways(controls) as gateways:
        async with anyio.create_task_group() as clients:
            for n in range(CLIENTS):
                clients.start_soon(history.client, gateways[n % 3], keys[n % 5])
        await until(lambda: not any(gateway.unsettled for gateway in gateways))

    assert 1 < history.most <= SLOTS
    assert history.served == dict.fromkeys(keys, CLIENTS * TURNS_EACH // len(keys))
    await until(lambda: [control.leases.held() for control in controls] == [0, 0])


@pytest.mark.parametrize("ttl_s", [LONG_S])
async def test_a_key_runs_as_many_turns_at_once_as_it_may_over_both_controls_and_its_others_wait(
    controls: list[Control],
) -> None:
    history = History()
    async with open_peers(controls[0].targets[0]) as one, open_peers(controls[1].targets[0]) as other:
        key = await new_key(one, "modest", streams_max=2)
        await eventually(partial(key_ids, other), lambda told: told == [key])

    async with three_gateways(controls) as gateways:
        async with anyio.create_task_group() as clients:
            for n in range(9):
                clients.start_soon(history.client, gateways[n % 3], key)
        await until(lambda: not any(gateway.unsettled for gateway in gateways))

    assert (history.most, history.served[key]) == (2, 9 * TURNS_EACH)
    await until(lambda: [control.leases.held() for control in controls] == [0, 0])


async def test_a_redis_that_is_flushed_is_told_anew_what_is_held_before_it_grants(
    controls: list[Control], redis: RedisServer
) -> None:
    async with three_gateways(controls) as gateways:
        running = [(gateway, await gateway.acquire()) for gateway in gateways]

        redis.say("FLUSHALL")
        refusal = await gateways[0].acquire(wait_max_s=2 * TTL_S)
        for gateway, granted in running:
            gateway.settle(granted)
        after = await gateways[1].acquire()

        assert (refusal.reason, [gateway.attached >= 2 for gateway in gateways]) == (
            "ERROR_REASON_POOL_BUSY",
            [True] * 3,
        )
        assert isinstance(after, pb.Granted)
        await until(lambda: [control.leases.held() for control in controls] == [1, 1])


async def test_while_redis_is_away_nothing_is_granted_what_ends_is_recorded_and_afterwards_nothing_is_leaked(
    controls: list[Control], redis: RedisServer
) -> None:
    async with three_gateways(controls) as gateways:
        running = await gateways[0].acquire()
        outlives = await gateways[1].acquire()

        redis.kill()
        refusal = await gateways[0].acquire(wait_max_s=0.5)
        gateways[0].settle(running)
        await until(lambda: not gateways[0].unsettled)
        redis.start()
        granted = [await gateways[2].acquire() for _ in range(SLOTS - 1)]
        busy = await gateways[2].acquire(wait_max_s=0.0)

        assert refusal.reason == "ERROR_REASON_COORDINATION_UNAVAILABLE"
        assert all(isinstance(one, pb.Granted) for one in granted)
        assert busy.reason == "ERROR_REASON_POOL_BUSY"
        for gateway, one in [(gateways[1], outlives), *((gateways[2], one) for one in granted)]:
            gateway.settle(one)
        await until(lambda: [control.leases.held() for control in controls] == [0, 0])


async def test_a_redis_that_stood_still_for_longer_than_the_ttl_takes_nobody_for_gone(
    controls: list[Control], redis: RedisServer
) -> None:
    async with three_gateways(controls) as gateways:
        running = [(gateway, await gateway.acquire()) for gateway in gateways[: SLOTS - 1]]

        with redis.frozen():
            refusals = [await gateway.acquire(wait_max_s=TTL_S) for gateway in gateways[1:]]
        running.append((gateways[2], await gateways[2].acquire()))
        busy = await gateways[0].acquire(wait_max_s=TTL_S)

        assert [refusal.reason for refusal in refusals] == ["ERROR_REASON_COORDINATION_UNAVAILABLE"] * 2
        assert busy.reason == "ERROR_REASON_POOL_BUSY"
        for gateway, granted in running:
            gateway.settle(granted)
        await until(lambda: [control.leases.held() for control in controls] == [0, 0])


async def test_a_gateway_that_vanishes_returns_its_slots_to_all_and_is_told_as_abandoned_once(
    controls: list[Control], postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    async with three_gateways(controls) as gateways:
        async with open_peers(controls[0].targets[0]) as peers, peers.attach("doomed") as doomed:
            lost = [await doomed.acquire(wait_max_s=LONG_S) for _ in range(SLOTS)]

        granted = await gateways[1].acquire()

        assert isinstance(granted, pb.Granted)
        gateways[1].settle(granted)
        await until(lambda: not gateways[1].unsettled)
    database = make_url(postgresql_url).database
    assert database is not None
    statement = "select count(*), count(distinct lease_id) from attempts where outcome = 'abandoned'"
    await until(lambda: postgresql_server.sql(statement, database=database) == f"{SLOTS}|{len(lost)}")


async def test_what_is_changed_at_one_control_holds_at_the_other_within_a_second(controls: list[Control]) -> None:
    async with open_peers(controls[0].targets[0]) as one, open_peers(controls[1].targets[0]) as other:
        [bob] = await one.import_(auth_file("bob"))
        limit = settings_pb2.Settings(account_stream_limit=1)
        mask = FieldMask(paths=["account_stream_limit"])
        await one.settings.UpdateSettings(settings_pb2.UpdateSettingsRequest(settings=limit, update_mask=mask))
        with anyio.fail_after(TOLD_WITHIN_S):
            await eventually(partial(statuses, other), lambda told: len(told) == 2)
            await other.accounts.PauseAccount(accounts_pb2.PauseAccountRequest(name=bob.name))
            await eventually(partial(statuses, one), lambda told: accounts_pb2.ACCOUNT_STATUS_PAUSED in told)
            await eventually(partial(stream_limit, other), lambda told: told == 1)
        async with one.attach("left") as left, other.attach("right") as right:
            granted = await left.acquire(wait_max_s=LONG_S)
            refusal = await right.refusal()
            await one.accounts.DeleteAccount(accounts_pb2.DeleteAccountRequest(name=bob.name))
            await eventually(partial(statuses, other), lambda told: len(told) == 1)

    assert granted.account_id != bob.name.removeprefix("accounts/")
    assert refusal.reason == "ERROR_REASON_POOL_BUSY"


async def new_key(peers: Peers, name: str, *, streams_max: int = 0) -> str:
    """The id of an API key that is made."""
    key = keys_pb2.ApiKey(display_name=name, streams_max=streams_max)
    request = keys_pb2.CreateApiKeyRequest(api_key=key)
    return (await peers.api_keys.CreateApiKey(request)).api_key.name.removeprefix("apiKeys/")


async def key_ids(peers: Peers) -> list[str]:
    """The API keys, as a control knows them, oldest first."""
    listed = await peers.api_keys.ListApiKeys(keys_pb2.ListApiKeysRequest())
    return [key.name.removeprefix("apiKeys/") for key in listed.api_keys]


async def statuses(peers: Peers) -> list[accounts_pb2.AccountStatus.ValueType]:
    """How the accounts stand, as a control sees them."""
    listed = await peers.accounts.ListAccounts(accounts_pb2.ListAccountsRequest())
    return [account.status for account in listed.accounts]


async def stream_limit(peers: Peers) -> int:
    """How many turns an account serves at once, as a control sees it."""
    return (await peers.settings.GetSettings(settings_pb2.GetSettingsRequest())).account_stream_limit
