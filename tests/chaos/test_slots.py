"""One account with three slots, three gateways, thirty clients with very different appetites."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import api_key_service_pb2 as keys_pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from codex_lb.api.admin.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from codex_lb.api.admin.v1.settings_service_pb2_grpc import SettingsServiceStub
from codex_lb.kit.rpc_channel import open_channel
from tests.support.simulator.record import Row
from tests.support.system import System, a_turn, start_services
from tests.support.upstream import Upstream, hold, slow, start_upstream

SLOTS = 3
CLIENTS = {"greedy": 24, "modest": 3, "shy": 3}
TURNS = 60
RETURN_WITHIN_S = 10.0  # a killed gateway's slots


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def services(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """Three gateways."""
    env = {"CODEX_LB_PROXY_ACCOUNT_STREAM_LIMIT": str(SLOTS), "CODEX_LB_LEASE_WAIT_SECONDS": "60"}
    async with start_services(upstream, tmp_path, gateways=3, env=env) as system:
        await system.add("only")
        yield system


async def test_slots_are_never_exceeded_never_idle_and_shared_fairly(services: System) -> None:
    await services.upstream.script("only", then=slow(0.05))
    keys = await _keys(services)
    served: Counter[str] = Counter()

    async with anyio.create_task_group() as clients:

        async def ask(name: str, gateway: int) -> None:
            headers = {"authorization": f"Bearer {keys[name]}"}
            while served.total() < TURNS:
                answer = await services.clients[gateway].post("/v1/responses", json=a_turn(), headers=headers)
                assert answer.status_code == 200, answer.text
                served[name] += 1
            clients.cancel_scope.cancel()

        for name, count in CLIENTS.items():
            for number in range(count):
                clients.start_soon(ask, name, number % 3)

    rows = [row for row in await services.upstream.log("responses") if row.ended_at is not None]
    assert _most_at_once(rows) == SLOTS
    assert min(served[name] for name in CLIENTS) >= TURNS / len(CLIENTS) / 2
    assert _used_share(rows) >= 0.95  # of three slots, while thirty clients wait


async def test_slots_of_a_killed_gateway_return(services: System) -> None:
    await services.upstream.script("only", then=hold())
    async with anyio.create_task_group() as tasks:
        for _ in range(SLOTS):
            tasks.start_soon(_post_and_forget, services, 0)
        await services.upstream.wait_for(lambda seen: seen.held == SLOTS)
        killed_at = time.monotonic()
        await services.gateways[0].kill()
        await services.upstream.script("only")
        answer = await services.clients[1].post("/v1/responses", json=a_turn(), timeout=30)
        waited_s = time.monotonic() - killed_at
        tasks.cancel_scope.cancel()

    assert answer.status_code == 200
    assert waited_s < RETURN_WITHIN_S
    await services.settled()
    abandoned = services.query("select count(*) from attempts where outcome = 'abandoned'")
    assert abandoned == [(SLOTS,)]


async def _keys(services: System) -> dict[str, str]:
    """A key for each kind of client, and keys asked for."""
    control = services.environment["CODEX_LB_CONTROL_TARGET"]
    token = services.environment["CODEX_LB_SERVICE_TOKEN"]
    async with open_channel(control, tls_ca_file=None, service_token=token) as channel:
        stub = ApiKeyServiceStub(channel)
        made = {
            name: await stub.CreateApiKey(keys_pb.CreateApiKeyRequest(api_key=keys_pb.ApiKey(display_name=name)))
            for name in CLIENTS
        }
        await SettingsServiceStub(channel).UpdateSettings(
            settings_pb.UpdateSettingsRequest(
                settings=settings_pb.Settings(api_key_auth_enabled=True),
                update_mask=FieldMask(paths=["api_key_auth_enabled"]),
            )
        )
    return {name: answer.secret for name, answer in made.items()}


async def _post_and_forget(services: System, gateway: int) -> None:
    try:
        await services.clients[gateway].post("/v1/responses", json=a_turn(), timeout=60)
    except httpx.TransportError:  # its gateway is killed
        return


def _most_at_once(rows: Sequence[Row]) -> int:
    """Turns that upstream had open at the same time."""
    changes = sorted([(row.received_at, 1) for row in rows] + [(row.ended_at or 0.0, -1) for row in rows])
    at_once = most = 0
    for _, change in changes:
        at_once += change
        most = max(most, at_once)
    return most


def _used_share(rows: Sequence[Row]) -> float:
    """Share of the slots' time that was used, from when all were taken first until the last turn began."""
    begun = sorted(row.received_at for row in rows)
    since, until = begun[SLOTS - 1], begun[-1]
    used = sum(max(0.0, min(row.ended_at or 0.0, until) - max(row.received_at, since)) for row in rows)
    return used / (SLOTS * (until - since))
