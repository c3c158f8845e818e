"""Somebody who is told of alerts: a server that keeps what was posted and answers as scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from aiohttp import web

WITHIN_S = 20.0  # a worker asks for work once a second


@dataclass
class Receiver:
    """What came, and what is answered."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)  # path, headers, body
    _came: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Keeps a request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append((request.path, headers, await request.read()))
        came, self._came = self._came, anyio.Event()
        came.set()
        return web.Response(status=self.status, headers=self.headers, text="never read")

    async def until(self, posts: int) -> None:
        """Waits for that many."""
        with anyio.fail_after(WITHIN_S):
            while len(self.posts) < posts:
                await self._came.wait()


@asynccontextmanager
async def start_receiver() -> AsyncIterator[Receiver]:
    """On a free port of loopback."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}"
        yield receiver
    finally:
        await runner.cleanup()
