"""What leads to upstream, opened for the life of the process: the client for requests, and the session for sockets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from codex_lb.gateway.upstream.direct import DirectUpstream
from codex_lb.gateway.upstream.http import KEEPALIVE_S, READ_BUFFER_BYTES, UpstreamHttp
from codex_lb.gateway.upstream.proxied import ProxiedUpstream

PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


@dataclass(frozen=True, slots=True)
class Upstream:
    """The two ways to upstream."""

    http: UpstreamHttp
    session: aiohttp.ClientSession  # for sockets; whatever the way, a proxy's name is aiohttp's to understand


@asynccontextmanager
async def open_upstream(base_url: str, *, connect_timeout_s: float) -> AsyncIterator[Upstream]:
    """Both; by proxy where the environment names one."""
    is_proxied = any(name.lower() in PROXY_VARIABLES for name in os.environ)
    async with open_session(connect_timeout_s=connect_timeout_s, is_proxied=is_proxied) as session:
        if is_proxied:
            yield Upstream(ProxiedUpstream(session, base_url), session)
        else:
            async with aclosing(DirectUpstream(base_url, connect_timeout_s=connect_timeout_s)) as direct:
                yield Upstream(direct, session)


@asynccontextmanager
async def open_session(*, connect_timeout_s: float, is_proxied: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """The one session of the process."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trust_env=is_proxied,
        read_bufsize=READ_BUFFER_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),  # cookies of one account must not travel with another
    )
    async with session:
        yield session
