"""A web server with TLS, for whoever fetches from one: its own CA, any names, scripted answers, a list of who came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET, AddressFamily

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.support.certificates import contexts_for

HOST = "images.test.example"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ImageHost:
    """A running server."""

    port: int
    trusting: ssl.SSLContext  # for a client that trusts its CA
    handlers: dict[str, Handler] = field(default_factory=dict)
    seen: list[web.BaseRequest] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)  # addresses that were connected to
    at_once: int = 0
    at_once_seen: int = 0

    def url(self, path: str, host: str = HOST) -> str:
        """The URL of a path."""
        return f"https://{host}:{self.port}{path}"

    def serve(
        self, path: str, body: bytes = PNG, content_type: str = "image/png", *, status: int = 200, **headers: str
    ) -> str:
        """Answers a path so from now on; its URL."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers={"Content-Type": content_type, **own})

        self.handlers[path] = answer
        return self.url(path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Whatever was scripted for the path."""
        self.seen.append(request)
        assert request.transport is not None
        self.connections.append(request.transport.get_extra_info("sockname")[0])
        self.at_once += 1
        self.at_once_seen = max(self.at_once_seen, self.at_once)
        try:
            return await self.handlers[request.path](request)
        finally:
            self.at_once -= 1


@dataclass
class ScriptedNames(AbstractResolver):
    """A resolver whose answers are a list: one per look-up, the last one for ever."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:  # noqa: ARG002 - the port's shape
        """The next answer."""
        addresses = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def start_image_host(folder: Path, *, host: str = HOST) -> AsyncIterator[ImageHost]:
    """A server for one name, on every loopback address."""
    serving, trusting = contexts_for(folder, host)
    image_host = ImageHost(0, trusting)
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", image_host.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=serving)
    await site.start()
    image_host.port = runner.addresses[0][1]
    try:
        yield image_host
    finally:
        async with asyncio.timeout(10):
            await runner.cleanup()
