"""A TCP server that is told, byte by byte, what to answer: for what no well-behaved HTTP server would do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

WITHIN_S = 20.0  # a test that waits longer has failed


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as it came."""

    connection: int  # which of the server's connections, from 0
    head: bytes
    body: bytes


@dataclass(eq=False, slots=True)
class Peer:
    """The server's side of a connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The head of the next request."""
        async with asyncio.timeout(WITHIN_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Heard:
        """The next request, whole."""
        head = await self.head()
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
        async with asyncio.timeout(WITHIN_S):
            body = await self.reader.readexactly(int(fields.get(b"content-length", b"0")))
        return Heard(self.number, head, body)

    async def say(self, *pieces: bytes) -> None:
        """Sends these, each by itself as far as a socket can be made to."""
        for piece in pieces:
            self.writer.write(piece)
            async with asyncio.timeout(WITHIN_S):
                await self.writer.drain()
            await asyncio.sleep(0)

    async def is_hung_up_on(self) -> bool:
        """Waits until the other side has closed, and nothing came before."""
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True


Serve = Callable[[Peer], Awaitable[None]]


@dataclass(eq=False, slots=True)
class RawServer:
    """Where it listens, and the connections it has had."""

    url: str
    peers: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def raw_server(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serves every connection so; what still runs is cut off on leaving, what failed is raised."""
    running: list[asyncio.Task[None]] = []
    scheme = "http" if tls is None else "https"
    server_told = RawServer("")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(server_told.peers), reader, writer)
        server_told.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        running.append(task)
        try:
            await serve(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side hung up, which is its right
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server_told.url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield server_told
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
