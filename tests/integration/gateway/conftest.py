"""The gateway with its real neighbours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from tests.integration.control.peers import open_peers
from tests.integration.gateway.door import Door, set_
from tests.support.pair import Pair, start_pair
from tests.support.system import until
from tests.support.upstream import Upstream, start_upstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    """One simulator per file; every test starts on a clean one."""
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def pair(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Pair]:
    """Control and gateway, with an empty pool."""
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path) as pair:
        yield pair


@pytest.fixture
async def door(pair: Pair) -> AsyncIterator[Door]:
    """Keys are on, one account serves."""
    await pair.add("a")
    async with open_peers(f"unix:{pair.folder}/control.sock") as peers:
        await set_(peers, settings_pb.Settings(api_key_auth_enabled=True), "api_key_auth_enabled")
        await until(lambda: pair.gateway.policies.policy.api_key_auth_enabled)
        yield Door(pair, peers)
