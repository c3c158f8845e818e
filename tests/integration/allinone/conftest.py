"""The product as a user starts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.system import System, start_all_in_one
from tests.support.upstream import Upstream, start_upstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    """One simulator per file."""
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def system(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """`codex-lb serve`, with an empty pool."""
    await upstream.reset(accounts=True)
    async with start_all_in_one(upstream, tmp_path) as system:
        yield system
