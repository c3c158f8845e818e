"""The gateway with its real neighbours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.pair import Pair, start_pair
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
