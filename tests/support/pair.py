"""A control and a gateway in this process, on real sockets, against the simulator: for tests of the two together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc.aio
import httpx

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb2
from codex_lb.api.admin.v1.account_service_pb2_grpc import AccountServiceStub
from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.settings import ControlSettings
from codex_lb.control.usecases.rotate_keys import RETIRED_AFTER_S
from codex_lb.gateway.app import Gateway, open_gateway
from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.service import Stop
from tests.support.upstream import SimAccount, Upstream

WAIT_S = 10.0
LEASE_WAIT_S = 0.8  # of turns that find no slot


@dataclass
class Pair:
    """Both, and ways to use them."""

    base_url: str
    client: httpx.AsyncClient
    control: Control
    gateway: Gateway
    admin: AccountServiceStub
    upstream: Upstream
    folder: Path

    async def import_account(self, account: SimAccount) -> str:
        """Adds an account of the simulator's to the pool; its resource name."""
        request = accounts_pb2.ImportAccountsRequest(
            files=[accounts_pb2.AuthFile(display_name=account.name, content=account.auth_json)]
        )
        answer = await self.admin.ImportAccounts(request)
        assert answer.rows[0].account.name, answer.rows[0].problem
        return answer.rows[0].account.name

    async def add(self, *names: str, plan: str = "plus") -> list[SimAccount]:
        """Makes accounts at the simulator and imports them."""
        made = [await self.upstream.add_account(name, plan=plan) for name in names]
        for account in made:
            await self.import_account(account)
        return made

    async def status_of(self, email: str) -> accounts_pb2.Account:
        """The account with that e-mail."""
        listed = await self.admin.ListAccounts(accounts_pb2.ListAccountsRequest())
        return next(a for a in listed.accounts if a.email == email)

    async def settled(self) -> None:
        """Waits until no lease is held and nothing is left to settle."""
        async with asyncio.timeout(WAIT_S):
            while self.control.leases.held() or self.gateway.leases.held or self.gateway.leases.unsettled:  # noqa: ASYNC110 - no event says all three
                await asyncio.sleep(0.01)


@asynccontextmanager
async def start_pair(
    upstream: Upstream,
    folder: Path,
    *,
    fetch_images: FetchImages | None = None,
    transport: Literal["auto", "http", "websocket"] = "auto",
    key_retired_after_s: float = RETIRED_AFTER_S,
    **gateway_settings: object,
) -> AsyncIterator[Pair]:
    """Control on a unix socket, the gateway on a free port, both ready."""
    clock = SystemClock()
    target = f"unix:{folder}/control.sock"
    control_settings = ControlSettings(
        data_dir=folder,
        usage_refresh_enabled=False,
        model_registry_enabled=False,
        upstream_stream_transport=transport,
    )
    settings = GatewaySettings.model_validate(
        {
            "data_dir": folder / "gateway",
            "control_target": target,
            "upstream_base_url": upstream.chatgpt_url,
            "sse_keepalive_interval_seconds": 1.0,
            "lease_wait_seconds": LEASE_WAIT_S,
            **gateway_settings,
        }
    )
    timing = Timing(reannounce_grace_s=0, key_retired_after_s=key_retired_after_s)
    async with (
        open_control(control_settings, clock, listen=[target], timing=timing) as control,
        open_gateway(settings, clock, fetch_images=fetch_images) as gateway,
        grpc.aio.insecure_channel(target) as channel,
    ):
        server = HttpServer(gateway.app, ("127.0.0.1", 0), websockets=True)
        stop, ready = Stop(), asyncio.Event()
        serving = asyncio.create_task(server.run(stop, ready.set))
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
            await gateway.policies.arrived.wait()
        base_url = f"http://127.0.0.1:{server.port}"
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=base_url, timeout=WAIT_S * 3, limits=limits, trust_env=False) as client:
            try:
                yield Pair(base_url, client, control, gateway, AccountServiceStub(channel), upstream, folder)
            finally:
                stop.set()
                await serving


@asynccontextmanager
async def second_gateway(
    pair: Pair, *, name: str = "gateway-2", **gateway_settings: object
) -> AsyncIterator[tuple[httpx.AsyncClient, Gateway]]:
    """Another gateway at the pair's control, and a client of it."""
    settings = GatewaySettings.model_validate(
        {
            "data_dir": pair.folder / name,
            "control_target": f"unix:{pair.folder}/control.sock",
            "upstream_base_url": pair.upstream.chatgpt_url,
            **gateway_settings,
        }
    )
    async with open_gateway(settings, SystemClock()) as gateway:
        server = HttpServer(gateway.app, ("127.0.0.1", 0), websockets=True)
        stop, ready = Stop(), asyncio.Event()
        serving = asyncio.create_task(server.run(stop, ready.set))
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
            await gateway.policies.arrived.wait()
        base_url = f"http://127.0.0.1:{server.port}"
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=base_url, timeout=WAIT_S * 3, limits=limits, trust_env=False) as client:
            try:
                yield client, gateway
            finally:
                stop.set()
                await serving
