"""aiohttp's client, as everything here uses it, and what its errors mean.

It is loaded when it is first needed (`opening.py`): a gateway without proxies whose upstream is asked over HTTP does without.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream import http
from codex_lb.gateway.upstream.http import KEEPALIVE_S, NO_ANSWER, READ_BUFFER_BYTES


@asynccontextmanager
async def open_session(*, connect_timeout_s: float, is_proxied: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that is open inside the `with`."""
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


def unreached(error: Exception) -> Fault:
    """A request or a handshake that got no status line."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream's name could not be resolved")
    is_open = isinstance(error, aiohttp.ClientError) and not isinstance(error, aiohttp.ClientConnectorError)
    return NO_ANSWER if is_open and not isinstance(error, TimeoutError) else http.unreached(error)
