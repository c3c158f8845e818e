"""The simulator, started once for this folder and forgotten between tests."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.upstream import Upstream, start_upstream


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def upstream(running: Upstream) -> AsyncIterator[Upstream]:
    await running.reset(accounts=True)
    yield running
    await running.release()


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=upstream.base_url, trust_env=False, timeout=10) as client:
        yield client
