"""What leads to upstream, opened for the life of the process: the client for requests, and the one for sockets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from codex_lb.gateway.upstream.direct import DirectUpstream
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import UpstreamHttp
from codex_lb.gateway.upstream.websocket import UpstreamSocket, UpstreamSockets
from codex_lb.kit.clock import Clock
from codex_lb.kit.on_demand import Get, on_demand

PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def is_proxied() -> bool:
    """Whether the environment names a proxy; aiohttp understands what it says."""
    return any(name.lower() in PROXY_VARIABLES for name in os.environ)


@asynccontextmanager
async def open_http(base_url: str, *, connect_timeout_s: float) -> AsyncIterator[UpstreamHttp]:
    """For requests; by proxy where the environment names one."""
    if not is_proxied():
        async with aclosing(DirectUpstream(base_url, connect_timeout_s=connect_timeout_s)) as direct:
            yield direct
        return
    from codex_lb.gateway.upstream.aiohttp_session import open_session  # noqa: PLC0415 - brings aiohttp
    from codex_lb.gateway.upstream.proxied import ProxiedUpstream  # noqa: PLC0415 - brings aiohttp too

    async with open_session(connect_timeout_s=connect_timeout_s, is_proxied=True) as session:
        yield ProxiedUpstream(session, base_url)


@asynccontextmanager
async def open_sockets(
    base_url: str, clock: Clock, *, connect_timeout_s: float, frame_bytes_max: int
) -> AsyncIterator[UpstreamSockets]:
    """For sockets; whatever leads to them is loaded for the first one."""

    def load() -> AbstractAsyncContextManager[UpstreamSockets]:
        from codex_lb.gateway.upstream.aiohttp_sockets import open_aiohttp_sockets  # noqa: PLC0415 - brings aiohttp

        return open_aiohttp_sockets(
            base_url,
            clock,
            connect_timeout_s=connect_timeout_s,
            frame_bytes_max=frame_bytes_max,
            is_proxied=is_proxied(),
        )

    async with on_demand(load) as get:
        yield LateSockets(get)


class LateSockets:
    """The port, for which nothing is loaded before it is used."""

    def __init__(self, get: Get[UpstreamSockets]) -> None:
        self._get = get

    async def open(self, path: str, *, headers: list[Header]) -> UpstreamSocket:
        """Raises HandshakeRefusedError or BrokenConnectionError."""
        return await (await self._get()).open(path, headers=headers)
