"""The floor of our stack: a proxy on Starlette and aiohttp that does nothing but pass on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

NOT_PASSED = (b"host", b"content-length", b"transfer-encoding", b"connection")


def app(upstream: str) -> Starlette:
    """The proxy."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            sessions.append(session)
            yield

    async def forward(request: Request) -> StreamingResponse:
        headers = [(k.decode(), v.decode()) for k, v in request.headers.raw if k not in NOT_PASSED]
        body = await request.body()
        answer = await sessions[0].post(upstream + request.url.path, data=body, headers=headers)
        return StreamingResponse(passed(answer), status_code=answer.status, media_type="text/event-stream")

    return Starlette(routes=[Route("/{path:path}", forward, methods=["POST"])], lifespan=lifespan)


async def passed(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The answer's body, whatever has come of it at a time."""
    async with answer:
        async for data in answer.content.iter_any():
            yield data


def main(upstream: str, port: int) -> None:
    """Serves until killed."""
    config = uvicorn.Config(
        app(upstream), port=port, loop="none", http="httptools", access_log=False, log_level="error"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
