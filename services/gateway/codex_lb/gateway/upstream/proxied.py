"""The port for HTTP on aiohttp's client, which knows proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
from yarl import URL

from codex_lb.gateway.upstream.aiohttp_session import unreached
from codex_lb.gateway.upstream.headers import Header
from codex_lb.gateway.upstream.http import BrokenConnectionError, UpstreamAnswer, cut_off

SLICE_BYTES = 256 * 2**10  # of a large body: as much as the socket takes without holding up other turns


class ProxiedAnswer:
    """An answer of aiohttp's."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: dict[str, str] = {}
        for name, value in response.headers.items():
            self.headers.setdefault(name.lower(), value)

    @property
    def is_at_end(self) -> bool:
        return self._response.content.at_eof()

    async def chunk(self) -> bytes:
        """Whatever has arrived, in one piece."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BrokenConnectionError(cut_off(type(error).__name__)) from error

    async def read(self, bytes_max: int) -> bytes:
        body = bytearray()
        while len(body) < bytes_max and (chunk := await self.chunk()):
            body += chunk
        return bytes(body[:bytes_max])


class ProxiedUpstream:
    """The port, in a session that is somebody else's to close."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

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
            yield ProxiedAnswer(response)
        finally:
            # Closes the connection unless the answer was read to its end: hanging up is how upstream is told to stop.
            response.close()


async def slices(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces."""
    for piece in _pieces(body):
        yield piece


def _pieces(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), SLICE_BYTES):
        yield bytes(view[start : start + SLICE_BYTES])
