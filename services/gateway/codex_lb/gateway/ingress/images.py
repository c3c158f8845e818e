"""Images that requests name by URL: the port through which they are had. `inline_images.py` fetches them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from codex_lb.kit.on_demand import on_demand

# URLs, to the data URLs of those that could be had
FetchImages: TypeAlias = Callable[[Sequence[str]], Awaitable[dict[str, str]]]


async def fetch_nothing(_urls: Sequence[str]) -> dict[str, str]:
    """When fetching is switched off."""
    return {}


@asynccontextmanager
async def open_fetcher(allowed_hosts: Collection[str]) -> AsyncIterator[FetchImages]:
    """Fetches; what it takes is loaded for the first image."""

    def load() -> AbstractAsyncContextManager[FetchImages]:
        from codex_lb.gateway.ingress.inline_images import open_image_fetcher  # noqa: PLC0415 - brings aiohttp

        return open_image_fetcher(allowed_hosts)

    async with on_demand(load) as get:

        async def fetch(urls: Sequence[str]) -> dict[str, str]:
            return await (await get())(urls)

        yield fetch
