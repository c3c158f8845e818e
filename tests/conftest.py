"""What every test shares: one event loop kind, the one the product runs on."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """All asynchronous tests run on asyncio with uvloop, like the product."""
    return "asyncio", {"use_uvloop": True}
