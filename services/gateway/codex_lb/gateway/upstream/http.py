"""One HTTP request to upstream and its answer, as bytes. A port, so that a faster client can follow (ADR 0005).

aiohttp costs a fifth of httpx per turn and a tenth per event (architecture, section 11). One session and one TLS
context per process.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from codex_lb.gateway.outcome import Blame, Fault
from codex_lb.gateway.upstream.headers import Header

KEEPALIVE_S = 90.0  # upstream's edge closes idle connections after about this long
SLICE_BYTES = 256 * 2**10  # of a large body: as much as the socket takes without holding up other turns
READ_BUFFER_BYTES = 256 * 2**10  # of one answer, before reading stops: a slow client slows its upstream, not memory


class BrokenConnectionError(Exception):
    """Upstream could not be reached, or the answer broke off; `fault` says how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class UpstreamAnswer(Protocol):
    """An answer whose body is still coming."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""
        ...

    @property
    def is_at_end(self) -> bool:
        """Whether all of the body has been read."""
        ...

    async def chunk(self) -> bytes:
        """What has come of the body since; empty at its end. Raises BrokenConnectionError when it breaks off."""
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The body whole, cut at the bound. Raises BrokenConnectionError."""
        ...


class UpstreamHttp(Protocol):
    """Sends requests."""

    def request(
        self, method: str, path: str, *, headers: list[Header], body: bytes
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Sends a request; leaving the context ends the answer, wherever it is. Raises BrokenConnectionError.

        The path, with its query, travels as it is: whoever puts a client's words into it has quoted them.
        """
        ...

    def post(self, path: str, *, headers: list[Header], body: bytes) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """The same for a POST."""
        ...


@dataclass(slots=True)
class AiohttpAnswer:
    """An answer of aiohttp's."""

    response: aiohttp.ClientResponse

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    @property
    def is_at_end(self) -> bool:
        return self.response.content.at_eof()

    async def chunk(self) -> bytes:
        """Whatever has arrived, in one piece."""
        try:
            return await self.response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BrokenConnectionError(cut_off(error)) from error

    async def read(self, bytes_max: int) -> bytes:
        body = bytearray()
        while len(body) < bytes_max and (chunk := await self.chunk()):
            body += chunk
        return bytes(body[:bytes_max])


class AiohttpUpstream:
    """The port on aiohttp."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session of the process, for sockets too."""
        return self._session

    def post(self, path: str, *, headers: list[Header], body: bytes) -> AbstractAsyncContextManager[UpstreamAnswer]:
        return self.request("POST", path, headers=headers, body=body)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, headers: list[Header], body: bytes
    ) -> AsyncIterator[UpstreamAnswer]:
        """Sends a request and waits for the status line."""
        data: bytes | AsyncIterator[bytes] | None = body or None
        if len(body) > SLICE_BYTES:
            headers = [*headers, ("content-length", str(len(body)))]
            data = slices(body)
        try:
            response = await self._session.request(
                method, URL(self._base_url + path, encoded=True), data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BrokenConnectionError(unreached(error)) from error
        try:
            yield AiohttpAnswer(response)
        finally:
            # Closes the connection unless the answer was read to its end: hanging up is how upstream is told to stop.
            response.close()


@asynccontextmanager
async def open_upstream(base_url: str, *, connect_timeout_s: float) -> AsyncIterator[AiohttpUpstream]:
    """The one session of the process."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_connect=connect_timeout_s),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trust_env=any(name.lower() in PROXY_VARIABLES for name in os.environ),
        read_bufsize=READ_BUFFER_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),  # cookies of one account must not travel with another
    )
    async with session:
        yield AiohttpUpstream(session, base_url)


PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


async def slices(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces."""
    for piece in _pieces(body):
        yield piece


def _pieces(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), SLICE_BYTES):
        yield bytes(view[start : start + SLICE_BYTES])


def unreached(error: Exception) -> Fault:
    """A request that got no status line. Whether it was read nobody knows; nothing was shown, so it may go again."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream's name could not be resolved")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream could not be reached")
    if isinstance(error, TimeoutError):
        return Fault("upstream_unavailable", Blame.NETWORK, "Upstream did not accept the connection in time")
    return Fault("upstream_unavailable", Blame.UPSTREAM, "Upstream closed the connection without an answer")


def cut_off(error: Exception) -> Fault:
    """An answer that broke off."""
    return Fault("stream_incomplete", Blame.UPSTREAM, f"Upstream broke off its answer ({type(error).__name__})")
