"""What every test shares: one event loop, of the kind the product runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that is busy with something else.
settings.register_profile("product", deadline=None)
settings.load_profile("product")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """All asynchronous tests run on asyncio with uvloop, like the product."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session", autouse=True)
async def one_loop(anyio_backend: tuple[str, dict[str, object]]) -> AsyncIterator[None]:
    """Keeps one loop for the whole session: gRPC's poller outlives a loop and may hand a late event to a closed one."""
    yield  # noqa: PT022 - the loop lives while this is suspended
